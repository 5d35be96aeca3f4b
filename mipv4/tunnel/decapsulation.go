package tunnel

import (
	"net/netip"
	"sync/atomic"

	"mipvpn/tun/packet"
)

// IsData reports whether a payload of the Mobile IP port is tunnelled data rather than signalling (RFC 3519 §3.3).
func IsData(payload []byte) bool { return len(payload) > 0 && payload[0] == TypeData }

// Open takes one packet out of its tunnel: p holds the payload of the tunnel's flow and Buf.TOS the outer type of
// service. Afterwards p is the inner packet, cut to its total length, with the ECN field that RFC 6040 §4.2 gives it.
// It returns a reason when the packet must be dropped: a header that is wrong, another encapsulation inside the UDP
// tunnel than IP (RFC 3519 §3.3), a time to live of 0 (RFC 2003 §3.1), congestion that the inner transport cannot be told
// of. Whose tunnel it is, is for the caller to check. Of minimal encapsulation Buf holds the outer header (Peer, TOS, TTL, ID and
// DontFragment), and what the inner packet has taken of it is cleared. GRE headers must have no key.
func Open(p *packet.Buf, e Encapsulation) packet.DropReason { return open(p, e, GREOptions{}) }

// Open does what the function Open does, for GRE headers with the optional fields of GRE.
func (o GREOptions) Open(p *packet.Buf, e Encapsulation) packet.DropReason { return open(p, e, o) }

func open(p *packet.Buf, e Encapsulation, o GREOptions) packet.DropReason {
	switch e {
	case Minimal:
		if r := openMinimal(p); r != packet.NotDropped {
			return r
		}
	case GRE:
		if r := openGRE(p, o); r != packet.NotDropped {
			return r
		}
	case UDP:
		h, ok := p.Pull(DataHeaderLen)
		if !ok || h[0] != TypeData {
			return packet.DropMalformed
		}
		if h[1] != packet.ProtocolIPIP {
			return packet.DropUnsupported
		}
	}
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.ChecksumOK() {
		return packet.DropMalformed
	}
	if ip.TTL() == 0 {
		return packet.DropTTL
	}
	if e == GRE && ip.Dst() == p.Peer.Addr() {
		return packet.DropPolicy // it would go round for ever (RFC 2784 §3.1)
	}
	p.Trim(ip.TotalLen())
	inner := ip.TOS()
	ecn, ok := CombineECN(inner, p.TOS)
	if !ok {
		return packet.DropPolicy
	}
	if ecn != inner&ecnMask {
		ip.SetTOS(inner&^ecnMask | ecn)
	}
	return packet.NotDropped
}

// Decapsulator is the step that takes packets out of one tunnel, for its end at a mobile node.
type Decapsulator struct {
	// Encapsulation is the tunnel's form.
	Encapsulation Encapsulation
	// GRE are the optional fields that GRE headers must have.
	GRE GREOptions
	// Peer is the tunnel's other end. RFC 3519 §4.3 wants address and port to match exactly; but for UDP the port is 0.
	Peer netip.AddrPort
	// Inner is the address that decapsulated packets must be for (the home address).
	Inner netip.Addr
	// Listener holds what is taken beside, nil in it for nothing; it may be nil itself.
	Listener *atomic.Pointer[Listener]
	// Drops counts what is dropped.
	Drops *packet.Drops
}

// Apply decapsulates the payloads of the tunnel's flow and drops what did not come from Peer, is not for Inner or is not
// well formed (RFC 2003 §6.2).
func (d *Decapsulator) Apply(b *packet.Batch) { b.Keep(d.Drops, d.Decapsulate) }

// Decapsulate does what Apply does to one packet. A packet that must be dropped is left to the caller.
func (d *Decapsulator) Decapsulate(p *packet.Buf) packet.DropReason {
	if p.Peer != d.Peer {
		return packet.DropWrongTunnelPeer
	}
	if r := d.GRE.Open(p, d.Encapsulation); r != packet.NotDropped {
		return r
	}
	if packet.IPv4(p.Bytes()).Dst() == d.Inner {
		return packet.NotDropped
	}
	if d.Listener == nil {
		return packet.DropNotHomeAddress
	}
	return d.Listener.Load().Take(p)
}
