package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
)

// Addresses of a client with several networks, and of a gateway with several addresses.
var (
	wired    = netip.MustParseAddr("198.51.100.20")
	wireless = netip.MustParseAddr("192.168.7.7")   // behind homeNAT
	cellular = netip.MustParseAddr("10.200.1.9")    // behind cellNAT
	wired6   = netip.MustParseAddr("2001:db8:5::7") // IPv6
	homeNAT  = netip.MustParseAddr("203.0.113.1")
	cellNAT  = netip.MustParseAddr("203.0.113.200")
	gateway2 = netip.MustParseAddr("192.0.2.11")
	gateway6 = netip.MustParseAddr("2001:db8::10")
)

// roaming is a pair whose client moves.
type roaming struct {
	*pair
	// client and gateway are the addresses that there are now; nats those of the client behind a NAT.
	client, gateway []netip.Addr
	nats            map[netip.Addr]netip.Addr
	ports           map[netip.Addr]uint16 // the NATs' for the client's 4500
	// patience, when set, is how long the NATs hold the mapping for the client's 4500; then it gets another port. used is when
	// the client has sent last, remapped how often a mapping was given anew.
	patience, used time.Duration
	remapped       int
	same           bool // it gets the same port again
	// cut are paths that carry nothing.
	cut func(client, gateway netip.Addr) bool
}

// mobility turns MOBIKE on.
func mobility(client, gateway []netip.Addr, change ...func(c, g *MOBIKE)) option {
	return func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Local = netip.AddrPortFrom(client[0], 0)
		i.MOBIKE, r.MOBIKE = &MOBIKE{Addresses: client}, &MOBIKE{Addresses: gateway}
		for _, f := range change {
			f(i.MOBIKE, r.MOBIKE)
		}
	}
}

func newRoaming(t *testing.T, seed uint64, client, gateway []netip.Addr, opts ...option) *roaming {
	t.Helper()
	r := &roaming{pair: newPair(t, seed, append([]option{mobility(client, gateway)}, opts...)...), client: client, gateway: gateway,
		nats: map[netip.Addr]netip.Addr{wireless: homeNAT, cellular: cellNAT}, ports: map[netip.Addr]uint16{homeNAT: 31001, cellNAT: 31002}}
	r.pair.route = r.carry
	return r
}

// connected returns one with a child SA.
func connected(t *testing.T, seed uint64, client, gateway []netip.Addr, opts ...option) *roaming {
	t.Helper()
	r := newRoaming(t, seed, client, gateway, opts...)
	r.start()
	r.drive()
	r.agree(1)
	r.log, r.a.events, r.b.events, r.seen = nil, nil, nil, nil
	return r
}

// carry is the network.
func (r *roaming) carry(f flight, d Datagram) (Datagram, bool) {
	if f.from == r.a {
		src := d.Remote.Addr()
		if !slices.Contains(r.client, src) || !slices.Contains(r.gateway, d.Local.Addr()) || src.Is4() != d.Local.Addr().Is4() || r.blocked(src, d.Local.Addr()) {
			return d, false
		}
		if public, ok := r.nats[src]; ok {
			port := d.Remote.Port()
			if port == portNATT {
				if r.patience != 0 && r.now.Since(r.used) > r.patience {
					if r.remapped++; !r.same {
						r.ports[public]++
					}
				}
				r.used = r.now.Boot
				port = r.ports[public]
			}
			d.Remote = netip.AddrPortFrom(public, port)
		}
		return d, true
	}
	dst := d.Local
	for own, public := range r.nats {
		if public == dst.Addr() {
			port := dst.Port()
			switch port {
			case r.ports[public]:
				if r.patience != 0 && r.now.Since(r.used) > r.patience {
					return d, false
				}
				port = portNATT
			case portIKE, freshPort:
			default:
				return d, false // a mapping that is gone
			}
			dst = netip.AddrPortFrom(own, port)
		}
	}
	d.Local = dst
	return d, slices.Contains(r.client, dst.Addr()) && slices.Contains(r.gateway, d.Remote.Addr()) && !r.blocked(dst.Addr(), d.Remote.Addr())
}

func (r *roaming) blocked(client, gateway netip.Addr) bool {
	return r.cut != nil && r.cut(client, gateway)
}

// move gives the client these addresses.
func (r *roaming) move(addresses ...netip.Addr) {
	r.t.Helper()
	r.client = addresses
	if err := r.a.m.SetAddresses(r.now, addresses); err != nil {
		r.t.Fatal(err)
	}
	r.drain()
}

// seenFrom is how the gateway sees the client's address.
func (r *roaming) seenFrom(a netip.Addr) netip.AddrPort {
	if public, ok := r.nats[a]; ok {
		return netip.AddrPortFrom(public, r.ports[public])
	}
	return netip.AddrPortFrom(a, portNATT)
}

// meet asserts that both ends agree, and that IKE and all child SAs of both have the endpoints of the path from client to
// gateway, in UDP just when a NAT is there.
func (r *roaming) meet(children int, client, gateway netip.Addr) {
	r.t.Helper()
	r.agree(children)
	_, nat := r.nats[client]
	at := netip.AddrPortFrom(gateway, portNATT)
	wantA, wantB := path{local: netip.AddrPortFrom(client, portNATT), remote: at}, path{local: at, remote: r.seenFrom(client)}
	if got := r.a.m.path(); got != wantA {
		r.t.Fatalf("A's IKE SA uses %s, want %s\n%s", endpoints(got), endpoints(wantA), r.trace())
	}
	if got := r.b.m.path(); got != wantB {
		r.t.Fatalf("B's IKE SA uses %s, want %s\n%s", endpoints(got), endpoints(wantB), r.trace())
	}
	for e, want := range map[*end]path{r.a: wantA, r.b: wantB} {
		for id, c := range e.children {
			if (path{local: c.Local, remote: c.Remote}) != want || c.UDPEncapsulation != nat {
				r.t.Fatalf("%s: child SA %d from %v to %v, UDP %t, want %v, UDP %t\n%s", e.name, id, c.Local, c.Remote, c.UDPEncapsulation, want, nat, r.trace())
			}
		}
	}
	for _, e := range []*end{r.a, r.b} {
		if (NAT{Local: nat && e == r.a, Remote: nat && e == r.b}) != e.m.nat {
			r.t.Fatalf("%s: NAT %+v on the path from %v", e.name, e.m.nat, client)
		}
	}
}

// requests returns the texts of an end's requests with the words in them, repetitions left out.
func (r *roaming) requests(e *end, words ...string) []flight {
	var out []flight
	for _, f := range r.seen {
		if f.from != e || !strings.Contains(f.text, "request") || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.text, w) }) {
			continue
		}
		if !slices.ContainsFunc(out, func(o flight) bool { return string(o.Payload) == string(f.Payload) }) {
			out = append(out, f)
		}
	}
	return out
}

// notify returns a notify of a message.
func (r *roaming) notify(f flight, t message.NotifyType) (message.Notify, bool) {
	r.t.Helper()
	m, err := r.open(f.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return message.FindNotify(m.Payloads, t)
}

// answerWith answers the outstanding request of one end as the other would, with other payloads.
func (r *roaming) answerWith(e *end, ps ...message.Payload) error {
	r.t.Helper()
	s := r.other(e).m.current
	wire, err := s.seal(s.header(message.Informational, e.m.current.exchange.id, true), ps)
	if err != nil {
		r.t.Fatal(err)
	}
	err = e.m.HandleDatagram(r.now, Datagram{Local: e.m.local, Remote: e.m.remote, Payload: wire})
	r.drain()
	return err
}

func endpoints(p path) string { return p.local.String() + " > " + p.remote.String() }

func names(addresses ...netip.Addr) string { return strings.Trim(fmt.Sprint(addresses), "[]") }
