package stack

import (
	"encoding/binary"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/packet"
)

// Deliver hands a batch of whole IPv4 packets, as the layer below received them, to the flows they belong to. It takes
// ownership of the batch. Packets that are for one flow and follow each other stay together; a batch that is all for one flow
// is handed on as it is.
func (l *PacketLink) Deliver(b *packet.Batch) {
	at := lookup{flows: *l.flows.Load()}
	var to *packetFlow // that run is for, nil for rest
	run := b.Bufs[:0]  // in the memory of what has been dealt with
	var t tally
	for _, p := range b.Bufs {
		reason := l.accept(p)
		if reason == packet.NotDropped {
			t.packets++
			t.octets += packet.IPv4(p.Bytes()).TotalLen()
		}
		if reason == packet.NotDropped && isFragment(packet.IPv4(p.Bytes())) && at.awaits(packet.IPv4(p.Bytes())) {
			p, reason = l.pieces.add(p)
		}
		var f *packetFlow
		if reason == packet.NotDropped {
			f, reason = l.classify(&at, p)
		}
		if reason != packet.NotDropped {
			l.drops.Count(reason, 1)
			if p != nil {
				p.Release()
			}
			continue
		}
		if f != to && len(run) > 0 {
			out := packet.GetBatch()
			out.Bufs = append(out.Bufs, run...)
			run = run[:0]
			l.hand(to, out)
		}
		to, run = f, append(run, p)
	}
	if m := l.meter.Load(); m != nil {
		m.received(t)
	}
	clear(b.Bufs[len(run):])
	b.Bufs = run
	if len(run) == 0 {
		b.Forget()
		return
	}
	l.hand(to, b)
}

// hand gives a batch to a flow, or to rest for nil.
func (l *PacketLink) hand(to *packetFlow, b *packet.Batch) {
	if to == nil {
		if rest := l.rest.Load(); rest != nil {
			(*rest)(b)
		} else {
			b.Drop(l.drops, packet.DropNoFlow)
		}
		return
	}
	to.deliver(b)
}

// lookup finds the flows of packets one after the other. Most are for the same one as the packet before.
type lookup struct {
	flows map[flowKey]*packetFlow
	key   flowKey // of the packet before; protocol 0, which no flow has, at first
	flow  *packetFlow
}

// find returns the flow with the key, nil for none.
func (at *lookup) find(key flowKey) *packetFlow {
	if key != at.key {
		at.key, at.flow = key, at.flows[key]
	}
	return at.flow
}

// awaits reports whether the fragment may belong to a packet for a flow. Other fragments go to rest as they are.
func (at *lookup) awaits(ip packet.IPv4) bool {
	remote, protocol := binary.BigEndian.Uint32(ip[12:]), ip.Protocol()
	for key := range at.flows {
		if key.protocol == protocol && key.remote == remote {
			return true
		}
	}
	return false
}

// isFragment reports whether ip is a part of a packet.
func isFragment(ip packet.IPv4) bool { return binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 }

// accept judges the IPv4 header, whose checksum nobody looks at again on the way up.
func (l *PacketLink) accept(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || !ip.ChecksumOK() {
		return packet.DropMalformed
	}
	if ip.Dst() != l.addr {
		return packet.DropNotHomeAddress
	}
	return packet.NotDropped
}

// classify finds the flow of an accepted packet and strips the flow's headers. A packet for rest is left whole.
func (l *PacketLink) classify(at *lookup, p *packet.Buf) (*packetFlow, packet.DropReason) {
	ip := packet.IPv4(p.Bytes())
	headers, n := ip.HeaderLen(), ip.TotalLen()
	var f *packetFlow
	var datagram packet.UDP // that has been summed
	switch {
	case isFragment(ip):
	case ip.Protocol() == packet.ProtocolUDP:
		udp := packet.UDP(ip[headers:n])
		if !udp.Valid() {
			return nil, packet.DropMalformed
		}
		f = at.find(flowKey{binary.BigEndian.Uint32(ip[12:]), binary.BigEndian.Uint32(udp), packet.ProtocolUDP})
		if f == nil {
			break
		}
		if f.sums(udp) {
			if !udp.ChecksumOK(ip.Src(), ip.Dst()) {
				return nil, packet.DropMalformed
			}
			datagram = udp
		}
		n = headers + udp.Length()
		headers += packet.UDPLen
	default:
		f = at.find(flowKey{remote: binary.BigEndian.Uint32(ip[12:]), protocol: ip.Protocol()})
	}
	p.Trim(n)
	if f == nil {
		if l.rest.Load() == nil {
			return nil, packet.DropNoFlow
		}
		return nil, packet.NotDropped
	}
	p.TOS, p.Peer = ip.TOS(), f.remote
	if ip.Protocol() == packet.ProtocolMinimal {
		packet.MinimalHeader(p, ip)
	}
	p.Pull(headers)
	if datagram != nil {
		p.SetSum(sumOfPayload(ip, datagram))
	}
	return f, packet.NotDropped
}

// sums reports whether the checksum of a datagram for the flow is to be verified: it has one, and nothing better is there.
//
// ESP in UDP is not summed, though RFC 1122 §4.1.3.4 has a datagram with a wrong checksum discarded: that keeps what was
// damaged on the way from the application, and here the ICV does so, for the same octets and better (RFC 4303 §3.4.4). What
// the checksum covers besides, addresses, ports and length, has been compared with the flow's and the packet's. Senders
// should leave it out altogether (RFC 3948 §2.1), and those that write it, as UDP_SEGMENT wants them to, spoil nothing if a
// NAT has not mended it well. IKE messages and keepalives on the same port are summed.
//
// What came out of ESP is summed like everything else: the ICV tells of the way from the gateway alone, the checksum of an
// i-MIP tunnel of the whole way from the home agent. The sum goes with the packet (Buf.Sum), so that the TCP checksum within is
// verified without another.
func (f *packetFlow) sums(udp packet.UDP) bool {
	return udp.Checksum() != 0 && !(f.unsummed && esp.Classify(udp.Payload()) == esp.KindESP)
}

// sumOfPayload returns the sum of a datagram's payload: together with its header and the pseudo header, whose sums are quickly
// had, a datagram with a right checksum sums to 0xffff (RFC 1071 §1).
func sumOfPayload(ip packet.IPv4, udp packet.UDP) uint16 {
	pseudo := packet.PartialSum(ip[12:20], packet.ProtocolUDP+uint32(udp.Length()))
	return ^uint16(packet.PartialSum(udp[:packet.UDPLen], pseudo))
}
