package stack

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// composeSwitched puts a mode with x-MIP together whose x-HA switches addresses. UDP encapsulation is that of ESP alone.
func composeSwitched(t testing.TB, m Mode, natt bool, e suite.Encryption) *laptop {
	t.Helper()
	l := compose(t, composition{m, false}, e)
	s, err := l.nearest.(*CoLocated).Switch(l.external, far)
	check(t, err)
	l.external.SetSwitching(s)
	if natt {
		l.vpn.Use(l.associate(t, e), esp.Overhead(e), true)
	}
	carrier, err := l.through.Carrier(mobilenode.Tunnel{})
	check(t, err)
	l.pipeline, err = CompileProtected(m, carrier(link.Protected))
	check(t, err)
	l.engine.Swap(l.pipeline)
	return l
}

// The draft's table of overhead (§6.2) where x-MIP adds nothing: what is declared, and what the longest packet gets.
//
// Shows: MEC-D, MEC-OVH (cvc and cvf with switched addresses: 77 and 57 octets, 8 more where ESP is in UDP)
func TestOverheadSwitched(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		natt bool
		want int
	}{{ModeCVC, false, 77}, {ModeCVC, true, 85}, {ModeCVF, false, 57}, {ModeCVF, true, 65}} {
		for _, e := range suite.Encryptions() {
			want := c.want + esp.Overhead(e) - esp.Overhead(suite.AESGCM128)
			l := composeSwitched(t, c.mode, c.natt, e)
			if got := l.pipeline.Overhead(); got != want {
				t.Errorf("%v, ESP in UDP %t, %v: declared %d octets, want %d", c.mode, c.natt, e, got, want)
			}
			kernel := packet.IPv4Len
			if c.natt {
				kernel += packet.UDPLen
			}
			most := 0
			for size := 40; size < 40+16; size++ {
				before := l.wire.octets
				l.send(t, from(home.String(), size), 1)
				most = max(most, (l.wire.octets-before)/batchOf-size+kernel)
			}
			if most != want {
				t.Errorf("%v, ESP in UDP %t, %v: a packet got %d octets, want %d", c.mode, c.natt, e, most, want)
			}
			mtu := l.pipeline.MTU()
			before := l.wire.packets
			l.send(t, from(home.String(), mtu), 1)
			l.send(t, from(home.String(), mtu+1), 1)
			if l.wire.packets-before != batchOf || l.drops.Of(packet.DropTooBig) != batchOf {
				t.Errorf("%v, ESP in UDP %t, %v: the MTU of %d is not what fits; drops %v", c.mode, c.natt, e, mtu, l.drops.Snapshot())
			}
		}
	}
}

// What qualifies goes straight, with the payload that it would have had in its tunnel; everything else, and what does not fit,
// goes into the tunnel.
//
// Shows: MEC-D (the escape)
func TestWhatGoesStraight(t *testing.T) {
	var drops packet.Drops
	w := &wire{}
	m := &memory{wire: w, flows: map[uint8]*memoryFlow{}}
	home := NewPacketLink(near, &drops, nil)
	a, err := AttachCoLocated(m, near, externalAgent, &drops, func([]byte) {}, home.Deliver)
	check(t, err)
	defer a.Close()
	carrier, err := a.Carrier(mobilenode.Tunnel{Switched: far})
	check(t, err)
	home.SetCarrier(carrier)
	s, err := a.Switch(home, far)
	check(t, err)
	home.SetSwitching(s)
	open := func(spec link.FlowSpec) link.Flow {
		f, err := home.Open(spec, func(b *packet.Batch) { b.Release() })
		check(t, err)
		return f
	}
	other := netip.MustParseAddr("192.0.2.99")
	for name, c := range map[string]struct {
		spec     link.FlowSpec
		straight bool
	}{
		"ESP":              {link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(far, 0)}, true},
		"IKE":              {link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)}, true},
		"4500 from 50000":  {link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 50000, Remote: netip.AddrPortFrom(far, 4500)}, true},
		"another port":     {link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 501)}, false},
		"another address":  {link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(other, 0)}, false},
		"another protocol": {link.FlowSpec{Protocol: packet.ProtocolICMP, Remote: netip.AddrPortFrom(far, 0)}, false},
	} {
		f := open(c.spec)
		var seen []byte
		w.each = func(p []byte) { seen = bytes.Clone(p) }
		for _, n := range []int{100, memoryMTU} {
			payload := bytes.Repeat([]byte{7}, n)
			straight := c.straight && n == 100
			check(t, f.Path(link.Protected).Send(packet.One(packet.From(payload))))
			if bytes.Equal(seen, payload) != straight {
				t.Errorf("%s, %d octets: %x left", name, n, seen[:min(40, len(seen))])
			}
			if straight {
				continue
			}
			if ip := packet.IPv4(seen); !ip.Valid() || ip.Src() != near || ip.Dst() != c.spec.Remote.Addr() || ip.Protocol() != c.spec.Protocol {
				t.Errorf("%s, %d octets: %x in the tunnel", name, n, seen[:min(40, len(seen))])
			}
		}
		check(t, f.Close())
	}
	home.SetCarrier(carrier)
	if home.Switching() != nil {
		t.Error("another carrier is switched as well")
	}
}

// What comes back is the flow's as if it had come from the default destination.
func TestSwitchedPacketsArrive(t *testing.T) {
	l := composeSwitched(t, ModeCVC, false, suite.AESGCM128)
	written := 0
	l.device.each = func([]byte) { written++ }
	p := one(from(home.String(), 100))
	packet.IPv4(p.Bufs[0].Bytes()).Encode(packet.IPv4Fields{TTL: 60, Protocol: packet.ProtocolUDP, Src: correspondent, Dst: home}, 100)
	l.encapsulate(p.Bufs[0], internalAgent, inner, 0)
	l.toLaptop.Apply(p)
	l.memory.flows[packet.ProtocolESP].recv(p)
	if written != 1 {
		t.Errorf("%d packets arrived, want 1; drops %v", written, l.drops.Snapshot())
	}
}

// refusing is a link that opens no flows but that of registrations.
type refusing struct{ *memory }

var errTaken = errors.New("the port is taken")

func (r refusing) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	if spec.Remote.Port() != RegistrationPort {
		return nil, errTaken
	}
	return r.memory.Open(spec, recv)
}

// Where the flow is not to be had that switched packets would arrive on, addresses cannot be switched.
func TestSwitchingWithoutAFlow(t *testing.T) {
	var drops packet.Drops
	home := NewPacketLink(near, &drops, nil)
	if _, err := home.Open(link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(far, 0)}, func(b *packet.Batch) { b.Release() }); err != nil {
		t.Fatal(err)
	}
	a, err := AttachCoLocated(refusing{&memory{wire: &wire{}, flows: map[uint8]*memoryFlow{}}}, near, externalAgent, &drops, func([]byte) {}, home.Deliver)
	check(t, err)
	if _, err := a.Switch(home, far); !errors.Is(err, ErrNotSwitched) || !errors.Is(err, errTaken) {
		t.Errorf("%v", err)
	}
	check(t, a.Close())
}

func TestSwitchedPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations cannot be counted under the race detector")
	}
	l := composeSwitched(t, ModeCVC, false, suite.AESGCM128)
	p := from(home.String(), 1200)
	l.send(t, p, 10)
	if n := testing.AllocsPerRun(20, func() { l.send(t, p, 1) }); n > 20 {
		t.Errorf("%v allocations a batch of %d", n, batchOf)
	}
}
