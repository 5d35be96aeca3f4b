package esp

import (
	"encoding/binary"
	"sync"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// scratch is what sealing or opening a batch needs beside the packets. One is taken from the pool for each batch.
type scratch struct {
	cipher suite.Scratch
	aad    [12]byte // of SAs with extended sequence numbers, whose upper half is not in the packet

	// Of sealing: the next sequence number, how many are left of those reserved, what has been done, and the slab that views
	// are made of from the octet at on.
	seq, left               uint64
	sealed, dropped, octets int
	cutter                  packet.Cutter
	saved                   [packet.Tailroom]byte
	slab                    *packet.Slab
	at                      int

	// Of opening, for each packet of the run: its sequence number, and what becomes of it.
	seqs    [maxRun]uint64
	reasons [maxRun]packet.DropReason
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// release gives the scratch memory back to the pool, and the slab.
func (s *scratch) release() {
	if s.slab != nil {
		s.slab.Release()
		s.slab = nil
	}
	scratches.Put(s)
}

// aadOf returns the additional authenticated data of the ESP packet whole: its header, or with extended sequence numbers
// the SPI and the whole number (RFC 4106 §5).
func (s *scratch) aadOf(whole []byte, esn bool, spi uint32, seq uint64) []byte {
	if !esn {
		return whole[:headerLen]
	}
	putAAD(&s.aad, spi, seq)
	return s.aad[:]
}

// putAAD writes SPI and extended sequence number (RFC 4106 §5, Figure 4).
func putAAD(aad *[12]byte, spi uint32, seq uint64) {
	binary.BigEndian.PutUint32(aad[:], spi)
	binary.BigEndian.PutUint64(aad[4:], seq)
}
