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
	add := func(text string) {
		if text != "" {
			why = append(why, text)
		}
	}
	addf := func(format string, args ...any) { add(fmt.Sprintf(format, args...)) }
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
		addf("hardware address %v, was %v", b.Hardware, a.Hardware)
	}
	if a.BSSID != b.BSSID && !a.BSSID.IsZero() && !b.BSSID.IsZero() {
		addf("access point %v, was %v", b.BSSID, a.BSSID)
	}
	add(differ("address", a.Address, b.Address))
	if gone := differ("gateway", a.Gateway, b.Gateway); gone != "" {
		add(gone)
	} else if a.GatewayHardware != b.GatewayHardware && !a.GatewayHardware.IsZero() && !b.GatewayHardware.IsZero() {
		addf("gateway at %v, was at %v", b.GatewayHardware, a.GatewayHardware)
	}
	add(differ("IPv6 address", a.Address6, b.Address6))
	add(differ("IPv6 gateway", a.Gateway6, b.Gateway6))
	if a.MTU != b.MTU {
		addf("MTU %d, was %d", b.MTU, a.MTU)
	}
	if a.Wireless != b.Wireless {
		addf("wireless %t, was %t", b.Wireless, a.Wireless)
	}
	if a.Name != b.Name {
		addf("name %s, was %s", b.Name, a.Name)
	}
	return strings.Join(why, ", ")
}

// differ says how something changed that may not be there, or returns the empty string.
func differ[T interface {
	comparable
	IsValid() bool
}](what string, a, b T) string {
	switch {
	case a == b:
		return ""
	case !a.IsValid():
		return fmt.Sprintf("%s %v", what, b)
	case !b.IsValid():
		return fmt.Sprintf("%s %v gone", what, a)
	}
	return fmt.Sprintf("%s %v, was %v", what, b, a)
}
