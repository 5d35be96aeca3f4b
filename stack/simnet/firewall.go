package simnet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"mipvpn/tun/packet"
)

// Verdict is what a firewall does with a packet.
type Verdict uint8

// The verdicts. The zero value drops.
const (
	// Drop takes the packet away without a word.
	Drop Verdict = iota
	// Accept lets the packet pass, and what answers it.
	Accept
	// Reject answers with ICMP "communication administratively prohibited" (RFC 1812 §5.2.7.1).
	Reject
)

// Rule is one rule of a firewall. Fields with their zero value fit every packet.
type Rule struct {
	// In and Out are the interfaces that the packet comes and leaves by. To name Out leaves packets to the firewall itself
	// out.
	In, Out *NIC
	// FromDevice limits the rule to packets that come out of a TUN device of the host, as a VPN gateway's decapsulated ones.
	FromDevice bool
	// ToHost limits the rule to packets for the firewall itself.
	ToHost bool
	// Source and Destination are prefixes that the addresses must be in.
	Source, Destination netip.Prefix
	// Protocol is the IP protocol number.
	Protocol uint8
	// DestinationPort of UDP and TCP.
	DestinationPort uint16
	// Verdict for what fits.
	Verdict Verdict
}

// flowID names a conversation in one direction.
type flowID struct {
	protocol uint8
	src, dst netip.AddrPort
}

func (f flowID) reverse() flowID { return flowID{f.protocol, f.dst, f.src} }

// flowOf returns the conversation of a packet: with the ports of UDP and TCP, the identifier of ICMP queries as both
// ports, else without ports.
func flowOf(ip packet.IPv4) flowID {
	return flowIn(ip.Protocol(), ip.Src(), ip.Dst(), ip.Payload())
}

func flowIn(protocol uint8, src, dst netip.Addr, transport []byte) flowID {
	var sp, dp uint16
	switch protocol {
	case packet.ProtocolUDP, packet.ProtocolTCP:
		if len(transport) >= 4 {
			sp, dp = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
		}
	case packet.ProtocolICMP:
		if len(transport) >= icmpLen {
			sp = binary.BigEndian.Uint16(transport[4:])
			dp = sp
		}
	}
	return flowID{protocol, netip.AddrPortFrom(src, sp), netip.AddrPortFrom(dst, dp)}
}

// quoted returns the packet that an ICMP error is about, false when ip is no ICMP error or quotes too little.
func quoted(ip packet.IPv4) (header packet.IPv4, transport []byte, ok bool) {
	if ip.Protocol() != packet.ProtocolICMP {
		return nil, nil, false
	}
	m := ip.Payload()
	if len(m) < icmpLen+packet.IPv4Len || !icmpIsError(m) {
		return nil, nil, false
	}
	q := packet.IPv4(m[icmpLen:])
	if q[0]>>4 != 4 || q.HeaderLen() < packet.IPv4Len || len(q) < q.HeaderLen()+8 {
		return nil, nil, false
	}
	return q, q[q.HeaderLen():], true
}

// firewall is a stateful packet filter: what answers an accepted conversation, and ICMP errors about one, pass.
type firewall struct {
	host  *Host
	rules []Rule
	flows map[flowID]time.Duration // by either direction; when it was last used
}

// SetFirewall makes the host a stateful firewall for what it forwards and what is sent to it. The first rule that fits
// decides; a packet that none fits is dropped. Conversations are known until 180 s (TCP: five days) after their last
// packet, as on Linux. What the host sends itself passes, and its answers. Setting it again forgets conversations.
func (h *Host) SetFirewall(rules ...Rule) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.firewall = &firewall{host: h, rules: rules, flows: make(map[flowID]time.Duration)}
}

// judge decides on a packet. out is nil for the host itself, and for a device.
func (f *firewall) judge(ip packet.IPv4, in, out *NIC) Verdict {
	id := flowOf(ip)
	if q, transport, ok := quoted(ip); ok {
		// The quoted packet went the other way.
		if f.known(flowIn(q.Protocol(), q.Src(), q.Dst(), transport)) {
			return Accept
		}
	} else if f.known(id) {
		f.track(ip)
		return Accept
	}
	for _, r := range f.rules {
		if r.fits(ip, id, in, out, f.host.owns(ip.Dst())) {
			if r.Verdict == Accept {
				f.track(ip)
			}
			return r.Verdict
		}
	}
	return Drop
}

func (r Rule) fits(ip packet.IPv4, id flowID, in, out *NIC, toHost bool) bool {
	return (r.In == nil || r.In == in) && (r.Out == nil || r.Out == out) && (!r.FromDevice || in == nil) &&
		(!r.ToHost || toHost) &&
		(!r.Source.IsValid() || r.Source.Contains(ip.Src())) && (!r.Destination.IsValid() || r.Destination.Contains(ip.Dst())) &&
		(r.Protocol == 0 || r.Protocol == ip.Protocol()) &&
		(r.DestinationPort == 0 || r.DestinationPort == id.dst.Port())
}

// track notes that the conversation of an accepted packet goes on.
func (f *firewall) track(ip packet.IPv4) {
	if _, _, isError := quoted(ip); isError {
		return
	}
	id, now := flowOf(ip), f.host.net.now()
	f.flows[id] = now
	f.flows[id.reverse()] = now
}

func (f *firewall) known(id flowID) bool {
	last, ok := f.flows[id]
	if !ok {
		return false
	}
	limit := 180 * time.Second
	if id.protocol == packet.ProtocolTCP {
		limit = 5 * 24 * time.Hour
	}
	if f.host.net.now()-last > limit {
		delete(f.flows, id)
		delete(f.flows, id.reverse())
		return false
	}
	return true
}
