package esp

import (
	"encoding/binary"
	"maps"
	"sync"
	"sync/atomic"

	"mipvpn/tun/packet"
)

// Table finds the Inbound of an SPI. It does not know which path a packet came by, so late packets on an old path are
// opened as long as their SA lives. The zero value is an empty table. Looking up takes no lock.
type Table struct {
	mu  sync.Mutex // held by those who change it
	sas atomic.Pointer[map[uint32]*Inbound]
}

// Lookup returns the SA with the SPI, or nil.
func (t *Table) Lookup(spi uint32) *Inbound {
	if m := t.sas.Load(); m != nil {
		return (*m)[spi]
	}
	return nil
}

// Add puts the SA into the table. It reports false, changing nothing, when another one has its SPI.
func (t *Table) Add(in *Inbound) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.clone()
	if _, taken := m[in.spi]; taken {
		return false
	}
	m[in.spi] = in
	t.sas.Store(&m)
	return true
}

// Remove takes the SA with the SPI out of the table and returns it, or nil when there is none.
func (t *Table) Remove(spi uint32) *Inbound {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.clone()
	in := m[spi]
	delete(m, spi)
	t.sas.Store(&m)
	return in
}

// Len returns the number of SAs.
func (t *Table) Len() int {
	if m := t.sas.Load(); m != nil {
		return len(*m)
	}
	return 0
}

func (t *Table) clone() map[uint32]*Inbound {
	if m := t.sas.Load(); m != nil {
		return maps.Clone(*m)
	}
	return make(map[uint32]*Inbound)
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
