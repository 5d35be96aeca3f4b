package topology

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// newLab returns a standing lab, or skips the test where none may be made.
func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New(Options{})
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			t.Skipf("needs root: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// listenUDP opens a UDP socket in a box.
func listenUDP(t *testing.T, l *Lab, box, addr string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := l.Box(box).Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	if err != nil {
		t.Fatalf("listening at %s in %s: %v", addr, box, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// heard sends a datagram from one socket to an address and returns the source that the other socket saw, or false when
// it saw nothing within the time.
func heard(t *testing.T, from *net.UDPConn, to string, at *net.UDPConn, within time.Duration) (netip.AddrPort, bool) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(to)); err != nil {
		return netip.AddrPort{}, false // no route is as good as no arrival
	}
	if err := at.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	_, src, err := at.ReadFromUDPAddrPort(make([]byte, 16))
	return src, err == nil
}

// TestOffice shows the inside: the laptop gets an address by DHCP and reaches the correspondent and the demilitarised
// zone, untranslated.
func TestOffice(t *testing.T) {
	l := newLab(t)
	if err := l.Plug("eth0", Office); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	addr, err := l.AwaitAddress(ctx, "eth0", netip.MustParsePrefix("10.0.2.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	mine := listenUDP(t, l, Laptop, "0.0.0.0:5000")
	for _, c := range []struct{ box, addr string }{{Correspondent, "10.0.1.20:6000"}, {InternalHA, "10.0.1.10:6000"}, {ExternalHA, "192.0.2.20:6000"}} {
		at := listenUDP(t, l, c.box, c.addr)
		src, ok := heard(t, mine, c.addr, at, 10*time.Second)
		if want := netip.AddrPortFrom(addr.Addr(), 5000); !ok || src != want {
			t.Errorf("%s heard the laptop from %v (%v), want %v", c.box, src, ok, want)
		}
		if _, ok := heard(t, at, src.String(), mine, 10*time.Second); !ok {
			t.Errorf("the laptop did not hear the answer of %s", c.box)
		}
	}
}

// TestCafe shows the outside: the café translates the laptop's address, and the firewall hides the inside from it.
func TestCafe(t *testing.T) {
	l := newLab(t)
	if err := l.Plug("eth1", Cafe); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := l.AwaitAddress(ctx, "eth1", netip.MustParsePrefix("192.168.1.0/24")); err != nil {
		t.Fatal(err)
	}
	mine := listenUDP(t, l, Laptop, "0.0.0.0:5000")
	xha := listenUDP(t, l, ExternalHA, "192.0.2.20:6000")
	src, ok := heard(t, mine, "192.0.2.20:6000", xha, 10*time.Second)
	if want := netip.MustParseAddr("192.0.2.30"); !ok || src.Addr() != want {
		t.Fatalf("the x-HA heard the laptop from %v (%v), want the café's %v", src, ok, want)
	}
	if _, ok := heard(t, xha, src.String(), mine, 10*time.Second); !ok {
		t.Error("the laptop did not hear the answer through the NAPT")
	}
	iha := listenUDP(t, l, InternalHA, "10.0.1.10:434")
	if src, ok := heard(t, mine, "10.0.1.10:434", iha, 300*time.Millisecond); ok {
		t.Errorf("the i-HA heard %v from outside", src)
	}
	// Not even from the demilitarised zone, through the firewall's own address.
	if src, ok := heard(t, xha, "10.0.1.10:434", iha, 300*time.Millisecond); ok {
		t.Errorf("the i-HA heard %v from the demilitarised zone", src)
	}
}

// TestCampus shows the outside without a NAT: the x-HA hears the laptop's own address, and the firewall hides the inside.
func TestCampus(t *testing.T) {
	l := newLab(t)
	if err := l.Plug("eth0", Campus); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	addr, err := l.AwaitAddress(ctx, "eth0", netip.MustParsePrefix("203.0.113.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	mine := listenUDP(t, l, Laptop, "0.0.0.0:5000")
	xha := listenUDP(t, l, ExternalHA, "192.0.2.20:6000")
	if src, ok := heard(t, mine, "192.0.2.20:6000", xha, 10*time.Second); !ok || src != netip.AddrPortFrom(addr.Addr(), 5000) {
		t.Errorf("the x-HA heard the laptop from %v (%v), want its address %v", src, ok, addr)
	}
	iha := listenUDP(t, l, InternalHA, "10.0.1.10:434")
	if src, ok := heard(t, mine, "10.0.1.10:434", iha, 300*time.Millisecond); ok {
		t.Errorf("the i-HA heard %v from outside", src)
	}
}

// TestMove shows what a move looks like to the laptop: the address goes with the cable and another one comes, the
// hotspot gives none.
func TestMove(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, step := range []struct {
		wire    Wire
		network string
	}{{Office, "10.0.2.0/24"}, {Cafe, "192.168.1.0/24"}, {Office, "10.0.2.0/24"}} {
		if err := l.Plug("eth0", step.wire); err != nil {
			t.Fatal(err)
		}
		if _, err := l.AwaitAddress(ctx, "eth0", netip.MustParsePrefix(step.network)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Unplug("eth0"); err != nil {
		t.Fatal(err)
	}
	if err := l.AwaitNoAddress(ctx, "eth0"); err != nil {
		t.Fatal(err)
	}
	if w := l.Plugged("eth0"); w != "" {
		t.Errorf("an unplugged interface is said to be in %s", w)
	}
	if err := l.Plug("eth0", "moon"); err == nil {
		t.Error("a cable was plugged into a wire that there is none of")
	}
}

// TestCarry shows that an interface is in another network from one instant to the next, without losing its carrier, and that
// the cellular network translates addresses as the café does.
func TestCarry(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := l.Plug("eth0", Cellular); err != nil {
		t.Fatal(err)
	}
	addr, err := l.AwaitAddress(ctx, "eth0", Served[Cellular])
	if err != nil {
		t.Fatal(err)
	}
	mine := listenUDP(t, l, Laptop, "0.0.0.0:5000")
	xha := listenUDP(t, l, ExternalHA, "192.0.2.20:6000")
	src, ok := heard(t, mine, "192.0.2.20:6000", xha, 10*time.Second)
	if want := netip.MustParseAddr("192.0.2.50"); !ok || src.Addr() != want {
		t.Fatalf("the x-HA heard the laptop from %v (%v), want the carrier's %v", src, ok, want)
	}
	if err := l.Carry("eth0", Cafe); err != nil {
		t.Fatal(err)
	}
	if now, err := l.Address("eth0"); err != nil || now != addr {
		t.Errorf("the interface has %v (%v) in the other network, want %v still: nobody has told it", now, err, addr)
	}
	if w := l.Plugged("eth0"); w != Cafe {
		t.Errorf("the interface is said to be in %q", w)
	}
	if _, ok := heard(t, mine, "192.0.2.20:6000", xha, 300*time.Millisecond); ok {
		t.Error("the old address still works in the other network")
	}
	if err := l.Carry("eth0", "moon"); err == nil {
		t.Error("a cable was carried into a wire that there is none of")
	}
}
