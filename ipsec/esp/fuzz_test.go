package esp

import (
	"bytes"
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// FuzzOpen gives an SA any octets as a packet, and any octets as the decrypted part of an authentic one.
func FuzzOpen(f *testing.F) {
	_, pi := parameters(suite.AESGCM128, false)
	pi.Local, pi.Remote = []Selector{AnySelector()}, []Selector{AnySelector()}
	f.Add([]byte{})
	f.Add([]byte{0, 4})
	f.Add([]byte{255, 59})
	f.Add(append(ping(client, server, 12).Bytes(), 1, 2, 2, 4))
	f.Add(append(bytes.Repeat([]byte{0x45}, 60), 0, 4))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 60000 {
			return
		}
		in, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		raw := packet.From(p)
		defer raw.Release()
		if r := in.Open(raw); r == packet.NotDropped {
			t.Fatalf("a forgery opens: %x", p)
		}
		b := sealRaw(t, pi, 1, p)
		defer b.Release()
		if len(p) < trailerLen {
			if r := in.Open(b); r != packet.DropMalformed {
				t.Fatalf("%x: %v", p, r)
			}
			return
		}
		if r := in.Open(b); r == packet.NotDropped {
			ip := packet.IPv4(b.Bytes())
			if !ip.Valid() || ip.TotalLen() != b.Len() || !bytes.HasPrefix(p, ip[:1]) {
				t.Fatalf("%x came out as %x", p, b.Bytes())
			}
		}
	})
}

// FuzzSelectors checks that looking for ports does not leave the packet.
func FuzzSelectors(f *testing.F) {
	f.Add(ping(client, server, 0).Bytes(), uint16(0), uint16(65535), uint8(0))
	f.Add(ping(client, server, 4).Bytes(), uint16(80), uint16(443), uint8(6))
	f.Fuzz(func(t *testing.T, p []byte, from, to uint16, protocol uint8) {
		ip := packet.IPv4(p)
		if !ip.Valid() {
			return
		}
		s := AnySelector()
		s.StartPort, s.EndPort, s.Protocol = from, to, protocol
		src, dst := sides(ip)
		if got := src.matches(compile([]Selector{s})); got && protocol != 0 && ip.Protocol() != protocol {
			t.Fatal("another protocol matches")
		}
		if dst.matches(compile([]Selector{AddrSelector(netip.AddrFrom4([4]byte{255, 255, 255, 254}))})) != (ip.Dst().String() == "255.255.255.254") {
			t.Fatal("the address is not what is compared")
		}
	})
}
