//go:build linux

package underlay

import (
	"fmt"
	"net/netip"
	"testing"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Sending and receiving allocate nothing per packet.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random")
	}
	for _, spec := range []link.FlowSpec{{Protocol: packet.ProtocolUDP}, {Protocol: packet.ProtocolUDP, Signalling: link.SignallingMobileIP}, {Protocol: packet.ProtocolESP}} {
		p := newPair(t)
		got := make(chan int, 1000)
		count := func(b *packet.Batch) {
			n := b.Len()
			b.Release()
			got <- n
		}
		server := open(t, p.linkB, spec, count)
		class := link.Plaintext
		if spec.Signalling != link.SignallingNone {
			class = link.Protected // in which signalling is looked for
		}
		spec.Remote = server.Local()
		path := open(t, p.linkA, spec, count).Path(class)
		const packets = 64
		send := func() {
			b := packet.GetBatch()
			for range packets {
				q := packet.GetSmall()
				q.Extend(1400)[0] = 4
				q.TOS = 2
				b.Append(q)
			}
			if err := path.Send(b); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < packets; n += <-got {
			}
		}
		send()
		if n := testing.AllocsPerRun(100, send); n != 0 {
			t.Errorf("protocol %d, signalling %d: %v allocations for %d packets sent and received, want none", spec.Protocol, spec.Signalling, n, packets)
		}
	}
}

// BenchmarkFlow sends over a veth pair from one flow to another, batches of 128, and waits for each batch to arrive.
func BenchmarkFlow(b *testing.B) {
	for _, protocol := range []uint8{packet.ProtocolUDP, packet.ProtocolESP} {
		b.Run(fmt.Sprint("protocol ", protocol), func(b *testing.B) {
			p := newPair(b)
			got := make(chan int, 1<<16)
			server := open(b, p.linkB, link.FlowSpec{Protocol: protocol}, func(batch *packet.Batch) {
				n := batch.Len()
				batch.Release()
				got <- n
			})
			client := open(b, p.linkA, link.FlowSpec{Protocol: protocol, Remote: server.Local()}, func(batch *packet.Batch) { batch.Release() })
			path := client.Path(link.Protected)
			b.SetBytes(packet.BatchSize * 1400)
			b.ReportAllocs()
			for b.Loop() {
				batch := packet.GetBatch()
				for range packet.BatchSize {
					q := packet.GetSmall()
					q.Extend(1400)
					batch.Append(q)
				}
				if err := path.Send(batch); err != nil {
					b.Fatal(err)
				}
				for n := 0; n < packet.BatchSize; n += <-got {
				}
			}
		})
	}
}

// BenchmarkSignal sends one request and waits for its reply.
func BenchmarkSignal(b *testing.B) {
	p := newPair(b)
	got := make(chan struct{}, 1)
	var server link.Flow
	ready := make(chan struct{})
	server = open(b, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, func(batch *packet.Batch) {
		<-ready
		if err := server.Send(batch.Bufs[0].Peer, batch.Bufs[0].Bytes()); err != nil {
			b.Error(err)
		}
		batch.Release()
	})
	close(ready)
	client := open(b, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, func(batch *packet.Batch) {
		batch.Release()
		got <- struct{}{}
	})
	payload := make([]byte, 60)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Send(netip.AddrPort{}, payload); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}
