package stack

import (
	"net/netip"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/gate"
	"mipvpn/stack/gate/gatetest"
	"mipvpn/tun/packet"
)

// Shows: MIP-11, DET-4 (broadcasts and groups of the home network pass the gate and the mark of ESP as what is for the home address does, and
// only when they were asked for)
func TestEngineListens(t *testing.T) {
	var drops packet.Drops
	d, now := &device{}, &clock{boot: memoryStart}
	e := newEngine(d, now, &drops)
	g := gate.New(now, gatetest.NoKernel{})
	plaintext := e.PlaintextInbound(g, memoryInterface, memoryEpoch)
	all, agent := "255.255.255.255", netip.MustParseAddr("10.0.1.10")
	nested := func() *packet.Batch {
		b := one(toHome(all, 100))
		tunnel.Nest(b.Bufs[0], agent, home)
		return b
	}
	written := func(what string, want int) {
		t.Helper()
		if len(d.written) != want {
			t.Errorf("%s: %d packets reached the host, want %d; drops %v", what, len(d.written), want, drops.Snapshot())
		}
		for _, p := range d.written {
			if dst := packet.IPv4(p).Dst(); dst.String() != all {
				t.Errorf("%s: a packet for %v", what, dst)
			}
		}
		d.written = nil
	}
	e.Inbound()(authentic(toHome(all, 100)))
	written("not asked for", 0)
	e.Listen(&tunnel.Listener{Agent: agent, Home: home, Groups: []netip.Prefix{netip.MustParsePrefix("239.192.0.0/14")}})
	group := func() *packet.Batch { return one(toHome("239.192.1.1", 100)) }
	plaintext(group())
	plaintext(one(toHome(all, 100)))
	plaintext(nested())
	written("the gate is closed", 0)
	e.Inbound()(one(toHome(all, 100)))
	e.Inbound()(nested())
	e.Inbound()(group())
	written("without the mark of ESP", 0)
	e.Inbound()(authentic(toHome(all, 100)))
	marked := nested()
	marked.Bufs[0].SA = 4711
	e.Inbound()(marked)
	written("through the VPN", 2)
	check(t, g.Open(gatetest.Proof(t, memoryInterface, memoryEpoch, memoryStart)))
	plaintext(one(toHome(all, 100)))
	plaintext(nested())
	plaintext(one(toHome("10.0.8.101", 100)))
	plaintext(one(toHome("239.1.2.3", 100)))
	written("the gate is open", 2)
	plaintext(group())
	if len(d.written) != 1 || packet.IPv4(d.written[0]).Dst().String() != "239.192.1.1" {
		t.Errorf("%d packets for a group reached the host, want 1", len(d.written))
	}
	d.written = nil
	e.Listen(nil)
	plaintext(one(toHome(all, 100)))
	written("not asked for any more", 0)
}
