package link

import (
	"net/netip"

	"mipvpn/tun/packet"
)

// Class says what a packet is to the line that the kernel holds (DESIGN §2.4): each class has its own mark.
type Class uint8

const (
	// Protected packets are signalling (authenticated by its own protocol) or ESP. They may always leave.
	Protected Class = iota
	// Plaintext packets carry user data without ESP and leave only under a live proof of inside.
	Plaintext
)

// String returns "protected" or "plaintext".
func (c Class) String() string {
	if c == Plaintext {
		return "plaintext"
	}
	return "protected"
}

// Receiver takes a batch of what arrived on a flow: payloads behind the flow's own header, Buf.Peer being the remote
// endpoint. It takes ownership of the batch and must not block.
type Receiver func(*packet.Batch)

// FlowSpec names a flow to be opened.
type FlowSpec struct {
	// Protocol is packet.ProtocolUDP or the number of another IP protocol, whose payloads the flow then carries.
	Protocol uint8
	// Port is the local UDP port in host order, 0 for an ephemeral one. Other protocols have none.
	Port uint16
	// Remote is the endpoint that the flow goes to and alone receives from. Its port is 0 for protocols without ports. The
	// zero value makes an unconnected flow, which receives from anywhere and sends to each packet's Buf.Peer.
	Remote netip.AddrPort
	// TTL is the time to live of the IPv4 headers that the flow sends, 0 for the usual one. Requests to a foreign agent with
	// the T bit need 255 (RFC 3024 §3.2).
	TTL uint8
	// Unsummed has the data of a UDP flow (Path, not Send) leave with a checksum of zero, as ESP in UDP should (RFC 3948 §2.1).
	// It binds links that write the header themselves; these do not sum ESP that arrives on the flow either. The kernel's
	// sockets compute one all the same: without it they refuse to segment (UDP_SEGMENT), and a receiver must take either.
	Unsummed bool
	// Signalling says which of a UDP flow's payloads are signalling. It binds the underlay: such payloads do not wait behind
	// data, nor are they lost with it, in what is queued on this host. Where a flow carries both, its Receiver is called from two
	// goroutines, one for signalling and one for data; payloads of one kind stay in order.
	Signalling Signalling
}

// Flow is an open UDP or IP-protocol conversation of a link.
type Flow interface {
	// Local returns the flow's own address and port (0 without ports).
	Local() netip.AddrPort
	// Remote returns the remote endpoint, the zero value when unconnected.
	Remote() netip.AddrPort
	// Send sends one payload as Protected to the remote endpoint `to`, or to Remote when `to` is the zero value. It is for
	// signalling: it copies the payload and gets no answer whether it arrived. It may be fragmented on the way.
	Send(to netip.AddrPort, payload []byte) error
	// Path returns how payloads of this flow are sent as data of class c, as things stand now. A composition that changes
	// below makes a new Path; the old one goes on naming the old composition.
	Path(c Class) Path
	// Close ends the flow. The receiver is not called again once Close has returned, unless Close was called from it.
	Close() error
}

// Link has an address and an MTU and opens flows, of the IP version of its address: IPv4 everywhere but on an underlay.
type Link interface {
	// Addr returns the link's address; the zero Addr while it has none.
	Addr() netip.Addr
	// MTU returns the largest packet in octets, from its IP header on, that the link carries.
	MTU() int
	// Open opens a flow from the link's address. Errors: the port is taken, the protocol is not supported, the link is down.
	Open(spec FlowSpec, recv Receiver) (Flow, error)
}

// Step is one encapsulation step of a compiled path: it changes each packet of the batch in place (headers pushed,
// payload sealed) and removes those it must drop.
type Step interface {
	Apply(*packet.Batch)
}

// Sender is the end of a path: the underlay. It takes ownership of the batch. A packet with Buf.Whole leaves with DF in the
// header that the underlay writes and is not fragmented here either; others are, where the interface's MTU wants it. What
// ICMP messages say of the path changes neither. What it cannot send it drops and counts in the host's counters, and sends
// the rest; the error is that of the first such packet, and wraps ErrTooBig for one that is too long.
type Sender interface {
	Send(*packet.Batch) error
}

// Path is how packets get from one place in a composition to the wire: steps in the order they are applied, then a
// sender. Paths are values made for one composition and never changed.
type Path struct {
	Steps []Step
	Out   Sender
	// Overhead is the most octets that Steps and Out add to a packet, the outermost IP header included.
	Overhead int
	// MTU is the largest packet in octets that may enter Steps without being too large for the underlay.
	MTU int
	// Encrypted is set when one of the steps is ESP, so that the path carries nothing in the clear.
	Encrypted bool
}

// Over returns the path that applies step first and then p. overhead is the most octets that step adds.
func (p Path) Over(step Step, overhead int, encrypts bool) Path {
	steps := make([]Step, 0, 1+len(p.Steps))
	steps = append(append(steps, step), p.Steps...)
	return Path{Steps: steps, Out: p.Out, Overhead: p.Overhead + overhead, MTU: p.MTU - overhead, Encrypted: p.Encrypted || encrypts}
}

// Send applies the steps to the batch and hands it to the sender. It takes ownership.
func (p Path) Send(b *packet.Batch) error {
	for _, s := range p.Steps {
		s.Apply(b)
		if b.Len() == 0 {
			b.Release()
			return nil
		}
	}
	return p.Out.Send(b)
}
