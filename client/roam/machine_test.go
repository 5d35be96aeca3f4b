package roam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

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
			out = append(out, s)
		case Abandon:
			out = append(out, fmt.Sprintf("abandon %d", e.Index))
		case Use:
			out = append(out, fmt.Sprintf("use %d %s", e.Index, e.Mode))
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
	m.HandleVerdict(index, m.epochOf(index), v, v.String())
}

func started(ifaces ...link.Interface) *Machine {
	m := New()
	m.HandleSnapshot(ifaces)
	m.Start()
	drain(m)
	return m
}

// Shows: MOD-keep, DET-2
func TestOfficeToCafeAndBack(t *testing.T) {
	m := New()
	m.Start()
	expect(t, m, "blocked")
	m.HandleSnapshot([]link.Interface{wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	expect(t, m)
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c")

	// Unplugged: traffic stops in the same breath.
	down := wired("")
	down.Up = false
	m.HandleSnapshot([]link.Interface{down})
	expect(t, m, "hold", "abandon 2", "epoch eth0 relinked", "blocked")
	m.HandleSnapshot([]link.Interface{wired("192.168.1.7")})
	expect(t, m, "epoch eth0 relinked", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	expect(t, m)
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
	m.HandleVPN(true)

	// Another café: the tentative verdict is enough, an SA lives (DET-7).
	m.HandleSnapshot([]link.Interface{wired("192.168.9.7")})
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
		{"carrier", func(i *link.Interface) { i.Up = false }, true},
		{"carrier gone and back in between", func(i *link.Interface) { i.CarrierChanges = 2 }, true},
	} {
		m := started(base)
		verdict(m, 2, Inside)
		drain(m)
		now := base
		c.change(&now)
		m.HandleSnapshot([]link.Interface{now})
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
				m.HandleSnapshot([]link.Interface{now})
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
	m.HandleSnapshot([]link.Interface{now})
	expect(t, m, "abandon 2", "epoch eth0 relinked", "attempt eth0")
	now.GatewayHardware = packet.HardwareAddr{2}
	m.HandleSnapshot([]link.Interface{now})
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
		m.HandleAgent(3, true)
		verdict(m, 3, Inside)
		drain(m)
		move(&now)
		m.HandleSnapshot([]link.Interface{now})
		if diff := cmp.Diff([]string{"hold", "abandon 3", "epoch wlan0 relinked", "blocked"}, drain(m)); diff != "" {
			t.Errorf("%s: decisions (-want +got):\n%s", name, diff)
		}
		m.HandleAgent(3, true)
		expect(t, m, "attempt wlan0 fa")
	}
}

// Shows: DET-1
func TestVerdictsOfOtherEpochsAndInterfacesAreIgnored(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	m.HandleVerdict(2, m.epochOf(2)-1, Inside, "stale")
	m.HandleVerdict(3, m.epochOf(3), Inside, "never attempted")
	m.HandleVerdict(9, 1, Inside, "no such interface")
	expect(t, m)
	if i, _ := m.Using(); i != 0 {
		t.Errorf("interface %d is used", i)
	}
}

// Shows: MOD-prefer
func TestMakeBeforeBreakToThePreferredInterface(t *testing.T) {
	m := started(wireless("192.168.1.5"))
	m.HandleVPN(true)
	verdict(m, 3, Outside)
	expect(t, m, "use 3 cvc")
	m.HandleSnapshot([]link.Interface{wireless("192.168.1.5"), wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0") // wlan0 goes on carrying
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c", "abandon 3")
	// Undocked: back to the wireless one.
	m.HandleSnapshot([]link.Interface{wireless("192.168.1.5")})
	expect(t, m, "hold", "abandon 2", "epoch eth0 gone", "attempt wlan0")
}

// Shows: MOD-prefer
func TestDirectAccessIsPreferredOverVPN(t *testing.T) {
	m := started(wireless("10.0.2.9"))
	verdict(m, 3, Inside)
	expect(t, m, "use 3 c")
	m.HandleSnapshot([]link.Interface{wireless("10.0.2.9"), wired("192.168.1.5")})
	expect(t, m, "epoch eth0", "attempt eth0")
	verdict(m, 2, TentativelyOutside)
	verdict(m, 2, Outside)
	expect(t, m, "abandon 2")
	m.HandleSnapshot([]link.Interface{wireless("10.0.2.9"), wired("192.168.1.5")})
	expect(t, m)
}

// Shows: MOD-switch
func TestPins(t *testing.T) {
	m := started(wired("192.168.1.5"))
	m.HandlePin(stack.ModeC)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
	verdict(m, 2, Outside)
	expect(t, m, "blocked")
	if i, _ := m.Using(); i != 0 {
		t.Fatal("a pinned plaintext mode is in use without proof")
	}
	m.HandlePin(stack.ModeCVC)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0 external")
	verdict(m, 2, Inside) // must not happen, and is not followed
	expect(t, m)
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
	m.HandlePin(stack.ModeFVC)
	expect(t, m, "hold", "abandon 2", "epoch eth0", "blocked")
	m.HandleAgent(2, true)
	expect(t, m, "attempt eth0 fa external")
	m.HandlePin(stack.ModeNone)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
}

func TestPinIsRefusedWithAReason(t *testing.T) {
	m := started(wired("192.168.1.5"))
	m.HandlePin(stack.ModeC)
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
	m.HandleAgent(3, true)
	expect(t, m, "attempt wlan0 fa")
	verdict(m, 3, Inside)
	expect(t, m, "use 3 f")
	m.HandleAgent(3, false)
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

func TestUnreachableInterfacesAreTriedInTurn(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	verdict(m, 2, Unreachable)
	expect(t, m, "blocked", "abandon 2", "attempt wlan0")
	verdict(m, 3, Unreachable)
	expect(t, m, "blocked", "abandon 3", "attempt eth0")
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
}

// Shows: DET-11
func TestHintsOnlyOrderWhatIsTried(t *testing.T) {
	third := wired("10.0.3.5")
	third.Index, third.Name = 4, "eth1"
	m := started(wired("10.0.2.5"), third, wireless("192.168.1.5"))
	m.HandleHint(3, m.epochOf(3), true)
	expect(t, m) // the attempt on eth0 goes on
	verdict(m, 2, Unreachable)
	expect(t, m, "blocked", "abandon 2", "attempt wlan0") // before eth1, which ranks higher
	m.HandleHint(4, m.epochOf(4)-1, true)
	verdict(m, 3, Outside)
	expect(t, m, "use 3 cvc") // as it would be without a hint

	m = started(wired("10.0.2.5"), wireless("192.168.1.5"))
	verdict(m, 2, Outside)
	expect(t, m, "use 2 cvc")
	m.HandleHint(3, m.epochOf(3), true)
	m.HandleSnapshot([]link.Interface{wired("10.0.2.5"), wireless("192.168.1.6")})
	m.HandleHint(3, m.epochOf(3), true)
	m.choose("looked again")
	expect(t, m, "epoch wlan0") // nothing is tried in place of what carries traffic

	m = started(wired("10.0.2.5"))
	m.HandleHint(2, m.epochOf(2), true)
	m.HandleHint(7, 1, true)                      // no such interface
	m.HandleVerdict(2, m.epochOf(2), Unknown, "") // no verdict comes of it
	expect(t, m)
	if index, _ := m.Using(); index != 0 {
		t.Errorf("interface %d carries traffic", index)
	}
}

// Shows: DET-2
func TestResumeBeginsANewEpoch(t *testing.T) {
	m := started(wired("10.0.2.5"))
	verdict(m, 2, Inside)
	drain(m)
	m.HandleResume()
	expect(t, m, "hold", "abandon 2", "epoch eth0", "attempt eth0")
}

func TestStopAndStart(t *testing.T) {
	m := started(wired("10.0.2.5"))
	verdict(m, 2, Inside)
	drain(m)
	m.Stop("the user took it down")
	expect(t, m, "hold", "abandon 2")
	m.HandleSnapshot([]link.Interface{wired("10.0.2.6")})
	expect(t, m, "epoch eth0")
	m.Start()
	expect(t, m, "attempt eth0")
}

func TestRetryOfAnInterfaceThatCouldNotBeUsed(t *testing.T) {
	m := started(wired("10.0.2.5"))
	epoch := m.epochOf(2)
	m.HandleRetry(2, epoch) // it can be used
	expect(t, m)
	verdict(m, 2, Unreachable)
	expect(t, m, "blocked")
	m.HandleRetry(2, epoch-1)
	expect(t, m)
	m.HandleRetry(2, epoch)
	expect(t, m, "abandon 2", "epoch eth0", "attempt eth0")
}

// Shows: DET-2 (what is told of an interface is told again after an attempt in between)
func TestBlockedAgainAfterAnAttempt(t *testing.T) {
	m := New()
	m.Start()
	expect(t, m, "blocked")
	m.HandleSnapshot([]link.Interface{wired("10.0.2.5")})
	expect(t, m, "epoch eth0", "attempt eth0")
	m.HandleSnapshot(nil)
	expect(t, m, "abandon 2", "epoch eth0 gone", "blocked")
}

// Shows: DET-2 (an epoch of before is not taken for one of after)
func TestSuccessorGoesOnWithTheEpochs(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	m.HandlePin(stack.ModeC)
	last := max(m.epochOf(2), m.epochOf(3))
	n := m.Successor()
	if n.Pin() != stack.ModeC {
		t.Errorf("pin %q", n.Pin())
	}
	n.HandleSnapshot([]link.Interface{wired("10.0.2.5")})
	if e := n.epochOf(2); e <= last {
		t.Errorf("epoch %d behind %d", e, last)
	}
}
