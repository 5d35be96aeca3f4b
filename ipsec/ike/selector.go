package ike

import (
	"slices"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
)

// maxSelectors bounds a narrowed list. What is beyond is cut, which narrows further (RFC 7296 §2.9 lets us).
const maxSelectors = 64

// wireSelectors turns selectors into those of a TS payload.
func wireSelectors(list []esp.Selector) message.Selectors {
	out := make(message.Selectors, 0, len(list))
	for _, s := range list {
		t := message.TSIPv4AddrRange
		if s.Start.Is6() {
			t = message.TSIPv6AddrRange
		}
		out = append(out, message.TrafficSelector{
			Type: t, Protocol: s.Protocol, StartPort: s.StartPort, EndPort: s.EndPort, Start: s.Start, End: s.End,
		})
	}
	return out
}

// readSelectors takes the address ranges of a TS payload. Unknown types and OPAQUE ports are left out, so that they are
// not in the narrowed set (RFC 7296 §2.9).
func readSelectors(list message.Selectors) []esp.Selector {
	var out []esp.Selector
	for _, t := range list {
		if t.Type != message.TSIPv4AddrRange && t.Type != message.TSIPv6AddrRange || t.StartPort > t.EndPort {
			continue
		}
		out = append(out, esp.Selector{
			Protocol: t.Protocol, StartPort: t.StartPort, EndPort: t.EndPort, Start: t.Start, End: t.End,
		})
	}
	return out
}

// narrow returns what both lists allow, in the order of proposed (RFC 7296 §2.9). A selector that lies within one found
// before is left out.
func narrow(proposed, allowed []esp.Selector) []esp.Selector {
	var out []esp.Selector
	for _, p := range proposed {
		for _, a := range allowed {
			s, ok := p.Intersect(a)
			if !ok || within(s, out) {
				continue
			}
			if out = append(out, s); len(out) == maxSelectors {
				return out
			}
		}
	}
	return out
}

// within tells whether one selector of list holds all of s.
func within(s esp.Selector, list []esp.Selector) bool {
	return slices.ContainsFunc(list, func(l esp.Selector) bool {
		common, ok := s.Intersect(l)
		return ok && common == s
	})
}

// covers tells whether each selector of inner lies within one of outer.
func covers(outer, inner []esp.Selector) bool {
	return !slices.ContainsFunc(inner, func(s esp.Selector) bool { return !within(s, outer) })
}
