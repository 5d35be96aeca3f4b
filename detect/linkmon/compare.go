package linkmon

import (
	"errors"
	"fmt"
	"strings"

	"mipvpn/tun/link"
)

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// Change is one interface whose connection status is not what it was.
type Change struct {
	// Index and Name tell the interface.
	Index int
	Name  string
	// Reason says what has changed, for people.
	Reason string
}

// Compare returns the interfaces whose connection status differs between two snapshots, in the order of their indices.
// Both must be in that order. A gateway's link-layer address or an access point that merely becomes known, while all
// else is as before, is no change: it is the same network seen better. That one is forgotten is none either.
func Compare(before, after []link.Interface) []Change {
	var changes []Change
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(before) == 0 || len(after) > 0 && after[0].Index < before[0].Index:
			a := after[0]
			changes = append(changes, Change{a.Index, a.Name, "interface appeared"})
			after = after[1:]
		case len(after) == 0 || before[0].Index < after[0].Index:
			b := before[0]
			changes = append(changes, Change{b.Index, b.Name, "interface vanished"})
			before = before[1:]
		default:
			if reason := explain(before[0], after[0]); reason != "" {
				changes = append(changes, Change{after[0].Index, after[0].Name, reason})
			}
			before, after = before[1:], after[1:]
		}
	}
	return changes
}

// explain says what tells a from b, both snapshots of one interface, or returns the empty string.
func explain(a, b link.Interface) string {
	var why []string
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if a.Up != b.Up {
		if b.Up {
			add("carrier up")
		} else {
			add("carrier down")
		}
	} else if b.Up && a.CarrierChanges != b.CarrierChanges {
		add("carrier flapped")
	}
	if a.Hardware != b.Hardware {
		add("hardware address %v, was %v", b.Hardware, a.Hardware)
	}
	if a.BSSID != b.BSSID && !a.BSSID.IsZero() && !b.BSSID.IsZero() {
		add("access point %v, was %v", b.BSSID, a.BSSID)
	}
	if a.Address != b.Address {
		switch {
		case !a.Address.IsValid():
			add("address %v", b.Address)
		case !b.Address.IsValid():
			add("address %v gone", a.Address)
		default:
			add("address %v, was %v", b.Address, a.Address)
		}
	}
	if a.Gateway != b.Gateway {
		switch {
		case !a.Gateway.IsValid():
			add("gateway %v", b.Gateway)
		case !b.Gateway.IsValid():
			add("gateway %v gone", a.Gateway)
		default:
			add("gateway %v, was %v", b.Gateway, a.Gateway)
		}
	} else if a.GatewayHardware != b.GatewayHardware && !a.GatewayHardware.IsZero() && !b.GatewayHardware.IsZero() {
		add("gateway at %v, was at %v", b.GatewayHardware, a.GatewayHardware)
	}
	if a.MTU != b.MTU {
		add("MTU %d, was %d", b.MTU, a.MTU)
	}
	if a.Wireless != b.Wireless {
		add("wireless %t, was %t", b.Wireless, a.Wireless)
	}
	if a.Name != b.Name {
		add("name %s, was %s", b.Name, a.Name)
	}
	return strings.Join(why, ", ")
}
