package tunnel

import (
	"bytes"
	"testing"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func boot(d time.Duration) link.Instant { return link.Instant{Boot: d} }

// answer lets the home agent answer a keepalive payload and returns the inner packet.
func answer(t *testing.T, payload []byte) packet.IPv4 {
	t.Helper()
	p := packet.From(payload)
	if r := Open(p, UDP); r != packet.NotDropped {
		t.Fatalf("keepalive dropped: %v", r)
	}
	if !AnswerEcho(p, homeAgent) {
		t.Fatalf("not answered: %x", p.Bytes())
	}
	return packet.IPv4(p.Bytes())
}

// Shows: MIP-7 (RFC 3519 §4.9: a UDP-encapsulated ICMP echo request from the home address to the home agent).
func TestEchoGolden(t *testing.T) {
	got := AppendEchoRequest(nil, home, homeAgent, 0x1234, 2)
	want := unhex(t, `
		04 04 0000
		45 00 001c 0000 0000 40 01 5d74 0a000864 0a00010a
		08 00 e5c9 1234 0002`)
	if !bytes.Equal(got, want) {
		t.Errorf("keepalive\n%x, want\n%x", got, want)
	}
}

func TestAnswerEcho(t *testing.T) {
	ip := answer(t, AppendEchoRequest(nil, home, homeAgent, 0x1234, 2))
	typ, id, seq, ok := ParseEcho(ip)
	if !ok || typ != ICMPEchoReply || id != 0x1234 || seq != 2 || ip.Src() != homeAgent || ip.Dst() != home || !ip.ChecksumOK() {
		t.Errorf("reply %x", ip)
	}
	p := packet.From(AppendEchoRequest(nil, home, correspondent, 1, 1)[DataHeaderLen:])
	defer p.Release()
	if AnswerEcho(p, homeAgent) {
		t.Error("an echo request for another host was answered")
	}
}

// Shows: MIP-7 (default interval 110 s, interval of the home agent, at least 10 s).
func TestKeepaliveInterval(t *testing.T) {
	for _, c := range []struct{ set, want time.Duration }{
		{0, 110 * time.Second}, {45 * time.Second, 45 * time.Second}, {time.Second, 10 * time.Second},
	} {
		k := NewKeepalive(home, homeAgent, c.set, time.Minute, 1)
		if at, ok := k.Deadline(); !ok || at != time.Minute+c.want || k.Interval() != c.want {
			t.Errorf("interval %v: first at %v, want %v after sending", c.set, at, c.want)
		}
	}
}

// Shows: MIP-7 (keepalives only in silence; answered, lost).
func TestKeepalive(t *testing.T) {
	k := NewKeepalive(home, homeAgent, 20*time.Second, 0, 9)
	k.HandleTimeout(boot(19 * time.Second))
	if _, ok := k.PollTransmit(); ok {
		t.Fatal("sent too early")
	}
	k.HandleSent(15 * time.Second)
	k.HandleTimeout(boot(20 * time.Second))
	if _, ok := k.PollTransmit(); ok {
		t.Fatal("sent although data was sent 5 s ago")
	}
	k.HandleTimeout(boot(35 * time.Second))
	request, ok := k.PollTransmit()
	if !ok {
		t.Fatal("not sent after 20 s of silence")
	}
	if !k.HandleInner(boot(36*time.Second), answer(t, request)) {
		t.Fatal("the answer was not taken")
	}
	if e, ok := k.PollEvent(); !ok || e != KeepaliveAnswered {
		t.Fatalf("event %v, %t", e, ok)
	}
	if !k.HandleInner(boot(36*time.Second), answer(t, request)) {
		t.Error("a duplicate of the answer was passed on")
	}
	if _, ok := k.PollEvent(); ok {
		t.Error("a duplicate made an event")
	}
	sent := 0
	for {
		at, _ := k.Deadline()
		k.HandleTimeout(boot(at))
		if _, ok := k.PollTransmit(); ok {
			sent++
		}
		if e, ok := k.PollEvent(); ok {
			if e != KeepaliveLost || sent != KeepaliveTries {
				t.Errorf("event %v after %d requests, want lost after %d", e, sent, KeepaliveTries)
			}
			if want := 56*time.Second + KeepaliveTries*KeepaliveRetry; at != want {
				t.Errorf("lost at %v, want %v", at, want)
			}
			break
		}
	}
	if k.Err() != nil {
		t.Error(k.Err())
	}
}

func TestKeepaliveIgnoresOthers(t *testing.T) {
	k := NewKeepalive(home, homeAgent, 20*time.Second, 0, 9)
	k.HandleTimeout(boot(20 * time.Second))
	other := answer(t, AppendEchoRequest(nil, home, homeAgent, 8, 1))
	if k.HandleInner(boot(20*time.Second), other) {
		t.Error("the answer to somebody else's echo request was taken")
	}
	request, _ := k.PollTransmit()
	p := packet.From(request[DataHeaderLen:])
	defer p.Release()
	if k.HandleInner(boot(20*time.Second), packet.IPv4(p.Bytes())) {
		t.Error("a request was taken for an answer")
	}
}

func FuzzParseEcho(f *testing.F) {
	request := AppendEchoRequest(nil, home, homeAgent, 0x1234, 2)
	f.Add(request[DataHeaderLen:])
	f.Add(request[DataHeaderLen+packet.IPv4Len:])
	f.Add([]byte{ICMPEchoReply, 0, 0xff, 0xff, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if typ, id, seq, ok := ParseEcho(packet.IPv4(b)); ok {
			m := packet.IPv4(b).Payload()
			if typ2, id2, seq2, ok2 := ParseEchoMessage(m); !ok2 || typ2 != typ || id2 != id || seq2 != seq {
				t.Errorf("the packet holds %d %d %d, its message %d %d %d %v", typ, id, seq, typ2, id2, seq2, ok2)
			}
		}
		if typ, _, _, ok := ParseEchoMessage(b); ok && (len(b) < 8 || typ != b[0] || packet.Checksum(b, 0) != 0) {
			t.Errorf("% x is taken for an echo", b)
		}
	})
}
