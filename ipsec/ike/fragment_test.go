package ike

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// large makes IKE_AUTH messages of about 3000 octets in both directions.
func large(i *InitiatorConfig, _ *ResponderConfig, p *testPolicy) {
	for n := range 200 {
		i.RemoteSelectors = append(i.RemoteSelectors, esp.PrefixSelector(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)))
	}
	p.assign = func(Request) (Configuration, error) {
		c := Configuration{Addresses: []netip.Addr{assigned}, Subnets: []netip.Prefix{inside}}
		for n := range 200 {
			c.DNS = append(c.DNS, netip.AddrFrom4([4]byte{10, 0, 2, byte(n)}))
		}
		return c, nil
	}
}

func sized(f Fragmentation) option {
	return func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { i.Fragmentation, r.Fragmentation = f, f }
}

// datagram returns the length of the IP datagram.
func (f flight) datagram() int {
	n := len(f.Payload) + 28
	if f.Remote.Addr().Is6() {
		n += 20
	}
	if f.Remote.Port() == portNATT {
		n += 4
	}
	return n
}

// fragments returns the fragments that an end has sent.
func (p *pair) fragments(e *end) []flight {
	var out []flight
	for _, f := range p.seen {
		if _, ok := message.ParseFragment(f.Payload); ok && f.from == e {
			out = append(out, f)
		}
	}
	return out
}

// Shows: IKE-6
func TestFragmentation(t *testing.T) {
	six := func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.Local, i.Remote = netip.MustParseAddrPort("[2001:db8::7]:0"), netip.MustParseAddrPort("[2001:db8:1::10]:0")
	}
	float := func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.ForceUDPEncapsulation = true }
	for _, tc := range []struct {
		name     string
		f        Fragmentation
		want     int // longest datagram
		opts     []option
		fragment bool
	}{
		{"default", Fragmentation{}, 1280, nil, true},
		{"IPv6", Fragmentation{}, 1280, []option{six}, true},
		{"port 4500", Fragmentation{}, 1280, []option{float}, true},
		{"576", Fragmentation{Size: 576}, 576, nil, true},
		{"smallest", Fragmentation{Size: 296}, 296, []option{six, float}, true},
		{"jumbo", Fragmentation{Size: 9000}, 9000, nil, false},
		{"off", Fragmentation{Off: true}, 9000, nil, false},
		{"off at the client", Fragmentation{}, 9000, []option{func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Fragmentation.Off = true }}, false},
		{"off at the gateway", Fragmentation{}, 9000, []option{func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.Fragmentation.Off = true }}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, 1, append([]option{large, sized(tc.f)}, tc.opts...)...)
			p.start()
			p.drive()
			p.agree(1)
			longest := 0
			for _, f := range p.seen {
				if h, err := message.ParseHeader(f.Payload); err == nil && !initial(h.Exchange) {
					longest = max(longest, f.datagram())
				}
			}
			if longest > tc.want || tc.fragment && longest < tc.want-16 {
				t.Errorf("the longest datagram has %d octets, want %d", longest, tc.want)
			}
			for _, e := range []*end{p.a, p.b} {
				if n := len(p.fragments(e)); (n > 0) != tc.fragment || tc.fragment && n < (3000/tc.want) {
					t.Errorf("%s sent %d fragments\n%s", e.name, n, p.trace())
				}
			}
			// What fits is not fragmented (RFC 7383 §2.4), and the successor of the IKE SA goes on alike.
			before := len(p.seen)
			if err := p.a.m.RekeyIKE(p.now); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			p.agree(1)
			if err := p.b.m.CreateChild(p.now, []esp.Selector{esp.PrefixSelector(inside)}, []esp.Selector{esp.AddrSelector(assigned)}); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			for _, f := range p.seen[before:] {
				if one, ok := message.ParseFragment(f.Payload); ok && one.Total < 2 {
					t.Errorf("%s is a fragment of one", f.text)
				}
			}
		})
	}
}

// Shows: IKE-6, IKE-10. Each fragment is lost once, arrives twice, or after those behind it.
func TestFragmentsUnderWay(t *testing.T) {
	for index := range 12 {
		for name, fault := range map[string]func(p *pair){
			"lost":   func(p *pair) { p.lose = func(f flight) bool { return f.index == index } },
			"double": func(p *pair) { p.duplicate = func(f flight) bool { return f.index == index } },
			"late": func(p *pair) {
				p.lose = func(f flight) bool {
					if f.index != index || len(p.queue) == 0 {
						return false
					}
					f.index = -1
					p.queue = append(p.queue, f)
					return true
				}
			},
		} {
			t.Run(fmt.Sprintf("%d %s", index, name), func(t *testing.T) {
				p := newPair(t, uint64(index), large)
				fault(p)
				p.start()
				p.drive()
				p.agree(1)
				if len(p.b.m.current.incoming.chunks) != 0 {
					t.Errorf("%d fragments are kept", p.b.m.current.incoming.have)
				}
			})
		}
	}
}

// Shows: IKE-6. A path that loses datagrams which are longer than it takes, in either direction.
func TestFragmentsShrink(t *testing.T) {
	for _, tc := range []struct {
		name   string
		size   int
		passes func(p *pair, f flight) bool
		within time.Duration
	}{
		{"both ways", 0, func(_ *pair, f flight) bool { return f.datagram() <= 600 }, 15 * time.Second},
		{"requests", 0, func(p *pair, f flight) bool { return f.from == p.b || f.datagram() <= 600 }, 10 * time.Second},
		{"responses", 0, func(p *pair, f flight) bool { return f.from == p.a || f.datagram() <= 600 }, 10 * time.Second},
		{"jumbo", 9000, func(_ *pair, f flight) bool { return f.datagram() <= 1300 }, 10 * time.Second},
		{"jumbo and small", 9000, func(_ *pair, f flight) bool { return f.datagram() <= 600 }, 25 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, 1, large, sized(Fragmentation{Size: tc.size}))
			p.lose = func(f flight) bool { return !tc.passes(p, f) }
			p.start()
			p.driveFor(tc.within)
			p.agree(1)
			last := map[[2]any]uint16{}
			for _, f := range append(p.fragments(p.a), p.fragments(p.b)...) {
				one, _ := message.ParseFragment(f.Payload)
				key := [2]any{f.from, one.Header.MessageID}
				if one.Total < last[key] {
					t.Fatalf("%s: %d fragments after %d (RFC 7383 §2.5.2)", f.from.name, one.Total, last[key])
				}
				last[key] = one.Total
			}
		})
	}
}

// Shows: IKE-6, IKE-8. Whoever sees the datagrams and has no keys cannot get in the way with fragments of his own.
func TestForgedFragments(t *testing.T) {
	p := newPair(t, 1, large)
	p.lax = true
	forge := func(f flight, change func(b []byte)) {
		b := bytes.Clone(f.Payload)
		change(b)
		err := p.other(f.from).m.HandleDatagram(p.now, Datagram{Local: f.Remote, Remote: f.Local, Payload: b})
		if err == nil {
			t.Fatalf("a forgery of %s was taken", f.text)
		}
	}
	p.lose = func(f flight) bool {
		one, ok := message.ParseFragment(f.Payload)
		if !ok {
			return false
		}
		numbers := message.HeaderLen + 4
		forge(f, func(b []byte) { b[len(b)-1] ^= 1 })
		forge(f, func(b []byte) { b[numbers+3] = 200 })                    // a greater total
		forge(f, func(b []byte) { b[numbers+2], b[numbers+3] = 255, 255 }) // more than any message has
		forge(f, func(b []byte) { b[numbers+1] = byte(one.Total) + 1 })    // a number above the total
		forge(f, func(b []byte) { b[numbers+1] = 0 })
		forge(f, func(b []byte) { b[numbers+3] = 0 })
		return false
	}
	p.start()
	p.drive()
	p.agree(1)
	if len(p.seen) != 8 {
		t.Errorf("the forgeries have cost %d datagrams:\n%s", len(p.seen), p.trace())
	}
}

// Shows: IKE-6. RFC 7383 §2.6.1: of a request that has been answered only fragment 1 brings the response again.
func TestRepeatedFragments(t *testing.T) {
	p := newPair(t, 1, large)
	p.start()
	p.drive()
	p.agree(1)
	requests := p.fragments(p.a)
	before := len(p.seen)
	for _, f := range requests[1:] {
		if err := p.deliver(f); !errors.Is(err, ErrFragment) {
			t.Errorf("%s: %v", f.text, err)
		}
	}
	if len(p.seen) != before {
		t.Errorf("answered: %s", p.trace())
	}
	if err := p.deliver(requests[0]); err != nil || len(p.seen) != before+len(p.fragments(p.b))/2 {
		t.Errorf("%v, %d datagrams, %s", err, len(p.seen)-before, p.trace())
	}
	p.queue = nil
	if err := p.b.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
}

// fragmentOf makes a fragment of the next request of the pair's client, as a peer could that does not keep to the rules.
func (p *pair) fragmentOf(number, total uint16, content []byte) flight {
	p.t.Helper()
	s := p.a.m.current
	s.sent++
	e := message.EncryptedFragment{Number: number, Total: total, Body: make([]byte, 8+len(content)+1+16)}
	copy(e.Body[8:], content)
	m := message.Message{Header: s.header(message.Informational, s.nextID, false), Payloads: []message.Payload{e}}
	wire, err := m.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	body := len(wire) - len(e.Body)
	s.ownCipher().Seal(wire[:body], wire[body:], s.sent)
	return flight{Transmit: Transmit{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}, from: p.a}
}

// Shows: IKE-6, IKE-10. A peer that holds the keys and does not keep to RFC 7383.
func TestHostileFragments(t *testing.T) {
	t.Run("empty ones", func(t *testing.T) {
		p := established(t, 1)
		for n := range uint16(5) {
			if err := p.deliver(p.fragmentOf(n+1, 5, nil)); err != nil {
				t.Fatal(err)
			}
		}
		if len(p.queue) != 1 || p.queue[0].text != "B INFORMATIONAL response 2:" {
			t.Errorf("five empty fragments make an empty request: %v", p.trace())
		}
	})
	t.Run("another total", func(t *testing.T) {
		p := established(t, 1)
		for _, step := range []struct {
			number, total uint16
			taken         bool
			have          int
		}{
			{1, 3, true, 1}, {2, 3, true, 2}, {2, 3, false, 2}, {2, 2, false, 2}, {4, 4, true, 1}, {3, 3, false, 1}, {1, 4, true, 2}, {2, 4, true, 3},
			{256, 256, true, 1}, {1, 257, false, 1},
		} {
			err := p.deliver(p.fragmentOf(step.number, step.total, nil))
			if (err == nil) != step.taken || err != nil && !errors.Is(err, ErrFragment) {
				t.Errorf("%d of %d: %v", step.number, step.total, err)
			}
			if have := p.b.m.current.incoming.have; have != step.have {
				t.Errorf("%d of %d: %d are kept, want %d", step.number, step.total, have, step.have)
			}
		}
	})
	t.Run("too long", func(t *testing.T) {
		p := established(t, 1)
		p.lax = true
		var err error
		for n := uint16(2); err == nil; n++ {
			err = p.deliver(p.fragmentOf(n, 100, make([]byte, 1000)))
			if p.b.m.current.incoming.octets > maxReassembly {
				t.Fatalf("%d octets are kept", p.b.m.current.incoming.octets)
			}
		}
		if !errors.Is(err, ErrTooManyFragments) || !errors.Is(p.b.closed, ErrTooManyFragments) {
			t.Errorf("%v, closed: %v", err, p.b.closed)
		}
	})
	t.Run("never complete", func(t *testing.T) {
		p := established(t, 1)
		if err := p.deliver(p.fragmentOf(1, 2, make([]byte, 1000))); err != nil {
			t.Fatal(err)
		}
		at, ok := p.b.m.Deadline()
		if !ok || at != p.now.Boot+reassemblyTime {
			t.Fatalf("deadline %v, %t", at, ok)
		}
		p.b.m.HandleTimeout(link.Instant{Boot: at})
		if r := p.b.m.current.incoming; r.chunks != nil || r.octets != 0 {
			t.Errorf("%d octets are kept", r.octets)
		}
		if err := p.deliver(p.fragmentOf(2, 2, nil)); err != nil {
			t.Fatal(err)
		}
		if err := p.deliver(p.fragmentOf(1, 2, nil)); err != nil || len(p.queue) != 1 {
			t.Errorf("the request was not taken afterwards: %v", err)
		}
	})
	t.Run("a text that is no message", func(t *testing.T) {
		p := established(t, 1)
		p.lax = true
		err := p.deliver(p.fragmentOf(1, 1, []byte{0, 0, 0}))
		if !errors.Is(err, message.ErrMalformed) || p.b.closed == nil {
			t.Errorf("%v", err)
		}
	})
	t.Run("not agreed on", func(t *testing.T) {
		p := established(t, 1, sized(Fragmentation{Off: true}))
		if err := p.deliver(p.fragmentOf(1, 1, nil)); !errors.Is(err, ErrFragment) {
			t.Errorf("%v", err)
		}
	})
}

func TestFragmentationConfig(t *testing.T) {
	for _, f := range []Fragmentation{{Size: 200}, {Size: 70000}, {Size: 600, Smallest: 700}, {Smallest: 100}, {Size: -1}} {
		c := Config{LocalID: mustID("a"), Fragmentation: f}
		if err := c.complete(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// FuzzReassembly gives sequences of authentic fragments to a machine: three octets for each, number, total and length.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{1, 2, 10, 2, 2, 10})
	f.Add([]byte{1, 1, 0})
	f.Add([]byte{1, 3, 5, 3, 4, 5, 4, 4, 5, 0, 0, 0, 1, 4, 0, 2, 4, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		p := established(t, 1)
		p.lax = true
		for ; len(steps) >= 3 && p.b.closed == nil; steps = steps[3:] {
			one := p.fragmentOf(uint16(steps[0]), uint16(steps[1])*2, make([]byte, 16*int(steps[2])))
			_ = p.deliver(one)
			r := p.b.m.current.incoming
			if r.octets > maxReassembly || r.have > r.total() || len(r.chunks) > message.MaxFragments {
				t.Fatalf("%d octets in %d of %d fragments", r.octets, r.have, r.total())
			}
			if len(p.queue) > 0 {
				p.a.m.current.nextID++
				p.queue = nil
			}
		}
	})
}
