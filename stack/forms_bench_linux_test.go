package stack

import (
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// How fast each form of tunnel is between two namespaces: superpackets of TCP enter at one end, and what has come out at the other is
// counted. This is what mobilenode's order of preference rests on (docs/benchmarks.md).
func BenchmarkForms(b *testing.B) {
	for _, e := range []tunnel.Encapsulator{
		{Encapsulation: tunnel.UDP}, {Encapsulation: tunnel.IPIP}, {Encapsulation: tunnel.Minimal}, {Encapsulation: tunnel.GRE},
		{Encapsulation: tunnel.GRE, GRE: tunnel.GREOptions{Keyed: true, Checksum: true}},
	} {
		name := e.Encapsulation.String()
		if e.GRE.Checksum {
			name += ", key and checksum"
		}
		b.Run(name, func(b *testing.B) { benchmarkForm(b, e) })
	}
}

func benchmarkForm(b *testing.B, e tunnel.Encapsulator) {
	near, far := netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("10.9.0.2/24")
	nsNear, nsFar := netnstest.New(b), netnstest.New(b)
	netnstest.Wire(b, nsNear, "eth0", near, nsFar, "eth0", far)
	var octets atomic.Int64
	open := func(ns *os.File, addr, to netip.Addr, recv link.Receiver) link.Flow {
		h, err := underlay.NewHost(underlay.Options{Namespace: ns})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { h.Close() })
		l, err := h.Underlay(netnstest.Index(b, ns, "eth0"), addr)
		if err != nil {
			b.Fatal(err)
		}
		spec := link.FlowSpec{Protocol: e.Encapsulation.Protocol(), Remote: netip.AddrPortFrom(to, 0)}
		if e.Encapsulation == tunnel.UDP {
			spec.Port, spec.Remote = RegistrationPort, netip.AddrPortFrom(to, RegistrationPort)
		}
		f, err := l.Open(spec, recv)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		return f
	}
	open(nsFar, far.Addr(), near.Addr(), func(batch *packet.Batch) {
		batch.Keep(nil, func(p *packet.Buf) packet.DropReason {
			if r := e.GRE.Open(p, e.Encapsulation); r != packet.NotDropped {
				return r
			}
			octets.Add(int64(p.Len()))
			return packet.NotDropped
		})
		batch.Release()
	})
	path := open(nsNear, near.Addr(), far.Addr(), (*packet.Batch).Release).Path(link.Protected).Over(e, e.Overhead(), false)
	data := make([]byte, 40*1400)
	start := time.Now()
	for b.Loop() {
		p := packet.From(data)
		h := p.Push(20)
		clear(h)
		h[12], h[13] = 5<<4, 0x10
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolTCP, Src: home, Dst: correspondent})
		if err := p.MakeSuper(1400); err != nil {
			b.Fatal(err)
		}
		if err := path.Send(packet.One(p)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(data)))
	b.ReportMetric(float64(octets.Load())*8/time.Since(start).Seconds()/1e9, "Gbit/s-arrived")
}
