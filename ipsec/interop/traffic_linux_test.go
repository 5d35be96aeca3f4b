package interop

import (
	"encoding/binary"
	"net/netip"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// send seals an inner packet of the client and sends it.
func (c *client) send(p *packet.Buf) {
	c.t.Helper()
	c.command(func(link.Instant) error { return c.seal(p) })
}

// repeatEach is how often an inner packet is sent again that has no answer, once the client has moved.
const repeatEach = 2 * time.Second

// exchange sends an inner packet that request makes and returns the next one that comes out of the SA for which match is true. A client that stays where it is loses nothing. One that has moved sends again: charon takes its policies away
// for as long as it moves an SA, or finds out that kernel-libipsec cannot and rekeys it instead, and drops what arrives meanwhile
// ("discarding inbound IP packet due to policy").
func (c *client) exchange(request func() *packet.Buf, match func(packet.IPv4) bool) packet.IPv4 {
	c.t.Helper()
	c.send(request())
	timeout, again := time.After(patience), time.NewTicker(repeatEach)
	defer again.Stop()
	for {
		select {
		case p := <-c.packets:
			if ip := packet.IPv4(p.Bytes()); match(ip) {
				return ip
			}
		case <-again.C:
			if c.moved.Load() {
				c.t.Logf("ours: has moved, and sends an inner packet again that has no answer after %v", repeatEach)
				c.send(request())
			}
		case <-timeout:
			c.t.Fatalf("no packet came out of the SA; drops %v", c.drops.Snapshot())
		}
	}
}

// ping sends an ICMP echo request of n octets to dst through the SA and waits for the reply.
func (c *client) ping(dst netip.Addr, n int) {
	c.t.Helper()
	c.lastID++
	id := c.lastID
	icmp := make([]byte, 8+n)
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[4:], id)
	for i := range n {
		icmp[8+i] = byte(i * 3)
	}
	binary.BigEndian.PutUint16(icmp[2:], packet.Checksum(icmp, 0))
	want := string(icmp[8:])
	request := func() *packet.Buf {
		b := packet.From(icmp)
		packet.PushIPv4(b, packet.IPv4Fields{ID: id, TTL: 64, Protocol: packet.ProtocolICMP, Src: c.address, Dst: dst})
		return b
	}
	reply := c.exchange(request, func(ip packet.IPv4) bool {
		p := ip.Payload()
		return ip.Protocol() == packet.ProtocolICMP && ip.Src() == dst && ip.Dst() == c.address && len(p) >= 8 && p[0] == 0 && binary.BigEndian.Uint16(p[4:]) == id
	})
	if got := string(reply.Payload()[8:]); got != want {
		c.t.Fatalf("echo reply of %d octets differs from the request of %d", len(got), len(want))
	}
}

// udp sends text to the echo service at dst and waits for it to come back.
func (c *client) udp(dst netip.AddrPort, text string) {
	c.t.Helper()
	src := netip.AddrPortFrom(c.address, 40000)
	request := func() *packet.Buf {
		b := packet.From([]byte(text))
		packet.PushUDP(b, src, dst)
		packet.PushIPv4(b, packet.IPv4Fields{ID: 1, TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
		return b
	}
	reply := c.exchange(request, func(ip packet.IPv4) bool {
		return ip.Protocol() == packet.ProtocolUDP && ip.Src() == dst.Addr() && packet.UDP(ip.Payload()).Valid()
	})
	u := packet.UDP(reply.Payload())
	if string(u.Payload()) != text || u.SrcPort() != dst.Port() || !u.ChecksumOK(reply.Src(), reply.Dst()) {
		c.t.Fatalf("came back: %q", u.Payload())
	}
}

// echoPacket makes the answer of a host that has all addresses behind our gateway: to an ICMP echo request and to a UDP
// datagram for the echo service. It returns nil for others.
func echoPacket(request packet.IPv4) *packet.Buf {
	body := request.Payload()
	switch request.Protocol() {
	case packet.ProtocolICMP:
		if len(body) < 8 || body[0] != 8 {
			return nil
		}
		b := packet.From(body)
		icmp := b.Bytes()
		icmp[0], icmp[2], icmp[3] = 0, 0, 0
		binary.BigEndian.PutUint16(icmp[2:], packet.Checksum(icmp, 0))
		packet.PushIPv4(b, packet.IPv4Fields{ID: 7, TTL: 64, Protocol: packet.ProtocolICMP, Src: request.Dst(), Dst: request.Src()})
		return b
	case packet.ProtocolUDP:
		u := packet.UDP(body)
		if !u.Valid() || u.DstPort() != echoService.Port() {
			return nil
		}
		src, dst := netip.AddrPortFrom(request.Dst(), u.DstPort()), netip.AddrPortFrom(request.Src(), u.SrcPort())
		b := packet.From(u.Payload())
		packet.PushUDP(b, src, dst)
		packet.PushIPv4(b, packet.IPv4Fields{ID: 7, TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
		return b
	}
	return nil
}
