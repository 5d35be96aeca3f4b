package esp

import (
	"encoding/binary"
	"sync"

	"mipvpn/tun/packet"
)

// Table finds the Inbound of an SPI. It does not know which path a packet came by, so late packets on an old path are
// opened as long as their SA lives. The zero value is an empty table.
type Table struct {
	mu  sync.RWMutex
	sas map[uint32]*Inbound
}

// Lookup returns the SA with the SPI, or nil.
func (t *Table) Lookup(spi uint32) *Inbound {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sas[spi]
}

// Add puts the SA into the table. It reports false, changing nothing, when another one has its SPI.
func (t *Table) Add(in *Inbound) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.sas[in.spi]; taken {
		return false
	}
	if t.sas == nil {
		t.sas = make(map[uint32]*Inbound)
	}
	t.sas[in.spi] = in
	return true
}

// Remove takes the SA with the SPI out of the table and returns it, or nil when there is none.
func (t *Table) Remove(spi uint32) *Inbound {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.sas[spi]
	delete(t.sas, spi)
	return in
}

// Len returns the number of SAs.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.sas)
}

// Open opens the ESP packets of the batch, each by the SA of its SPI, and keeps those that come out, in order, with
// Buf.SA saying through which SA. The others are released and counted in drops. Runs of packets of one SA are opened
// together; what comes out is what Inbound.Open would make of each.
func (t *Table) Open(b *packet.Batch, drops *packet.Drops) {
	s := scratches.Get().(*scratch)
	defer s.release()
	kept, rest := b.Bufs[:0], b.Bufs
	for len(rest) > 0 {
		n := t.openRun(s, rest)
		for i, p := range rest[:n] {
			if r := s.reasons[i]; r != packet.NotDropped {
				drops.Count(r, 1)
				p.Release()
				continue
			}
			kept = append(kept, p)
		}
		rest = rest[n:]
	}
	clear(b.Bufs[len(kept):])
	b.Bufs = kept
}

// openRun opens packets from the front of list that have one SPI, leaves in s.reasons what becomes of each, and returns how
// many those are.
func (t *Table) openRun(s *scratch, list []*packet.Buf) int {
	if list[0].Len() < headerLen {
		s.reasons[0] = packet.DropMalformed
		return 1
	}
	spi := binary.BigEndian.Uint32(list[0].Bytes())
	n := 1
	for n < min(len(list), maxRun) && list[n].Len() >= headerLen && binary.BigEndian.Uint32(list[n].Bytes()) == spi {
		n++
	}
	if in := t.Lookup(spi); in != nil {
		return in.open(s, list[:n])
	}
	for i := range n {
		s.reasons[i] = packet.DropUnknownSPI
	}
	return n
}
