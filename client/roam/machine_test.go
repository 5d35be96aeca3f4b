package roam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// t0 is the instant at which most tests play.
var t0 = link.Instant{Boot: time.Hour}

func wired(addr string) link.Interface {
	i := link.Interface{Index: 2, Name: "eth0", MTU: 1500, Up: true}
	return addressed(i, addr)
}

func wireless(addr string) link.Interface {
	i := link.Interface{Index: 3, Name: "wlan0", MTU: 1500, Up: true, Wireless: true}
	return addressed(i, addr)
}

func addressed(i link.Interface, addr string) link.Interface {
	if addr != "" {
		i.Address = netip.MustParsePrefix(addr + "/24")
		a := i.Address.Masked().Addr().As4()
		a[3] = 1
		i.Gateway = netip.AddrFrom4(a)
	}
	return i
}

// drain writes the decisions as short lines, without their reasons.
func drain(m *Machine) []string {
	var out []string
	for {
		e, ok := m.PollEvent()
		if !ok {
			return out
		}
		switch e := e.(type) {
		case Epoch:
			s := fmt.Sprintf("epoch %s", e.Interface.Name)
			if e.Gone {
				s += " gone"
			}
			if e.Relinked {
				s += " relinked"
			}
			out = append(out, s)
		case Attempt:
			s := "attempt " + e.Interface.Name
			if e.ForeignAgent {
				s += " fa"
			}
			if e.ExternalOnly {
				s += " external"
			}
			if e.Probe {
				s += " probe"
			}
			if e.Simultaneous {
				s += " S"
			}
			out = append(out, s)
		case Abandon:
			out = append(out, fmt.Sprintf("abandon %d", e.Index))
		case Use:
			s := fmt.Sprintf("use %d %s", e.Index, e.Mode)
			if e.FallBack {
				s += " fallback"
			}
			out = append(out, s)
		case Keep:
			out = append(out, fmt.Sprintf("keep %d", e.Index))
		case Damped:
			out = append(out, fmt.Sprintf("damped %d", e.Index))
		case Hold:
			out = append(out, "hold")
		case Blocked:
			out = append(out, "blocked")
		}
	}
}

func expect(t *testing.T, m *Machine, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, drain(m)); diff != "" {
		t.Fatalf("decisions (-want +got):\n%s", diff)
	}
}

func (m *Machine) epochOf(index int) uint64 { return m.candidates[index].epoch }

// verdict gives the verdict for the present epoch.
func verdict(m *Machine, index int, v Verdict) {
	m.HandleVerdict(t0, index, m.epochOf(index), v, v.String())
}

func started(ifaces ...link.Interface) *Machine { return startedAs(Config{}, ifaces...) }

func startedAs(c Config, ifaces ...link.Interface) *Machine {
	m := New(c)
	m.HandleSnapshot(t0, ifaces)
	m.Start(t0)
	drain(m)
	return m
}

// Shows: MOD-keep, DET-2
func TestOfficeToCafeAndBack(t *testing.T) {
	m := New(Config{})
	m.Start(t0)
	expect(t, m, "blocked")
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	expect(t, m)
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c")

	// Unplugged: traffic stops in the same breath.
	down := wired("")
	down.Up = false
	m.HandleSnapshot(t0, []link.Interface{down})
	expect(t, m, "hold", "abandon 2", "epoch eth0 relinked", "blocked")
	m.HandleSnapshot(t0, []link.Interface{wired("192.168.1.7")})
	expect(t, m, "epoch eth0 relinked", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	expect(t, m)
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
	m.HandleVPN(t0, true)

	// Another café: the tentative verdict is enough, an SA lives (DET-7).
	m.HandleSnapshot(t0, []link.Interface{wired("192.168.9.7")})
	expect(t, m, "hold", "abandon 2", "epoch eth0", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	expect(t, m, "use 2 cvc")
	// A late proof wins (DET-8).
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c")
}

// Shows: DET-2
func TestWhatIsAChangeOfStatus(t *testing.T) {
	base := wired("10.0.2.5")
	base.GatewayHardware = packet.HardwareAddr{1}
	for _, c := range []struct {
		name   string
		change func(*link.Interface)
		epoch  bool
	}{
		{"nothing", func(*link.Interface) {}, false},
		{"MTU", func(i *link.Interface) { i.MTU = 1400 }, false},
		{"neighbour forgotten", func(i *link.Interface) { i.GatewayHardware = packet.HardwareAddr{} }, false},
		{"neighbour other", func(i *link.Interface) { i.GatewayHardware = packet.HardwareAddr{2} }, true},
		{"address", func(i *link.Interface) { i.Address = netip.MustParsePrefix("10.0.2.6/24") }, true},
		{"prefix length", func(i *link.Interface) { i.Address = netip.MustParsePrefix("10.0.2.5/23") }, true},
		{"gateway", func(i *link.Interface) { i.Gateway = netip.MustParseAddr("10.0.2.2") }, true},
		{"IPv6 beside IPv4", func(i *link.Interface) {
			i.Address6, i.Gateway6 = netip.MustParsePrefix("2001:db8::5/64"), netip.MustParseAddr("fe80::1")
		}, false},
		{"carrier", func(i *link.Interface) { i.Up = false }, true},
		{"carrier gone and back in between", func(i *link.Interface) { i.CarrierChanges = 2 }, true},
	} {
		m := started(base)
		verdict(m, 2, Inside)
		drain(m)
		now := base
		c.change(&now)
		m.HandleSnapshot(t0, []link.Interface{now})
		got := drain(m)
		if c.epoch != (len(got) > 0 && got[0] == "hold") {
			t.Errorf("%s: decisions %v, a new epoch expected: %v", c.name, got, c.epoch)
		}
	}
}

// A neighbour that was forgotten in between and is another when it is learnt again is a change; one that becomes known is
// not, nor one that is the same again.
//
// Shows: DET-2
func TestNeighboursAreRemembered(t *testing.T) {
	type learn func(*link.Interface, packet.HardwareAddr)
	for name, set := range map[string]learn{
		"gateway":      func(i *link.Interface, a packet.HardwareAddr) { i.GatewayHardware = a },
		"access point": func(i *link.Interface, a packet.HardwareAddr) { i.BSSID = a },
	} {
		none, a, b := packet.HardwareAddr{}, packet.HardwareAddr{1}, packet.HardwareAddr{2}
		for _, c := range []struct {
			seen  []packet.HardwareAddr
			epoch bool // at the last
		}{
			{[]packet.HardwareAddr{none, a}, false},
			{[]packet.HardwareAddr{none, a, none, none, a}, false},
			{[]packet.HardwareAddr{none, a, b}, true},
			{[]packet.HardwareAddr{a, none, b}, true},
			{[]packet.HardwareAddr{none, a, none, none, b}, true},
			{[]packet.HardwareAddr{a, none, b, none, b}, false}, // b is what the new epoch remembers
			{[]packet.HardwareAddr{a, none, b, none, a}, true},
		} {
			now := wireless("10.0.2.5")
			set(&now, c.seen[0])
			m := started(now)
			epoch := m.epochOf(3)
			for _, addr := range c.seen[1:] {
				epoch = m.epochOf(3)
				set(&now, addr)
				m.HandleSnapshot(t0, []link.Interface{now})
			}
			if begun := m.epochOf(3) != epoch; begun != c.epoch {
				t.Errorf("%s seen as %v: a new epoch at the last: %t, want %t", name, c.seen, begun, c.epoch)
			}
		}
	}
	// What was known of the link before is not held against the one that an interface is on now.
	now := wired("10.0.2.5")
	now.GatewayHardware = packet.HardwareAddr{1}
	m := started(now)
	now.GatewayHardware, now.CarrierChanges = packet.HardwareAddr{}, 2
	m.HandleSnapshot(t0, []link.Interface{now})
	expect(t, m, "abandon 2", "epoch eth0 relinked", "attempt eth0")
	now.GatewayHardware = packet.HardwareAddr{2}
	m.HandleSnapshot(t0, []link.Interface{now})
	expect(t, m)
}

// A foreign agent that was heard before the carrier flapped, or behind another access point, is not gone through until it
// is heard again.
//
// Shows: DET-2
func TestForeignAgentsAreVoidOnAnotherLink(t *testing.T) {
	for name, move := range map[string]func(*link.Interface){
		"flap":         func(i *link.Interface) { i.CarrierChanges += 2 },
		"access point": func(i *link.Interface) { i.BSSID = packet.HardwareAddr{2} },
	} {
		now := wireless("")
		now.BSSID = packet.HardwareAddr{1}
		m := started(now)
		m.HandleAgent(t0, 3, true)
		verdict(m, 3, Inside)
		drain(m)
		move(&now)
		m.HandleSnapshot(t0, []link.Interface{now})
		if diff := cmp.Diff([]string{"hold", "abandon 3", "epoch wlan0 relinked", "blocked"}, drain(m)); diff != "" {
			t.Errorf("%s: decisions (-want +got):\n%s", name, diff)
		}
		m.HandleAgent(t0, 3, true)
		expect(t, m, "attempt wlan0 fa")
	}
}

// Shows: DET-1
func TestVerdictsOfOtherEpochsAndInterfacesAreIgnored(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	m.HandleVerdict(t0, 2, m.epochOf(2)-1, Inside, "stale")
	m.HandleVerdict(t0, 3, m.epochOf(3), Inside, "never attempted")
	m.HandleVerdict(t0, 9, 1, Inside, "no such interface")
	expect(t, m)
	if i, _ := m.Using(); i != 0 {
		t.Errorf("interface %d is used", i)
	}
}

// Shows: MOD-prefer
func TestMakeBeforeBreakToThePreferredInterface(t *testing.T) {
	m := started(wireless("192.168.1.5"))
	m.HandleVPN(t0, true)
	verdict(m, 3, Outside)
	expect(t, m, "use 3 cvc")
	m.HandleSnapshot(t0, []link.Interface{wireless("192.168.1.5"), wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0 S") // wlan0 goes on carrying
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c", "abandon 3")
	// Undocked: back to the wireless one.
	m.HandleSnapshot(t0, []link.Interface{wireless("192.168.1.5")})
	expect(t, m, "hold", "abandon 2", "epoch eth0 gone", "attempt wlan0")
}

// Shows: MOD-prefer
func TestDirectAccessIsPreferredOverVPN(t *testing.T) {
	m := started(wireless("10.0.2.9"))
	verdict(m, 3, Inside)
	expect(t, m, "use 3 c")
	m.HandleSnapshot(t0, []link.Interface{wireless("10.0.2.9"), wired("192.168.1.5")})
	expect(t, m, "epoch eth0", "attempt eth0 probe S")
	verdict(m, 2, Unreachable)
	expect(t, m, "abandon 2", "keep 3")
	m.HandleSnapshot(t0, []link.Interface{wireless("10.0.2.9"), wired("192.168.1.5")})
	expect(t, m)
}

// Shows: MOD-switch
func TestPins(t *testing.T) {
	m := started(wired("192.168.1.5"))
	m.HandlePin(t0, stack.ModeC)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
	verdict(m, 2, Outside)
	expect(t, m, "blocked")
	if i, _ := m.Using(); i != 0 {
		t.Fatal("a pinned plaintext mode is in use without proof")
	}
	m.HandlePin(t0, stack.ModeCVC)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0 external")
	verdict(m, 2, Inside) // must not happen, and is not followed
	expect(t, m)
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
	m.HandlePin(t0, stack.ModeFVC)
	expect(t, m, "hold", "abandon 2", "epoch eth0", "blocked")
	m.HandleAgent(t0, 2, true)
	expect(t, m, "attempt eth0 fa external")
	m.HandlePin(t0, stack.ModeNone)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
}

func TestPinIsRefusedWithAReason(t *testing.T) {
	m := started(wired("192.168.1.5"))
	m.HandlePin(t0, stack.ModeC)
	drain(m)
	verdict(m, 2, Outside)
	e, _ := m.PollEvent()
	b, ok := e.(Blocked)
	if !ok || !strings.Contains(b.Reason, "eth0 is not proven to be inside") || !strings.Contains(b.Reason, "mipvpn mode auto") {
		t.Errorf("got %#v", e)
	}
}

// Shows: MOD-f
func TestForeignAgentServesAnInterfaceWithoutAddress(t *testing.T) {
	m := started(wireless(""))
	m.HandleAgent(t0, 3, true)
	expect(t, m, "attempt wlan0 fa")
	verdict(m, 3, Inside)
	expect(t, m, "use 3 f")
	m.HandleAgent(t0, 3, false)
	expect(t, m, "hold", "abandon 3", "epoch wlan0", "blocked")
}

// Shows: DET-12
func TestLostProofHolds(t *testing.T) {
	m := started(wired("10.0.2.5"))
	verdict(m, 2, Inside)
	drain(m)
	verdict(m, 2, Unknown)
	expect(t, m, "hold")
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c")
}

func TestUnreachableInterfacesAreAllAsked(t *testing.T) {
	m := startedAs(Config{Update: Forbidden}, wired("10.0.2.5"), wireless("192.168.1.5"))
	verdict(m, 2, Unreachable)
	expect(t, m, "attempt wlan0 S") // nothing is lost yet, so nothing is blocked
	verdict(m, 3, Unreachable)
	expect(t, m, "blocked")
	bind(m, 2) // its detector has gone on asking
	expect(t, m, "use 2 cvc", "abandon 3", "keep 2")
}

// Shows: DET-2
func TestResumeBeginsANewEpoch(t *testing.T) {
	m := started(wired("10.0.2.5"))
	verdict(m, 2, Inside)
	drain(m)
	m.HandleResume(t0)
	expect(t, m, "hold", "abandon 2", "epoch eth0", "attempt eth0")
}

func TestStopAndStart(t *testing.T) {
	m := started(wired("10.0.2.5"))
	verdict(m, 2, Inside)
	drain(m)
	m.Stop("the user took it down")
	expect(t, m, "hold", "abandon 2")
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.6")})
	expect(t, m, "epoch eth0")
	m.Start(t0)
	expect(t, m, "attempt eth0")
}

func TestRetryOfAnInterfaceThatCouldNotBeUsed(t *testing.T) {
	m := startedAs(Config{Update: Forbidden}, wired("10.0.2.5"))
	epoch := m.epochOf(2)
	m.HandleRetry(t0, 2, epoch) // it can be used
	expect(t, m)
	verdict(m, 2, Unreachable)
	expect(t, m, "blocked")
	m.HandleRetry(t0, 2, epoch-1)
	expect(t, m)
	m.HandleRetry(t0, 2, epoch)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
}

// Shows: DET-2 (what is told of an interface is told again after an attempt in between)
func TestBlockedAgainAfterAnAttempt(t *testing.T) {
	m := New(Config{})
	m.Start(t0)
	expect(t, m, "blocked")
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0")
	m.HandleSnapshot(t0, nil)
	expect(t, m, "abandon 2", "epoch eth0 gone", "blocked")
}

// Shows: DET-2 (an epoch of before is not taken for one of after)
func TestSuccessorGoesOnWithTheEpochs(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	m.HandlePin(t0, stack.ModeC)
	last := max(m.epochOf(2), m.epochOf(3))
	n := m.Successor()
	if n.Pin() != stack.ModeC {
		t.Errorf("pin %q", n.Pin())
	}
	n.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5")})
	if e := n.epochOf(2); e <= last {
		t.Errorf("epoch %d behind %d", e, last)
	}
}
