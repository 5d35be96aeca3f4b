package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// watch counts what arrives at the laptop's interface by IPv4 protocol.
func (b *oneBox) watch() (count func(protocol uint8) int) {
	b.t.Helper()
	h, err := underlay.NewHost(underlay.Options{Namespace: b.laptop, Drops: new(packet.Drops)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = h.Close() })
	var mu sync.Mutex
	seen := make(map[uint8]int)
	f, err := h.OpenFrames(netnstest.Index(b.t, b.laptop, "eth0"), func(batch *packet.Batch) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range batch.Bufs {
			if ip := packet.IPv4(p.Bytes()); ip.Valid() {
				seen[ip.Protocol()]++
			}
		}
		batch.Release()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = f.Close() })
	return func(protocol uint8) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[protocol]
	}
}

// external returns the layer of x-MIP as the laptop describes it.
func (b *oneBox) external() control.Layer {
	b.t.Helper()
	s, err := b.client.Status(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	i := slices.IndexFunc(s.Layers, func(l control.Layer) bool { return l.Kind == "x-mip" })
	if i < 0 {
		return control.Layer{}
	}
	return s.Layers[i]
}

// Shows: MEC-D, MEC-OVH (switched addresses over real kernels: raw and UDP sockets at both ends, native ESP and ESP in UDP, all
// lengths and fragments; x-HA and gateway in one process hand over in memory, or by the kernel)
func TestZeroOverheadOnKernels(t *testing.T) {
	for _, natt := range []bool{false, true} {
		for _, inMemory := range []bool{true, false} {
			t.Run(fmt.Sprintf("ESP in UDP %t, in memory %t", natt, inMemory), func(t *testing.T) {
				b := newOneBoxOf(t, inMemory, switchingRoles)
				count := b.watch()
				b.connect("cvc", "eth0", func(c *config.Config) {
					c.Mechanisms = config.Mechanisms{EndpointUpdate: config.MechanismOff, GatewayAgent: config.MechanismOff,
						ZeroOverhead: config.MechanismAlways, Vendor: 32473}
					c.Gateway.ForceUDPEncapsulation = natt
				})
				b.traffic()
				if l := b.external(); l.Encapsulation != "switched" {
					t.Errorf("layer %+v", l)
				}
				s, err := b.client.Status(t.Context())
				want := 77
				if natt {
					want += 8
				}
				if err != nil || s.PathMTU == nil || s.PathMTU.Overhead != want {
					t.Errorf("path %+v, %v, want an overhead of %d", s.PathMTU, err, want)
				}
				if n := count(packet.ProtocolIPIP); n != 0 {
					t.Errorf("%d packets came in a tunnel", n)
				}
				if esp, udp := count(packet.ProtocolESP), count(packet.ProtocolUDP); !natt && esp < 1000 || natt && (esp != 0 || udp < 1000) {
					t.Errorf("%d packets of ESP and %d of UDP have come", esp, udp)
				}
				to, from := b.agents["home_agent.external"].(runningHomeAgent).SwitchedPackets()
				if to < 1000 || from < 1000 {
					t.Errorf("the x-HA has switched %d packets to the laptop and %d from it", to, from)
				}
			})
		}
	}
}

// The gateway and the x-HA want the same ports of the laptop's address: both ways are open at once, and the cheapest is used.
//
// Shows: MEC-D, MEC-C, MOD-vc (the ports of IKE shared between the VPN's bearer on the interface and switched packets)
func TestZeroOverheadBesideVC(t *testing.T) {
	b := newOneBoxOf(t, true, switchingRoles)
	b.connect("vc", "eth0", func(c *config.Config) {
		c.Mechanisms = config.Mechanisms{EndpointUpdate: config.MechanismAuto, GatewayAgent: config.MechanismOff, ZeroOverhead: config.MechanismAuto, Vendor: 32473}
	})
	b.traffic()
	if err := b.client.SetMode(t.Context(), "cvc"); err != nil {
		t.Fatal(err)
	}
	b.await("cvc")
	b.traffic()
	if l := b.external(); l.Encapsulation != "switched" || l.CareOf != netip.MustParseAddr("203.0.113.50") {
		t.Errorf("layer %+v", l)
	}
}
