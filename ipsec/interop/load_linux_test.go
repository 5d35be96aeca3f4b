package interop

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// stream sends numbered datagrams to the echo service and counts what comes back. At most window of them are on their way, so that
// no buffer on it runs over; when nothing comes back for patience that is an end.
type stream struct {
	c        *client
	mu       sync.Mutex
	back     map[uint64]int
	room     chan struct{}
	sent     uint64
	quit     chan struct{}
	done     sync.WaitGroup
	overtook int
}

func newStream(c *client, window int) *stream {
	s := &stream{c: c, back: make(map[uint64]int), room: make(chan struct{}, window), quit: make(chan struct{})}
	for range window {
		s.room <- struct{}{}
	}
	s.done.Go(func() {
		last := uint64(0)
		for {
			select {
			case <-s.quit:
				return
			case p := <-c.packets:
				ip := packet.IPv4(p.Bytes())
				if ip.Protocol() != packet.ProtocolUDP || !packet.UDP(ip.Payload()).Valid() {
					continue
				}
				number := binary.BigEndian.Uint64(packet.UDP(ip.Payload()).Payload())
				s.mu.Lock()
				if s.back[number]++; number < last {
					s.overtook++
				}
				last = number
				first := s.back[number] == 1
				s.mu.Unlock()
				if first {
					s.room <- struct{}{}
				}
			}
		}
	})
	return s
}

// send sends n datagrams.
func (s *stream) send(n int) {
	s.c.t.Helper()
	for range n {
		select {
		case <-s.room:
		case <-time.After(patience):
			s.c.t.Fatalf("of %d datagrams %d have come back, and no more do; drops %v", s.sent, len(s.back), s.c.drops.Snapshot())
		}
		s.sent++
		src := netip.AddrPortFrom(s.c.address, 40001)
		payload := make([]byte, 1000)
		binary.BigEndian.PutUint64(payload, s.sent)
		b := packet.From(payload)
		packet.PushUDP(b, src, echoService)
		packet.PushIPv4(b, packet.IPv4Fields{ID: uint16(s.sent), TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: echoService.Addr()})
		s.c.send(b)
	}
}

// finish waits for the last ones and asserts that each has come back once.
func (s *stream) finish() {
	s.c.t.Helper()
	for range cap(s.room) {
		select {
		case <-s.room:
		case <-time.After(patience):
			s.c.t.Fatalf("of %d datagrams only %d have come back; drops %v", s.sent, len(s.back), s.c.drops.Snapshot())
		}
	}
	close(s.quit)
	s.done.Wait()
	doubled := 0
	for _, n := range s.back {
		doubled += n - 1
	}
	s.c.t.Logf("%d datagrams there and back: %d lost, %d doubled, %d out of order", s.sent, int(s.sent)-len(s.back), doubled, s.overtook)
	if uint64(len(s.back)) != s.sent || doubled != 0 {
		s.c.t.Errorf("of %d datagrams %d have come back, %d twice", s.sent, len(s.back), doubled)
	}
}

// Shows: IKE-5, IKE-9, GDL-1 (seamless rekey under load with strongSwan). Datagrams go to and fro without a pause while the child SA and
// the IKE SA are rekeyed by us and by charon, in turn and at the same time: each one comes back once.
func TestCharonRekeysUnderLoad(t *testing.T) {
	l := newLab(t, "", "")
	c := l.connect(nil)
	s := newStream(c, 32)
	rekeyed := func(events ...func()) {
		var work sync.WaitGroup
		for _, f := range events {
			work.Go(f)
		}
		s.send(400)
		work.Wait()
		s.send(100)
	}
	ours := func(f func(link.Instant) error) func() {
		return func() {
			if err := c.try(f); err != nil {
				t.Error(err)
			}
		}
	}
	theirs := func(args ...string) func() {
		return func() {
			if out, err := l.daemon.Swanctl(append([]string{"--rekey"}, args...)...); err != nil {
				t.Errorf("%s: %v", out, err)
			}
		}
	}
	ourChild := ours(func(now link.Instant) error { return c.machine.RekeyChild(now, c.using.child) })
	ourIKE := ours(func(now link.Instant) error { return c.machine.RekeyIKE(now) })
	theirChild, theirIKE := theirs("--child", "enterprise"), theirs("--ike", "mobile")
	for range 2 {
		rekeyed(ourChild)
		rekeyed(theirChild)
		rekeyed(ourIKE)
		rekeyed(theirIKE)
		rekeyed(ourChild, theirChild)
		rekeyed(ourIKE, theirIKE)
	}
	s.finish()
	children, ikes := 0, 0
	for {
		select {
		case e := <-c.events:
			switch e.Event.(type) {
			case ike.ChildInstalled:
				children++
			case ike.IKERekeyed:
				ikes++
			case ike.Closed:
				t.Fatalf("closed: %+v", e)
			}
			continue
		default:
		}
		break
	}
	t.Logf("%d child SAs and %d IKE SAs after the first", children, ikes)
	if children < 3 || ikes < 3 {
		t.Errorf("%d child SAs and %d IKE SAs after the first, want 3 of each at least", children, ikes)
	}
}
