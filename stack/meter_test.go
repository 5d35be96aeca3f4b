package stack

import (
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// TestMeters shows in every composition that each layer's link counts what is on the wire, superpackets as their segments, and what
// arrives.
func TestMeters(t *testing.T) {
	for _, c := range everyComposition() {
		layers := c.layers()
		l := compose(t, c, suite.AESGCM128)
		headers := packet.IPv4Len // which the wire in memory does not see
		switch {
		case layers.ForeignAgent:
			headers = 0
		case c.nat:
			headers += packet.UDPLen
		}
		b := packet.GetBatch()
		b.Append(packet.From(from(home.String(), 300)))
		b.Append(super(t, superTCP(3*1000-1, true), 1000))
		l.engine.send(b)
		user, m := l.engine.Traffic(), &l.meters
		under := m.underlay.Traffic()
		if user.TxPackets != 4 || int(under.TxPackets) != l.wire.packets || int(under.TxBytes) != l.wire.octets+l.wire.packets*headers {
			t.Errorf("%v: counted %+v for %d packets with %d octets and %d of headers each; user %+v", c, under, l.wire.packets, l.wire.octets, headers, user)
		}
		answer := from(home.String(), 400)
		packet.IPv4(answer).Encode(packet.IPv4Fields{TTL: 60, Protocol: packet.ProtocolUDP, Src: correspondent, Dst: home}, 400)
		sealed := l.sealed(answer, 3)
		size := 3 * (len(sealed[0]) + headers)
		l.arrive(sealed)
		if under = m.underlay.Traffic(); under.RxPackets != 3 || int(under.RxBytes) != size {
			t.Errorf("%v: counted %+v of 3 packets with %d octets that arrived", c, under, size)
		}
		inside, outside := m.vpn.Traffic(), m.external.Traffic()
		if !layers.VPN && (inside != Traffic{} || outside != Traffic{}) {
			t.Errorf("%v: packets of links that there are none of: %+v, %+v", c, inside, outside)
			continue
		}
		if !layers.VPN {
			continue
		}
		each := uint64(0) // octets that i-MIP adds
		switch {
		case layers.GatewayAgent:
		case c.nat:
			each = packet.IPv4Len + packet.UDPLen + 4
		default:
			each = packet.IPv4Len
		}
		if inside.TxPackets != 4 || inside.TxBytes != user.TxBytes+4*each || inside.RxPackets != 3 || inside.RxBytes != 3*(400+each) {
			t.Errorf("%v: inside ESP %+v; user %+v", c, inside, user)
		}
		if layers.ExternalMIP {
			tunnel := uint64(0) // octets that x-MIP adds
			switch {
			case layers.ForeignAgent:
			case c.nat:
				tunnel = packet.IPv4Len + packet.UDPLen + 4
			default:
				tunnel = packet.IPv4Len
			}
			if outside.TxPackets != 4 || outside.TxBytes != under.TxBytes-4*tunnel || outside.RxPackets != 3 || outside.RxBytes != under.RxBytes-3*tunnel {
				t.Errorf("%v: of the x-HoA %+v; underlay %+v", c, outside, under)
			}
		}
	}
}

// TestMetersCountWhatIsSwitched shows that packets with switched addresses are the x-HoA's, too.
func TestMetersCountWhatIsSwitched(t *testing.T) {
	l := composeSwitched(t, ModeCVC, false, suite.AESGCM128)
	l.send(t, from(home.String(), 100), 1)
	if under, outside := l.meters.underlay.Traffic(), l.meters.external.Traffic(); outside.TxPackets != batchOf || outside != under {
		t.Errorf("of the x-HoA %+v, underlay %+v", outside, under)
	}
	arrivals := uint64(0)
	for key := range *l.external.flows.Load() {
		if key.protocol == packet.ProtocolESP {
			l.external.deliverSwitched(key, netip.AddrPortFrom(far, 0), packet.One(packet.From(make([]byte, 100))))
			arrivals++
		}
	}
	l.external.deliverSwitched(flowKey{}, netip.AddrPortFrom(far, 0), packet.One(packet.From(make([]byte, 100)))) // of no flow
	if got := l.meters.external.Traffic(); arrivals == 0 || got.RxPackets != arrivals || got.RxBytes != arrivals*120 {
		t.Errorf("of the x-HoA %+v, expected %d packets of 120 octets that arrived", got, arrivals)
	}
}

// broken is a link whose flows send nothing.
type broken struct{ *memory }

func (b broken) Open(link.FlowSpec, link.Receiver) (link.Flow, error) { return brokenFlow{}, nil }

// Addr implements link.Link.
func (broken) Addr() netip.Addr { return netip.MustParseAddr("2001:db8::7") }

type brokenFlow struct{ link.Flow }

func (brokenFlow) Send(netip.AddrPort, []byte) error { return errTaken }

// TestMeterOfSignalling counts messages, but for those that were not sent, and streams.
func TestMeterOfSignalling(t *testing.T) {
	var m Meter
	f, err := m.Link(broken{}).Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, nil)
	check(t, err)
	if err := f.Send(netip.AddrPort{}, make([]byte, 100)); err != errTaken || m.Traffic() != (Traffic{}) {
		t.Errorf("%v, counted %+v", err, m.Traffic())
	}
	if n := headersOf(packet.ProtocolUDP, broken{}.Addr()); n != 48 {
		t.Errorf("UDP over IPv6 has %d octets of headers, want 48", n)
	}
	m.Stream(10, 20)
	if got := m.Traffic(); got != (Traffic{TxBytes: 10, RxBytes: 20}) {
		t.Errorf("counted %+v", got)
	}
	_, err = m.Link(refusing{&memory{}}).Open(link.FlowSpec{Protocol: packet.ProtocolESP}, nil)
	if err != errTaken {
		t.Errorf("%v", err)
	}
}
