package packet

import "sync"

// BatchSize is the number of packets that readers gather in one Batch at most.
const BatchSize = 128

// Batch is a run of packets with one owner. Its order is the order on the wire.
type Batch struct {
	Bufs []*Buf
}

var batchPool = sync.Pool{New: func() any { return &Batch{Bufs: make([]*Buf, 0, BatchSize)} }}

// GetBatch returns an empty batch from the pool.
func GetBatch() *Batch { return batchPool.Get().(*Batch) }

// One returns a batch of the single packet b.
func One(b *Buf) *Batch {
	batch := GetBatch()
	batch.Append(b)
	return batch
}

// Append adds a packet; the batch owns it from then on.
func (b *Batch) Append(p *Buf) { b.Bufs = append(b.Bufs, p) }

// Len returns the number of packets.
func (b *Batch) Len() int { return len(b.Bufs) }

// Bytes returns the sum of the packets' lengths in octets.
func (b *Batch) Bytes() int {
	n := 0
	for _, p := range b.Bufs {
		n += p.Len()
	}
	return n
}

// Keep calls f for each packet in order. A packet for which f returns a reason other than NotDropped is released, and
// counted in drops (Segments) unless the reason is Delivered; the others stay, in order.
func (b *Batch) Keep(drops *Drops, f func(*Buf) DropReason) {
	kept := b.Bufs[:0]
	for _, p := range b.Bufs {
		if r := f(p); r != NotDropped {
			drops.Count(r, p.Segments())
			p.Release()
			continue
		}
		kept = append(kept, p)
	}
	clear(b.Bufs[len(kept):])
	b.Bufs = kept
}

// Drop releases the batch and all its packets and counts their Segments under r.
func (b *Batch) Drop(drops *Drops, r DropReason) {
	drops.Count(r, b.Segments())
	b.Release()
}

// Release releases the batch and all its packets.
func (b *Batch) Release() {
	for _, p := range b.Bufs {
		p.Release()
	}
	b.Forget()
}

// Forget gives the batch back without its packets, whose ownership has gone elsewhere.
func (b *Batch) Forget() {
	clear(b.Bufs)
	b.Bufs = b.Bufs[:0]
	batchPool.Put(b)
}
