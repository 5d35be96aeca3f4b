package agent

import (
	"net/netip"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// The work of a home agent for a batch toward the mobile node, without table and sockets: what encapsulation costs.
func BenchmarkEncapsulate(b *testing.B) {
	for _, e := range []tunnel.Encapsulation{tunnel.IPIP, tunnel.UDP} {
		b.Run(e.String(), func(b *testing.B) {
			step := tunnel.Encapsulator{Encapsulation: e}
			batch := packets(64, simnet.LabCorrespondent, simnet.LabHomeAddress)
			defer batch.Release()
			b.SetBytes(int64(batch.Bytes()))
			b.ReportAllocs()
			for b.Loop() {
				step.Apply(batch)
				for _, p := range batch.Bufs {
					p.Pull(e.Overhead())
				}
			}
		})
	}
}

// What the checks on a batch that comes out of the tunnel cost, lookups included.
func BenchmarkOpen(b *testing.B) {
	batch := packets(64, simnet.LabHomeAddress, simnet.LabCorrespondent)
	defer batch.Release()
	policy := newPolicy([]netip.Addr{simnet.LabGateway})
	b.SetBytes(int64(batch.Bytes()))
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range batch.Bufs {
			if tunnel.Open(p, tunnel.IPIP) != packet.NotDropped || policy.allows(packet.IPv4(p.Bytes()), simnet.LabCorrespondent, 2) {
				b.Fatal("unexpected")
			}
		}
	}
}
