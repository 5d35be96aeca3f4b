package tunnel

import (
	"net/netip"
	"testing"

	"mipvpn/tun/packet"
)

// Shows: MIP-11 (which destinations are for all on a link: RFC 1122 §3.2.1.3, RFC 5771 §4)
func TestBroadcast(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/22"), netip.MustParsePrefix("10.9.0.0/31"), netip.MustParsePrefix("10.9.0.9/32")}
	for dst, want := range map[string]bool{
		"255.255.255.255": true, "224.0.0.1": true, "224.0.0.251": true, "10.1.3.255": true,
		"224.0.1.1": false, "239.255.255.250": false, "10.1.0.255": false, "10.1.3.254": false, "10.1.7.255": false,
		"10.9.0.1": false, "10.9.0.9": false, "10.1.0.0": false, "ff02::1": false,
	} {
		if got := Broadcast(netip.MustParseAddr(dst), networks); got != want {
			t.Errorf("%s: %t, want %t", dst, got, want)
		}
	}
	if !Broadcast(netip.MustParseAddr("255.255.255.255"), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}) {
		t.Error("a network of all addresses hides the limited broadcast")
	}
	if Broadcast(netip.Addr{}, networks) {
		t.Error("no address is a broadcast")
	}
}

var (
	listenerAgent = netip.MustParseAddr("10.0.1.10")
	listenerHome  = netip.MustParseAddr("10.1.0.50")
)

func toAll(src, dst string, protocol uint8) *packet.Buf {
	p := packet.Get(20)
	clear(p.Extend(20))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: protocol, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)})
	return p
}

// Shows: MIP-11 (nested broadcasts are taken out at the mobile node, RFC 5944 §4.3, and only those of the home agent; nothing else
// passes beside what is for the home address)
func TestListener(t *testing.T) {
	l := &Listener{Agent: listenerAgent, Home: listenerHome, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
		Groups: []netip.Prefix{netip.MustParsePrefix("239.192.0.0/14"), netip.MustParsePrefix("10.2.0.0/24")}}
	nested := func(dst string, agent string) *packet.Buf {
		p := toAll("10.1.0.7", dst, packet.ProtocolUDP)
		Nest(p, netip.MustParseAddr(agent), listenerHome)
		return p
	}
	part := nested("255.255.255.255", "10.0.1.10")
	part.Bytes()[6] |= 0x20 // more fragments
	damaged := nested("255.255.255.255", "10.0.1.10")
	damaged.Bytes()[packet.IPv4Len+10] ^= 1 // the inner checksum
	const home = "10.1.0.50"
	for name, c := range map[string]struct {
		p    *packet.Buf
		want packet.DropReason
		dst  string
	}{
		"for the home address":            {toAll("10.1.0.7", home, packet.ProtocolUDP), packet.NotDropped, home},
		"plain":                           {toAll("10.1.0.7", "255.255.255.255", packet.ProtocolUDP), packet.NotDropped, "255.255.255.255"},
		"plain, directed":                 {toAll("10.1.0.7", "10.1.0.255", packet.ProtocolUDP), packet.NotDropped, "10.1.0.255"},
		"plain, of another network":       {toAll("10.1.0.7", "10.2.0.255", packet.ProtocolUDP), packet.DropNotHomeAddress, ""},
		"for somebody else":               {toAll("10.1.0.7", "10.1.0.51", packet.ProtocolUDP), packet.DropNotHomeAddress, ""},
		"for a group":                     {toAll("10.1.0.7", "239.195.1.2", packet.ProtocolUDP), packet.NotDropped, "239.195.1.2"},
		"for another group":               {toAll("10.1.0.7", "239.196.1.2", packet.ProtocolUDP), packet.DropNotHomeAddress, ""},
		"groups are not networks":         {toAll("10.1.0.7", "10.2.0.9", packet.ProtocolUDP), packet.DropNotHomeAddress, ""},
		"nested, for a group":             {nested("239.192.0.1", "10.0.1.10"), packet.NotDropped, "239.192.0.1"},
		"nested, for another group":       {nested("239.1.0.1", "10.0.1.10"), packet.DropNotHomeAddress, ""},
		"nested":                          {nested("224.0.0.251", "10.0.1.10"), packet.NotDropped, "224.0.0.251"},
		"nested by somebody else":         {nested("255.255.255.255", "10.0.1.11"), packet.NotDropped, home},
		"nested, of another network":      {nested("10.2.0.255", "10.0.1.10"), packet.DropNotHomeAddress, ""},
		"nested, for the home address":    {nested(home, "10.0.1.10"), packet.DropNotHomeAddress, ""},
		"a fragment of one nested":        {part, packet.NotDropped, home},
		"damaged within":                  {damaged, packet.DropMalformed, ""},
		"nothing within":                  {toAll("10.0.1.10", home, packet.ProtocolIPIP), packet.DropMalformed, ""},
		"another protocol from the agent": {toAll("10.0.1.10", home, packet.ProtocolICMP), packet.NotDropped, home},
	} {
		if got := l.Take(c.p); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		} else if got == packet.NotDropped && packet.IPv4(c.p.Bytes()).Dst().String() != c.dst {
			t.Errorf("%s: for %v now, want %s", name, packet.IPv4(c.p.Bytes()).Dst(), c.dst)
		}
		c.p.Release()
	}
	var none *Listener
	p := toAll("10.1.0.7", "255.255.255.255", packet.ProtocolUDP)
	defer p.Release()
	if got := none.Take(p); got != packet.DropNotHomeAddress {
		t.Errorf("without a listener: %v", got)
	}
}

// FuzzListener holds that whatever comes, what is taken is a whole packet for the home address or a broadcast.
func FuzzListener(f *testing.F) {
	l := &Listener{Agent: listenerAgent, Home: listenerHome}
	p := toAll("10.1.0.7", "224.0.0.251", packet.ProtocolUDP)
	f.Add(append([]byte(nil), p.Bytes()...))
	Nest(p, listenerAgent, listenerHome)
	f.Add(append([]byte(nil), p.Bytes()...))
	p.Release()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > packet.LargeSize {
			return
		}
		p := packet.From(data)
		defer p.Release()
		if l.Take(p) != packet.NotDropped {
			return
		}
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || ip.Dst() != listenerHome && !Broadcast(ip.Dst(), nil) {
			t.Errorf("%x was taken", p.Bytes())
		}
		if src := ip.Src(); Unnest(p) {
			if ip := packet.IPv4(p.Bytes()); !ip.Valid() || ip.Src() != src || ip.TTL() == 0 {
				t.Errorf("%x was taken out", p.Bytes())
			}
		}
	})
}

// Shows: MIP-11 (RFC 5944 §4.4: what a mobile node behind a foreign agent sends to groups and to all goes to its home agent in unicast
// datagrams from the home address, its time to live untouched, and the home agent takes it out; the rest goes as it is)
func TestToAgent(t *testing.T) {
	l := &Listener{Agent: listenerAgent, Home: listenerHome, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}
	var drops packet.Drops
	step := ToAgent{Listener: l, MTU: 1000, Drops: &drops}
	long, whole := packet.Get(1400), packet.Get(1400)
	for _, p := range []*packet.Buf{long, whole} {
		clear(p.Extend(1400))
		packet.PushIPv4(p, packet.IPv4Fields{DontFragment: p == whole, TTL: 1, Protocol: packet.ProtocolUDP, Src: listenerHome, Dst: netip.MustParseAddr("239.1.2.3")})
	}
	b := packet.GetBatch()
	for _, p := range []*packet.Buf{
		toAll("10.1.0.50", "10.1.0.7", packet.ProtocolUDP), toAll("10.1.0.50", "10.1.0.255", packet.ProtocolUDP), long, whole,
		toAll("10.1.0.50", "239.1.2.3", packet.ProtocolUDP), toAll("10.1.0.50", "10.2.0.255", packet.ProtocolUDP),
	} {
		b.Append(p)
	}
	step.Apply(b)
	defer b.Release()
	want := []string{"10.1.0.7", "in 10.1.0.255", "in 239.1.2.3", "in 239.1.2.3", "in 239.1.2.3", "10.2.0.255"}
	if b.Len() != len(want) || drops.Of(packet.DropTooBig) != 1 {
		t.Fatalf("%d packets, drops %v, want %d and one too big", b.Len(), drops.Snapshot(), len(want))
	}
	for i, p := range b.Bufs {
		ip, got := packet.IPv4(p.Bytes()), ""
		if ip.Dst() == listenerAgent {
			if !ip.Valid() || !ip.ChecksumOK() || ip.Src() != listenerHome || ip.TTL() != nestedTTL || p.Len() > 1000 || !Unnest(p) {
				t.Errorf("packet %d: %x", i, p.Bytes())
			}
			got = "in "
		}
		if ip = packet.IPv4(p.Bytes()); got+ip.Dst().String() != want[i] || ip.Src() != listenerHome || ip.TTL() != 1 {
			t.Errorf("packet %d is for %s%v with time to live %d, want %s with 1", i, got, ip.Dst(), ip.TTL(), want[i])
		}
	}
}

// Shows: MIP-11 (the home agent takes nothing out that has another source, is damaged or not whole)
func TestUnnest(t *testing.T) {
	nested := func(src string) *packet.Buf {
		p := toAll(src, "239.1.2.3", packet.ProtocolUDP)
		Nest(p, listenerHome, listenerAgent)
		return p
	}
	part, damaged := nested("10.1.0.50"), nested("10.1.0.50")
	part.Bytes()[6] |= 0x20
	damaged.Bytes()[packet.IPv4Len+10] ^= 1
	for name, c := range map[string]struct {
		p    *packet.Buf
		want bool
	}{
		"its own": {nested("10.1.0.50"), true}, "another's": {nested("10.1.0.51"), false}, "a fragment": {part, false}, "damaged": {damaged, false},
		"nothing within": {toAll("10.1.0.50", "10.0.1.10", packet.ProtocolIPIP), false}, "no tunnel": {toAll("10.1.0.50", "239.1.2.3", packet.ProtocolUDP), false},
	} {
		n := c.p.Len()
		if got := Unnest(c.p); got != c.want || (c.p.Len() == n) == c.want {
			t.Errorf("%s: taken out %t, %d octets of %d left", name, got, c.p.Len(), n)
		}
		c.p.Release()
	}
}
