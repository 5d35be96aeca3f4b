package esp

import "sync/atomic"

// Usage is what one half of a child SA has carried.
type Usage struct {
	// Packets and Bytes count inner packets and their octets: sealed, or authenticated.
	Packets, Bytes uint64
}

type counters struct{ packets, bytes atomic.Uint64 }

func (c *counters) add(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

func (c *counters) read() Usage { return Usage{Packets: c.packets.Load(), Bytes: c.bytes.Load()} }
