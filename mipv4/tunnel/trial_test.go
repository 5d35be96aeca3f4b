package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/link"
)

// Shows: DET-19 (a new tunnel is tried before the interval is over, and once an answer is waited for nothing hurries it)
func TestCheckBringsTheKeepaliveForward(t *testing.T) {
	const sent = 100 * time.Second
	k := NewKeepalive(netip.MustParseAddr("198.51.100.100"), netip.MustParseAddr("192.0.2.20"), 0, sent, 7)
	at := func() time.Duration { d, _ := k.Deadline(); return d }
	k.Check(sent + 5*time.Minute)
	if at() != sent+DefaultKeepaliveInterval {
		t.Errorf("deadline %v after a check that is later than the keepalive", at()-sent)
	}
	k.Check(sent + time.Second)
	if at() != sent+time.Second {
		t.Fatalf("deadline %v", at()-sent)
	}
	k.HandleTimeout(link.Instant{Boot: at()})
	if _, ok := k.PollTransmit(); !ok {
		t.Fatal("no echo request")
	}
	k.Check(at() - time.Second)
	if at() != sent+time.Second+KeepaliveRetry {
		t.Errorf("deadline %v while an answer is waited for", at()-sent)
	}
}
