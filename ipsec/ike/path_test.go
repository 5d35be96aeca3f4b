package ike

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
)

// Shows: IKE-7 (path tests without congestion). The path in use dies. The request that finds it out is repeated, with the same
// octets, over the other paths: one after the other, the preferred first, at most four a second, in rounds that become rare.
func TestMOBIKESearch(t *testing.T) {
	r := connected(t, 20, []netip.Addr{wired, wireless, wired6}, []netip.Addr{gatewayAddr, gateway2, gateway6})
	r.cut = func(netip.Addr, netip.Addr) bool { return true }
	if err := r.a.m.CheckLiveness(r.now); err != nil {
		t.Fatal(err)
	}
	r.drain()
	begin := r.now.Boot
	type sending struct {
		at   time.Duration
		path path
	}
	var sent []sending
	var wire string
	for r.now.Boot < begin+time.Minute && r.a.closed == nil {
		for _, f := range r.queue {
			sent = append(sent, sending{r.now.Boot - begin, path{local: f.Local, remote: f.Remote}})
			if wire != "" && wire != string(f.Payload) {
				t.Fatalf("another request: %s", f.text)
			}
			wire = string(f.Payload)
		}
		r.queue = nil
		at, ok := r.deadline()
		if !ok {
			t.Fatal("nothing to wait for")
		}
		r.now = r.now.Add(max(0, at-r.now.Boot))
		r.timeouts()
	}
	var tested []string
	window, before := 0, -time.Second
	for i, s := range sent {
		for window < i && sent[window].at <= s.at-time.Second {
			window++
		}
		if i-window+1 > 6 { // four of the search, and the repetitions on the path in use
			t.Errorf("%d datagrams in the second before %v", i-window+1, s.at)
		}
		if s.path.local.Addr() == wired && s.path.remote.Addr() == gatewayAddr {
			continue
		}
		if s.at < time.Second {
			t.Errorf("another path was tried after %v", s.at)
		}
		if s.at-before < searchPace {
			t.Errorf("two tries within %v", s.at-before)
		}
		before = s.at
		tested = append(tested, fmt.Sprint(s.path.local.Addr(), ">", s.path.remote.Addr()))
	}
	order := []string{fmt.Sprint(wired, ">", gateway2), fmt.Sprint(wireless, ">", gatewayAddr), fmt.Sprint(wireless, ">", gateway2), fmt.Sprint(wired6, ">", gateway6)}
	for i, path := range tested {
		if path != order[i%len(order)] {
			t.Fatalf("paths tried: %v, want %v again and again", tested, order)
		}
	}
	if n := len(tested); n < 2*len(order) || n > 8*len(order) {
		t.Errorf("%d datagrams on other paths in a minute", n)
	}

	// One of them comes alive.
	r.cut = func(c, g netip.Addr) bool { return c != wireless || g != gateway2 }
	r.driveFor(30 * time.Second)
	r.cut = nil
	r.driveFor(30 * time.Second)
	r.meet(1, wireless, gateway2)
}

// A search finds each path that there is, from each path that has died, whether something else is under way or not.
func TestMOBIKESearchFindsThePath(t *testing.T) {
	clients, gateways := []netip.Addr{wired, wireless, cellular}, []netip.Addr{gatewayAddr, gateway2}
	for i, c := range clients {
		for j, g := range gateways {
			for _, busy := range []bool{false, true} {
				if i+j == 0 {
					continue
				}
				r := connected(t, uint64(21+i+10*j), clients, gateways)
				if busy {
					if err := r.a.m.RekeyChild(r.now, 1); err != nil {
						t.Fatal(err)
					}
				} else if err := r.a.m.CheckLiveness(r.now); err != nil {
					t.Fatal(err)
				}
				r.cut = func(client, gateway netip.Addr) bool { return client != c || gateway != g }
				r.drain()
				r.driveFor(time.Minute)
				r.meet(1, c, g)
			}
		}
	}
}

// Shows: IKE-7 (make before break). A preferred address appears: its path is tested first, and used when the test was
// answered. Where it carries nothing the path in use goes on, and whatever waits is not held up for long.
func TestMOBIKETestsThePreferredPath(t *testing.T) {
	r := connected(t, 30, []netip.Addr{cellular}, []netip.Addr{gatewayAddr})
	r.move(wired, cellular)
	if f := r.queue[0]; f.Local.Addr() != wired || r.a.m.local.Addr() != cellular {
		t.Fatalf("%s from %v while %v is in use: want a test", f.text, f.Local, r.a.m.local)
	}
	r.driveFor(5 * time.Second)
	r.meet(1, wired, gatewayAddr)
	if got := names(r.b.m.mobike.peers...); got != names(wired, cellular) {
		t.Errorf("B knows %s", got)
	}

	r = connected(t, 31, []netip.Addr{cellular}, []netip.Addr{gatewayAddr})
	r.cut = func(client, _ netip.Addr) bool { return client == wired }
	r.move(wired, cellular)
	if err := r.a.m.RekeyChild(r.now, 1); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.driveFor(10 * time.Second)
	r.meet(1, cellular, gatewayAddr)
	if n := count[EndpointChanged](r.a.events); n != 0 {
		t.Errorf("%d changes of endpoints", n)
	}
	if _, ok := find[ChildInstalled](r.a.events); !ok {
		t.Error("the rekeying was held up")
	}
	tests := slices.DeleteFunc(slices.Clone(r.seen), func(f flight) bool { return f.Local.Addr() != wired })
	if len(tests) != testTries {
		t.Errorf("%d datagrams over the path that is tested, want %d", len(tests), testTries)
	}
}

// Shows: IKE-7 (responder with partial connectivity). The gateway's address in use goes away and another one is there: it
// tells the client from that, over paths that it searches for, and the client moves to it. Where the client has moved too,
// unseen, they find each other all the same if any path is open.
func TestMOBIKEGatewayMoves(t *testing.T) {
	r := connected(t, 40, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	r.gateway = []netip.Addr{gateway2}
	if err := r.b.m.SetAddresses(r.now, r.gateway); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.driveFor(10 * time.Second)
	r.meet(1, wired, gateway2)
	if got := names(r.a.m.mobike.peers...); got != names(gateway2) {
		t.Errorf("A knows %s", got)
	}

	// Gained and lost without being in use.
	for _, list := range [][]netip.Addr{{gateway2, gatewayAddr, gateway6}, {gateway2, gateway6}, {gateway2}} {
		r.gateway = list
		if err := r.b.m.SetAddresses(r.now, list); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.driveFor(5 * time.Second)
		if got := names(r.a.m.mobike.peers...); got != names(list...) {
			t.Errorf("A knows %s, want %s", got, names(list...))
		}
		r.meet(1, wired, gateway2)
	}

	// The client's address in use carries nothing from the gateway's new one: the gateway uses the client's other address.
	r = connected(t, 41, []netip.Addr{wireless, wired}, []netip.Addr{gatewayAddr, gateway2})
	r.cut = func(client, gateway netip.Addr) bool { return client != wired || gateway != gateway2 }
	r.gateway = []netip.Addr{gateway2}
	if err := r.b.m.SetAddresses(r.now, r.gateway); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.driveFor(time.Minute)
	r.meet(1, wired, gateway2)
}

// A gateway repeats a request for at least five minutes: the client has to find a path first (RFC 4555 §3.11).
func TestMOBIKEGatewayIsPatient(t *testing.T) {
	r := connected(t, 42, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	r.cut = func(netip.Addr, netip.Addr) bool { return true }
	if err := r.b.m.CheckLiveness(r.now); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.driveFor(4*time.Minute + 50*time.Second)
	if r.b.closed != nil {
		t.Fatalf("closed with %v", r.b.closed)
	}
	r.cut = nil
	r.driveFor(30 * time.Second)
	r.agree(1)

	r.cut = func(netip.Addr, netip.Addr) bool { return true }
	if err := r.b.m.CheckLiveness(r.now); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.driveFor(6 * time.Minute)
	if r.b.closed == nil {
		t.Error("a gateway never gives up")
	}
}

// Addresses that change while the machine is parked, or that are all gone for a while, are acted on when that is over.
func TestMOBIKEParked(t *testing.T) {
	r := connected(t, 43, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	if err := r.a.m.Park(); err != nil {
		t.Fatal(err)
	}
	r.move()
	r.move(wireless)
	if len(r.queue) != 0 {
		t.Fatalf("parked, and sends %v", r.log)
	}
	r.a.m.Unpark(r.now)
	r.drain()
	r.driveFor(5 * time.Second)
	r.meet(1, wireless, gatewayAddr)

	r.move()
	r.ports[homeNAT] = 45000 // the NAT forgets meanwhile
	r.move(wireless)
	r.driveFor(5 * time.Second)
	r.meet(1, wireless, gatewayAddr)
}

// Shows: IKE-5, IKE-7. The client moves while either end rekeys the IKE SA: an update on the old one that a newer one has
// overtaken moves nothing.
func TestMOBIKEAndRekeying(t *testing.T) {
	for _, who := range []string{"A", "B", "both"} {
		for cut := range 8 {
			r := connected(t, uint64(50+cut), []netip.Addr{wired}, []netip.Addr{gatewayAddr})
			for _, e := range []*end{r.a, r.b} {
				if who == e.name || who == "both" {
					if err := e.m.RekeyIKE(r.now); err != nil {
						t.Fatal(err)
					}
				}
			}
			r.drain()
			for range cut {
				if len(r.queue) > 0 {
					r.next()
				}
			}
			r.move(wireless)
			for range cut {
				if len(r.queue) > 0 {
					r.next()
				}
			}
			r.move(cellular)
			r.driveFor(3 * time.Minute)
			r.meet(1, cellular, gatewayAddr)
		}
	}

	// By hand: the gateway has a newer IKE SA with a newer update than the one on the old IKE SA.
	r := connected(t, 60, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	r.b.m.mobike.newest = r.b.m.current.serial + 1
	r.move(wireless)
	r.driveFor(time.Second)
	if r.b.m.remote.Addr() != wired {
		t.Errorf("moved to %v", r.b.m.remote)
	}
}

// Shows: IKE-10, IKE-7. Whatever is lost, doubled, overtaken or too late while both ends move, rekey and ask each other, in the
// end they agree on the path and on the SAs. MIPVPN_SWEEP=1 runs many more.
func TestMOBIKEConverges(t *testing.T) {
	runs := 60
	if os.Getenv("MIPVPN_SWEEP") != "" {
		runs = 3000
	}
	homes := []netip.Addr{wired, wireless, cellular, wired6}
	gateways := []netip.Addr{gatewayAddr, gateway2, gateway6}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		policy := Routability(rng.IntN(3))
		r := connected(t, uint64(seed), homes[:1], gateways, onlyGroup(31), func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
			i.MOBIKE.Routability, g.MOBIKE.Routability = policy, policy
		})
		r.lax = true
		var late []flight
		r.lose = func(f flight) bool {
			if rng.IntN(5) == 0 { // it comes later
				late = append(late, f)
				return true
			}
			return rng.IntN(4) == 0
		}
		r.duplicate = func(flight) bool { return rng.IntN(4) == 0 }
		for range 12 {
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				n := 1 + rng.IntN(3)
				var list []netip.Addr
				for _, i := range rng.Perm(len(homes))[:n] {
					list = append(list, homes[i])
				}
				r.move(list...)
			case 4:
				_ = r.a.m.RekeyIKE(r.now)
				_ = r.b.m.RekeyChild(r.now, r.b.m.children[0].id)
			case 5:
				_ = r.b.m.RekeyIKE(r.now)
				_ = r.a.m.RekeyChild(r.now, r.a.m.children[0].id)
			case 6:
				r.ports[homeNAT]++ // the NAT forgets
			case 7:
				_ = r.a.m.CheckLiveness(r.now)
			}
			r.drain()
			r.driveFor(time.Duration(rng.IntN(4000)) * time.Millisecond)
			if len(late) > 0 && rng.IntN(2) == 0 {
				r.queue = append(r.queue, late...)
				late = nil
			}
			if r.a.closed != nil || r.b.closed != nil {
				t.Fatalf("seed %d: A %v, B %v\n%s", seed, r.a.closed, r.b.closed, r.trace())
			}
		}
		r.lose, r.duplicate = nil, nil
		r.queue = append(r.queue, late...)
		r.move(homes[rng.IntN(len(homes))])
		r.driveFor(2 * time.Minute)
		_ = r.a.m.CheckLiveness(r.now) // a NAT that forgets is found out so
		r.drain()
		r.driveFor(2 * time.Minute)
		r.lax = false
		client, gateway := r.a.m.local.Addr(), r.a.m.remote.Addr()
		if len(r.a.m.mobike.addresses) != 1 || client != r.a.m.mobike.addresses[0] {
			t.Fatalf("seed %d: A uses %v of %v", seed, client, r.a.m.mobike.addresses)
		}
		r.meet(1, client, gateway)
		if got := r.b.m.mobike.peers; !slices.Contains(got, r.seenFrom(client).Addr()) {
			t.Fatalf("seed %d: B knows %v\n%s", seed, got, r.trace())
		}
	}
}

// An update concerns the child SAs of its machine, and the zero one none.
func TestEndpointUpdate(t *testing.T) {
	var none EndpointUpdate
	if none.Concerns(1) || none.Concerns(0) || none.Number() != 0 || none.Proven() {
		t.Errorf("%+v", none)
	}
	r := connected(t, 70, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	if err := r.a.m.CreateChild(r.now, r.a.m.children[0].local, r.a.m.children[0].remote); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.drive()
	r.move(wireless)
	r.driveFor(time.Second)
	r.meet(2, wireless, gatewayAddr)
	for _, e := range []*end{r.a, r.b} {
		u := last[EndpointChanged](e.events).Update
		if !u.Concerns(1) || !u.Concerns(2) || u.Concerns(3) || u.Concerns(0) {
			t.Errorf("%s: %+v", e.name, u)
		}
	}
}

// Addresses that nobody else can have are not taken from a peer, and no more than a bound.
func TestPeerAddresses(t *testing.T) {
	add := func(kind message.NotifyType, b ...byte) message.Payload {
		return message.Notify{Message: kind, Data: b}
	}
	v4, v6 := message.AdditionalIP4Address, message.AdditionalIP6Address
	ps := []message.Payload{
		add(v4, 192, 0, 2, 11), add(v4, 192, 0, 2, 11), add(v4, 192, 0, 2, 10), add(v4, 127, 0, 0, 1), add(v4, 224, 0, 0, 1), add(v4, 255, 255, 255, 255),
		add(v4, 0, 0, 0, 0), add(v4, 1, 2, 3), add(v4, gateway6.AsSlice()...), add(v6, 192, 0, 2, 12), add(v6, gateway6.AsSlice()...),
		add(v6, netip.MustParseAddr("fe80::1").AsSlice()...), add(v6), message.Nonce{Data: []byte{1}},
	}
	if got, want := names(peerAddresses(ps, gatewayAddr)...), names(gatewayAddr, gateway2, gateway6); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	ps = nil
	for i := range 200 {
		ps = append(ps, add(v4, 198, 51, 100, byte(i)))
	}
	if got := len(peerAddresses(ps, gatewayAddr)); got != maxOuter+1 {
		t.Errorf("%d addresses", got)
	}
}

// An update has been tried over two paths; the gateway has taken the one that its answers do not come back from. The answer that
// comes over the other one does not count: one more update says where the client is (RFC 4555 §3.6).
func TestMOBIKEUpdateOverTwoPaths(t *testing.T) {
	r := connected(t, 61, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	late := r.now.Boot + 8*time.Second
	r.lose = func(f flight) bool {
		if f.from == r.b {
			return f.Remote.Addr() == homeNAT
		}
		return f.Local.Addr() == cellular && r.now.Boot < late
	}
	r.move(cellular, wireless)
	r.driveFor(6 * time.Second)
	if r.b.m.remote.Addr() != homeNAT {
		t.Fatalf("the gateway is at %v", r.b.m.remote)
	}
	r.driveFor(time.Minute)
	r.meet(1, cellular, gatewayAddr)
}
