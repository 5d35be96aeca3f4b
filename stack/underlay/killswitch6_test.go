//go:build linux

package underlay

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: HST-2, DET-18 (the VPN stands on IPv6 under the kill switch of a full tunnel, also where the gateway's address is within
// the enterprise's prefix: what is protected leaves by UDP, ESP and TCP; what an application sends, and plaintext, does not)
func TestIPv6UnderTheKillSwitch(t *testing.T) {
	p := newPair6(t)
	dev, err := p.a.OpenDevice("mip0", 1380)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	settings := link.Settings{
		Device: "mip0", Address: homeA, MTU: 1380, Routes: []netip.Prefix{homes}, Full: true, KillSwitch: true,
		Blocked: []netip.Prefix{netip.MustParsePrefix("2001:db8::/48")},
	}
	if err := p.a.Apply(settings); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(sixB.Addr(), 4500)
	udp, esp := newInbox(), newInbox()
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: to.Port()}, udp.receive)
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolESP}, esp.receive)
	byUDP := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: to}, newInbox().receive)
	byESP := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(to.Addr(), 0)}, newInbox().receive)
	if err := p.a.Permit(p.indexA, p.a.Now().Boot+3600e9); err != nil { // a proof is about IPv4
		t.Fatal(err)
	}
	for _, f := range []struct {
		flow link.Flow
		in   inbox
	}{{byUDP, udp}, {byESP, esp}} {
		_ = f.flow.Path(link.Plaintext).Send(packet.One(packet.From([]byte("plaintext")))) // a drop may be told
		if err := f.flow.Path(link.Protected).Send(packet.One(packet.From([]byte("protected")))); err != nil {
			t.Fatal(err)
		}
		if came(t, f.in, "plaintext", "protected") {
			t.Errorf("plaintext left by IPv6 from %v", f.flow.Local())
		}
	}
	netnstest.Inside(t, p.nsA, func() error {
		if err := sendUDP6(to, "an application"); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("an application's datagram: %v, expected to be unreachable", err)
		}
		return nil
	})
	l, err := p.b.ListenStream(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.WriteString(c, "hello")
			c.Close()
		}
		ended <- err
	}()
	c, err := p.a.DialThrough(ctx, p.indexA, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil || string(text) != "hello" {
		t.Errorf("over TCP came %q, %v", text, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.a.Apply(link.Settings{}); err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, p.nsA, func() error { return sendUDP6(to, "after down") })
	came(t, udp, "after down", "after down")
}

// sendUDP6 is sendUDP over IPv6, as an application does.
func sendUDP6(to netip.AddrPort, payload string) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte(payload), 0, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
}
