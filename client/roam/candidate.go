package roam

import (
	"cmp"
	"slices"

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
	// Unreachable: neither home agent answered within the detection period (DET-18).
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

// candidate is one interface.
type candidate struct {
	iface   link.Interface
	epoch   uint64
	agent   bool // a foreign agent is known there
	verdict Verdict
	tried   bool // an attempt has been begun in this epoch
	likely  bool // a hint says that it is inside in this epoch (DET-11)
}

// changed returns why b is another connection status than a (DET-2), or the empty string when it is the same. Learning
// a neighbour's address for the first time, or forgetting it, is no change; another one is. So is a carrier that was gone
// between two snapshots in which it is there: the cable may be in another network.
func changed(a, b link.Interface) string {
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
	case other(a.GatewayHardware, b.GatewayHardware):
		return "gateway has another hardware address"
	case other(a.BSSID, b.BSSID):
		return "another access point"
	}
	return ""
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
	coLocated := c.iface.Address.IsValid() && c.iface.Gateway.IsValid()
	if comp, pinned := pin.Composition(); pinned {
		if comp.ForeignAgent {
			return true, c.agent
		}
		return false, coLocated
	}
	if coLocated {
		return false, true
	}
	return true, c.agent
}

// rank orders candidates, the best first: wired before wireless (MOD-prefer), then by index, so that the order is stable.
func rank(a, b *candidate) int {
	if a.iface.Wireless != b.iface.Wireless {
		if b.iface.Wireless {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.iface.Index, b.iface.Index)
}

// ranked returns the usable candidates, the best first; those known to be unreachable come last. While nothing carries
// traffic, those that a hint calls likely to be inside come before the others (DET-11); a hint takes nothing away from what
// carries traffic.
func (m *Machine) ranked() []*candidate {
	var list []*candidate
	for _, c := range m.candidates {
		if _, usable := c.attachment(m.pin); usable {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *candidate) int {
		if x, y := a.verdict == Unreachable, b.verdict == Unreachable; x != y {
			if y {
				return -1
			}
			return 1
		}
		if m.using == 0 && a.likely != b.likely {
			if a.likely {
				return -1
			}
			return 1
		}
		return rank(a, b)
	})
	return list
}
