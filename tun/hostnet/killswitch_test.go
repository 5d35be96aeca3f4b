//go:build linux

package hostnet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/device"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// Shows: HST-2 (an egress chain is needed on each interface: without it packet sockets leak past the inet hooks)
func TestKillSwitchWithoutEgressChainLeaks(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	apply(t, h.ns, h.network, lined)
	h.permitPortal()
	h.check("whole", append(slices.Clone(inetProbes), netdevProbes...), "")
	h.edit(func(c *nftables.Conn) error {
		chain := h.network.egress("")
		c.FlushChain(chain)
		c.DelChain(chain)
		return nil
	})
	for _, p := range netdevProbes {
		if strings.Contains(p.name, "frame") && !h.passed(p) {
			t.Errorf("without the egress chain: %s does not leak: the test sees nothing", p.name)
		}
	}
}

// Shows: HST-2 (applied again it is the same, permits are void; down removes every trace)
func TestKillSwitchIsReplacedAndLifted(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	before := state(t, h.ns, h.network)
	apply(t, h.ns, h.network, lined)
	first := state(t, h.ns, h.network)
	if !strings.Contains(first, "killswitch judge: marked as plaintext: drop\n") {
		t.Fatalf("state without a kill switch:\n%s", first)
	}
	h.permit(time.Hour)
	if !h.passed(permitted) {
		t.Fatal("a permit permits nothing")
	}
	next := New(Options{}) // as the next start of the daemon
	next.pattern = h.network.pattern
	apply(t, h.ns, next, lined)
	if got := state(t, h.ns, next); got != first {
		t.Errorf("applied again:\n%s\nwant:\n%s", got, first)
	}
	if h.passed(permitted) {
		t.Error("a permit of an earlier run still holds")
	}
	apply(t, h.ns, next, link.Settings{})
	if got := state(t, h.ns, next); got != before {
		t.Errorf("after down:\n%s\nwant:\n%s", got, before)
	}
	h.edit(func(c *nftables.Conn) error {
		tables, err := c.ListTables()
		if len(tables) != 0 {
			t.Errorf("%d nftables tables are left", len(tables))
		}
		return err
	})
	h.network = next
	if err := netnstest.Do(h.ns, func() error { return next.Permit(h.eth0, time.Hour) }); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a permit without a kill switch: %v, want an error that wraps ENOENT", err)
	}
	netnstest.Inside(t, h.ns, func() error { return next.Forbid(h.eth0) })
}

// Shows: DET-4, HST-2 (a permit is for one interface, is replaced by a later one, taken back, and refused without time)
func TestPermit(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	apply(t, h.ns, h.network, lined)
	expect := func(when string, want bool) {
		t.Helper()
		if got := h.passed(permitted); got != want {
			t.Errorf("%s: plaintext passed is %v, want %v", when, got, want)
		}
	}
	forbid := func(index int) {
		t.Helper()
		netnstest.Inside(t, h.ns, func() error { return h.network.Forbid(index) })
	}
	expect("without a permit", false)
	netnstest.Inside(t, h.ns, func() error { return h.network.Permit(h.eth0+1, time.Hour) })
	expect("with one for another interface", false)
	h.permit(time.Hour)
	expect("with a permit", true)
	forbid(h.eth0 + 1)
	expect("after another one was taken back", true)
	forbid(h.eth0)
	expect("taken back", false)
	forbid(h.eth0)
	expect("taken back twice", false)
	for _, d := range []time.Duration{0, -time.Second, time.Millisecond - 1} {
		if err := netnstest.Do(h.ns, func() error { return h.network.Permit(h.eth0, d) }); err == nil {
			t.Errorf("a permit for %v was given", d)
		}
	}
	expect("with no time left", false)
	// A later permit replaces the time of an earlier one, both ways.
	h.permit(time.Hour)
	h.permit(50 * time.Millisecond)
	h.untilClosed()
	h.permit(50 * time.Millisecond)
	h.permit(time.Hour)
	h.edit(func(c *nftables.Conn) error {
		elements, err := c.GetSetElements(h.network.permits())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(elements, func(e nftables.SetElement) bool { return slices.Equal(e.Key, native(uint32(h.eth0))) })
		if i < 0 || elements[i].Expires < 30*time.Minute {
			t.Errorf("elements %+v, want one for interface %d with most of an hour left", elements, h.eth0)
		}
		return nil
	})
}

// untilClosed sends plaintext until none passes. Only the kernel's clock ends it.
func (h *hostile) untilClosed() {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); h.passed(permitted); {
		if time.Now().After(end) {
			h.t.Fatal("a permit outlives its time by a minute")
		}
	}
}

// plug makes an interface wlan0 and returns the other end of its wire.
func (h *hostile) plug() *tap {
	h.t.Helper()
	other := netnstest.New(h.t)
	netnstest.Wire(h.t, h.ns, "wlan0", netip.Prefix{}, other, "wlan0", netip.Prefix{})
	awaitCarrier(h.t, h.ns, "wlan0")
	return newTap(h.t, other, "wlan0")
}

// leaks reports whether wlan0 lets a frame from the i-HoA out.
func (h *hostile) leaks(wire *tap) bool {
	h.t.Helper()
	leak := probe{
		name: "a frame on wlan0", where: func(*hostile) *tap { return wire },
		send: func(h *hostile, payload string) error {
			return h.sendFrame(false, "wlan0", h.gateHW, unix.ETH_P_IP, 0, []uint16{unix.ETH_P_IP}, ipv4(home, outside, 9, 9, payload))
		},
		benign: []sendFunc{func(h *hostile, payload string) error {
			return h.sendFrame(false, "wlan0", h.gateHW, unix.ETH_P_IP, 0, []uint16{unix.ETH_P_IP}, ipv4(eth0.Addr(), outside, 9, 9, payload))
		}},
	}
	return h.passed(leak)
}

// remove removes wlan0.
func (h *hostile) remove() {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error {
		l, err := netlink.LinkByName("wlan0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
}

// Shows: HST-2 (where the kernel can, an interface that appears has its chain from the first, whether the daemon lives or not;
// so has one that gets another name)
func TestKillSwitchStandsOnInterfacesToCome(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	apply(t, h.ns, h.network, lined)
	if h.network.covered != nil {
		t.Skip("this kernel has no egress chains for interfaces to come (Linux 6.16)")
	}
	if h.leaks(h.plug()) {
		t.Error("a new interface leaks")
	}
	h.remove()
	wire := h.plug()
	h.permit(time.Hour)
	if h.leaks(wire) || !h.passed(permitted) {
		t.Error("an interface with the name of one that has gone leaks, or a permit has gone with it")
	}
	before := state(t, h.ns, h.network)
	netnstest.Inside(t, h.ns, func() error { return h.network.Cover([]string{"eth0", "eth1", "wlan0"}) })
	if after := state(t, h.ns, h.network); after != before {
		t.Errorf("covering changes something:\n%s\nwas:\n%s", after, before)
	}
}

// Shows: HST-2 (where the kernel cannot do better, an interface that appears gets its chain before it is used; so does one
// that takes the name of another)
func TestKillSwitchCoversNewInterfaces(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	h.network.pattern = func() bool { return false }
	apply(t, h.ns, h.network, lined)
	cover := func(names ...string) {
		t.Helper()
		netnstest.Inside(t, h.ns, func() error { return h.network.Cover(names) })
	}
	wire := h.plug()
	if !h.leaks(wire) {
		t.Fatal("nothing leaks before the interface is covered: the test sees nothing")
	}
	cover("eth0", "eth1", "wlan0")
	if h.leaks(wire) {
		t.Error("a covered interface leaks")
	}
	cover("eth0", "eth1", "wlan0")
	h.permit(time.Hour)
	if h.leaks(wire) || !h.passed(permitted) {
		t.Error("covering again changes something")
	}
	h.remove()
	cover("eth0", "eth1")
	wire = h.plug()
	cover("eth0", "eth1", "wlan0")
	if h.leaks(wire) {
		t.Error("an interface with the name of one that has gone leaks")
	}
}

// holderVariable makes this test program a holder: a process that is up, like the daemon, until it is killed.
const holderVariable = "MIPVPN_TEST_HOLDER"

// TestMain makes the test program the holder that TestKillSwitchOutlivesKill kills, when it is started as one.
func TestMain(m *testing.M) {
	if text := os.Getenv(crashVariable); text != "" {
		var c crash
		if err := errors.Join(json.Unmarshal([]byte(text), &c), netnstest.Do(os.NewFile(3, "namespace"), c.run)); err != nil {
			fmt.Fprintln(os.Stderr, "crash:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(holderVariable) == "" {
		os.Exit(m.Run())
	}
	if err := netnstest.Do(os.NewFile(3, "namespace"), hold); err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}

// hold sets up what a daemon does inside, with a permit.
func hold() error {
	if _, err := device.Open("mip0", 1400, nil); err != nil {
		return err
	}
	n := New(Options{})
	if err := n.Apply(lined); err != nil {
		return err
	}
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return n.Permit(l.Attrs().Index, 2*time.Second)
}

// Shows: HST-1, HST-2, DET-4 (kill -9: everything stays blocked, plaintext is blocked when the proof's time is up; the next
// start takes over, down lifts it)
func TestKillSwitchOutlivesKill(t *testing.T) {
	h := newHostile(t)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderVariable+"=1")
	holder.ExtraFiles, holder.Stderr = []*os.File{h.ns}, os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	killed := holder.Process.Kill()
	_ = holder.Wait() // "signal: killed"
	if err != nil || said != "up\n" || killed != nil {
		t.Fatalf("the holder said %q (%v), killing it: %v", said, err, killed)
	}
	// The device is gone with the process; and there is a permit still.
	h.permitPortal()
	survivors := slices.DeleteFunc(append(slices.Clone(inetProbes), netdevProbes...), func(p probe) bool {
		return p.name == "into the device" || p.name == unpermitted.name
	})
	h.check("killed", survivors, "")
	h.untilClosed()
	h.check("killed, the proof's time is up", append(slices.Clone(survivors), unpermitted), "")
	// Without the hostile rule the routes alone keep an application from the enterprise.
	netnstest.Inside(t, h.ns, func() error {
		rule := netlink.NewRule()
		rule.Priority, rule.Table = 10, unix.RT_TABLE_MAIN
		return netlink.RuleDel(rule)
	})
	if by := routeTo(t, h.ns, enterprise); by != "unreachable" {
		t.Errorf("after kill -9 the route to %v goes by %s, want unreachable", enterprise, by)
	}
	h.openMip0()
	apply(t, h.ns, h.network, lined)
	h.permitPortal()
	if by := routeTo(t, h.ns, enterprise); by != "mip0" {
		t.Errorf("after the next start the route to %v goes by %s, want mip0", enterprise, by)
	}
	h.check("next start", netdevProbes, "")
	apply(t, h.ns, h.network, link.Settings{})
	if by := routeTo(t, h.ns, enterprise); by != "eth0" {
		t.Errorf("after down the route to %v goes by %s, want eth0", enterprise, by)
	}
	for _, p := range netdevProbes {
		if p.name != "into the device" && !h.passed(p) {
			t.Errorf("after down: %s does not pass", p.name)
		}
	}
}
