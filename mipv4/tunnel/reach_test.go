package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/packet"
)

// errorAbout returns what is read from an ICMP error about a packet in a tunnel of the protocol.
func errorAbout(t *testing.T, typ, code, protocol uint8) TunnelError {
	t.Helper()
	p := toAll("10.9.9.9", "10.1.0.50", packet.ProtocolUDP)
	defer p.Release()
	entry := netip.MustParseAddr("10.0.1.10")
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: protocol, Src: entry, Dst: netip.MustParseAddr("10.0.2.50")})
	e, ok := ParseICMPError(AppendICMPError(nil, typ, code, 0, packet.IPv4(p.Bytes())), entry, 434)
	if !ok {
		t.Fatalf("ICMP type %d code %d is not read", typ, code)
	}
	return e
}

// Shows: MIP-12 (RFC 2003 §5: soft state of a tunnel's length and of the reachability of its other end, its ageing, and which errors
// say nothing of the tunnel)
func TestReach(t *testing.T) {
	expired := errorAbout(t, ICMPTimeExceeded, CodeTTL, packet.ProtocolIPIP)
	var r Reach
	state := func(now time.Duration, ttl uint8, code uint8, gone bool) {
		t.Helper()
		got, is := r.Unreachable(now)
		if r.TTL(now) != ttl || is != gone || gone && got != code {
			t.Errorf("at %v: time to live %d, unreachable %t with code %d; want %d, %t, %d", now, r.TTL(now), is, got, ttl, gone, code)
		}
	}
	state(0, 0, 0, false)
	// Too short a time to live: the usual one is raised, and errors about what was on its way are passed over.
	r.Learn(time.Second, expired)
	r.Learn(2*time.Second, expired)
	state(2*time.Second, LongTTL, 0, false)
	// It runs out all the same.
	r.Learn(time.Minute, expired)
	state(time.Minute, LongTTL, CodeHostUnreachable, true)
	state(time.Minute+UnreachableAge, LongTTL, 0, false)
	state(time.Second+PathMTUAge, 0, 0, false)
	now := time.Hour
	r.Learn(now, expired)
	state(now, LongTTL, 0, false)

	r = Reach{}
	for code, want := range map[uint8]uint8{CodeNetUnreachable: CodeNetUnreachable, CodeHostUnreachable: CodeHostUnreachable, CodeProtocol: CodeHostUnreachable} {
		r.Learn(now, errorAbout(t, ICMPUnreachable, code, packet.ProtocolIPIP))
		state(now+UnreachableAge-1, 0, want, true)
		r.Heard()
		state(now, 0, 0, false)
	}
	for _, e := range []TunnelError{
		errorAbout(t, ICMPUnreachable, CodeFragmentNeeded, packet.ProtocolIPIP), errorAbout(t, ICMPUnreachable, 13, packet.ProtocolIPIP),
		errorAbout(t, ICMPTimeExceeded, 1, packet.ProtocolIPIP),
		{Cause: CauseTTL, Encapsulation: Minimal}, {Cause: CauseTTL, Encapsulation: Minimal},
	} {
		r.Learn(now, e)
		state(now, 0, 0, false)
		now += time.Minute
	}
}
