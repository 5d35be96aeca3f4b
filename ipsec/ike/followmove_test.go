package ike

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// proven returns a client that has found out that its gateway follows.
func proven(t *testing.T, seed uint64, k kind, addresses []netip.Addr, opts ...option) *commuting {
	t.Helper()
	r := commute(t, seed, k, addresses, opts...)
	r.prove()
	r.commuteFor(5 * time.Second)
	if got := r.result(); got != "true true true" {
		t.Fatalf("%q\n%s", got, r.trace())
	}
	r.settled(addresses[0], freshPort)
	r.log, r.a.events, r.b.events, r.seen = nil, nil, nil, nil
	return r
}

// Shows: MEC-C (changing the way needs no new IKE SA). With a gateway that follows packets the client moves between networks with a NAT and without, away from an
// address that is gone at once; IKE and all child SAs of both ends follow, without a message of MOBIKE.
func TestFollowedMoves(t *testing.T) {
	for i, k := range []kind{follower, espAlone, followAny} {
		r := proven(t, uint64(300+i), k, []netip.Addr{wired}, func(c *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			if i == 0 {
				c.MOBIKE = nil // neither end needs it
			}
		})
		for _, to := range []netip.Addr{wireless, wired, cellular, wireless, cellular, wired} {
			r.log, r.seen = nil, nil
			r.move(to)
			if u := last[EndpointChanged](r.a.events).Update; u.Local() != netip.AddrPortFrom(to, portNATT) || !u.Proven() || !u.UDPEncapsulation() {
				t.Fatalf("%+v", u)
			}
			r.commuteFor(5 * time.Second)
			r.settled(to, portNATT)
			if n := len(r.requests(r.a, "UPDATE")) + len(r.requests(r.a, "ADDRESS")); n != 0 {
				t.Errorf("%d messages of MOBIKE\n%s", n, r.trace())
			}
			if r.a.m.keepaliveAt == 0 {
				t.Error("no keepalives, where nobody says that there is no NAT")
			}
		}
		if n := count[Following](r.a.events); n != 0 {
			t.Errorf("%+v: told %d times more", k, n)
		}
	}
}

// Whichever datagrams of a move are lost, the SAs arrive.
func TestFollowedMovesWithLosses(t *testing.T) {
	for first := range 4 {
		for second := first; second < 6; second++ {
			r := proven(t, uint64(first), follower, []netip.Addr{wired})
			begin := r.pair.sent
			r.lose = func(f flight) bool { return f.index == begin+first || f.index == begin+second }
			r.move(wireless)
			r.commuteFor(20 * time.Second)
			r.settled(wireless, portNATT)
		}
	}
}

// Shows: MEC-C (make before break). A preferred address appears: its path is asked over first, and used when the answer has come. Where it carries
// nothing the path in use goes on, and a gateway that has followed the question comes back.
func TestFollowedTestsThePreferredPath(t *testing.T) {
	r := proven(t, 310, follower, []netip.Addr{cellular})
	r.move(wired, cellular)
	if f := r.queue[0]; f.Local != netip.AddrPortFrom(wired, portNATT) || r.a.m.local.Addr() != cellular {
		t.Fatalf("%s from %v while %v is in use: want a test", f.text, f.Local, r.a.m.local)
	}
	r.commuteFor(5 * time.Second)
	r.settled(wired, portNATT)

	for _, oneWay := range []bool{false, true} {
		r = proven(t, 311, follower, []netip.Addr{cellular})
		network := r.route
		r.route = func(f flight, d Datagram) (Datagram, bool) {
			d, ok := network(f, d)
			if f.from == r.a && f.Local.Addr() == wired && !oneWay || f.from == r.b && d.Local.Addr() == wired {
				return d, false
			}
			return d, ok
		}
		r.move(wired, cellular)
		r.commuteFor(20 * time.Second)
		r.settled(cellular, freshPort)
		if n := count[Following](r.a.events); n != 0 {
			t.Errorf("one way %t: told %d times", oneWay, n)
		}
	}
}

// Shows: MEC-C. The path in use dies without a sign: the request that finds it out is tried from the other addresses, and the gateway follows.
func TestFollowedSearch(t *testing.T) {
	for i, alive := range []netip.Addr{wireless, cellular} {
		r := proven(t, uint64(320+i), follower, []netip.Addr{wired, wireless, cellular})
		r.cut = func(client, _ netip.Addr) bool { return client != alive }
		if err := r.a.m.CheckLiveness(r.now); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.commuteFor(time.Minute)
		r.settled(alive, portNATT)
	}
}

// Moves during rekeyings of either end, begun before or after them, leave one IKE SA and one child SA in the new place.
func TestFollowedMovesDuringRekeying(t *testing.T) {
	for step := range 4 {
		for which := range 4 {
			r := proven(t, uint64(330+step), follower, []netip.Addr{wireless})
			m := []*Machine{r.a.m, r.b.m}[which%2]
			rekey := func() error { return m.RekeyChild(r.now, 1) }
			if which < 2 {
				rekey = func() error { return m.RekeyIKE(r.now) }
			}
			if err := rekey(); err != nil {
				t.Fatal(err)
			}
			r.drain()
			for range step {
				if len(r.queue) > 0 {
					r.next()
				}
			}
			r.move(cellular)
			r.commuteFor(time.Minute)
			r.settled(cellular, portNATT)
		}
	}
}

// Shows: MEC-C. Addresses that change during the proof: another one is acted on when the result is known, the one in use is left at once, which proves
// as well. Parked meanwhile, the machine does so when it is not any more.
func TestAddressesChangeDuringTheProof(t *testing.T) {
	r := commute(t, 340, follower, []netip.Addr{cellular})
	r.prove()
	r.move(wired, cellular)
	if r.a.m.local.Addr() != cellular {
		t.Fatalf("moved to %v before the result", r.a.m.local)
	}
	r.commuteFor(10 * time.Second)
	r.settled(wired, portNATT)

	r = commute(t, 341, follower, []netip.Addr{cellular})
	r.prove()
	r.move(wired)
	r.commuteFor(10 * time.Second)
	if got := r.result(); got != "true true true" {
		t.Errorf("%q", got)
	}
	r.settled(wired, portNATT)

	r = proven(t, 342, follower, []netip.Addr{cellular})
	if err := r.a.m.Park(); err != nil {
		t.Fatal(err)
	}
	r.move(wired)
	r.a.m.Unpark(r.now)
	r.drain()
	r.commuteFor(10 * time.Second)
	r.settled(wired, portNATT)

	r = commute(t, 343, unmoved, []netip.Addr{cellular})
	r.prove()
	r.move(wired, cellular)
	r.commuteFor(20 * time.Second)
	if got := r.result(); got != "false true false" {
		t.Errorf("%q", got)
	}
	r.settled(cellular, portNATT)
	if err := r.a.m.SetAddresses(r.now, []netip.Addr{wired}); !errors.Is(err, ErrNoMOBIKE) {
		t.Errorf("%v", err)
	}
}

// Shows: MEC-C. A gateway that stops following, such as by a change of its configuration, is found out by its ESP packets at the address before: Following says so.
func TestFollowingEnds(t *testing.T) {
	r := proven(t, 350, kind{ike: true, machine: true}, []netip.Addr{wired, cellular})
	r.b.m.cfg.NoFollowing, r.ike = true, false
	r.move(cellular, wired)
	r.commuteFor(time.Minute)
	if got := r.result(); got != "false true false" {
		t.Fatalf("%q\n%s", got, r.trace())
	}
	r.settled(wired, freshPort)
}

// Shows: MEC-C. The same address in another network, after the proof and in it: the gateway is shown at once where the client is, in all child SAs.
func TestFollowedIntoAnotherNetwork(t *testing.T) {
	for _, during := range []bool{false, true} {
		var r *commuting
		if during {
			r = commute(t, 360, follower, []netip.Addr{wireless})
			r.prove()
		} else {
			r = proven(t, 361, follower, []netip.Addr{wireless})
		}
		delete(r.nats, cellular)
		r.nats[wireless] = cellNAT
		if err := r.a.m.ChangeNetwork(r.now, []netip.Addr{wireless}); err != nil {
			t.Fatal(err)
		}
		r.drain()
		if _, ok := find[EndpointChanged](r.a.events); !ok {
			t.Errorf("during %t: the driver is not told", during)
		}
		r.commuteFor(10 * time.Second)
		r.settled(wireless, freshPort)
		if got := r.b.m.remote; got.Addr() != cellNAT {
			t.Errorf("during %t: the gateway sends to %v", during, got)
		}
	}
}

// TryPreferred asks again where nothing has passed before.
func TestFollowedTriesAgain(t *testing.T) {
	r := proven(t, 370, follower, []netip.Addr{cellular})
	r.cut = func(client, _ netip.Addr) bool { return client == wired }
	r.move(wired, cellular)
	r.commuteFor(20 * time.Second)
	r.settled(cellular, freshPort)
	r.cut = nil
	if err := r.a.m.TryPreferred(r.now); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.commuteFor(10 * time.Second)
	r.settled(wired, portNATT)
	u := commute(t, 371, unmoved, []netip.Addr{cellular})
	if err := u.a.m.TryPreferred(u.now); !errors.Is(err, ErrNoMOBIKE) {
		t.Errorf("%v", err)
	}
}
