package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// self is a peer that every Authority allows.
var self = control.Peer{UID: 0}

// authority allows root and the user that the test runs as.
func authority(t testing.TB) control.Authority {
	t.Helper()
	a, err := control.NewAuthority(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// piped serves one end of a pipe, and returns the other and what ends when the server does.
func piped(t testing.TB, b control.Backend, peer control.Peer) (net.Conn, <-chan struct{}) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		control.NewServer(b, authority(t), nil).ServeConn(t.Context(), far, peer)
	}()
	return near, ended
}

func connected() control.Status {
	return control.Status{Schema: 1, State: control.StateConnected, Mode: "c", ModePolicy: "auto", Proof: control.Proof{Verdict: control.VerdictInside}}
}

func TestRequestsOverAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.New(connected())
		b.SetDetection(control.Detection{Schema: 1, Interfaces: []control.InterfaceDetection{{Interface: control.Interface{Name: "eth0"}}}})
		near, ended := piped(t, b, self)
		c := control.NewClient(near)
		ctx := t.Context()
		if err := c.Up(ctx); err != nil {
			t.Error(err)
		}
		if s, err := c.Status(ctx); err != nil || s.State != control.StateConnected || s.Mode != "c" {
			t.Errorf("%+v, %v", s, err)
		}
		if err := c.SetMode(ctx, "cvc"); err != nil {
			t.Error(err)
		}
		if d, err := c.Detect(ctx, true); err != nil || len(d.Interfaces) != 1 || d.Interfaces[0].Name != "eth0" {
			t.Errorf("%+v, %v", d, err)
		}
		b.SetExplanation(control.Explanation{Way: control.WayHeld})
		if e, err := c.Explain(ctx, netip.MustParseAddr("10.0.2.10")); err != nil || e.Way != control.WayHeld {
			t.Errorf("%+v, %v", e, err)
		}
		b.SetPings(control.Ping{Mode: "c"})
		if p, err := c.Ping(ctx); err != nil || p.Mode != "c" {
			t.Errorf("%+v, %v", p, err)
		}
		b.Fail(fmt.Errorf("%w: mode f needs a foreign agent", control.ErrRefused))
		var answer *control.Error
		if err := c.SetMode(ctx, "f"); !errors.As(err, &answer) || answer.Kind != control.KindFailed || !strings.Contains(answer.Message, "needs a foreign agent") {
			t.Errorf("%v", err)
		}
		b.Fail(nil)
		if err := c.Down(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		<-ended
		if want := []string{"up", "status", "mode cvc", "detect again=true", "explain 10.0.2.10", "ping", "mode f", "down"}; !slices.Equal(b.Calls(), want) {
			t.Errorf("asked %q, want %q", b.Calls(), want)
		}
	})
}

func TestProblemInWords(t *testing.T) {
	for want, p := range map[string]control.Problem{
		"x":                               {Message: "x"},
		"peer: x (code); advice":          {Peer: "peer", Code: "code", Message: "x", Advice: "advice"},
		"peer: x with code; advice":       {Peer: "peer", Code: "code", Message: "x with code", Advice: "advice"},
		"peer: x with code: advice given": {Peer: "peer", Code: "code", Message: "x with code: advice given", Advice: "advice"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWait(t *testing.T) {
	down := control.Status{Schema: 1, State: control.StateDown, Proof: control.Proof{Verdict: control.VerdictUnknown}}
	detecting := down
	detecting.State = control.StateDetecting
	tests := []struct {
		name   string
		status control.Status
		until  control.Condition
		change func(*controltest.Backend) // after 3 s
		kind   control.Kind               // empty: it comes true
		after  time.Duration
	}{
		{name: "true already", status: connected(), until: control.WaitInside},
		{name: "comes true", status: detecting, until: control.WaitConnected, after: 3 * time.Second, change: func(b *controltest.Backend) {
			b.Change(func(s *control.Status) { *s = connected() }, control.Event{Kind: "state"})
		}},
		{name: "outside", status: detecting, until: control.WaitOutside, after: 3 * time.Second, change: func(b *controltest.Backend) {
			b.Change(func(s *control.Status) { s.Proof.Verdict = control.VerdictOutside }, control.Event{Kind: "verdict"})
		}},
		{name: "another event", status: detecting, until: control.WaitConnected, after: 10 * time.Second, kind: control.KindTimeout, change: func(b *controltest.Backend) {
			b.Change(func(*control.Status) {}, control.Event{Kind: "alarm"})
		}},
		{name: "the wrong verdict", status: connected(), until: control.WaitOutside, after: 10 * time.Second, kind: control.KindTimeout},
		{name: "down", status: down, until: control.WaitConnected, kind: control.KindNotConnected},
		{name: "goes down", status: detecting, until: control.WaitInside, after: 3 * time.Second, kind: control.KindNotConnected, change: func(b *controltest.Backend) {
			b.Change(func(s *control.Status) { *s = down }, control.Event{Kind: "state"})
		}},
		{name: "the client ends", status: detecting, until: control.WaitInside, after: 3 * time.Second, kind: control.KindNotConnected, change: func(b *controltest.Backend) {
			_ = b.Close()
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := controltest.New(tc.status)
				near, ended := piped(t, b, self)
				c := control.NewClient(near)
				if tc.change != nil {
					time.AfterFunc(3*time.Second, func() { tc.change(b) })
				}
				began := time.Now()
				s, err := c.Wait(t.Context(), tc.until, 10*time.Second)
				if took := time.Since(began); took != tc.after {
					t.Errorf("took %v, want %v", took, tc.after)
				}
				if tc.kind == "" {
					if err != nil || !tc.until.Holds(s) {
						t.Errorf("%+v, %v", s, err)
					}
				} else if e, ok := errors.AsType[*control.Error](err); !ok || e.Kind != tc.kind {
					t.Errorf("error %v, want one of kind %s", err, tc.kind)
				} else if says := "the client is " + string(tc.status.State); tc.kind == control.KindTimeout && !strings.Contains(e.Error(), says) {
					t.Errorf("error %v, want it to say %q", err, says)
				}
				if n := b.Subscribers(); n != 0 {
					t.Errorf("%d subscriptions are left", n)
				}
				if tc.kind == "" { // the connection goes on
					if err := c.Up(t.Context()); err != nil {
						t.Errorf("after waiting: %v", err)
					}
				}
				c.Close()
				<-ended
			})
		})
	}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.New(connected())
		near, ended := piped(t, b, self)
		c := control.NewClient(near)
		enough := errors.New("enough")
		var got []string
		err := c.Events(t.Context(), func() {
			go func() {
				for i := range 5 {
					b.Change(func(*control.Status) {}, control.Event{Kind: "state", Message: fmt.Sprint(i), Time: time.Now()})
				}
			}()
		}, func(e control.Event) error {
			got = append(got, fmt.Sprintf("%d %s", e.Sequence, e.Message))
			if len(got) == 3 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || !slices.Equal(got, []string{"1 0", "2 1", "3 2"}) {
			t.Errorf("%q, %v", got, err)
		}
		<-ended // because the client has closed the connection
		if n := b.Subscribers(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}

		near, ended = piped(t, b, self)
		err = control.NewClient(near).Events(t.Context(), func() { _ = b.Close() }, func(control.Event) error { return nil })
		if !errors.Is(err, control.ErrUnreachable) {
			t.Errorf("the client ended: %v", err)
		}
		<-ended
	})
}

func TestEventsEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.New(connected())
		near, ended := piped(t, b, self)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := control.NewClient(near).Events(ctx, nil, func(control.Event) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		<-ended
	})
}

// Shows: HST-7 (a peer that is not allowed reaches nothing)
func TestPeerNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.New(connected())
		near, ended := piped(t, b, control.Peer{UID: 12345, GID: 12345})
		c := control.NewClient(near)
		if e, ok := errors.AsType[*control.Error](c.Down(t.Context())); !ok || e.Kind != control.KindPermission {
			t.Errorf("got %v", e)
		}
		<-ended
		if calls := b.Calls(); len(calls) != 0 {
			t.Errorf("it reached %q", calls)
		}
	})
}

func TestAuthority(t *testing.T) {
	a, err := control.NewAuthority([]string{"4001"}, []string{"4002"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		peer control.Peer
		want bool
	}{
		{control.Peer{UID: 0, GID: 9}, true}, {control.Peer{UID: 4001, GID: 9}, true}, {control.Peer{UID: 9, GID: 4002}, true},
		{control.Peer{UID: 4002, GID: 4001}, false}, {control.Peer{UID: 9, GID: 0}, false},
		{control.Peer{UID: uint32(os.Geteuid()), GID: 9}, true},
	} {
		if got := a.Allows(tc.peer); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.peer, got, tc.want)
		}
	}
	if a, err := control.NewAuthority([]string{"root"}, nil); err != nil || !a.Allows(control.Peer{UID: 0}) {
		t.Errorf("root by name: %v", err)
	}
	if _, err := control.NewAuthority([]string{"no such user"}, nil); err == nil {
		t.Error("an unknown user was taken")
	}
	if _, err := control.NewAuthority(nil, []string{"no such group"}); err == nil {
		t.Error("an unknown group was taken")
	}
}

// Shows: HST-7 (hostile input on the socket)
func TestHostileInput(t *testing.T) {
	long := strings.Repeat("x", control.MaxRequest)
	tests := map[string]string{
		"not JSON":          "GET / HTTP/1.1\n",
		"binary":            "\x00\xff\x00\xff\n",
		"empty document":    "{}\n",
		"unknown operation": `{"schema":1,"op":"exec"}` + "\n",
		"unknown field":     `{"schema":1,"op":"status","x":1}` + "\n",
		"two documents":     `{"schema":1,"op":"status"}{"schema":1,"op":"down"}` + "\n",
		"later schema":      `{"schema":2,"op":"status"}` + "\n",
		"mode elsewhere":    `{"schema":1,"op":"down","mode":"c"}` + "\n",
		"deep":              strings.Repeat("[", 4000) + "\n",
		"too long":          `{"schema":1,"op":"mode","mode":"` + long + `"}` + "\n",
		"endless":           long + long + long,
		"wrong type":        `{"schema":"1","op":["down"]}` + "\n",
		"huge timeout":      `{"schema":1,"op":"wait","for":"inside","timeout_ms":9223372036854775807}` + "\n",
		"negative timeout":  `{"schema":1,"op":"wait","for":"inside","timeout_ms":-1}` + "\n",
		"null":              "null\n",
	}
	for name, input := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := controltest.New(connected())
				near, ended := piped(t, b, self)
				go func() { _, _ = io.WriteString(near, input) }()
				answer, err := bufio.NewReader(near).ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				var r control.Response
				if err := json.Unmarshal([]byte(answer), &r); err != nil || r.Error == nil || r.Error.Kind != control.KindUsage {
					t.Errorf("answer %q, %v", answer, err)
				}
				if len(answer) > 1000 {
					t.Errorf("an answer of %d octets", len(answer))
				}
				<-ended
				if calls := b.Calls(); len(calls) != 0 {
					t.Errorf("it reached %q", calls)
				}
			})
		})
	}
}

func TestSilentPeerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, ended := piped(t, controltest.New(connected()), self)
		began := time.Now()
		go func() { _, _ = io.WriteString(near, `{"schema":1,`) }()
		<-ended
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("after %v", took)
		}
	})
}

func TestPeerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.New(connected())
		near, ended := piped(t, b, self)
		if _, err := io.WriteString(near, `{"schema":1,"op":"status"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		<-ended
	})
}

func TestAnswersOfAnotherDaemon(t *testing.T) {
	for name, answer := range map[string]string{
		"later schema": `{"schema":2}`, "not JSON": `hello`, "no document": `{"schema":1}`, "too long": strings.Repeat("x", 17<<20),
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = bufio.NewReader(far).ReadString('\n')
			_, _ = io.WriteString(far, answer+"\n")
			far.Close()
		}()
		if _, err := control.NewClient(near).Status(t.Context()); !errors.Is(err, control.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
		near.Close()
	}
}

// socket serves on a real unix socket until the test ends.
func socket(t *testing.T, b control.Backend, a control.Authority) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := control.Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(b, a, nil).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return path
}

// Shows: HST-7 (control socket by peer credentials)
func TestRealSocket(t *testing.T) {
	b := controltest.New(connected())
	path := socket(t, b, authority(t))
	c, err := control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := c.Status(t.Context()); err != nil || s.State != control.StateConnected {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := control.Listen(path, 0o666); !errors.Is(err, control.ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.State != control.StateConnected {
		t.Errorf("after a second daemon tried: %+v, %v", s, err)
	}

	path = socket(t, b, control.Authority{}) // allows nobody
	before := len(b.Calls())
	c, err = control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if e, ok := errors.AsType[*control.Error](c.Down(t.Context())); !ok || e.Kind != control.KindPermission || !strings.Contains(e.Message, fmt.Sprintf("user %d", os.Geteuid())) {
		t.Errorf("got %v", e)
	}
	if len(b.Calls()) != before {
		t.Error("it reached the backend")
	}
}

func TestManyConnections(t *testing.T) {
	b := controltest.New(connected())
	path := socket(t, b, authority(t))
	var open []*control.Client
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	refused := 0
	for range 80 {
		c, err := control.Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if _, err := c.Status(t.Context()); errors.Is(err, control.ErrUnreachable) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused != 80-64 {
		t.Errorf("%d of 80 connections were refused, want 16", refused)
	}
}

// failing is a listener that has no connection to give: a few times for want of descriptors, then because it is closed.
type failing struct{ left int }

func (f *failing) Accept() (net.Conn, error) {
	if f.left == 0 {
		return nil, net.ErrClosed
	}
	f.left--
	return nil, syscall.EMFILE
}

func (*failing) Close() error   { return nil }
func (*failing) Addr() net.Addr { return nil }

func TestServeOutlivesWantOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &failing{left: 5}
		err := control.NewServer(controltest.New(connected()), authority(t), nil).Serve(t.Context(), l)
		if !errors.Is(err, net.ErrClosed) || l.left != 0 {
			t.Errorf("%v with %d failures left", err, l.left)
		}
	})
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a crash leaves it
	second, err := control.Listen(path, 0o666)
	if err != nil {
		t.Fatalf("over the socket of a daemon that is gone: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	second.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(file, 0o666); err == nil {
		t.Error("over a file")
	}
	if p, err := os.ReadFile(file); err != nil || string(p) != "precious" {
		t.Errorf("the file was touched: %q, %v", p, err)
	}
	if _, err := control.Dial(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("no socket: %v", err)
	}
	l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := control.Dial(t.Context(), path); !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("a daemon that is gone: %v", err)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, r := range requests() {
		p, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Add([]byte(`{"schema":1,"op":"wait","for":"inside","timeout_ms":-1}`))
	f.Add([]byte(`{"schema":1,"op":"mode","mode":"c"} x`))
	f.Add([]byte(`{"Schema":1,"OP":"up"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := control.ParseRequest(data)
		if err != nil {
			if !errors.Is(err, control.ErrRequest) || len(err.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		p, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) > control.MaxRequest {
			return // escapes have made it longer
		}
		again, err := control.ParseRequest(p)
		if r.Secret != nil && len(r.Secret) == 0 {
			r.Secret = nil // an empty one is left out
		}
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%s: %+v, %v", p, again, err)
		}
	})
}

// requests are one valid request for each operation.
func requests() []control.Request {
	var all []control.Request
	for _, op := range control.Ops() {
		r := control.Request{Schema: control.Schema, Op: op}
		switch op {
		case control.OpMode:
			r.Mode = "auto"
		case control.OpDetect:
			r.Again = true
		case control.OpAnswer:
			r.Question, r.Secret = 7, []byte("geheim")
		case control.OpWait:
			r.For, r.Timeout = control.WaitConnected, 1
		case control.OpEvents:
			r.After = "x-1"
		case control.OpExplain:
			r.Address = "10.0.2.10"
		}
		all = append(all, r)
	}
	return all
}
