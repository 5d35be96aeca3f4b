package simnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func interfaces(t *testing.T, h *Host) []link.Interface {
	t.Helper()
	all, err := h.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMoveGivesHintsAndSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		var seen []link.Interface
		stop, err := l.Laptop.Watch(func() { seen = append(seen, interfaces(t, l.Laptop)[1]) })
		if err != nil {
			t.Fatal(err)
		}
		settle := func() {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		l.Plug(l.Wlan0, l.Cafe)
		settle()
		l.Plug(l.Wlan0, l.Hotspot)
		settle()
		l.Unplug(l.Wlan0)
		settle()
		l.Plug(l.Wlan0, l.Cafe)
		settle()
		stop()
		l.Unplug(l.Wlan0)
		settle()

		base := link.Interface{Index: 2, Name: "wlan0", Hardware: l.Wlan0.Hardware(), MTU: 1500, Wireless: true}
		there := func(w *Wire, carrier uint32) link.Interface {
			i := base
			i.Up, i.BSSID, i.CarrierChanges = true, w.bssid, carrier
			return i
		}
		cafe := there(l.Cafe, 1)
		cafe.Address, cafe.Gateway = netip.MustParsePrefix("192.168.1.100/24"), netip.MustParseAddr("192.168.1.1")
		cafe.GatewayHardware = l.Cafe.holder(cafe.Gateway).hw
		gone, again := base, cafe
		gone.CarrierChanges, again.CarrierChanges = 4, 5
		// Moved to the hotspot without a snapshot in between, the carrier has gone and come.
		want := []link.Interface{there(l.Cafe, 1), cafe, there(l.Hotspot, 3), gone, there(l.Cafe, 5), again}
		if len(seen) != len(want) {
			t.Fatalf("%d hints, expected %d: %+v", len(seen), len(want), seen)
		}
		for i := range want {
			if seen[i] != want[i] {
				t.Errorf("hint %d: %+v, expected %+v", i, seen[i], want[i])
			}
		}
	})
}

func TestLeavingLosesFramesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{Impairment: Impairment{Latency: 10 * time.Millisecond}})
		defer p.Close()
		other := p.NewWire(WireConfig{Name: "other"})
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		_, got := collect(t, p.b, 0, addrB, udp(2000))
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "early")
		time.Sleep(20 * time.Millisecond)
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "lost")
		time.Sleep(5 * time.Millisecond)
		p.bn.Attach(other)
		time.Sleep(time.Second)
		if g := got(); len(g) != 1 || g[0].payload != "early" {
			t.Errorf("arrived %v, expected only the one that came before the move", g)
		}
	})
}

func TestAddressPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		defer n.Close()
		w := n.NewWire(WireConfig{Name: "w", Pool: &AddressPool{First: netip.MustParsePrefix("10.2.0.252/24"), Delay: time.Second}})
		h := n.NewHost("h")
		h.join(w, "static", "10.2.0.253/24", "")
		var got []netip.Prefix
		var last *NIC
		for _, name := range []string{"a", "b", "c"} {
			last = h.AddNIC(NICConfig{Name: name, Automatic: true})
			last.Attach(w)
			if last.Address().IsValid() {
				t.Error("the address is there before the delay")
			}
			time.Sleep(time.Second)
			synctest.Wait()
			got = append(got, last.Address())
		}
		want := []netip.Prefix{netip.MustParsePrefix("10.2.0.252/24"), netip.MustParsePrefix("10.2.0.254/24"), {}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("interface %d got %v, expected %v", i, got[i], want[i])
			}
		}
		h.nics[1].Detach()
		h.nics[1].Attach(w)
		time.Sleep(time.Second)
		synctest.Wait()
		if a := h.nics[1].Address(); a != want[0] {
			t.Errorf("the interface came back and got %v, expected %v", a, want[0])
		}
	})
}

// An interface without an address reaches a neighbour by frames, and the neighbour's kernel does not take what is
// shielded.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		l.Plug(l.Wlan0, l.Hotspot)
		var mobile, agent []*packet.Buf
		keep := func(to *[]*packet.Buf) link.Receiver {
			return func(b *packet.Batch) {
				*to = append(*to, b.Bufs...)
				b.Forget()
			}
		}
		m, err := l.Laptop.OpenFrames(l.Wlan0.Index(), keep(&mobile))
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.ExternalFA.OpenFrames(l.ExternalFAVisited.Index(), keep(&agent))
		if err != nil {
			t.Fatal(err)
		}
		send := func(f link.Frames, to packet.HardwareAddr, src, dst netip.Addr) {
			t.Helper()
			p := packet.From([]byte("\x08\x00\xf7\xff\x00\x00\x00\x00"))
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: src, Dst: dst})
			p.Hardware = to
			if err := f.Out(link.Protected).Send(packet.One(p)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		// To the group of all routers, with a home address as the source.
		send(m, packet.HardwareAddr{1, 0, 0x5e, 0, 0, 2}, LabExternalHomeAddress, netip.MustParseAddr("224.0.0.2"))
		if len(agent) != 1 || agent[0].Hardware != m.Hardware() || agent[0].Interface != l.ExternalFAVisited.Index() {
			t.Fatalf("the agent got %d packets", len(agent))
		}
		if ip := packet.IPv4(agent[0].Bytes()); ip.Src() != LabExternalHomeAddress || !ip.ChecksumOK() {
			t.Errorf("the agent got % x", agent[0].Bytes())
		}
		// To the mobile node alone.
		before := len(mobile)
		send(a, l.Wlan0.Hardware(), LabExternalFAVisited, LabExternalHomeAddress)
		if len(mobile) != before+1 || mobile[before].Hardware != a.Hardware() {
			t.Fatalf("the mobile node got %d packets, expected one more than %d", len(mobile), before)
		}
		// To a third station: not seen.
		send(a, packet.HardwareAddr{2, 9, 9, 9, 9, 9}, LabExternalFAVisited, LabExternalHomeAddress)
		if len(mobile) != before+1 {
			t.Error("the mobile node got a frame for another station")
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		send(a, l.Wlan0.Hardware(), LabExternalFAVisited, LabExternalHomeAddress)
		if len(mobile) != before+1 {
			t.Error("a frame was received after Close")
		}
	})
}
