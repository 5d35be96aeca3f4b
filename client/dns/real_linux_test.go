package dns

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/bustest"
	"mipvpn/detect/resolve/query"
	"mipvpn/tun/link"
)

// insideEnv marks the process that runs in namespaces of its own, and has the path of systemd-resolved.
const insideEnv = "MIPVPN_TEST_RESOLVED"

// insideNamespaces runs f in a process of its own, in namespaces of its own in which systemd-resolved can run, and nothing of this machine
// is changed. The path is that of systemd-resolved.
func insideNamespaces(t *testing.T, f func(t *testing.T, program string)) {
	t.Helper()
	if program := os.Getenv(insideEnv); program != "" {
		prepare(t)
		f(t, program)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for namespaces of its own")
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), insideEnv+"="+bustest.ResolvedProgram(t))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := c.CombinedOutput()
	if text := string(out); err == nil && strings.Contains(text, "--- SKIP: "+t.Name()) {
		t.Skip(text)
	} else if err != nil || !strings.Contains(text, "--- PASS: "+t.Name()) {
		t.Errorf("in its namespaces: %v\n%s", err, out)
	}
}

// withUser has the file of accounts name systemd-resolved's, which the program wants to become.
func withUser(t *testing.T, path, line string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "systemd-resolve:") {
		return
	}
	own := filepath.Join(t.TempDir(), filepath.Base(path))
	write(t, own, string(b)+line, 0o644)
	if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asked is what a server was asked, over UDP.
type asked struct {
	mu    sync.Mutex
	names []string
}

func (a *asked) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.names)
}

// listenReal starts a server that answers A questions with an address.
func listenReal(t *testing.T, at string, address string) *asked {
	t.Helper()
	c, err := net.ListenPacket("udp4", at)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	a := new(asked)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var q, r dns.Msg
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			a.mu.Lock()
			a.names = append(a.names, strings.ToLower(q.Question[0].Name))
			a.mu.Unlock()
			r.SetReply(&q)
			if q.Question[0].Qtype == dns.TypeA {
				r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(address)})
			}
			if p, err := r.Pack(); err == nil {
				_, _ = c.WriteTo(p, from)
			}
		}
	}()
	return a
}

// noOutside is an interface that knows no servers.
type noOutside struct{}

func (noOutside) Servers(context.Context) ([]netip.Addr, error)    { return nil, nil }
func (noOutside) Exchange(context.Context, []byte) ([]byte, error) { return nil, query.ErrNoServers }

// prepare makes what systemd-resolved wants, in namespaces of its own.
func prepare(t *testing.T) {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	withUser(t, "/etc/passwd", "systemd-resolve:x:991:991::/:/usr/sbin/nologin\n")
	withUser(t, "/etc/group", "systemd-resolve:x:991:\n")
	must(t, os.MkdirAll("/run/systemd/resolve", 0o755))
	must(t, os.Chown("/run/systemd/resolve", 991, 991))
	// Its own resolv.conf would be read for the servers of no link.
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, resolvConf, "", 0o644)
	must(t, unix.Mount(resolvConf, "/etc/resolv.conf", "", unix.MS_BIND, ""))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
}

// runResolved runs the program on the bus until the test ends, and returns once it is there.
func runResolved(t *testing.T, bus *bustest.Bus, program string) {
	t.Helper()
	conn, err := bus.Connect(t.Context())
	must(t, err)
	defer conn.Close()
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, resolvedService)))
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	c := exec.Command(program)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus.Address())
	var log strings.Builder
	c.Stderr = &log
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	select {
	case <-signals:
	case <-time.After(time.Minute):
		t.Fatal("systemd-resolved does not come onto the bus")
	}
}

// askStub asks systemd-resolved, as a program does, for the addresses of a name, and returns the answer's code with them.
func askStub(t *testing.T, name string) string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	client := dns.Client{Timeout: 30 * time.Second}
	a, _, err := client.Exchange(m, "127.0.0.53:53")
	if err != nil {
		return err.Error()
	}
	p, err := a.Pack()
	must(t, err)
	code, addrs := read(t, m, p)
	return code + " " + strings.Join(addrs, " ")
}

// Shows: HST-3 (the real systemd-resolved, in namespaces of its own: the enterprise's names to the forwarder, others to the
// other link's server; with the forwarder dead an enterprise name is asked nowhere)
func TestRealResolved(t *testing.T) { insideNamespaces(t, realResolved) }

func realResolved(t *testing.T, program string) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan1"}))
	for name, addr := range map[string]string{"lan0": "192.168.1.1/24", "lan1": "10.0.1.53/24"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		a, err := netlink.ParseAddr(addr)
		must(t, err)
		must(t, netlink.AddrAdd(l, a))
		must(t, netlink.LinkSetUp(l))
	}
	in, out := listenReal(t, "10.0.1.53:53", "10.0.1.20"), listenReal(t, "192.168.1.1:53", "192.0.2.80")

	bus := bustest.Start(t)
	runResolved(t, bus, program)

	// Another link has the network's server and search list, as a DHCP client sets them.
	lan, err := netlink.LinkByName("lan0")
	must(t, err)
	other := &Resolved{Bus: bus.Connect, Link: &fakeLink{index: lan.Attrs().Index}}
	_, err = other.Set(Plan{Server: netip.MustParseAddr("192.168.1.1"), Domains: query.Domains{"hotel.example."}, Search: true, Full: true})
	must(t, err)

	host := clockOnly{}
	f, err := Listen(OSSockets{}, host, forwarderAddr, noOutside{}, rand.Reader, zap.NewNop())
	must(t, err)
	f.Set(Routing{Domains: query.Domains{"corp.example."}, Inside: []netip.Addr{netip.MustParseAddr("10.0.1.53")}})
	r := &Resolved{Bus: bus.Connect, Link: OwnLink{}}
	changed, err := r.Set(Plan{Server: forwarderAddr, Domains: query.Domains{"corp.example."}, Search: true})
	if err != nil || !changed {
		t.Fatalf("Set: changed %v, %v", changed, err)
	}
	if changed, err := r.Set(Plan{Server: forwarderAddr, Domains: query.Domains{"corp.example."}, Search: true}); err != nil || changed {
		t.Errorf("again: changed %v, %v", changed, err)
	}
	for name, want := range map[string]string{
		"wiki.corp.example.": "NOERROR 10.0.1.20", "www.example.com.": "NOERROR 192.0.2.80", "wiki.corp.example.hotel.example.": "NXDOMAIN ",
	} {
		if got := askStub(t, name); got != want {
			t.Errorf("%s: %s, expected %s", name, got, want)
		}
	}
	if !slices.Contains(in.list(), "wiki.corp.example.") {
		t.Errorf("asked inside: %v", in.list())
	}
	// The sources of an interface's servers see through it.
	servers, err := (&resolve.SystemServers{Bus: bus.Connect, Own: []netip.Addr{forwarderAddr}}).Servers(t.Context(), link.Interface{Index: lan.Attrs().Index, Name: "lan0"})
	if err != nil || !slices.Equal(servers, []netip.Addr{netip.MustParseAddr("192.168.1.1")}) {
		t.Errorf("servers of lan0: %v, %v", servers, err)
	}

	// At another address the Forwarder is asked there, and the link keeps none of the one before.
	must(t, f.Close())
	elsewhere := forwarderAddr.Next()
	f, err = Listen(OSSockets{}, host, elsewhere, noOutside{}, rand.Reader, zap.NewNop())
	must(t, err)
	f.Set(Routing{Domains: query.Domains{"corp.example."}, Inside: []netip.Addr{netip.MustParseAddr("10.0.1.53")}})
	if changed, err := r.Set(Plan{Server: elsewhere, Domains: query.Domains{"corp.example."}, Search: true}); err != nil || !changed {
		t.Errorf("elsewhere: changed %v, %v", changed, err)
	}
	if got := askStub(t, "moved.corp.example."); got != "NOERROR 10.0.1.20" {
		t.Errorf("elsewhere: %s", got)
	}
	own, err := netlink.LinkByName(link.ResolverName)
	must(t, err)
	if list, err := netlink.AddrList(own, netlink.FAMILY_V4); err != nil || len(list) != 1 || !list[0].IP.Equal(elsewhere.AsSlice()) {
		t.Errorf("addresses of the link: %v, %v", list, err)
	}

	must(t, f.Close()) // killed
	if got := askStub(t, "secret.corp.example."); strings.HasPrefix(got, "NOERROR") {
		t.Errorf("an enterprise name was answered with %s", got)
	}
	if got := askStub(t, "www.example.org."); got != "NOERROR 192.0.2.80" {
		t.Errorf("another name with the forwarder dead: %s", got)
	}
	for _, name := range out.list() {
		if strings.Contains(name, "corp.example") {
			t.Errorf("the network's server was asked about %s", name)
		}
	}
	if len(out.list()) == 0 {
		t.Error("the network's server was asked nothing: nothing was tested")
	}
	must(t, (&Resolved{Bus: bus.Connect, Link: OwnLink{}}).Clear())
	if _, err := netlink.LinkByName(link.ResolverName); err == nil {
		t.Error("the link is still there")
	}
	if got := askStub(t, "back.corp.example."); got != "NOERROR 192.0.2.80" {
		t.Errorf("after Clear: %s", got)
	}
}

// clockOnly is the host's clock without suspend, for the forwarder.
type clockOnly struct{}

var started = time.Now()

func (clockOnly) Now() link.Instant { return link.Instant{Boot: time.Since(started), Wall: time.Now()} }

func (clockOnly) NewTimer() link.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &timer{timer: t, c: make(chan struct{}, 1)}
}

// timer is a link.Timer over the time package.
type timer struct {
	timer *time.Timer
	c     chan struct{}
}

func (t *timer) C() <-chan struct{} { return t.c }

func (t *timer) Reset(at time.Duration) {
	t.Stop()
	t.timer = time.AfterFunc(at-time.Since(started), func() {
		select {
		case t.c <- struct{}{}:
		default:
		}
	})
}

func (t *timer) Stop() {
	t.timer.Stop()
	select {
	case <-t.c:
	default:
	}
}
