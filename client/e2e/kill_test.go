package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/simnet"
)

// readableOn counts the frames with the enterprise's traffic in the clear that anything on the laptop sends on any wire,
// registrations apart.
func readableOn(w *World) *atomic.Int64 {
	var n atomic.Int64
	w.TapAll(func(f simnet.Frame) {
		if strings.HasPrefix(f.Sender, "laptop/") && (f.Plaintext || readable(f.Packet)) {
			n.Add(1)
		}
	})
	return &n
}

// roamUnderKill starts a process with the fuse at the first place, moves to the second one and, where the process has not
// been killed, returns how many steps it had made before and after the move. Where it has been killed, it checks that
// nothing leaves in the clear then, on the network where that happened and on the next one, that the next process takes
// over, and that the session goes on.
func roamUnderKill(t *testing.T, from, to place, fuse int) (before, after int) {
	w := world(t, Options{Seed: 120, Log: zap.NewNop(), Client: probeSoon})
	j := Watch(w.External()...)
	k := talk(t, w, 300*time.Millisecond)
	connected(t, w, from)
	s := converse(t, w)
	s.pass(t, s.near, s.far, 1000)
	p := NewProcess(w.Laptop, fuse)
	if err := w.RunProcess(p, nil, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	wait := func(d time.Duration) {
		select {
		case <-p.Killed():
		case <-time.After(d):
		}
	}
	wait(8 * time.Second)
	before = p.Steps()
	w.Plug(w.Wlan0, to.wire(w))
	wait(8 * time.Second)
	after = p.Steps()
	if fuse == 0 {
		s.end(t)
		return before, after
	}
	p.Kill() // where it has come to rest without another step
	// What the kernel closes for it; the zombie itself reaches nothing any more.
	if err := w.Client.Close(); err != nil {
		t.Fatal(err)
	}
	w.Client = nil
	time.Sleep(5 * time.Millisecond) // for what was on the wires
	clear := readableOn(w)
	for _, at := range []place{to, officePlace, cafePlace} {
		time.Sleep(3 * time.Second)
		w.Plug(w.Wlan0, at.wire(w))
	}
	if n := clear.Load(); n != 0 {
		t.Errorf("killed at step %d: %d frames in the clear with no daemon running", fuse, n)
	}
	w.Plug(w.Wlan0, to.wire(w))
	if err := w.RunProcess(NewProcess(w.Laptop, 0), nil, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UntilMode(90*time.Second, to.mode); err != nil {
		t.Fatalf("killed at step %d: the next daemon: %v", fuse, err)
	}
	k.works(t, 3*time.Second)
	s.pass(t, s.near, s.far, 1000)
	s.pass(t, s.far, s.near, 1000)
	s.end(t)
	judge(t, j)
	return before, after
}

// Shows: HST-2, DET-2, MOD-keep (an attacker or the OOM killer ends the daemon at any step of its start and of a roam: nothing leaks,
// on that network and on the next ones; the next daemon takes over, and TCP connections go on)
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, roam := range [][2]place{{officePlace, cafePlace}, {cafePlace, officePlace}, {places[1], hotspotPlace}, {hotspotPlace, places[1]}} {
		from, to := roam[0], roam[1]
		t.Run(from.name+" to "+to.name, func(t *testing.T) {
			var before, after int
			synctest.Test(t, func(t *testing.T) { before, after = roamUnderKill(t, from, to, 0) })
			if before < 5 || after < before+5 {
				t.Fatalf("%d steps before and %d after the roam: there is nothing to kill at", before, after)
			}
			for fuse := 1; fuse <= after; fuse++ {
				synctest.Test(t, func(t *testing.T) { roamUnderKill(t, from, to, fuse) })
			}
			t.Logf("%d steps until %s, %d with the roam to %s; killed at each", before, from.name, after, to.name)
		})
	}
}
