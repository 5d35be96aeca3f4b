//go:build linux

package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	protectedMark = 0x6d690001
	plaintextMark = 0x6d690002
	portalMark    = 0x6d690003
)

// lined is the laptop with a kill switch.
var lined = link.Settings{
	Device: "mip0", Address: home, MTU: 1380, Routes: prefixes("10.0.0.0/16"), Shielded: []netip.Addr{home, ethHome}, KillSwitch: true,
	Blocked: prefixes("fd00:e::/32"),
}

// whole is lined with a full tunnel, local that with the exception for the local network.
var whole, local = func() (w, l link.Settings) {
	w = lined
	w.Full = true
	l = w
	l.Local = true
	return w, l
}()

var (
	lan         = netip.MustParseAddr("172.20.0.9") // of a local network
	lan6        = netip.MustParseAddr("fd00:0:a00:864::2")
	outside6    = netip.MustParseAddr("2001:db8::9")
	enterprise6 = netip.MustParseAddr("fd00:e::9")
	portal      = netip.MustParseAddr("192.0.2.80") // of a captive portal
	// tunnel6 is an IPv6 address whose octets stand where IPv4 has the source address, and are the home address; portal6 one
	// whose octets stand where IPv4 has the destination, and are the portal's.
	tunnel6 = netip.MustParsePrefix("fd00:0:a00:864::1/64")
	portal6 = netip.MustParsePrefix("fd00:0:a00:864:c000:250:0:1/64")
	plain6  = netip.MustParsePrefix("fd00:1::1/64")
)

// hostile is a laptop in a network that pulls at its routes: it has an interface eth0 with a capture at the other end of its
// wire, eth1 with a guest whose packets it forwards, a tunnel tun9 of somebody else's without a link layer, a route to part
// of the enterprise as DHCP's option 121 brings it, IPv6 routes as a router advertisement does, and policy rules that put
// such routes before everything else.
type hostile struct {
	t         *testing.T
	ns, guest *os.File
	wire      *tap // the far end of eth0
	tun9      *tap
	mip0, lo  *tap
	gateHW    net.HardwareAddr
	eth1HW    net.HardwareAddr
	network   *Network
	sent      int
	eth0      int  // its index
	vlan      bool // there is vlan5 on it

	closeMip0       func()
	inside, inGuest func(func() error) error
	sockets         map[socketKey]int
}

// socketKey names a packet socket of the laptop's or the guest's.
type socketKey struct {
	guest    bool
	index    int
	protocol uint16
	mark     uint32
}

// sendFrame sends a frame to hw from a packet socket, which calls it protocol and is kept: the kernel takes its time to close
// one.
func (h *hostile) sendFrame(guest bool, name string, hw net.HardwareAddr, protocol uint16, mark uint32, types []uint16, payload []byte) error {
	do := h.inside
	if guest {
		do = h.inGuest
	}
	return do(func() error {
		l, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		key := socketKey{guest, l.Index, protocol, mark}
		fd, ok := h.sockets[key]
		if !ok {
			if fd, err = packetSocket(name, protocol, mark); err != nil {
				return err
			}
			h.sockets[key] = fd
		}
		_, err = unix.Write(fd, append(ethernet(hw, types...), payload...))
		return err
	})
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{t: t, ns: netnstest.New(t), guest: netnstest.New(t), network: New(Options{}), sockets: make(map[socketKey]int)}
	h.network.pattern = func() bool { return true } // as where nft is young enough, or there is none
	other := netnstest.New(t)
	withoutTests6(t, h.ns)
	netnstest.Wire(t, h.ns, "eth0", eth0, other, "eth0", netip.PrefixFrom(gate, 24))
	netnstest.Wire(t, h.ns, "eth1", guestNet, h.guest, "eth0", netip.PrefixFrom(guestAddr, 24))
	openDevice(t, h.ns, "tun9")
	h.gateHW, h.eth1HW = hardware(t, other, "eth0"), hardware(t, h.ns, "eth1")
	netnstest.Inside(t, h.ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := addVLAN(l); errors.Is(err, unix.EOPNOTSUPP) {
			t.Log("this kernel has no VLANs: what is sent on a VLAN's interface is not shown")
		} else if h.vlan = err == nil; err != nil {
			return err
		}
		errs := []error{
			setTun9Up(), foreignRules(),
			netnstest.Route(everything, gate), netnstest.Route(netip.MustParsePrefix("10.0.1.0/24"), gate),
			addAddress6(l, tunnel6), addAddress6(l, portal6), addAddress6(l, plain6),
			netnstest.Route(everything6, lan6), netnstest.Route(netip.MustParsePrefix("fd00:e::/32"), lan6),
			netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("224.0.0.0/4"))}),
			sysctlChanges{
				"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
				"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth1/rp_filter": "0",
			}.write(),
		}
		for _, a := range []netip.Addr{gate, lan6, netip.MustParseAddr("fe80::9")} {
			errs = append(errs, neighbour("eth0", a, h.gateHW))
		}
		return errors.Join(errs...)
	})
	awaitCarrier(t, h.ns, "eth0")
	awaitCarrier(t, h.guest, "eth0")
	h.wire, h.tun9, h.lo = newTap(t, other, "eth0"), newTap(t, h.ns, "tun9"), newTap(t, h.ns, "lo")
	h.inside, h.inGuest = netnstest.Enter(t, h.ns), netnstest.Enter(t, h.guest)
	t.Cleanup(func() {
		for _, fd := range h.sockets {
			unix.Close(fd)
		}
	})
	h.eth0 = netnstest.Index(t, h.ns, "eth0")
	return h
}

// withoutTests6 has interfaces to come use their IPv6 addresses at once, untested (RFC 4862 §5.4).
func withoutTests6(t *testing.T, ns *os.File) {
	t.Helper()
	netnstest.Inside(t, ns, sysctlChanges{"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0"}.write)
}

// foreignRules has another program's policy rules send everything by the main table.
func foreignRules() error {
	var errs []error
	for _, family := range families {
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table = family, 10, unix.RT_TABLE_MAIN
		errs = append(errs, netlink.RuleAdd(rule))
	}
	return errors.Join(errs...)
}

// addVLAN makes an interface vlan5, whose tags the one below puts in.
func addVLAN(below netlink.Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "vlan5", below.Attrs().Index
	vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: 5, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if err := netlink.LinkAdd(vlan); err != nil {
		return err
	}
	return netlink.LinkSetUp(vlan)
}

// removeForeignRules takes the other program's policy rules away.
func removeForeignRules() error {
	var errs []error
	for _, family := range families {
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table = family, 10, unix.RT_TABLE_MAIN
		errs = append(errs, netlink.RuleDel(rule))
	}
	return errors.Join(errs...)
}

func addAddress6(l netlink.Link, p netip.Prefix) error {
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Flags: unix.IFA_F_NODAD})
}

// openMip0 makes the client's device, with a tap.
func (h *hostile) openMip0() {
	h.t.Helper()
	d := openDevice(h.t, h.ns, "mip0")
	h.closeMip0 = func() {
		if err := d.Close(); err != nil {
			h.t.Error(err)
		}
	}
	h.mip0 = newTap(h.t, h.ns, "mip0")
}

// setTun9Up routes into tun9 what nobody else should have, and what anybody may.
func setTun9Up() error {
	if err := netnstest.SetUp("tun9", netip.MustParsePrefix("172.30.0.1/32")); err != nil {
		return err
	}
	l, err := netlink.LinkByName("tun9")
	if err != nil {
		return err
	}
	for _, p := range prefixes("10.0.1.77/32", "192.0.2.77/32", "fd00:e::77/128", "2001:db8::77/128") {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(p)}); err != nil {
			return fmt.Errorf("route %v into tun9: %w", p, err)
		}
	}
	return nil
}

// sendFunc sends a packet with the payload; the kernel's refusal to send is no more than a drop.
type sendFunc func(h *hostile, payload string) error

// probe is a packet and the rule that decides about it.
type probe struct {
	name string
	// rule is "chain: text" of the one rule that decides.
	rule string
	// also are rules that decide just as much, such as one that goes to the chain, with " & " between them.
	also string
	// passes says whether the packet gets through with the rules as they are. Without its rule the contrary is the case.
	passes bool
	send   sendFunc
	// where it would be seen; nil is the wire of eth0. local means nowhere: the refusal to send tells.
	where func(*hostile) *tap
	local bool
	// benign are packets that pass by the same way, at least one of them whichever rule is missing; nil are frames on eth0.
	benign []sendFunc
	// vlan says that it needs a VLAN's interface.
	vlan bool
}

func frameProbe(src, dst netip.Addr, sport, protocol uint16, mark uint32) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(false, "eth0", h.gateHW, protocol, mark, []uint16{unix.ETH_P_IP}, ipv4(src, dst, sport, 67, payload))
	}
}

// frame6Probe sends a frame with an IPv6 packet of a kind; protocol is what the packet socket calls it.
func frame6Probe(dst netip.Addr, protocol uint16, mark uint32, kind kind6) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(false, "eth0", h.gateHW, protocol, mark, []uint16{unix.ETH_P_IPV6}, ipv6(tunnel6.Addr(), dst, kind, payload))
	}
}

// typedProbe sends a frame with these Ethernet types, one behind the other with four octets each but the last.
func typedProbe(mark uint32, packet func(payload string) []byte, types ...uint16) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(false, "eth0", h.gateHW, types[0], mark, types, packet(payload))
	}
}

func rawProbe(src, dst netip.Addr) sendFunc {
	return func(h *hostile, payload string) error {
		return h.inside(func() error { return sendRaw(ipv4(src, dst, 9, 9, payload)) })
	}
}

func udpProbe(dst netip.Addr, sport uint16, mark uint32) sendFunc {
	return udpFromProbe("", netip.Addr{}, dst, sport, mark)
}

// udpFromProbe sends from an address (the zero Addr for any) by an interface ("" for any).
func udpFromProbe(name string, src, dst netip.Addr, sport uint16, mark uint32) sendFunc {
	return func(h *hostile, payload string) error {
		return h.inside(func() error { return sendUDP(name, src, dst, sport, 67, mark, payload) })
	}
}

// socket6Probe sends an IPv6 packet of a kind through the kernel's own IP layer.
func socket6Probe(dst netip.Addr, kind kind6) sendFunc {
	return func(h *hostile, payload string) error {
		return h.inside(func() error { return sendSocket6("eth0", dst, kind, payload) })
	}
}

func forwardProbe(src, dst netip.Addr, sport uint16) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(true, "eth0", h.eth1HW, unix.ETH_P_IP, 0, []uint16{unix.ETH_P_IP}, ipv4(src, dst, sport, 67, payload))
	}
}

func forward6Probe(dst netip.Addr) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(true, "eth0", h.eth1HW, unix.ETH_P_IPV6, 0, []uint16{unix.ETH_P_IPV6},
			ipv6(netip.MustParseAddr("2001:db8:1::9"), dst, datagram6, payload))
	}
}

func onTun9(h *hostile) *tap { return h.tun9 }

func onMip0(h *hostile) *tap { return h.mip0 }

func onLo(h *hostile) *tap { return h.lo }

// benignFrames pass in split tunnels, and in full ones with the exception for the local network, and with it as signalling.
var benignFrames = []sendFunc{
	frameProbe(eth0.Addr(), lan, 9, unix.ETH_P_IP, 0), frameProbe(eth0.Addr(), netip.MustParseAddr("192.168.9.8"), 9, unix.ETH_P_IP, 0),
	frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, protectedMark),
}

var benignForwards = []sendFunc{forwardProbe(guestAddr, lan, 9), forwardProbe(guestAddr, netip.MustParseAddr("192.168.9.8"), 9)}

// dropped reports whether an error of a send is how inet and egress hooks, and unreachable routes, tell of a drop.
func dropped(err error) bool {
	return err == nil || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EHOSTUNREACH)
}

// passed sends the probe and reports whether it got through.
func (h *hostile) passed(p probe) bool {
	h.t.Helper()
	h.sent++
	payload, sentinel := fmt.Sprintf("probe-%d.", h.sent), fmt.Sprintf("sentinel-%d.", h.sent)
	err := p.send(h, payload)
	if !dropped(err) {
		h.t.Fatalf("%s: %v", p.name, err)
	}
	if p.local {
		return err == nil
	}
	benign, where := p.benign, h.wire
	if benign == nil {
		benign = benignFrames
	}
	if p.where != nil {
		where = p.where(h)
	}
	for _, send := range benign {
		if err := send(h, sentinel); !dropped(err) {
			h.t.Fatalf("%s: a benign packet: %v", p.name, err)
		}
	}
	return where.passed(h.t, p.name, payload, sentinel)
}

// check sends all probes; wrong names the rule, "" for none, whose probes must fare the other way.
func (h *hostile) check(when string, probes []probe, wrong string) {
	h.t.Helper()
	for _, p := range probes {
		if got, want := h.passed(p), p.passes != (wrong != "" && p.decidedBy(wrong)); got != want {
			h.t.Errorf("%s: %s: passed is %v, want %v", when, p.name, got, want)
		}
	}
}

// everyEgress is the rule that all of the netdev table hangs on.
const everyEgress = "egress: every frame: frame"

// decidedBy reports whether the packet fares the other way without the rule.
func (p *probe) decidedBy(rule string) bool {
	return p.rule == rule || slices.Contains(strings.Split(p.also, " & "), rule) || rule == everyEgress && !p.passes
}

// edit changes nftables directly, as nobody should.
func (h *hostile) edit(f func(*nftables.Conn) error) {
	h.t.Helper()
	err := h.inside(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
		return c.Flush()
	})
	if err != nil {
		h.t.Fatal(err)
	}
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
				name := chain.Name + ": " + text
				if found[name] != nil {
					h.t.Errorf("the rule %q stands twice", name)
				}
				found[name] = r
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

// permitPortal adds what the portal's browser may reach: the portal, and, as nobody should, an address of the enterprise.
func (h *hostile) permitPortal() {
	h.t.Helper()
	h.edit(func(c *nftables.Conn) error {
		for _, set := range h.network.portals() {
			tables, err := c.ListTablesOfFamily(set.Table.Family)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == set.Table.Name }) {
				continue
			}
			var elements []nftables.SetElement
			for _, a := range []netip.Addr{portal, enterprise} {
				key := slices.Concat(native(uint32(h.eth0)), a.AsSlice(), []byte{packet.ProtocolUDP, 0, 0, 0}, be16(67), []byte{0, 0})
				elements = append(elements, nftables.SetElement{Key: key, Timeout: time.Hour})
			}
			if err := c.SetAddElements(set, elements); err != nil {
				return err
			}
		}
		return nil
	})
}
