//go:build linux

package underlay

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// A gateway that nothing has been sent to yet is known afterwards, so that the first packet to it waits for no ARP.
//
// Shows: MOD-prefer (the second-best interface is kept warm)
func TestNeighbourIsResolved(t *testing.T) {
	near, far := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, near, "eth0", netip.MustParsePrefix("192.0.2.1/24"), far, "eth0", netip.MustParsePrefix("192.0.2.2/24"))
	h, err := NewHost(Options{Namespace: near})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	gateway := netip.MustParseAddr("192.0.2.2")
	netnstest.Inside(t, near, func() error { return netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), gateway) })
	list, err := h.Interfaces()
	if err != nil || len(list) != 1 || list[0].Gateway != gateway {
		t.Fatalf("%+v, %v", list, err)
	}
	if !list[0].GatewayHardware.IsZero() {
		t.Fatal("the gateway is known already")
	}
	known := make(chan link.Interface, 100)
	stop, err := h.Watch(func() {
		if list, err := h.Interfaces(); err == nil && len(list) == 1 && !list[0].GatewayHardware.IsZero() {
			select {
			case known <- list[0]:
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := h.ResolveNeighbour(list[0].Index, gateway); err != nil {
		t.Fatal(err)
	}
	select {
	case <-known:
	case <-time.After(30 * time.Second):
		t.Fatal("the gateway's link-layer address is not learnt")
	}
	if err := h.ResolveNeighbour(9999, gateway); err == nil {
		t.Error("an interface that does not exist is no error")
	}
}
