package esp

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Several goroutines send and several receive each packet twice: no sequence number is used twice, no packet passes twice.
func TestManyGoroutinesOneSA(t *testing.T) {
	const senders, packets = 4, 500
	o, in := pair(t, suite.AESGCM128, true, nil)
	sealed := make([][][]byte, senders)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for range packets / 5 {
				b := packet.GetBatch()
				for range 5 {
					b.Append(ping(client, server, 32))
				}
				o.Apply(b)
				for i, p := range b.Bufs {
					if seq := binary.BigEndian.Uint32(p.Bytes()[4:]); i > 0 && seq != binary.BigEndian.Uint32(b.Bufs[i-1].Bytes()[4:])+1 {
						t.Errorf("sequence numbers of one batch are not consecutive")
					}
					sealed[s] = append(sealed[s], append([]byte(nil), p.Bytes()...))
				}
				b.Release()
			}
		})
	}
	wg.Wait()
	used := make(map[uint32]bool)
	for _, list := range sealed {
		for _, p := range list {
			seq := binary.BigEndian.Uint32(p[4:])
			if used[seq] {
				t.Fatalf("sequence number %d was used twice", seq)
			}
			used[seq] = true
		}
	}
	var passed atomic.Int64
	for s := range senders {
		for range 2 {
			wg.Go(func() {
				for _, raw := range sealed[s] {
					p := packet.From(raw)
					if r := in.Open(p); r == packet.NotDropped {
						passed.Add(1)
					} else if r != packet.DropReplayed {
						t.Errorf("dropped as %v", r)
					}
					p.Release()
				}
			})
		}
	}
	wg.Wait()
	if passed.Load() != senders*packets {
		t.Errorf("%d packets passed, want %d", passed.Load(), senders*packets)
	}
}
