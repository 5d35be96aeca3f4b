package simnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestLabReachability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		reach := func(to netip.Addr, want bool) {
			t.Helper()
			_, err := l.Laptop.Ping(to, 56, time.Second)
			if (err == nil) != want {
				t.Errorf("ping %v: error %v, reachable should be %v", to, err, want)
			}
		}
		reach(LabInternalHA, false)
		l.Plug(l.Eth0, l.Office)
		time.Sleep(50 * time.Millisecond)
		if got := l.Eth0.Address(); got != netip.MustParsePrefix("10.0.2.100/24") {
			t.Fatalf("address in the office: %v", got)
		}
		for _, a := range []netip.Addr{LabInternalHA, LabCorrespondent, LabInternalFA, LabExternalHA, LabGateway} {
			reach(a, true)
		}
		l.Unplug(l.Eth0)
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(50 * time.Millisecond)
		outside := func() {
			t.Helper()
			for _, a := range []netip.Addr{LabExternalHA, LabGateway, LabExternalFA} {
				reach(a, true)
			}
			for _, a := range []netip.Addr{LabInternalHA, LabCorrespondent, LabInternalFA, LabGatewayInner} {
				reach(a, false)
			}
		}
		outside()
		l.Plug(l.Wlan0, l.Campus)
		time.Sleep(50 * time.Millisecond)
		outside()
		l.Plug(l.Wlan0, l.Hotspot)
		time.Sleep(50 * time.Millisecond)
		if got := l.Wlan0.Address(); got.IsValid() {
			t.Errorf("the hotspot gave the address %v", got)
		}
		reach(LabExternalHA, false)
	})
}

// TestLabRerouted shows that the office loses the inside and keeps the Internet, that its foreign agent loses all, and that
// both get it back.
func TestLabRerouted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		l.Plug(l.Eth0, l.Office)
		time.Sleep(50 * time.Millisecond)
		for _, inside := range []bool{true, false, true} {
			l.RouteOffice(inside)
			l.CutOfficeFA(!inside)
			if _, err := l.Laptop.Ping(LabInternalHA, 56, time.Second); (err == nil) != inside {
				t.Errorf("inside %v: ping of the i-HA: %v", inside, err)
			}
			if _, err := l.Laptop.Ping(LabExternalHA, 56, time.Second); err != nil {
				t.Errorf("inside %v: ping of the x-HA: %v", inside, err)
			}
			if _, err := l.InternalFA.Ping(LabInternalHA, 56, time.Second); (err == nil) != inside {
				t.Errorf("inside %v: ping of the i-HA from the foreign agent: %v", inside, err)
			}
		}
	})
}
