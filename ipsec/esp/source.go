package esp

import "net/netip"

// Source is where the newest packet of a child SA has come from: the one with the highest sequence number of all that were
// authentic. Only Inbound makes one, so that whoever follows a peer by it (RFC 7296 §2.23) follows neither replayed packets
// nor old ones that come late. The zero Source is that of no packet.
type Source struct {
	spi      uint32
	sequence uint64
	from     netip.AddrPort
}

// SPI returns the SPI of the SA that received the packet, in host order.
func (s Source) SPI() uint32 { return s.spi }

// Sequence returns the packet's sequence number, with ESN the 64-bit one.
func (s Source) Sequence() uint64 { return s.sequence }

// From returns the outer source of the packet: its Buf.Peer, with the port of ESP in UDP.
func (s Source) From() netip.AddrPort { return s.from }

// Source returns where the newest packet has come from.
func (in *Inbound) Source() Source {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.window.top == 0 {
		return Source{}
	}
	return Source{spi: in.spi, sequence: in.window.top, from: in.newest}
}
