package stack

import (
	"net/netip"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Meter counts the IP packets of one layer's link as they are on the wire, superpackets as their segments: all that leaves from the
// link's address and arrives for it, signalling too. The zero value is ready. It is safe for concurrent use.
type Meter struct {
	txPackets, txOctets, rxPackets, rxOctets atomic.Uint64
}

// Traffic returns the counters. TxLong is not counted.
func (m *Meter) Traffic() Traffic {
	return Traffic{TxPackets: m.txPackets.Load(), TxBytes: m.txOctets.Load(), RxPackets: m.rxPackets.Load(), RxBytes: m.rxOctets.Load()}
}

// Stream counts octets of a TCP connection that goes by the layer's link: as octets alone, since the kernel makes the packets.
func (m *Meter) Stream(sent, received int) {
	m.txOctets.Add(uint64(sent))
	m.rxOctets.Add(uint64(received))
}

func (m *Meter) sent(t tally) {
	m.txPackets.Add(uint64(t.packets))
	m.txOctets.Add(uint64(t.octets))
}

func (m *Meter) received(t tally) {
	m.rxPackets.Add(uint64(t.packets))
	m.rxOctets.Add(uint64(t.octets))
}

// Apply implements link.Step: it counts whole packets on their way down.
func (m *Meter) Apply(b *packet.Batch) { m.sent(tallyOf(b, 0)) }

// tallyOf counts packets that have so many octets of headers in front each.
func tallyOf(b *packet.Batch, headers int) tally {
	var t tally
	for _, p := range b.Bufs {
		t.add(p)
	}
	t.octets += t.packets * headers
	return t
}

// message is the tally of one message with its headers.
func message(headers int, payload []byte) tally {
	return tally{packets: 1, octets: headers + len(payload)}
}

// Link returns an underlay's link with m counting what its flows send and receive. Headers below the IP header do not count.
func (m *Meter) Link(below link.Link) link.Link { return meteredLink{below, m} }

// meteredLink is a link whose flows are counted.
type meteredLink struct {
	link.Link
	meter *Meter
}

// Open implements link.Link.
func (l meteredLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	n, m := headersOf(spec.Protocol, l.Addr()), l.meter
	f, err := l.Link.Open(spec, func(b *packet.Batch) {
		m.received(tallyOf(b, n))
		recv(b)
	})
	if err != nil {
		return nil, err
	}
	return meteredFlow{f, m, n}, nil
}

// ipv6Len is the length of an IPv6 header in octets (RFC 8200 §3).
const ipv6Len = 40

// headersOf is what a flow's headers take in octets, of the IP version of its own address.
func headersOf(protocol uint8, local netip.Addr) int {
	n := packet.IPv4Len
	if local.Is6() {
		n = ipv6Len
	}
	if protocol == packet.ProtocolUDP {
		n += packet.UDPLen
	}
	return n
}

// meteredFlow is a flow whose packets are counted.
type meteredFlow struct {
	link.Flow
	meter   *Meter
	headers int
}

// Send implements link.Flow.
func (f meteredFlow) Send(to netip.AddrPort, payload []byte) error {
	err := f.Flow.Send(to, payload)
	if err == nil {
		f.meter.sent(message(f.headers, payload))
	}
	return err
}

// Path implements link.Flow.
func (f meteredFlow) Path(c link.Class) link.Path {
	p := f.Flow.Path(c)
	p.Out = &meteredSender{p.Out, f.meter, f.headers}
	return p
}

// meteredSender is the end of such a flow's path.
type meteredSender struct {
	out     link.Sender
	meter   *Meter
	headers int
}

// Send implements link.Sender.
func (s *meteredSender) Send(b *packet.Batch) error {
	t := tallyOf(b, s.headers)
	err := s.out.Send(b)
	if err == nil { // else the sender has dropped some, nobody knows which
		s.meter.sent(t)
	}
	return err
}

// Meter has m count the packets of the link, those that are switched among them (SetSwitching); nil ends that. Paths that were made
// before stay as they are.
func (l *PacketLink) Meter(m *Meter) { l.meter.Store(m) }

// metered has the link's meter count what enters a path of its whole packets.
func (l *PacketLink) metered(p link.Path) link.Path {
	if m := l.meter.Load(); m != nil {
		return p.Over(m, 0, false)
	}
	return p
}
