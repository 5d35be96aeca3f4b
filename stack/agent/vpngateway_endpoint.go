package agent

import (
	"net/netip"
	"sync/atomic"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/packet"
)

// amplification is how many times the octets that came from an endpoint may be sent to it before it is proven.
const amplification = 3

// endpoint is where a client's child SAs send to. It comes from the IKE machine alone: from ike.ChildInstalled, and from an
// ike.EndpointUpdate from then on.
type endpoint struct {
	local        netip.Addr // the gateway's outer address
	remote       netip.AddrPort
	encapsulated bool // ESP in UDP
	tcp          bool // ESP in TCP
	proven       bool // the client has answered from there

	// Octets of inner packets from there and of ESP to there, while it is not proven.
	received, sent atomic.Int64
	// told is the last source elsewhere that the IKE machine has been told of.
	told atomic.Pointer[source]
}

// source is where packets come from that is not the endpoint, and how many octets have.
type source struct {
	from     netip.AddrPort
	received atomic.Int64
}

// updated returns the endpoint that an update gives. What has been received from there and sent there goes on counting.
func (e *endpoint) updated(u ike.EndpointUpdate) *endpoint {
	n := &endpoint{local: u.Local().Addr(), remote: u.Remote(), encapsulated: u.UDPEncapsulation(), tcp: u.TCP(), proven: u.Proven()}
	if n.remote == e.remote {
		n.received.Store(e.received.Load())
		n.sent.Store(e.sent.Load())
	} else if s := e.told.Load(); s != nil && s.from == n.remote {
		n.received.Store(s.received.Load())
	}
	return n
}

// elsewhere tells whether the newest packet of an SA has come from elsewhere, so that the IKE machine is to be told: once for
// each source.
func (e *endpoint) elsewhere(s esp.Source) bool {
	from := s.From()
	if !e.encapsulated || e.tcp || from == e.remote || from.Port() == 0 {
		return false
	}
	if before := e.told.Load(); before != nil && before.from == from {
		return false
	}
	e.told.Store(&source{from: from})
	return true
}

// take counts a packet that has come out of an SA.
func (e *endpoint) take(p *packet.Buf) {
	if p.Peer == e.remote {
		if !e.proven {
			e.received.Add(int64(p.Len()))
		}
	} else if s := e.told.Load(); s != nil && s.from == p.Peer {
		s.received.Add(int64(p.Len()))
	}
}

// bound keeps of the ESP packets that are to be sent what may be.
func (e *endpoint) bound(b *packet.Batch, drops *packet.Drops) {
	if e.proven {
		return
	}
	b.Keep(drops, func(p *packet.Buf) packet.DropReason {
		n := int64(p.Len())
		if e.sent.Add(n) > amplification*e.received.Load() {
			e.sent.Add(-n)
			return packet.DropUnproven
		}
		return packet.NotDropped
	})
}
