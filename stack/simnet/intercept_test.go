package simnet

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// payloadOf returns the payload of the UDP packet in a frame.
func payloadOf(f Frame) string { return string(packet.UDP(packet.IPv4(f.Packet).Payload()).Payload()) }

func TestIntercept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{Impairment: Impairment{Latency: time.Millisecond}})
		defer p.Close()
		other := p.NewWire(WireConfig{Name: "other"})
		c := p.NewHost("c")
		c.join(other, "eth0", "10.1.0.2/24", "")
		_, atB := collect(t, p.b, 1, addrB, udp(7))
		_, atC := collect(t, c, 1, addrB, udp(7))
		var seen []Frame
		defer p.TapAll(func(f Frame) { seen = append(seen, f) })()
		stop := p.wire.Intercept(func(f Frame) []Relay {
			pass := f.Relay()
			switch payloadOf(f) {
			case "lose":
				return nil
			case "late":
				pass.Delay = time.Second
			case "twice":
				return []Relay{pass, pass}
			case "away":
				return []Relay{{On: other, Source: f.Source, Destination: c.nics[0].hw, Packet: f.Packet, Delay: time.Second}}
			case "change":
				pass.Packet = slices.Clone(pass.Packet)
				packet.IPv4(pass.Packet).SetTOS(0xb8)
			}
			return []Relay{pass}
		})
		// The second one sees what the first one leaves.
		defer p.wire.Intercept(func(f Frame) []Relay {
			r := f.Relay()
			if payloadOf(f) == "late" {
				r.Delay = time.Second
			}
			return []Relay{r}
		})()
		from, _ := collect(t, p.a, 1, addrA, udp(8))
		to := netip.AddrPortFrom(addrB, 7)
		for _, s := range []string{"lose", "late", "twice", "away", "change", "plain"} {
			mustSend(t, from, to, s)
		}
		time.Sleep(5 * time.Second)
		var got []string
		var late time.Duration
		for _, a := range atB() {
			got = append(got, a.payload)
			if a.payload == "late" {
				late = a.at
			}
		}
		if want := []string{"twice", "twice", "change", "plain", "late"}; !slices.Equal(got, want) {
			t.Errorf("b got %q, want %q", got, want)
		}
		if late != 2*time.Second+time.Millisecond {
			t.Errorf("the delayed packet came after %v", late)
		}
		if a := atC(); len(a) != 1 || a[0].payload != "away" {
			t.Errorf("c got %v, want what was taken to its wire", a)
		}
		var put int
		for _, f := range seen {
			if f.Sender == Interceptors {
				put++
			}
		}
		// The six as sent, the changed one and the one on the other wire once more.
		if len(seen) != 8 || put != 2 {
			t.Errorf("taps saw %d frames, %d of them of the interceptor; want 8 and 2", len(seen), put)
		}
		stop()
		mustSend(t, from, to, "lose")
		time.Sleep(time.Second)
		if a := atB(); len(a) != 6 || a[5].payload != "lose" {
			t.Errorf("after its end the interceptor still takes frames: %v", a)
		}
	})
}

func TestSpoof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		p.an.SetAddress(netip.MustParsePrefix("10.1.0.1/24"), addrB)
		c := p.NewHost("c")
		cn := c.join(p.wire, "eth0", "10.1.0.3/24", "")
		hints := make(chan struct{}, 10)
		stop, err := p.a.Watch(func() { hints <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		_, atB := collect(t, p.b, 1, addrB, udp(7))
		from, _ := collect(t, p.a, 1, addrA, udp(8))
		var dst []packet.HardwareAddr
		defer p.wire.Tap(func(f Frame) { dst = append(dst, f.Destination) })()
		router := func() packet.HardwareAddr { return interfaces(t, p.a)[0].GatewayHardware }
		for _, step := range []struct {
			by   *NIC
			want packet.HardwareAddr
		}{{nil, p.bn.hw}, {cn, cn.hw}, {nil, p.bn.hw}} {
			before := len(hints)
			changed := router() != step.want
			p.wire.Spoof(addrB, step.by)
			mustSend(t, from, netip.AddrPortFrom(addrB, 7), "x")
			time.Sleep(time.Millisecond)
			if got := router(); got != step.want || dst[len(dst)-1] != step.want {
				t.Errorf("router %v, frame to %v, want %v", got, dst[len(dst)-1], step.want)
			}
			if hinted := len(hints) > before; hinted != changed {
				t.Errorf("router changed: %v, hint: %v", changed, hinted)
			}
		}
		if n := len(atB()); n != 2 {
			t.Errorf("b got %d of the 2 packets that were for it", n)
		}
	})
}

func TestRenewedLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		defer n.Close()
		pool := func(first, router string) *AddressPool {
			return &AddressPool{First: netip.MustParsePrefix(first), Gateway: netip.MustParseAddr(router)}
		}
		w := n.NewWire(WireConfig{Name: "wire", Pool: pool("10.1.0.10/24", "10.1.0.1")})
		c := n.NewHost("a").AddNIC(NICConfig{Name: "eth0", Automatic: true})
		c.RenewLease() // not attached: nothing to ask
		c.Attach(w)
		want := func(addr string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := c.Address().String(); got != addr {
				t.Errorf("address %v, want %v", got, addr)
			}
		}
		want("10.1.0.10/24")
		w.SetPool(pool("10.2.0.10/16", "10.2.0.1"))
		want("10.1.0.10/24")
		c.RenewLease()
		want("10.2.0.10/16")
		w.SetPool(nil)
		c.RenewLease()
		want("10.2.0.10/16")
	})
}

func TestSendPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		_, atB := collect(t, p.b, 1, addrB, link.FlowSpec{Protocol: 99})
		pkt := p.a.build(packet.IPv4Fields{Protocol: 99, Src: addrA, Dst: addrB}, []byte("raw"))
		if err := p.a.SendPacket(pkt); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if got := atB(); len(got) != 1 || got[0].payload != "raw" {
			t.Errorf("b got %v", got)
		}
		d, err := p.a.OpenDevice("tun0", 1400)
		if err != nil {
			t.Fatal(err)
		}
		six := make([]byte, 40)
		six[0] = 0x60
		if err := p.a.SendPacket(six); err != nil {
			t.Fatal(err)
		}
		b := packet.GetBatch()
		defer b.Release()
		if err := d.Read(b); err != nil || b.Len() != 1 || b.Bufs[0].Len() != 40 {
			t.Errorf("the device has %d packets, %v; want the IPv6 packet", b.Len(), err)
		}
		far := p.a.build(packet.IPv4Fields{Protocol: 99, Src: addrA, Dst: netip.MustParseAddr("10.9.0.1")}, nil)
		if err := p.a.SendPacket(far); !errors.Is(err, ErrNoRoute) {
			t.Errorf("got %v, want %v", err, ErrNoRoute)
		}
	})
}
