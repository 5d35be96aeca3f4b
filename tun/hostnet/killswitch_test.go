//go:build linux

package hostnet

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/device"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

const (
	protectedMark = 0x6d690001
	plaintextMark = 0x6d690002
)

// lined is the laptop with a kill switch.
var lined = link.Settings{
	Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16"), Shielded: []netip.Addr{home, ethHome}, KillSwitch: true,
}

// hostile is a laptop in a network that pulls at its routes: it has an interface eth0 with a capture at the other end of its
// wire, eth1 with a guest whose packets it forwards, a tunnel tun9 of somebody else's without a link layer, a route to part
// of the enterprise as DHCP's option 121 brings it, and a policy rule that puts such routes before everything else.
type hostile struct {
	t         *testing.T
	ns, guest *os.File
	wire      *tap // the far end of eth0
	tun9      *tap
	gateHW    net.HardwareAddr
	eth1HW    net.HardwareAddr
	network   *Network
	sent      int
	eth0      int // its index
}

// tunnel6 is an IPv6 address whose octets stand where IPv4 has the source address, and are the home address.
var tunnel6 = netip.MustParsePrefix("fd00:0:a00:864::1/64")

func newHostile(t *testing.T) *hostile {
	h := &hostile{t: t, ns: netnstest.New(t), guest: netnstest.New(t), network: New(Options{})}
	other := netnstest.New(t)
	netnstest.Wire(t, h.ns, "eth0", eth0, other, "eth0", netip.PrefixFrom(gate, 24))
	netnstest.Wire(t, h.ns, "eth1", guestNet, h.guest, "eth0", netip.PrefixFrom(guestAddr, 24))
	openDevice(t, h.ns, "tun9")
	h.gateHW, h.eth1HW = hardware(t, other, "eth0"), hardware(t, h.ns, "eth1")
	netnstest.Inside(t, h.ns, func() error {
		rule := netlink.NewRule()
		rule.Priority, rule.Table = 10, unix.RT_TABLE_MAIN
		gate6 := netip.MustParseAddr("fd00:0:a00:864::2")
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(
			setTun9Up(), netlink.RuleAdd(rule),
			netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), gate), netnstest.Route(netip.MustParsePrefix("10.0.1.0/24"), gate),
			neighbour("eth0", gate, h.gateHW), neighbour("eth0", gate6, h.gateHW),
			netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: tunnel6.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}),
			sysctlChanges{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth1/rp_filter": "0"}.write(),
		)
	})
	awaitCarrier(t, h.ns, "eth0")
	awaitCarrier(t, h.guest, "eth0")
	h.wire, h.tun9 = newTap(t, other, "eth0"), newTap(t, h.ns, "tun9")
	h.eth0 = netnstest.Index(t, h.ns, "eth0")
	return h
}

// setTun9Up routes two addresses into tun9, one of them the enterprise's.
func setTun9Up() error {
	if err := netnstest.SetUp("tun9", netip.MustParsePrefix("172.30.0.1/32")); err != nil {
		return err
	}
	l, err := netlink.LinkByName("tun9")
	if err != nil {
		return err
	}
	for _, p := range prefixes("10.0.1.77/32", "192.0.2.77/32") {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(p)}); err != nil {
			return fmt.Errorf("route %v into tun9: %w", p, err)
		}
	}
	return nil
}

// probe is a packet and the rule that decides about it.
type probe struct {
	name string
	// rule is "chain: text" of the one rule that decides.
	rule string
	// also is a rule that the one jumps to and that decides just as much; empty for none.
	also string
	// passes says whether the packet gets through with the rules as they are. Without its rule the contrary is the case.
	passes bool
	// send sends a packet with the payload; the kernel's refusal to send is no more than a drop.
	send func(h *hostile, payload string) error
	// where it would be seen; nil is the wire of eth0. local means nowhere: the refusal to send tells.
	where func(*hostile) *tap
	local bool
	// benign is the packet that passes by the same way; nil is a frame on eth0.
	benign func(h *hostile, payload string) error
}

func (h *hostile) frame(src, dst netip.Addr, sport uint16, protocol uint16, mark uint32, payload string) error {
	return netnstest.Do(h.ns, func() error {
		return sendFrame("eth0", h.gateHW, protocol, mark, ipv4(src, dst, sport, 67, payload))
	})
}

func (h *hostile) udp(dst netip.Addr, sport uint16, mark uint32, payload string) error {
	return netnstest.Do(h.ns, func() error { return sendUDP("", dst, sport, 67, mark, payload) })
}

func (h *hostile) forwarded(src, dst netip.Addr, sport uint16, payload string) error {
	return netnstest.Do(h.guest, func() error {
		return sendFrame("eth0", h.eth1HW, unix.ETH_P_IP, 0, ipv4(src, dst, sport, 67, payload))
	})
}

func frameProbe(src, dst netip.Addr, sport, protocol uint16, mark uint32) func(*hostile, string) error {
	return func(h *hostile, payload string) error { return h.frame(src, dst, sport, protocol, mark, payload) }
}

func forwardProbe(src, dst netip.Addr, sport uint16) func(*hostile, string) error {
	return func(h *hostile, payload string) error { return h.forwarded(src, dst, sport, payload) }
}

func udpProbe(dst netip.Addr, sport uint16, mark uint32) func(*hostile, string) error {
	return func(h *hostile, payload string) error { return h.udp(dst, sport, mark, payload) }
}

var benignForward = forwardProbe(guestAddr, outside, 9)

// inetProbes are judged by the inet table.
var inetProbes = []probe{
	{name: "an application to the enterprise, by option 121", rule: "output: to 10.0.0.0/16: drop", send: udpProbe(enterprise, 0, 0)},
	{
		name: "a raw socket from the i-HoA", rule: "output: from 10.0.8.100: drop",
		send: func(h *hostile, payload string) error {
			return netnstest.Do(h.ns, func() error { return sendRaw(ipv4(home, outside, 9, 9, payload)) })
		},
	},
	{
		name: "a raw socket from the x-HoA", rule: "output: from 198.51.100.100: drop",
		send: func(h *hostile, payload string) error {
			return netnstest.Do(h.ns, func() error { return sendRaw(ipv4(ethHome, outside, 9, 9, payload)) })
		},
	},
	{name: "a renewal of a DHCP lease", rule: "output: DHCP to a server: accept", passes: true, send: udpProbe(gate, 68, 0)},
	{name: "signalling to the enterprise", rule: "output: marked as the client's own: accept", passes: true, send: udpProbe(enterprise, 0, protectedMark)},
	{
		name: "IPv6 that looks like the i-HoA", rule: "output: IPv6: six", passes: true,
		send: udpProbe(netip.MustParseAddr("fd00:0:a00:864::2"), 0, 0),
	},
	{name: "to this host itself", rule: "output: to this host itself: accept", passes: true, local: true, send: udpProbe(eth0.Addr(), 0, 0)},
	{
		name: "into the device", rule: "output: into the device: accept", passes: true, local: true,
		send: func(h *hostile, payload string) error {
			return netnstest.Do(h.ns, func() error { return sendUDP("mip0", enterprise, 0, 67, 0, payload) })
		},
	},
	{
		name: "forwarded to the enterprise", rule: "forward: to 10.0.0.0/16: drop", send: forwardProbe(guestAddr, enterprise, 9),
		benign: benignForward,
	},
	{
		name: "forwarded from the x-HoA", rule: "forward: from 198.51.100.100: drop", send: forwardProbe(ethHome, outside, 9),
		benign: benignForward,
	},
	{
		name: "DHCP forwarded to the enterprise", rule: "forward: to 10.0.0.0/16: drop",
		send: forwardProbe(guestAddr, enterprise, 68), benign: benignForward,
	},
}

// netdevProbes are judged by the netdev table.
var netdevProbes = []probe{
	{name: "a frame to the enterprise", rule: "judge: to 10.0.0.0/16: drop", send: frameProbe(eth0.Addr(), enterprise, 9, unix.ETH_P_IP, 0)},
	{name: "a frame from the i-HoA", rule: "judge: from 10.0.8.100: drop", send: frameProbe(home, outside, 9, unix.ETH_P_IP, 0)},
	{name: "a frame from the x-HoA", rule: "judge: from 198.51.100.100: drop", send: frameProbe(ethHome, outside, 9, unix.ETH_P_IP, 0)},
	{
		name: "a frame that is called ARP", rule: "frame: IPv4 by Ethernet type: judge", also: "judge: to 10.0.0.0/16: drop",
		send: frameProbe(eth0.Addr(), enterprise, 9, unix.ETH_P_ARP, 0),
	},
	{
		name: "an interface without a link layer", rule: "frame: IPv4 by protocol: judge", also: "judge: to 10.0.0.0/16: drop",
		send: udpProbe(netip.MustParseAddr("10.0.1.77"), 0, 0), where: func(h *hostile) *tap { return h.tun9 },
		benign: udpProbe(netip.MustParseAddr("192.0.2.77"), 0, 0),
	},
	{name: "DHCP in a frame", rule: "judge: DHCP to a server: accept", passes: true, send: frameProbe(eth0.Addr(), gate, 68, unix.ETH_P_IP, 0)},
	{name: "a protected frame", rule: "judge: marked as protected: accept", passes: true, send: frameProbe(home, enterprise, 9, unix.ETH_P_IP, protectedMark)},
	{
		name: "plaintext without a permit, to anywhere", rule: "judge: marked as plaintext: drop",
		send: frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, plaintextMark),
	},
}

// permitted is judged by the netdev table when there is a permit for eth0.
var permitted = probe{
	name: "plaintext with a permit", rule: "judge: marked as plaintext, with a permit: accept", passes: true,
	send: frameProbe(home, enterprise, 9, unix.ETH_P_IP, plaintextMark),
}

// passed sends the probe and reports whether it got through.
func (h *hostile) passed(p probe) bool {
	h.t.Helper()
	h.sent++
	payload, sentinel := fmt.Sprintf("probe-%d.", h.sent), fmt.Sprintf("sentinel-%d.", h.sent)
	err := p.send(h, payload)
	if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOBUFS) { // how inet and egress hooks tell of a drop
		h.t.Fatalf("%s: %v", p.name, err)
	}
	if p.local {
		return err == nil
	}
	benign, where := p.benign, h.wire
	if benign == nil {
		benign = frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, 0)
	}
	if p.where != nil {
		where = p.where(h)
	}
	if err := benign(h, sentinel); err != nil {
		h.t.Fatalf("%s: the benign packet: %v", p.name, err)
	}
	return where.passed(h.t, payload, sentinel)
}

// check sends all probes; wrong names the one, "" for none, that must fare the other way.
func (h *hostile) check(when string, probes []probe, wrong string) {
	h.t.Helper()
	for _, p := range probes {
		if got, want := h.passed(p), p.passes != (wrong != "" && (p.rule == wrong || p.also == wrong)); got != want {
			h.t.Errorf("%s: %s: passed is %v, want %v", when, p.name, got, want)
		}
	}
}

// edit changes nftables directly, as nobody should.
func (h *hostile) edit(f func(*nftables.Conn) error) {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
		return c.Flush()
	})
}

// rules returns the rules of a table as "chain: text".
func (h *hostile) rules(table *nftables.Table) (found map[string]*nftables.Rule) {
	h.t.Helper()
	found = make(map[string]*nftables.Rule)
	h.edit(func(c *nftables.Conn) error {
		chains, err := c.ListChainsOfTableFamily(table.Family)
		if err != nil {
			return err
		}
		for _, chain := range chains {
			if chain.Table.Name != table.Name {
				continue
			}
			rules, err := c.GetRules(table, chain)
			if err != nil {
				return err
			}
			for _, r := range rules {
				text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
				r.Table, r.Chain = table, chain
				found[chain.Name+": "+text] = r
			}
		}
		return nil
	})
	return found
}

func (h *hostile) permit(d time.Duration) {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error { return h.network.Permit(h.eth0, d) })
}

// Shows: HST-1, HST-2, DET-4 (packet sockets, raw sockets, applications, forwarding, option 121, with each half of the kill
// switch alone; and each rule is needed: without it the packet that it is about fares the other way, and no other)
func TestKillSwitchEachRule(t *testing.T) {
	h := newHostile(t)
	openDevice(t, h.ns, "mip0")
	inet, netdev := h.network.inetTable(), h.network.netdevTable()
	// Rules that stand twice, for another interface or another hook, are shown once.
	twice := []string{
		"egress-eth0: IPv4 by protocol: judge", "egress-eth1: IPv4 by protocol: judge", "egress-eth1: IPv4 by Ethernet type: judge",
		"egress-tun9: IPv4 by Ethernet type: judge", "forward: into the device: accept", "forward: not IPv4: accept",
		"forward: from 10.0.8.100: drop", // the kernel itself takes no packet from its own address
	}
	for _, half := range []struct {
		name         string
		table, other *nftables.Table
		probes       []probe
	}{
		{"inet", inet, netdev, inetProbes},
		{"netdev", netdev, inet, append(slices.Clone(netdevProbes), permitted)},
	} {
		set := func() {
			t.Helper()
			apply(t, h.ns, h.network, lined)
			if half.table == netdev {
				h.permit(time.Hour)
			}
			h.edit(func(c *nftables.Conn) error { c.DelTable(half.other); return nil })
		}
		// A permit for eth0 would let the one probe pass that is about having none.
		probes := slices.DeleteFunc(slices.Clone(half.probes), func(p probe) bool { return p.rule == "judge: marked as plaintext: drop" })
		set()
		h.check(half.name+" alone", probes, "")
		for text := range h.rules(half.table) {
			if slices.Contains(twice, text) || strings.Contains(text, "portal") || strings.Contains(text, "tagged") || strings.Contains(text, "IPv6") || strings.Contains(text, "every frame") {
				continue
			}
			tried := probes
			set()
			switch i := slices.IndexFunc(half.probes, func(p probe) bool { return p.rule == text }); {
			case i < 0:
				t.Errorf("%s: no packet shows that the rule %q is needed", half.name, text)
				continue
			case text == "judge: marked as plaintext: drop":
				netnstest.Inside(t, h.ns, func() error { return h.network.Forbid(h.eth0) })
				tried = netdevProbes
				h.check("netdev alone, without a permit", tried, "")
			}
			h.edit(func(c *nftables.Conn) error { return c.DelRule(h.rules(half.table)[text]) })
			h.check("without the rule "+text, tried, text)
		}
	}
	// Both halves gone: every packet passes, so the probes above were stopped by nothing else.
	h.edit(func(c *nftables.Conn) error { c.DelTable(netdev); return nil })
	for _, p := range append(slices.Clone(inetProbes), netdevProbes...) {
		if !h.passed(p) {
			t.Errorf("without the kill switch: %s does not pass", p.name)
		}
	}
}

// Shows: HST-2 (an egress chain is needed on each interface: without it packet sockets leak past the inet hooks)
func TestKillSwitchWithoutEgressChainLeaks(t *testing.T) {
	h := newHostile(t)
	openDevice(t, h.ns, "mip0")
	apply(t, h.ns, h.network, lined)
	h.check("whole", append(slices.Clone(inetProbes), netdevProbes...), "")
	h.edit(func(c *nftables.Conn) error {
		chain := &nftables.Chain{Name: egressPrefix + "eth0", Table: h.network.netdevTable()}
		c.FlushChain(chain)
		c.DelChain(chain)
		return nil
	})
	for _, p := range netdevProbes {
		if p.where == nil && !h.passed(p) {
			t.Errorf("without the egress chain of eth0: %s does not leak: the test sees nothing", p.name)
		}
	}
}

// Shows: HST-2 (applied again it is the same, permits are void; down removes every trace)
func TestKillSwitchIsReplacedAndLifted(t *testing.T) {
	h := newHostile(t)
	openDevice(t, h.ns, "mip0")
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
	openDevice(t, h.ns, "mip0")
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

// Shows: HST-2 (an interface that appears gets its chain before it is used; so does one that takes the name of another)
func TestKillSwitchCoversNewInterfaces(t *testing.T) {
	h := newHostile(t)
	openDevice(t, h.ns, "mip0")
	apply(t, h.ns, h.network, lined)
	plug := func() *tap {
		t.Helper()
		other := netnstest.New(t)
		netnstest.Wire(t, h.ns, "wlan0", netip.Prefix{}, other, "wlan0", netip.Prefix{})
		awaitCarrier(t, h.ns, "wlan0")
		return newTap(t, other, "wlan0")
	}
	send := func(wire *tap) bool {
		t.Helper()
		leak := probe{
			name: "a frame on wlan0", where: func(*hostile) *tap { return wire },
			send: func(h *hostile, payload string) error {
				return netnstest.Do(h.ns, func() error {
					return sendFrame("wlan0", h.gateHW, unix.ETH_P_IP, 0, ipv4(home, outside, 9, 9, payload))
				})
			},
			benign: func(h *hostile, payload string) error {
				return netnstest.Do(h.ns, func() error {
					return sendFrame("wlan0", h.gateHW, unix.ETH_P_IP, 0, ipv4(eth0.Addr(), outside, 9, 9, payload))
				})
			},
		}
		return h.passed(leak)
	}
	cover := func(names ...string) {
		t.Helper()
		netnstest.Inside(t, h.ns, func() error { return h.network.Cover(names) })
	}
	wire := plug()
	if !send(wire) {
		t.Fatal("nothing leaks before the interface is covered: the test sees nothing")
	}
	cover("eth0", "eth1", "wlan0")
	if send(wire) {
		t.Error("a covered interface leaks")
	}
	cover("eth0", "eth1", "wlan0")
	h.permit(time.Hour)
	if send(wire) || !h.passed(permitted) {
		t.Error("covering again changes something")
	}
	netnstest.Inside(t, h.ns, func() error {
		l, err := netlink.LinkByName("wlan0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	cover("eth0", "eth1")
	wire = plug()
	cover("eth0", "eth1", "wlan0")
	if send(wire) {
		t.Error("an interface with the name of one that has gone leaks")
	}
}

// holderVariable makes this test program a holder: a process that is up, like the daemon, until it is killed.
const holderVariable = "MIPVPN_TEST_HOLDER"

// TestMain makes the test program the holder that TestKillSwitchOutlivesKill kills, when it is started as one.
func TestMain(m *testing.M) {
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
	survivors := slices.DeleteFunc(append(slices.Clone(inetProbes), netdevProbes...), func(p probe) bool {
		return p.name == "into the device" || p.rule == "judge: marked as plaintext: drop"
	})
	h.check("killed", survivors, "")
	h.untilClosed()
	h.check("killed, the proof's time is up", netdevProbes, "")
	// Without the hostile rule the routes alone keep an application from the enterprise.
	netnstest.Inside(t, h.ns, func() error {
		rule := netlink.NewRule()
		rule.Priority, rule.Table = 10, unix.RT_TABLE_MAIN
		return netlink.RuleDel(rule)
	})
	if by := routeTo(t, h.ns, enterprise); by != "unreachable" {
		t.Errorf("after kill -9 the route to %v goes by %s, want unreachable", enterprise, by)
	}
	openDevice(t, h.ns, "mip0")
	apply(t, h.ns, h.network, lined)
	if by := routeTo(t, h.ns, enterprise); by != "mip0" {
		t.Errorf("after the next start the route to %v goes by %s, want mip0", enterprise, by)
	}
	h.check("next start", netdevProbes, "")
	apply(t, h.ns, h.network, link.Settings{})
	if by := routeTo(t, h.ns, enterprise); by != "eth0" {
		t.Errorf("after down the route to %v goes by %s, want eth0", enterprise, by)
	}
	for _, p := range netdevProbes {
		if !h.passed(p) {
			t.Errorf("after down: %s does not pass", p.name)
		}
	}
}
