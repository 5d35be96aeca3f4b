package recording

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/tun/packet"
)

// Packet is what a packet of the UDP stream is on the laptop's wire in the present way of travelling.
type Packet struct {
	Mode    string `json:"mode"`
	Network string `json:"network"`
	// Headers are what the layers put around the packet, Length is that of all of it in octets.
	Headers []overhead.Header `json:"headers"`
	Length  int               `json:"octets"`
	// Uncounted says why there are no headers, empty where there are.
	Uncounted string `json:"uncounted,omitempty"`
	// Frame is a packet of that length as it left the laptop, in hexadecimal from its outermost IPv4 header on; empty until one
	// has been seen.
	Frame string `json:"frame,omitempty"`
}

// enoughFrames is how many frames of the right length must be seen before one is shown: the stream sends a hundred a second.
const enoughFrames = 3

// look is one look at a wire.
type look struct {
	packet Packet
	own    []netip.Addr // the laptop's there
}

// newLook returns the look at what travels through the layers, and whether there is anything to be seen.
func newLook(mode, network string, layers []control.Layer, interfaces []control.Interface) look {
	l := look{packet: Packet{Mode: mode, Network: network}}
	var travel []overhead.Layer
	for _, layer := range layers {
		travel = append(travel, overhead.Layer{Kind: layer.Kind, Encapsulation: layer.Encapsulation})
		l.own = append(l.own, layer.Local)
	}
	for _, i := range interfaces {
		if i.InUse {
			l.own = append(l.own, i.Address.Addr())
		}
	}
	headers, err := overhead.Headers(travel, overhead.GCM, session.PacketLen)
	if err != nil {
		l.packet.Uncounted = err.Error()
		return l
	}
	l.packet.Headers, l.packet.Length = headers, session.PacketLen+overhead.Octets(headers)
	return l
}

// same reports whether two looks are for the same way of travelling.
func (l look) same(other look) bool {
	return l.packet.Mode == other.packet.Mode && l.packet.Network == other.packet.Network &&
		slices.Equal(l.packet.Headers, other.packet.Headers) && slices.Equal(l.own, other.own)
}

// sight waits for frames.
type sight struct {
	look
	enough chan struct{} // closed when enough have been seen

	mu   sync.Mutex
	seen int
	last []byte
}

// frame looks at an Ethernet frame, which is lent.
func (s *sight) frame(f []byte) {
	const header = 14 // Ethernet II
	if len(f) < header || binary.BigEndian.Uint16(f[12:]) != 0x0800 {
		return
	}
	p := packet.IPv4(f[header:])
	if !p.Valid() || p.TotalLen() != s.packet.Length || !slices.Contains(s.own, p.Src()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == enoughFrames {
		return
	}
	s.last = bytes.Clone(p[:p.TotalLen()])
	if s.seen++; s.seen == enoughFrames {
		close(s.enough)
	}
}

// shown returns the packet with the frame that has been seen.
func (s *sight) shown() Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packet
	p.Frame = hex.EncodeToString(s.last)
	return p
}
