package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// talkPort is the correspondent's port that talk sends to.
const talkPort = 7002

// talker is an application that sends the canary to the correspondent every interval, whether or not there is a way, and
// the correspondent's echo. It is cheap enough for hours of virtual time.
type talker struct {
	near, far *simnet.UDPConn
	asleep    chan time.Duration // how long it is not run, as the programs of a laptop that sleeps
	stop      chan struct{}
	work      sync.WaitGroup
	mu        sync.Mutex
	sent      int
	answered  int
	last      time.Time // of the last answer
	gap       time.Duration
}

// talk starts a talker; the test's end stops it.
func talk(t *testing.T, w *World, interval time.Duration) *talker {
	t.Helper()
	to := netip.AddrPortFrom(simnet.LabCorrespondent, talkPort)
	far, err := w.Correspondent.ListenUDP(to)
	if err != nil {
		t.Fatal(err)
	}
	near, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, talkPort))
	if err != nil {
		t.Fatal(err)
	}
	k := &talker{near: near, far: far, asleep: make(chan time.Duration), stop: make(chan struct{}), last: time.Now()}
	k.work.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := far.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = far.WriteToAddrPort(buf[:n], from) // what does not come back is what is looked at
		}
	})
	k.work.Go(func() {
		buf := make([]byte, 2048)
		for {
			if _, _, err := near.ReadFromAddrPort(buf); err != nil {
				return
			}
			k.heard()
		}
	})
	k.work.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = near.WriteToAddrPort(Canary, to)
				k.mu.Lock()
				k.sent++
				k.mu.Unlock()
			case d := <-k.asleep:
				tick.Stop() // virtual time goes from tick to tick
				select {
				case <-time.After(d):
				case <-k.stop:
					return
				}
				tick.Reset(interval)
			case <-k.stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(k.stop)
		if err := near.Close(); err != nil {
			t.Error(err)
		}
		if err := far.Close(); err != nil {
			t.Error(err)
		}
		k.work.Wait()
	})
	return k
}

func (k *talker) heard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.gap, k.last = max(k.gap, now.Sub(k.last)), now
	k.answered++
}

// counts returns how many packets were sent and answered, and the longest time without an answer, since the last reset.
func (k *talker) counts() (sent, answered int, gap time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sent, k.answered, max(k.gap, time.Since(k.last))
}

// reset begins to count anew.
func (k *talker) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent, k.answered, k.gap, k.last = 0, 0, 0, time.Now()
}

// works fails the test unless packets pass both ways within d from now.
func (k *talker) works(t *testing.T, d time.Duration) {
	t.Helper()
	k.reset()
	time.Sleep(d)
	if sent, answered, _ := k.counts(); answered == 0 || answered < sent/2 {
		t.Errorf("of %d packets sent in %v %d were answered", sent, d, answered)
	}
}

// clearFrames counts the frames of the laptop's user data that leave in the clear, on any wire.
type clearFrames struct {
	mu    sync.Mutex
	count map[string]int // by wire
	seen  int
}

// isProbe reports whether the frame of a mode in the clear bears a path MTU probe: an echo request from the home address to
// the i-HA, straight or in one of the tunnels. It is no user data, and has no place outside.
func isProbe(ip packet.IPv4) bool {
	if !ip.Valid() {
		return false
	}
	switch inner := ip.Payload(); {
	case ip.Protocol() == packet.ProtocolIPIP:
		ip = packet.IPv4(inner)
	case ip.Protocol() == packet.ProtocolUDP && len(inner) > packet.UDPLen+tunnel.DataHeaderLen && tunnel.IsData(inner[packet.UDPLen:]):
		ip = packet.IPv4(inner[packet.UDPLen+tunnel.DataHeaderLen:])
	}
	typ, _, _, echo := tunnel.ParseEcho(ip)
	return echo && typ == tunnel.ICMPEchoRequest && ip.Src() == simnet.LabHomeAddress && ip.Dst() == simnet.LabInternalHA
}

func watchClear(w *World) *clearFrames {
	c := &clearFrames{count: make(map[string]int)}
	w.TapAll(func(f simnet.Frame) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen++
		// What a flow has sent as plaintext, and what bears the enterprise's traffic readable, whatever sent it.
		ip := packet.IPv4(f.Packet)
		if inside := f.Wire == w.Office.Name() || f.Wire == w.OfficeFA.Name(); inside && isProbe(ip) {
			return
		}
		if strings.HasPrefix(f.Sender, "laptop/") && (f.Plaintext || !isRegistration(ip) && readable(f.Packet)) {
			c.count[f.Wire]++
		}
	})
	return c
}

// on returns how many frames left in the clear on the wire; with none named, on all wires.
func (c *clearFrames) on(wires ...*simnet.Wire) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for name, k := range c.count {
		if len(wires) == 0 || slices.ContainsFunc(wires, func(w *simnet.Wire) bool { return w.Name() == name }) {
			n += k
		}
	}
	return n
}

// none fails the test when the laptop has sent user data in the clear, or when no frame at all was looked at.
func (c *clearFrames) none(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == 0 {
		t.Error("no frame was looked at")
	}
	for wire, n := range c.count {
		t.Errorf("%d frames of user data in the clear on %s", n, wire)
	}
}

// problem returns what status says is wrong with a peer.
func problem(s control.Status, peer string) (control.Problem, bool) {
	for _, p := range s.Problems {
		if strings.HasPrefix(p.Peer, peer) {
			return p, true
		}
	}
	return control.Problem{}, false
}

// complaint is what a person has to be told: who (as problem finds it), the standard's code if it has one, and a part of
// the advice.
type complaint struct {
	peer, code, advice string
}

// heldBack waits until the client says what is wrong and has given up carrying user data, and checks that this stays so
// for a while, with a state that does not flatter.
func heldBack(t *testing.T, w *World, patience time.Duration, want complaint) control.Status {
	t.Helper()
	complains := func(s control.Status) bool {
		p, ok := problem(s, want.peer)
		return ok && s.State != control.StateConnected && p.Code == want.code && strings.Contains(p.Advice, want.advice)
	}
	if _, err := w.Until(patience, complains); err != nil {
		t.Fatalf("nothing says %+v: %v", want, err)
	}
	var s control.Status
	blocked := 0
	for range 60 {
		time.Sleep(time.Second)
		var err error
		if s, err = w.Client.Status(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !complains(s) {
			t.Fatalf("a minute on: state %s, mode %q, problems %v; want %+v", s.State, s.Mode, s.Problems, want)
		}
		if s.State == control.StateBlocked {
			blocked++
		}
	}
	if blocked < 30 {
		t.Errorf("blocked in %d of 60 s only; state %s", blocked, s.State)
	}
	p, _ := problem(s, want.peer)
	if p.Message == "" || p.Advice == "" {
		t.Errorf("%+v leaves a person at a loss", p)
	}
	t.Log(p)
	return s
}

// mended waits until the client carries user data in the mode, and checks that it says nothing is wrong any more.
func mended(t *testing.T, w *World, k *talker, patience time.Duration, mode string) {
	t.Helper()
	began := time.Now()
	s, err := w.UntilMode(patience, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("mode %s %v after the cause was mended", mode, time.Since(began))
	k.works(t, 10*time.Second)
	if s, err = w.Client.Status(context.Background()); err != nil || len(s.Problems) != 0 {
		t.Errorf("problems %v, %v", s.Problems, err)
	}
}

// readable reports whether the enterprise's traffic can be read in the packet.
func readable(p []byte) bool {
	for _, h := range append([][]byte{Canary}, enterpriseHeaders...) {
		if strings.Contains(string(p), string(h)) {
			return true
		}
	}
	return false
}
