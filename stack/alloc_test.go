package stack

import (
	"testing"

	"mipvpn/ipsec/suite"
)

// Nothing is allocated for a packet in any composition, from the TUN device to the underlay and the other way about.
func TestDataPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	const runs = 100
	for _, c := range everyComposition() {
		t.Run(c.String(), func(t *testing.T) {
			l := compose(t, c, suite.AESGCM128)
			p := from(home.String(), 1280)
			if n := testing.AllocsPerRun(runs, func() { l.send(t, p, 1) }); n != 0 {
				t.Errorf("%v allocations for %d packets that leave", n, batchOf)
			}
			sealed := l.sealed(toHome(home.String(), 1280), (runs+1)*batchOf)
			if n := testing.AllocsPerRun(runs, func() {
				l.arrive(sealed[:batchOf])
				sealed = sealed[batchOf:]
			}); n != 0 {
				t.Errorf("%v allocations for %d packets that arrive", n, batchOf)
			}
			if want := (runs + 1) * batchOf; l.wire.packets != want || l.device.written != want {
				t.Errorf("%d left and %d arrived of %d; drops %v", l.wire.packets, l.device.written, want, l.drops.Snapshot())
			}
		})
	}
}

// Nothing is allocated for the segments of a superpacket that leaves, nor for a train that arrives.
func TestSuperpacketsAndTrainsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	const runs = 100
	for _, c := range everyComposition() {
		t.Run(c.String(), func(t *testing.T) {
			l := compose(t, c, suite.AESGCM128)
			l.device.segment = superPayload
			p := superTCP(superSegments*superPayload, true)
			if n := testing.AllocsPerRun(runs, func() { l.send(t, p, 1) }); n != 0 {
				t.Errorf("%v allocations for %d segments that leave", n, superSegments)
			}
			sealed := l.sealed(toHome(home.String(), 52+superPayload), (runs+1)*superSegments)
			if n := testing.AllocsPerRun(runs, func() {
				l.arriveTrain(sealed[:superSegments])
				sealed = sealed[superSegments:]
			}); n != 0 {
				t.Errorf("%v allocations for a train of %d", n, superSegments)
			}
			if want := (runs + 1) * superSegments; l.wire.packets != want || l.device.written != want {
				t.Errorf("%d left and %d arrived of %d; drops %v", l.wire.packets, l.device.written, want, l.drops.Snapshot())
			}
		})
	}
}
