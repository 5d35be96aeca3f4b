package roam

import (
	"cmp"
	"path"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Verdict is what the detector has found out about one interface in its present epoch.
type Verdict uint8

// The verdicts, in the order in which they usually come.
const (
	// Unknown: registrations are under way.
	Unknown Verdict = iota
	// Unreachable: no home agent that was asked answered within the detection period (DET-18).
	Unreachable
	// TentativelyOutside: the x-HA answered, the detection period for the i-HA still runs (DET-7).
	TentativelyOutside
	// Outside: the x-HA answered and the i-HA did not.
	Outside
	// Inside: the i-HA's reply is a proof (DET-3).
	Inside
)

// String returns the verdict in words.
func (v Verdict) String() string {
	return [...]string{"unknown", "unreachable", "tentatively outside", "outside", "inside"}[v]
}

// pursuit is what is under way on an interface.
type pursuit uint8

const (
	idle    pursuit = iota
	probing         // the i-HA alone is asked, beside another path
	racing          // both home agents are asked, or the interface carries the traffic
)

// candidate is one interface.
type candidate struct {
	iface   link.Interface
	epoch   uint64
	agent   bool // a foreign agent is known there
	likely  bool // a hint says that it is inside (DET-11)
	verdict Verdict
	// external is what is known of the x-HA there; mute says that the gateway does not answer straight through it.
	external External
	mute     bool
	pursuit  pursuit
	since    time.Duration // of the pursuit, or of its last change of mind
	// notBefore is when the interface is tried again while another path carries the traffic; tries is how often that found
	// nobody.
	notBefore time.Duration
	tries     int
	damper    damper
	why       string // what was said last of why it is not used
}

// changed returns why b is another connection status than a (DET-2), or the empty string when it is the same. Learning
// a neighbour's address for the first time, or forgetting it, is no change; another one is. So is a carrier that was gone
// between two snapshots in which it is there: the cable may be in another network. What changes of IPv6 beside
// IPv4 is none, nor beside a foreign agent (byAgent): what carries traffic there does not stand on it.
func changed(a, b link.Interface, byAgent bool) string {
	switch {
	case a.Up != b.Up && b.Up:
		return "carrier came"
	case a.Up != b.Up:
		return "carrier went"
	case b.Up && a.CarrierChanges != b.CarrierChanges:
		return "carrier flapped"
	case a.Address != b.Address && !b.Address.IsValid():
		return "address went"
	case a.Address != b.Address:
		return "address is now " + b.Address.String()
	case a.Gateway != b.Gateway && !b.Gateway.IsValid():
		return "default route went"
	case a.Gateway != b.Gateway:
		return "gateway is now " + b.Gateway.String()
	case b.Has4(), byAgent: // as a was
	case a.Address6 != b.Address6 && !b.Address6.IsValid():
		return "IPv6 address went"
	case a.Address6 != b.Address6:
		return "IPv6 address is now " + b.Address6.String()
	case a.Gateway6 != b.Gateway6 && !b.Gateway6.IsValid():
		return "IPv6 default route went"
	case a.Gateway6 != b.Gateway6:
		return "IPv6 gateway is now " + b.Gateway6.String()
	}
	switch {
	case other(a.GatewayHardware, b.GatewayHardware):
		return "gateway has another hardware address"
	case other(a.BSSID, b.BSSID):
		return "another access point"
	}
	return ""
}

// configured reports whether the change from a to b is an address or a default route coming where none was: a part of coming
// up, and no flap.
func configured(a, b link.Interface) bool {
	if a.Up != b.Up || a.CarrierChanges != b.CarrierChanges {
		return false
	}
	if a.Address == b.Address && a.Gateway == b.Gateway {
		return !a.Address6.IsValid() || a.Address6 == b.Address6 && !a.Gateway6.IsValid()
	}
	return !a.Address.IsValid() || a.Address == b.Address && !a.Gateway.IsValid()
}

// relinked reports whether b is on another link than a, as far as one can know: then what was heard there, such as foreign
// agents, may not be there any more.
func relinked(a, b link.Interface) bool {
	return a.Up != b.Up || a.CarrierChanges != b.CarrierChanges || other(a.BSSID, b.BSSID)
}

// remember returns the snapshot now of an interface whose connection status is still that of before, with the neighbours'
// addresses known last where now has none: one that was forgotten in between and is another when it is learnt again is a
// change.
func remember(before, now link.Interface) link.Interface {
	if now.GatewayHardware.IsZero() {
		now.GatewayHardware = before.GatewayHardware
	}
	if now.BSSID.IsZero() {
		now.BSSID = before.BSSID
	}
	return now
}

// other reports whether two addresses that are known differ.
func other(a, b packet.HardwareAddr) bool { return a != b && !a.IsZero() && !b.IsZero() }

// attachment returns whether the candidate can be used, and whether through a foreign agent, under the pin.
func (c *candidate) attachment(pin stack.Mode) (foreignAgent, usable bool) {
	if !c.iface.Up {
		return false, false
	}
	coLocated := c.iface.Has4()
	if comp, pinned := pin.Composition(); pinned {
		if comp.ForeignAgent {
			return true, c.agent
		}
		return false, coLocated || c.iface.Has6() && comp.VPN && !comp.ExternalMIP
	}
	if coLocated || c.iface.Has6() && !c.agent {
		return false, true
	}
	return true, c.agent
}

// six reports whether the candidate is attached by IPv6 alone: no home agent is reached from it, and the VPN is what can use it.
func (c *candidate) six(pin stack.Mode) bool {
	foreignAgent, usable := c.attachment(pin)
	return usable && !foreignAgent && !c.iface.Has4()
}

// undecided reports whether an answer is still waited for.
func (c *candidate) undecided() bool { return c.pursuit != idle && c.verdict == Unknown }

// outside reports whether the x-HA has answered.
func (c *candidate) outside() bool { return c.verdict == TentativelyOutside || c.verdict == Outside }

// prefer compares two interfaces by preference (MOD-prefer), the preferred one first: those that change all the time last,
// then as configured, then wired before wireless, then by index, so that the order is stable.
func (m *Machine) prefer(a, b *candidate) int {
	return cmp.Or(
		compareBool(a.damper.on, b.damper.on),
		cmp.Compare(m.place(a), m.place(b)),
		compareBool(a.iface.Wireless, b.iface.Wireless),
		cmp.Compare(a.iface.Index, b.iface.Index),
	)
}

// order compares two interfaces by the order in which they are tried: as preferred, but those that a hint says are inside
// first (DET-11), and damped ones last all the same.
func (m *Machine) order(a, b *candidate) int {
	return cmp.Or(compareBool(a.damper.on, b.damper.on), compareBool(b.likely, a.likely), m.prefer(a, b))
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// place returns the interface's place in the configured order.
func (m *Machine) place(c *candidate) int {
	for i, pattern := range m.config.Prefer {
		if ok, err := path.Match(pattern, c.iface.Name); err == nil && ok {
			return i
		}
	}
	return len(m.config.Prefer)
}
