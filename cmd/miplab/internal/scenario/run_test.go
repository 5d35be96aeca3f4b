package scenario

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/stack"
)

// stage is a World in memory where all goes well but for what a test breaks.
type stage struct {
	modes   map[string]string // mode by network
	leak    string            // network in which a canary leaks outside
	garble  bool              // an octet of the TCP session changes
	hangUp  string            // network in which the TCP session breaks
	blind   bool              // the judge inside sees nothing
	lost    int               // frames that the captures lose
	out, in judge.Judge
	mu      sync.Mutex
	mode    string
	network string // that of eth0
	policy  string
	near    *half
}

func (s *stage) Describe() string      { return "a stage" }
func (s *stage) Client() Client        { return s }
func (s *stage) Outside() *judge.Judge { return &s.out }
func (s *stage) Inside() *judge.Judge  { return &s.in }
func (s *stage) Err() error            { return nil }
func (s *stage) Settle() (int, error)  { return s.lost, nil }

func (s *stage) Up(context.Context) error { return nil }

func (s *stage) SetMode(_ context.Context, policy string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = policy
	s.choose()
	return nil
}

// choose sets the mode, under the mutex.
func (s *stage) choose() {
	s.mode = s.modes[s.network]
	if s.policy != "" && s.policy != "auto" {
		s.mode = s.policy
	}
}

func (s *stage) Status(context.Context) (control.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return control.Status{State: control.StateConnected, Mode: s.mode, Proof: control.Proof{Reason: "the stage says so"}}, nil
}

func (s *stage) Events(ctx context.Context, f func(control.Event)) error {
	f(control.Event{Kind: "state", Message: "up"})
	<-ctx.Done()
	return ctx.Err()
}

func (s *stage) Plug(_ context.Context, iface, network string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if iface == "eth0" { // eth1 is the second choice
		s.network = network
		s.choose()
	}
	if network == s.hangUp && s.near != nil {
		s.near.Close()
	}
	if network == "cafe" {
		s.out.Frame("cafe", time.Now(), espFrame())
	}
	return time.Now(), nil
}

func (s *stage) Unplug(string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.network = "cafe"
	s.choose()
	return nil
}

// espFrame is an Ethernet frame with an IPv4 packet of protocol ESP.
func espFrame() []byte {
	f := make([]byte, 14+20+60)
	f[12], f[14], f[16+1], f[14+9] = 8, 0x45, 80, 50
	return f
}

// half is one end of an in-memory connection; what it writes is shown to the stage.
type half struct {
	*io.PipeReader
	*io.PipeWriter
	wrote func([]byte) []byte
}

func (h *half) CloseWrite() error { return h.PipeWriter.Close() }
func (h *half) Close() error {
	return errors.Join(h.PipeReader.CloseWithError(io.ErrClosedPipe), h.PipeWriter.CloseWithError(net.ErrClosed))
}
func (h *half) Write(p []byte) (int, error) { return h.PipeWriter.Write(h.wrote(bytes.Clone(p))) }

func (s *stage) OpenConversation(context.Context) (near, far session.Conn, err error) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	garble := s.garble
	s.near = &half{r1, w2, func(p []byte) []byte {
		if !s.blind {
			s.in.Frame("core", time.Now(), p)
		}
		s.mu.Lock()
		if s.leak != "" && s.modes[s.leak] == s.mode {
			s.out.Frame(s.leak, time.Now(), p)
		}
		s.mu.Unlock()
		if garble {
			p[100] ^= 1
			garble = false
		}
		return p
	}}
	return s.near, &half{r2, w1, func(p []byte) []byte { return p }}, nil
}

// echoing is a connection that gets back what it sends.
type echoing struct {
	net.Conn
	back chan []byte
	end  chan struct{}
}

func (e *echoing) Write(p []byte) (int, error) { e.back <- bytes.Clone(p); return len(p), nil }
func (e *echoing) Close() error                { close(e.end); return nil }
func (e *echoing) Read(p []byte) (int, error) {
	select {
	case b := <-e.back:
		return copy(p, b), nil
	case <-e.end:
		return 0, net.ErrClosed
	}
}

func (s *stage) OpenStream(context.Context) (net.Conn, error) {
	return &echoing{back: make(chan []byte, 10), end: make(chan struct{})}, nil
}

// TestRun shows that a tour in which all goes well passes, and that each single thing that goes wrong fails it, by name.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*stage)
		want  string // in a failure; empty for a tour that passes
	}{
		{"all well", func(*stage) {}, ""},
		{"mode not reached", func(s *stage) { s.modes["hotspot"] = "cvc" }, "mode fvc was not reached"},
		{"leak", func(s *stage) { s.leak = "hotspot" }, "crossed an external wire outside ESP"},
		{"octet differs", func(s *stage) { s.garble = true }, "not the same at both ends"},
		{"session breaks", func(s *stage) { s.hangUp = "cafe" }, "TCP session broke"},
		{"blind judge", func(s *stage) { s.blind = true }, "proves nothing"},
		{"frames lost", func(s *stage) { s.lost = 3 }, "lost 3 frames"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				secret := []netip.Addr{netip.MustParseAddr("10.0.8.100")}
				s := &stage{modes: map[string]string{"office": "c", "office-fa": "f", "cafe": "cvc", "hotspot": "fvc"}}
				s.out.Secret, s.in.Secret = secret, secret
				c.spoil(s)
				r, err := Scenario{Steps: Tour, Dwell: time.Second, Patience: 10 * time.Second, Log: t.Output()}.Run(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				var text bytes.Buffer
				if err := errors.Join(r.WriteTable(&text), verdict.WriteJSON(&text, r)); err != nil {
					t.Error(err)
				}
				if r.Passed != (c.want == "") || !strings.Contains(strings.Join(r.Failures, "\n"), c.want) || !strings.Contains(text.String(), c.want) {
					t.Errorf("passed = %v with failures %q, want %q among them and in what is written:\n%s", r.Passed, r.Failures, c.want, text.String())
				}
				if c.want == "" && (len(r.Changes) != len(Tour) || r.Stream.Lost != 0) {
					t.Errorf("%d changes and %d datagrams lost, want %d and none", len(r.Changes), r.Stream.Lost, len(Tour))
				}
			})
		})
	}
}

// TestRunEight shows that the tour of eight comes to each mode, by the cable, by a pin, and by both at once.
func TestRunEight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []netip.Addr{netip.MustParseAddr("10.0.8.100")}
		s := &stage{modes: map[string]string{"office": "c", "office-fa": "f", "cafe": "vf", "hotspot": "fvf", "campus": "vf"}}
		s.out.Secret, s.in.Secret = secret, secret
		r, err := Scenario{Steps: Eight, Dwell: time.Second, Patience: 10 * time.Second, Log: t.Output()}.Run(t.Context(), s)
		if err != nil || !r.Passed || len(r.Changes) != len(Eight) {
			t.Fatalf("%v, %d changes, %q", err, len(r.Changes), r.Failures)
		}
		modes := map[string]bool{}
		for _, c := range r.Changes {
			modes[c.To] = true
		}
		if len(modes) != len(stack.Modes()) {
			t.Errorf("the modes are %v", modes)
		}
		for i, want := range map[int]string{2: "eth0 into cafe", 4: "mipvpn mode cvf, eth0 into cafe", 5: "mipvpn mode cvc", 9: "mipvpn mode auto, eth0 into office", 11: "eth0 unplugged"} {
			if got := r.Changes[i].Cause; got != want {
				t.Errorf("change %d by %q, want %q", i, got, want)
			}
		}
	})
}

// TestMatrix shows that the matrix has each ordered pair of modes once, that no step of it changes nothing, and that a step comes to
// its mode.
func TestMatrix(t *testing.T) {
	var all []string
	for _, m := range stack.Modes() {
		all = append(all, string(m))
	}
	seen := map[[2]string]int{}
	steps := Matrix(all)
	byPin, again := 0, 0
	for i, s := range steps[1:] {
		before := steps[i]
		seen[[2]string{before.Mode, s.Mode}]++
		if s.Network == before.Network && s.Policy == before.Policy && !s.Again {
			t.Errorf("step %d changes nothing: %+v after %+v", i+1, s, before)
		}
		switch {
		case s.Again:
			again++
		case s.Network == before.Network:
			byPin++
		}
	}
	if len(seen) != 64 || len(steps) != 65 || byPin < 2 || again != 4 {
		t.Errorf("%d pairs in %d steps, %d by pin alone, %d in the same network", len(seen), len(steps), byPin, again)
	}
	synctest.Test(t, func(t *testing.T) {
		secret := []netip.Addr{netip.MustParseAddr("10.0.8.100")}
		s := &stage{modes: map[string]string{"office": "c", "office-fa": "f", "cafe": "vf", "hotspot": "fvf", "campus": "vf"}}
		s.out.Secret, s.in.Secret = secret, secret
		r, err := Scenario{Steps: steps, Dwell: time.Second, Patience: 10 * time.Second, Log: t.Output()}.Run(t.Context(), s)
		if err != nil || !r.Passed || len(r.Changes) != len(steps) {
			t.Fatalf("%v, %d changes, %q", err, len(r.Changes), r.Failures)
		}
	})
}

// TestThrough shows the tours of some modes only.
func TestThrough(t *testing.T) {
	for _, c := range []struct {
		modes []string
		want  int
	}{{[]string{"c", "f", "cvc", "fvc"}, len(Tour)}, {[]string{"c"}, 2}, {[]string{"cvc"}, 1}, {[]string{"c", "cvc"}, 6}, {nil, 0},
		{[]string{"c", "f", "vc", "vf", "cvc", "cvf", "fvc", "fvf"}, len(Eight)}, {[]string{"c", "vc", "fvc"}, 6}, {[]string{"vc"}, 2}} {
		if got := len(Through(c.modes)); got != c.want {
			t.Errorf("through %v in %d steps, want %d", c.modes, got, c.want)
		}
	}
}
