package e2e

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// xHAThroughNAT has what the x-HA forwards to the gateway go through a NAT, and what comes back. It returns the
// NAT's address outside.
func xHAThroughNAT(l *simnet.Lab) netip.Addr {
	wire := l.NewWire(simnet.WireConfig{Name: "operator", Impairment: simnet.Impairment{Latency: time.Millisecond}})
	own, nat, outside := netip.MustParsePrefix("172.29.0.2/24"), netip.MustParsePrefix("172.29.0.1/24"), netip.MustParsePrefix("192.0.2.80/24")
	l.ExternalHA.AddNIC(simnet.NICConfig{Name: "eth1", Address: own}).Attach(wire)
	l.ExternalHA.AddRoute(simnet.Route{Prefix: netip.PrefixFrom(simnet.LabGateway, 32), Via: nat.Addr()})
	h := natBetween(l, wire, nat, l.Internet, outside, netip.MustParseAddr("192.0.2.1"))
	h.AddRoute(simnet.Route{Prefix: simnet.LabExternalHomeNetwork, Via: own.Addr()})
	return outside.Addr()
}

// gatewayThroughNAT has what the gateway forwards to the i-HA go through a NAT, and what comes back. It returns the
// NAT's address outside.
func gatewayThroughNAT(l *simnet.Lab) netip.Addr {
	wire := l.NewWire(simnet.WireConfig{Name: "behind", Impairment: simnet.Impairment{Latency: time.Millisecond}})
	own, nat, outside := netip.MustParsePrefix("10.0.6.2/24"), netip.MustParsePrefix("10.0.6.1/24"), netip.MustParsePrefix("10.0.1.60/24")
	behind := l.Gateway.AddNIC(simnet.NICConfig{Name: "eth2", Address: own})
	behind.Attach(wire)
	l.Gateway.AddRoute(simnet.Route{Prefix: netip.PrefixFrom(simnet.LabInternalHA, 32), Via: nat.Addr()})
	l.Gateway.SetFirewall(simnet.Rule{ToHost: true, Verdict: simnet.Accept}, simnet.Rule{In: l.GatewayInner, Verdict: simnet.Accept},
		simnet.Rule{In: behind, Verdict: simnet.Accept}, simnet.Rule{FromDevice: true, Verdict: simnet.Accept})
	h := natBetween(l, wire, nat, l.Core, outside, netip.MustParseAddr("10.0.1.1"))
	h.AddRoute(simnet.Route{Prefix: simnet.LabInnerPool, Via: own.Addr()})
	return outside.Addr()
}

// natBetween makes a NAT between two wires.
func natBetween(l *simnet.Lab, lan *simnet.Wire, in netip.Prefix, wan *simnet.Wire, out netip.Prefix, router netip.Addr) *simnet.Host {
	h := l.NewHost(lan.Name() + "-nat")
	outside := h.AddNIC(simnet.NICConfig{Name: "wan0", Address: out, Gateway: router})
	outside.Attach(wan)
	h.AddNIC(simnet.NICConfig{Name: "lan0", Address: in}).Attach(lan)
	h.SetRouter(true)
	h.SetNAT(simnet.NATConfig{Outside: outside, Filtering: simnet.AddressAndPortDependent})
	return h
}

// NATs between the laptop and the x-HA (the café's), between x-HA and gateway and between gateway and i-HA, alone and together: the
// session works, survives twenty minutes of silence, after which the correspondent speaks first, and goes on in the office and back.
//
// Shows: GDL-7, MIP-8, IKE-6
func TestNATsEverywhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		nats []func(*simnet.Lab) netip.Addr
	}{
		{"x-HA to gateway", []func(*simnet.Lab) netip.Addr{xHAThroughNAT}},
		{"gateway to i-HA", []func(*simnet.Lab) netip.Addr{gatewayThroughNAT}},
		{"everywhere", []func(*simnet.Lab) netip.Addr{xHAThroughNAT, gatewayThroughNAT}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				passed := map[netip.Addr]*atomic.Int64{} // packets by the outside address of a NAT
				look := func(f simnet.Frame) {
					if ip := packet.IPv4(f.Packet); ip.Valid() {
						if n := passed[ip.Src()]; n != nil {
							n.Add(1)
						}
					}
				}
				w := world(t, Options{Seed: 902, Log: zap.NewNop(), Lab: func(l *simnet.Lab) {
					for _, f := range c.nats {
						passed[f(l)] = new(atomic.Int64)
					}
					l.Core.Tap(look)
					l.Internet.Tap(look)
				}})
				j := Watch(w.External()...)
				connected(t, w, cafePlace)
				s := converse(t, w)
				s.pass(t, s.near, s.far, 100_000)
				time.Sleep(20 * time.Minute)
				if took := s.pass(t, s.far, s.near, 1000); took > time.Second {
					t.Errorf("the correspondent was heard only after %v", took)
				}
				for _, at := range []place{officePlace, hotspotPlace} {
					carry(w, at.wire(w))
					reach(t, w, at.mode)
					s.pass(t, s.near, s.far, 20_000)
					s.pass(t, s.far, s.near, 20_000)
				}
				s.end(t)
				judge(t, j)
				for at, n := range passed {
					if n.Load() < 100 {
						t.Errorf("%d packets went through the NAT at %v", n.Load(), at)
					}
				}
			})
		})
	}
}
