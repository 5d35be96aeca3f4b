package agent

import (
	"net/netip"
	"sync/atomic"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
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

	// Octets of datagrams from there and to there, of ESP and of IKE, while it is not proven.
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

// ipv6Len is the octets of an IPv6 header.
const ipv6Len = 40

// head is the octets of the outer headers of a datagram in UDP.
func head(a netip.Addr) int64 {
	if a.Is4() {
		return packet.IPv4Len + packet.UDPLen
	}
	return ipv6Len + packet.UDPLen
}

// is tells whether packets from there are from this endpoint. ESP that is not in UDP comes without a port.
func (e *endpoint) is(from netip.AddrPort) bool {
	return from == e.remote || from.Port() == 0 && !e.encapsulated && !e.tcp && from.Addr() == e.remote.Addr()
}

// take counts octets of ESP in datagrams that have come from an endpoint.
func (e *endpoint) take(from netip.AddrPort, datagrams int, octets int64) {
	h := head(from.Addr())
	if from.Port() == 0 {
		h -= packet.UDPLen
	}
	octets += int64(datagrams) * h
	if e.is(from) {
		if !e.proven {
			e.received.Add(octets)
		}
	} else if s := e.told.Load(); s != nil && s.from == from {
		s.received.Add(octets)
	}
}

// may tells whether a datagram with so many octets in UDP may be sent, and counts it.
func (e *endpoint) may(octets int) bool {
	n := int64(octets) + head(e.remote.Addr())
	if e.sent.Add(n) > amplification*e.received.Load() {
		e.sent.Add(-n)
		return false
	}
	return true
}

// bound keeps of the ESP packets that are to be sent what may be.
func (e *endpoint) bound(b *packet.Batch, drops *packet.Drops) {
	if e.proven {
		return
	}
	b.Keep(drops, func(p *packet.Buf) packet.DropReason {
		if !e.may(p.Len()) {
			return packet.DropUnproven
		}
		return packet.NotDropped
	})
}

// unproven are the endpoints of clients that have not answered from there, for the messages of IKE. It belongs to the loop.
type unproven struct {
	ends map[netip.AddrPort]*endpoint
	// from and octets are those of the message that is being handled.
	from   netip.AddrPort
	octets int
}

// handling takes note of a message that has arrived in UDP.
func (u *unproven) handling(from netip.AddrPort, octets int) {
	u.from, u.octets = from, octets
	if e := u.ends[from]; e != nil {
		e.received.Add(int64(octets) + head(from.Addr()))
	}
}

// moved takes note that clients' packets go from one endpoint to another. Either may be nil.
func (u *unproven) moved(from, to *endpoint) {
	if from != nil && u.ends[from.remote] == from {
		delete(u.ends, from.remote)
	}
	if to == nil || to.proven {
		return
	}
	if to.remote == u.from && (from == nil || from.remote != to.remote) {
		to.received.Add(int64(u.octets) + head(to.remote.Addr()))
	}
	if u.ends == nil {
		u.ends = make(map[netip.AddrPort]*endpoint)
	}
	u.ends[to.remote] = to
}

// may tells whether a message may be sent, and counts it. Answers may: who has asked gets no more than he would in any case.
func (u *unproven) may(t ike.Transmit) bool {
	e := u.ends[t.Remote]
	if e == nil || t.TCP {
		return true
	}
	if h, err := message.ParseHeader(t.Payload); err != nil || h.Response() {
		return true
	}
	return e.may(esp.MarkerLen + len(t.Payload))
}
