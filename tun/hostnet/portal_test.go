//go:build linux

package hostnet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// browserVariable makes this test program a browser: it does what it is told on its standard input, a line each, as a user
// without rights, and says what came of it.
const browserVariable = "MIPVPN_TEST_BROWSER"

func init() {
	if os.Getenv(browserVariable) == "" {
		return
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		answer, err := browse(verb, rest)
		if err != nil {
			answer = "no: " + err.Error()
		}
		fmt.Println(strings.ReplaceAll(answer, "\n", " "))
	}
	os.Exit(0)
}

var kept net.Conn

// browse does one thing. Times are bounds on what is lost in a test that has failed.
func browse(verb, rest string) (string, error) {
	switch verb {
	case "tcp", "udp", "try":
		limit := 10 * time.Second
		if verb == "try" { // again and again
			verb, limit = "tcp", time.Second
		}
		c, err := net.DialTimeout(verb, rest, limit)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			return "", err
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			return "", err
		}
		p := make([]byte, 100)
		n, err := c.Read(p)
		return string(p[:n]), err
	case "open": // a connection that "say" uses
		c, err := net.DialTimeout("tcp", rest, 10*time.Second)
		if err != nil {
			return "", err
		}
		kept = c
		return "open", nil
	case "say":
		if err := kept.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return "", err
		}
		if _, err := io.WriteString(kept, rest); err != nil {
			return "", err
		}
		p := make([]byte, 100)
		n, err := kept.Read(p)
		return string(p[:n]), err
	case "leave":
		return "left", os.WriteFile(rest, []byte("0"), 0)
	case "uid":
		return fmt.Sprint(os.Getuid()), nil
	}
	return "", fmt.Errorf("what is %q?", verb)
}

// browser is such a process.
type browser struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

// nobody is a user without rights.
const nobody = 65534

func startBrowser(t *testing.T, ns *os.File) *browser {
	t.Helper()
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	// The directory of the test program is for its owner alone, its file is not.
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Env, cmd.ExtraFiles, cmd.Dir = append(os.Environ(), browserVariable+"=1"), []*os.File{program}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, ns, cmd.Start) // it inherits the namespace of the thread
	b := &browser{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, mostly
	})
	if got := b.do("uid"); got != fmt.Sprint(nobody) {
		t.Fatalf("the browser runs as user %q", got)
	}
	return b
}

func (b *browser) do(command string) string {
	b.t.Helper()
	if _, err := fmt.Fprintln(b.in, command); err != nil {
		b.t.Fatal(err)
	}
	if !b.out.Scan() {
		b.t.Fatalf("%q: the browser has ended: %v", command, b.out.Err())
	}
	return b.out.Text()
}

// reaches and fails expect an answer that begins so, and none at all.
func (b *browser) reaches(command, answer string) {
	b.t.Helper()
	if got := b.do(command); !strings.HasPrefix(got, answer) {
		b.t.Errorf("%s: %q, expected %q", command, got, answer)
	}
}

func (b *browser) fails(what, command string) {
	b.t.Helper()
	if got := b.do(command); !strings.HasPrefix(got, "no: ") {
		b.t.Errorf("%s: %s: answered by %q", what, command, got)
	}
}

// hotel is a laptop with a network eth0, where its default route leads, and a portal's network wlan0. Both other ends have
// every address there is and say their name on it.
type hotel struct {
	t       *testing.T
	ns      *os.File
	network *Network
	portal  link.Portal
	other   *os.File // the portal's network
}

var (
	hotelRouter = netip.MustParseAddr("172.20.0.1")
	hotelOnLink = netip.MustParseAddr("172.20.0.9")
	portalPage  = netip.MustParseAddr("203.0.113.5")
	elsewhere   = netip.MustParseAddr("203.0.113.6")
	insider     = netip.MustParseAddr("10.0.1.20")
	agent       = netip.MustParseAddr("192.0.2.20")
)

func newHotel(t *testing.T, s link.Settings) *hotel {
	ns, lan, wlan := netnstest.New(t), netnstest.New(t), netnstest.New(t)
	openDevice(t, ns, "mip0")
	netnstest.Wire(t, ns, "eth0", netip.MustParsePrefix("192.168.9.2/24"), lan, "eth0", netip.MustParsePrefix("192.168.9.1/24"))
	netnstest.Wire(t, ns, "wlan0", netip.MustParsePrefix("172.20.0.100/24"), wlan, "eth0", netip.PrefixFrom(hotelRouter, 24))
	for name, other := range map[string]*os.File{"lan": lan, "wlan": wlan} {
		netnstest.Inside(t, other, func() error {
			for _, a := range []netip.Addr{portalPage, elsewhere, insider, agent, hotelOnLink} {
				if a == hotelOnLink && name == "wlan" {
					if err := netnstest.SetUp("eth0", netip.PrefixFrom(a, 24)); err != nil {
						return err
					}
					continue
				}
				if err := netnstest.SetUp("lo", netip.PrefixFrom(a, 32)); err != nil {
					return err
				}
			}
			return serve(t, name, "80", "8443", "22")
		})
	}
	h := &hotel{t: t, ns: ns, network: New(Options{}), other: wlan}
	netnstest.Inside(t, ns, func() error {
		if err := netnstest.Route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.MustParseAddr("192.168.9.1")); err != nil {
			return err
		}
		return errors.Join(serve(t, "laptop", "80"), sysctlChanges{"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/wlan0/rp_filter": "1"}.write())
	})
	apply(t, ns, h.network, s)
	h.portal = link.Portal{
		Interface: link.Interface{
			Index: netnstest.Index(t, ns, "wlan0"), Name: "wlan0", Address: netip.MustParsePrefix("172.20.0.100/24"), Gateway: hotelRouter,
		},
		Forbidden: prefixes("10.0.0.0/16", "192.0.2.20/32"), Ports: []uint16{80, 8443},
	}
	netnstest.Inside(t, ns, func() error { // the forwarder
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		h.portal.Resolver = uint16(c.LocalAddr().(*net.UDPAddr).Port)
		go func() {
			p := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(p)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte("forwarder"), from)
			}
		}()
		return nil
	})
	return h
}

// serve says the name on TCP and UDP ports of the calling thread's namespace.
func serve(t *testing.T, name string, ports ...string) error {
	for _, port := range ports {
		l, err := net.Listen("tcp4", "0.0.0.0:"+port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					p := make([]byte, 100)
					for {
						if _, err := c.Read(p); err != nil {
							return
						}
						_, _ = io.WriteString(c, name)
					}
				}()
			}
		}()
	}
	return nil
}

func (h *hotel) open() *PortalWay {
	h.t.Helper()
	var w *PortalWay
	netnstest.Inside(h.t, h.ns, func() (err error) {
		w, err = h.network.OpenPortal(h.portal)
		return err
	})
	h.t.Cleanup(func() {
		if err := netnstest.Do(h.ns, w.Close); err != nil {
			h.t.Error(err)
		}
	})
	return w
}

func (h *hotel) admit(w *PortalWay, d time.Duration, addresses ...netip.Addr) {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error { return w.Admit(addresses, d) })
}

func (h *hotel) join(w *PortalWay, b *browser) {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error { return w.Join(b.cmd.Process.Pid, nobody) })
}

// hotelLine is the kill switch of the laptop in the hotel.
func hotelLine(full bool) link.Settings {
	return link.Settings{
		Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16"), Shielded: []netip.Addr{home}, KillSwitch: true, Full: full,
	}
}

// Shows: HST-5, HST-2
func TestPortalConfines(t *testing.T) {
	for name, full := range map[string]bool{"split tunnel": false, "full tunnel": true} {
		for kind, newCage := range map[string]func(Options) (cage, error){kindUnified: newUnified, kindNetClass: newNetClass} {
			t.Run(name+", "+kind, func(t *testing.T) {
				h := newHotel(t, hotelLine(full))
				only(t, newCage)
				w := h.open()
				b := startBrowser(t, h.ns)
				free := startBrowser(t, h.ns)
				// Nobody puts somebody else's process there, which would be killed at the end.
				if err := netnstest.Do(h.ns, func() error { return w.Join(free.cmd.Process.Pid, nobody-1) }); err == nil {
					t.Error("another user's process has joined")
				}
				if err := netnstest.Do(h.ns, func() error { return w.Join(os.Getpid(), nobody) }); err == nil {
					t.Error("root's process has joined")
				}
				h.join(w, b)

				b.fails("nothing is admitted yet", "tcp 203.0.113.5:80")
				h.admit(w, time.Minute, portalPage, hotelRouter, hotelOnLink, hotelRouter) // whose page may be the router's
				b.reaches("tcp 203.0.113.5:80", "wlan")                                    // by wlan0, whatever the default route says
				b.reaches("tcp 203.0.113.5:8443", "wlan")
				b.reaches("tcp 172.20.0.1:80", "wlan")
				b.reaches("tcp 172.20.0.9:80", "wlan")
				b.fails("another port", "tcp 203.0.113.5:22")
				b.fails("another address", "tcp 203.0.113.6:80")
				b.fails("an address of eth0's network", "tcp 192.168.9.1:80")
				b.fails("the enterprise", "tcp 10.0.1.20:80")
				b.fails("a home agent", "tcp 192.0.2.20:80")
				b.fails("a service of this host", "tcp 127.0.0.1:80")
				b.fails("this host by its address", "tcp 172.20.0.100:80")
				b.fails("UDP", "udp 203.0.113.5:80")
				b.fails("IPv6", "tcp [::1]:80")
				b.reaches("udp 127.0.0.53:53", "forwarder")
				b.reaches("udp 10.0.1.20:53", "forwarder")
				b.reaches("udp 172.20.0.1:53", "forwarder")
				b.fails("DNS over TCP", "tcp 172.20.0.1:53")

				// Forbidden addresses are refused, and with them the others of the call.
				err := netnstest.Do(h.ns, func() error { return w.Admit([]netip.Addr{elsewhere, insider}, time.Minute) })
				if err == nil {
					t.Error("an address of the enterprise was admitted")
				}
				b.fails("admitted beside a forbidden one", "tcp 203.0.113.6:80")

				// Others are as they were: what is admitted is for the browser.
				if !full {
					free.reaches("tcp 203.0.113.5:80", "lan")
					free.reaches("tcp 127.0.0.1:80", "laptop")
				}
				// A process that is confined stays so.
				for _, dir := range []string{filepath.Dir(groupOf(t, w)), "/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
					b.fails("leaving", "leave "+filepath.Join(dir, "cgroup.procs"))
				}

				netnstest.Inside(t, h.ns, w.Close)
				if err := b.cmd.Wait(); err == nil {
					t.Error("the browser went on when the way was closed")
				}
				if got := free.do("uid"); got != fmt.Sprint(nobody) {
					t.Errorf("another process: %q", got)
				}
				if err := netnstest.Do(h.ns, func() error { return w.Admit([]netip.Addr{portalPage}, time.Minute) }); !errors.Is(err, ErrPortalClosed) {
					t.Errorf("admitted to a closed way: %v", err)
				}
				h.nothingLeft()
			})
		}
	}
}

// only has the kind of cage used and no other.
func only(t *testing.T, newCage func(Options) (cage, error)) {
	before := cages
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, mounted := findHierarchy(list, "cgroup", "net_cls"); !mounted { // or it is mounted now, and stays for nobody
		t.Cleanup(func() { _ = unix.Unmount(filepath.Join(cageMounts, "cgroup", "net_cls"), unix.MNT_DETACH) })
	}
	cages = []func(Options) (cage, error){func(o Options) (g cage, err error) {
		if g, err = newCage(o); err != nil {
			t.Skipf("this kernel: %v", err)
		}
		return g, err
	}}
	t.Cleanup(func() { cages = before })
}

func groupOf(t *testing.T, w *PortalWay) string {
	t.Helper()
	_, dir, ok := strings.Cut(w.cage.comment(), " ")
	if !ok {
		t.Fatalf("cage %q", w.cage.comment())
	}
	return dir
}

// nothingLeft checks that no table, rule or route of the way is there.
func (h *hotel) nothingLeft() {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table.Name == h.network.portalTable().Name {
				h.t.Error("the way's table is there")
			}
		}
		for _, s := range h.network.portals() {
			left, err := c.GetSetElements(s)
			if err != nil {
				return err
			}
			if len(left) > 0 {
				h.t.Errorf("%d elements in %s of %v", len(left), s.Name, s.Table.Family)
			}
		}
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Priority == h.network.portalRule() {
				h.t.Errorf("rule %v", r)
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: h.network.portalRoutes()}, netlink.RT_FILTER_TABLE)
		if len(routes) > 0 {
			h.t.Errorf("routes %v", routes)
		}
		return err
	})
}

// The kernel closes the way by itself: nobody renews what was admitted, as when the daemon has been killed. Another run then
// finds what is left and takes it away.
//
// Shows: HST-5, HST-2
func TestPortalClosesByItself(t *testing.T) {
	h := newHotel(t, hotelLine(false))
	w := h.open()
	b := startBrowser(t, h.ns)
	h.join(w, b)
	h.admit(w, 700*time.Millisecond, portalPage)
	// The elements go by themselves, in all three sets.
	for b.do("try 203.0.113.5:80") == "wlan" { // a way that does not close lets the test run into its limit
	}
	h.admit(w, 700*time.Millisecond, portalPage)
	b.reaches("open 203.0.113.5:80", "open")
	for b.do("say something") == "wlan" { // nor does a connection that is open already outlive it
	}
	// The processes are confined all the same.
	b.fails("the enterprise", "tcp 10.0.1.20:80")
	b.fails("another address", "tcp 203.0.113.6:80")
	// A new run with the same names.
	netnstest.Inside(t, h.ns, func() error { return New(Options{}).Apply(hotelLine(false)) })
	if err := b.cmd.Wait(); err == nil {
		t.Error("the browser outlived the next run's start")
	}
	h.nothingLeft()
}

func TestPortalNeedsTheKillSwitch(t *testing.T) {
	h := newHotel(t, link.Settings{Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16")})
	err := netnstest.Do(h.ns, func() error {
		_, err := h.network.OpenPortal(h.portal)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "kill switch") {
		t.Errorf("opened without a kill switch: %v", err)
	}
	h.portal.Interface.Address = netip.Prefix{}
	if err := netnstest.Do(h.ns, func() error { _, err := h.network.OpenPortal(h.portal); return err }); err == nil {
		t.Error("opened on an interface without an address")
	}
}

func TestFindHierarchy(t *testing.T) {
	const list = `24 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
25 24 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
26 24 0:24 /docker/x /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
27 24 0:24 / /sys/fs/cgroup/net\040cls rw - cgroup cgroup rw,net_cls,net_prio
28 24 0:29 / /sys/fs/cgroup/ro ro - cgroup cgroup rw,cpu
bad line
`
	for _, c := range []struct{ kind, controller, dir string }{
		{"cgroup2", "", "/sys/fs/cgroup/unified"}, {"cgroup", "net_cls", "/sys/fs/cgroup/net cls"}, {"cgroup", "cpu", ""}, {"cgroup", "net", ""},
	} {
		if dir, found := findHierarchy([]byte(list), c.kind, c.controller); dir != c.dir || found != (c.dir != "") {
			t.Errorf("%s %s: %q, %v", c.kind, c.controller, dir, found)
		}
	}
}

func FuzzFindHierarchy(f *testing.F) {
	f.Add([]byte("25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"), "cgroup2")
	f.Fuzz(func(t *testing.T, list []byte, kind string) {
		dir, found := findHierarchy(list, kind, "")
		if found && !bytes.Contains(list, []byte(kind)) {
			t.Errorf("found %q of kind %q", dir, kind)
		}
	})
}

func TestOwnedBy(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t0\t0\t0\t0\n": true,
		"Uid:\t1000\t0\t0\t0\n": false, "Uid:\t0\t1000\t1000\t1000\n": false, "Uid:\t1000\n": false, "": false,
		"Name:\tUid:\t1000\t1000\t1000\t1000\nUid:\t0\t0\t0\t0\n": false,
	} {
		if got := ownedBy([]byte(status), 1000); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}

func TestKnownCage(t *testing.T) {
	for _, g := range []cage{&unified{group: group{"/sys/fs/cgroup/a b"}}, &netClass{group: group{"/x"}}} {
		back, ok := knownCage(g.comment())
		if !ok || back.comment() != g.comment() {
			t.Errorf("%q gives %v", g.comment(), back)
		}
	}
	for _, text := range []string{"", "cgroupv2", "cgroupv2 relative", "else /x"} {
		if g, ok := knownCage(text); ok {
			t.Errorf("%q gives %v", text, g)
		}
	}
}
