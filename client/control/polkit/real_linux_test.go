package polkit

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mipvpn/client/control"
	"mipvpn/detect/resolve/bustest"
)

// daemons are where Debian and others have polkitd.
var daemons = []string{"/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd", "/usr/lib/polkitd"}

// rules are an administrator's. The user is nobody, who sits at no desktop.
const rules = `polkit.addRule(function(action, subject) {
    if (action.id == "org.mipvpn.control" && subject.user == "nobody") { return polkit.Result.YES; }
    if (action.id == "org.mipvpn.portal" && subject.user == "nobody") { return polkit.Result.NO; }
});
`

// startPolkitd starts the real daemon on a bus of its own, with our actions and those rules in the places of the machine's.
func startPolkitd(t *testing.T) *bustest.Bus {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("polkitd changes its user, and its files are put in place in a mount namespace: that takes root")
	}
	program := ""
	for _, p := range daemons {
		if _, err := os.Stat(p); err == nil {
			program = p
		}
	}
	if program == "" {
		t.Skip("there is no polkitd (package polkitd)")
	}
	dir, err := os.MkdirTemp("", "polkit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	policy, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ folder, name, text string }{{"actions", "org.mipvpn.policy", string(policy)}, {"rules", "10-site.rules", rules}} {
		if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, f.folder), 0o755), os.WriteFile(filepath.Join(dir, f.folder, f.name), []byte(f.text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	bus := bustest.Start(t)
	c := exec.Command("sh", "-c", `mount --bind "$1/actions" /usr/share/polkit-1/actions && mount --bind "$1/rules" /etc/polkit-1/rules.d && exec "$2" --no-debug`, "sh", dir, program)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus.Address())
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	c.Stderr, c.Stdout = &said, &said
	if err := c.Start(); err != nil {
		t.Skipf("no mount namespace here: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
	})
	conn, err := bus.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limit := time.After(time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		var owned bool
		if err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, serviceName).Store(&owned); err != nil {
			t.Fatal(err)
		}
		if owned {
			return bus
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("polkitd does not run here: %v: %s", err, said.String())
		case <-limit:
			t.Fatal("polkitd has not come to the bus within a minute")
		default:
		}
	}
}

// TestRealPolkit asks polkit itself about a process of nobody's, who is at no desktop: its rules and our actions decide.
func TestRealPolkit(t *testing.T) {
	bus := startPolkitd(t)
	a := New(bus.Connect)
	peer := nobodysPeer(t)
	for right, want := range map[control.Right]error{
		control.RightRead:       nil,
		control.RightControl:    nil,         // by the rule
		control.RightPortal:     ErrRefused,  // by the rule
		control.RightAdminister: ErrPassword, // by the action
		control.RightAnswer:     ErrPassword, // by the action
	} {
		if err := a.Judge(t.Context(), peer, right, false); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%v: %v, want %v", right, err, want)
		}
	}
	later := peer // another process that has got the number of one that has ended
	later.Start++
	if err := a.Judge(t.Context(), later, control.RightControl, false); !errors.Is(err, ErrUnanswered) {
		t.Errorf("a process that started at another time: %v", err)
	}
	// Nobody is there whom polkit could ask: it says so, and does not wait.
	if err := a.Judge(t.Context(), peer, control.RightAdminister, true); !errors.Is(err, ErrPassword) && !errors.Is(err, ErrRefused) {
		t.Errorf("with nobody to type a password: %v", err)
	}
}

// nobodysPeer returns the peer that a process of user nobody is which has connected to a socket.
func nobodysPeer(t *testing.T) control.Peer {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	connector := filepath.Join(dir, "connector") // where nobody may run it
	if err := os.WriteFile(connector, program, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(connector)
	c.Env = append(os.Environ(), connectVariable+"="+path)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Skipf("the test's program cannot be run as nobody: %v", err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	k, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	p, err := control.PeerOf(k)
	if err != nil || p.UID != 65534 || p.Start == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	return p
}

// connectVariable has this program be nothing but a process that connects to the socket named.
const connectVariable = "MIPVPN_TEST_CONNECT"

func TestMain(m *testing.M) {
	path := os.Getenv(connectVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		os.Exit(1)
	}
	_, _ = c.Read(make([]byte, 1)) // until the other end goes
	_ = c.Close()
}
