package suspend

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// patience bounds what a test waits for; nothing is measured.
const patience = 30 * time.Second

// bus is a D-Bus daemon of the test's own.
type bus struct {
	address string
	cmd     *exec.Cmd
}

// startBus starts a D-Bus daemon that listens at path. It ends with the test.
func startBus(t *testing.T, path string) *bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (Debian package dbus): ", err)
	}
	config := filepath.Join(t.TempDir(), "bus.conf")
	text := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`, path)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--config-file="+config, "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bus{address: "unix:path=" + path, cmd: cmd}
	t.Cleanup(b.end)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it prints its address when it listens
		t.Fatalf("dbus-daemon did not start: %v", err)
	}
	return b
}

func (b *bus) end() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// loginManager is org.freedesktop.login1 as far as it is about sleep.
type loginManager struct {
	conn  *dbus.Conn
	locks chan *lock
}

// lock is an inhibitor lock that somebody has taken.
type lock struct {
	args [4]string
	held *os.File // our end of the pipe: at its end when the lock has been given back
	give int      // the end that was given away
}

// startManager starts a login manager on the bus.
func startManager(t *testing.T, b *bus) *loginManager {
	t.Helper()
	conn, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	m := &loginManager{conn: conn, locks: make(chan *lock, 16)}
	t.Cleanup(func() { conn.Close() })
	if err := conn.ExportMethodTable(map[string]any{"Inhibit": m.inhibit}, managerPath, managerInterface); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(managerName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("the bus gives the name with %v, %v", reply, err)
	}
	return m
}

// inhibit is the method Inhibit.
func (m *loginManager) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	m.locks <- &lock{args: [4]string{what, who, why, mode}, held: os.NewFile(uintptr(p[0]), "lock"), give: p[1]}
	return dbus.UnixFD(p[1]), nil
}

// announce sends PrepareForSleep.
func (m *loginManager) announce(t *testing.T, sleeps bool) {
	t.Helper()
	if err := m.conn.Emit(managerPath, sleepSignal, sleeps); err != nil {
		t.Fatal(err)
	}
}

// asked waits until a lock is asked for.
func (m *loginManager) asked(t *testing.T) *lock {
	t.Helper()
	select {
	case l := <-m.locks:
		t.Cleanup(func() { l.held.Close() })
		return l
	case <-time.After(patience):
		t.Fatal("no lock was asked for")
		return nil
	}
}

// passed closes our copy of what was given away. The taker must have its own by then.
func (l *lock) passed(t *testing.T) {
	t.Helper()
	if err := unix.Close(l.give); err != nil {
		t.Fatal(err)
	}
}

// isHeld reports whether the lock has not been given back.
func (l *lock) isHeld(t *testing.T) bool {
	t.Helper()
	raw, err := l.held.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var rerr error
	if err := raw.Control(func(fd uintptr) { n, rerr = unix.Read(int(fd), make([]byte, 1)) }); err != nil {
		t.Fatal(err)
	}
	if n == 0 && rerr == nil {
		return false
	}
	if !errors.Is(rerr, unix.EAGAIN) {
		t.Fatalf("reading a lock: %d, %v", n, rerr)
	}
	return true
}

// givenBack waits until the lock has been given back.
func (l *lock) givenBack(t *testing.T) {
	t.Helper()
	if err := l.held.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := l.held.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("waiting for the lock's end: %d, %v", n, err)
	}
}

// recorder is a Handler that writes down what it is told.
type recorder struct {
	calls chan string
	// hold, when set, is waited for within Prepare.
	hold chan struct{}
}

func newRecorder() *recorder { return &recorder{calls: make(chan string, 64)} }

func (r *recorder) handler() Handler {
	return Handler{
		Prepare: func() {
			r.calls <- "prepare"
			if r.hold != nil {
				<-r.hold
			}
		},
		Resumed: func() { r.calls <- "resumed" },
		Clock:   func() {},
		Available: func(err error) {
			if err != nil {
				r.calls <- "lost: " + err.Error()
				return
			}
			r.calls <- "available"
		},
	}
}

// wait waits for the next call, which must begin with want.
func (r *recorder) wait(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r.calls:
		if !strings.HasPrefix(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("not told %q", want)
	}
}

// Shows: HST-6 (the system sleeps only when the handler has returned, and the lock is taken again afterwards)
func TestLogindHoldsSleepUntilPrepared(t *testing.T) {
	b := startBus(t, filepath.Join(t.TempDir(), "bus"))
	m := startManager(t, b)
	r := newRecorder()
	r.hold = make(chan struct{})
	stop := Logind{Address: b.address}.Watch(r.handler())
	defer stop()
	l := m.asked(t)
	r.wait(t, "available")
	if want := [4]string{"sleep", "mipvpn", "plaintext is stopped before the laptop sleeps", "delay"}; l.args != want {
		t.Errorf("asked for the lock with %q, want %q", l.args, want)
	}
	for range 2 {
		m.announce(t, true)
		r.wait(t, "prepare")
		l.passed(t)
		if !l.isHeld(t) {
			t.Fatal("the lock was given back while the gate was being closed")
		}
		r.hold <- struct{}{}
		l.givenBack(t)
		m.announce(t, false)
		r.wait(t, "resumed")
		l = m.asked(t)
	}
	if len(r.calls) != 0 {
		t.Errorf("also told %q", <-r.calls)
	}
}

// Shows: HST-6 (a daemon that ends does not keep the laptop from sleeping)
func TestLogindLockEndsWithTheWatch(t *testing.T) {
	b := startBus(t, filepath.Join(t.TempDir(), "bus"))
	m := startManager(t, b)
	r := newRecorder()
	stop := Logind{Address: b.address}.Watch(r.handler())
	l := m.asked(t)
	r.wait(t, "available")
	l.passed(t)
	if !l.isHeld(t) {
		t.Fatal("the lock is not held")
	}
	stop()
	l.givenBack(t)
}

// Anybody on the bus can send a signal of this name to the client alone: it would stop the user's traffic.
//
// Shows: HST-6 (only the login manager's own word counts)
func TestLogindIgnoresOthers(t *testing.T) {
	b := startBus(t, filepath.Join(t.TempDir(), "bus"))
	m := startManager(t, b)
	r := newRecorder()
	stop := Logind{Address: b.address}.Watch(r.handler())
	defer stop()
	r.wait(t, "available")
	other, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var names []string
	if err := other.BusObject().Call(busName+".ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, name := range names {
		if name == busName || name == managerName || name == other.Names()[0] || name == m.conn.Names()[0] {
			continue
		}
		msg := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldPath: dbus.MakeVariant(managerPath),
			dbus.FieldInterface: dbus.MakeVariant(managerInterface), dbus.FieldMember: dbus.MakeVariant(sleepMember),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(true)),
		}, Body: []any{true}}
		if call := other.Send(msg, nil); call != nil && call.Err != nil {
			t.Fatal(call.Err)
		}
		sent++
	}
	if sent == 0 {
		t.Fatalf("the watch is not among %q", names)
	}
	if err := other.BusObject().Call(busName+".GetId", 0).Err; err != nil { // the bus has passed on what came before
		t.Fatal(err)
	}
	m.announce(t, false)
	r.wait(t, "resumed") // and no prepare before it
}

// Shows: HST-6 (a login manager or a bus that dies between the announcement and the resume does not leave the client held,
// and is found again)
func TestLogindGoesAndComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	for name, goAway := range map[string]func(*bus, *loginManager){
		"login manager": func(_ *bus, m *loginManager) { m.conn.Close() },
		"bus":           func(b *bus, _ *loginManager) { b.end() },
	} {
		t.Run(name, func(t *testing.T) {
			b := startBus(t, path)
			m := startManager(t, b)
			r := newRecorder()
			stop := Logind{Address: b.address}.Watch(r.handler())
			defer stop()
			r.wait(t, "available")
			m.announce(t, true)
			r.wait(t, "prepare")
			goAway(b, m)
			r.wait(t, "resumed")
			r.wait(t, "lost: ")
			if name == "bus" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				b = startBus(t, path)
			}
			m = startManager(t, b)
			var told []string
			for !slices.Contains(told, "available") { // it may have looked in between, and told another reason
				select {
				case c := <-r.calls:
					told = append(told, c)
				case <-time.After(patience):
					t.Fatalf("told %q only", told)
				}
			}
			m.announce(t, true)
			r.wait(t, "prepare")
		})
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// Shows: HST-6 (without D-Bus that is said once, and the watch ends when it is told to)
func TestNoBus(t *testing.T) {
	r := newRecorder()
	stop := Logind{Address: "unix:path=" + filepath.Join(t.TempDir(), "none")}.Watch(r.handler())
	r.wait(t, "lost: suspend: D-Bus: ")
	stop()
	if len(r.calls) != 0 {
		t.Errorf("also told %q", <-r.calls)
	}
}

func TestSleepArgument(t *testing.T) {
	for _, c := range []struct {
		body       []any
		sleeps, ok bool
	}{
		{[]any{true}, true, true}, {[]any{false}, false, true},
		{nil, false, false}, {[]any{"true"}, false, false}, {[]any{true, true}, false, false}, {[]any{uint32(1)}, false, false},
	} {
		if sleeps, ok := sleepArgument(c.body); sleeps != c.sleeps || ok != c.ok {
			t.Errorf("%v: %t, %t; want %t, %t", c.body, sleeps, ok, c.sleeps, c.ok)
		}
	}
}
