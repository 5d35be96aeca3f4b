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
// Buf.SA saying through which SA. The others are released and counted in drops.
func (t *Table) Open(b *packet.Batch, drops *packet.Drops) {
	b.Keep(drops, func(p *packet.Buf) packet.DropReason {
		if p.Len() < headerLen {
			return packet.DropMalformed
		}
		in := t.Lookup(binary.BigEndian.Uint32(p.Bytes()))
		if in == nil {
			return packet.DropUnknownSPI
		}
		return in.Open(p)
	})
}
