package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
)

// The tests of hostile input have strangers send what they like to the machines, between what honest nodes send. They hold three
// things: memory stays within bounds, no binding is lost or moved, and honest nodes are served meanwhile.

// memoryBound is by how many octets the memory in use may grow in a flood.
const memoryBound = 512 << 10

// inUse returns the octets of memory in use.
func inUse() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// held fails when much more memory is in use than before.
func held(t *testing.T, before uint64) {
	t.Helper()
	if now := inUse(); now > before+memoryBound {
		t.Errorf("%d octets are in use, %d were before the flood", now, before)
	}
}

// home is a home agent with many mobile nodes, each with a key of its own and a binding.
type home struct {
	t            testing.TB
	m            *homeagent.Machine
	associations []*auth.SecurityAssociation
	now          time.Duration
	replies      int
}

func newHome(t testing.TB, n int, change func(*homeagent.Config)) *home {
	t.Helper()
	h := &home{t: t}
	cfg := homeagent.Config{Address: homeAgent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/8")}}
	for i := range n {
		a := secret{spi: 1000, key: "sixteen octets " + string(binary.BigEndian.AppendUint32(nil, uint32(i)))}.association(t)
		h.associations = append(h.associations, a)
		cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: address(20, i), Associations: []*auth.SecurityAssociation{a}})
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if h.m, err = homeagent.New(cfg); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		h.accept(i, 0)
	}
	return h
}

// address returns the i-th address of a network of 2^24.
func address(network byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{network, byte(i >> 16), byte(i >> 8), byte(i)})
}

// request returns what mobile node i sends for a lifetime of 600 s, and from where. change alters it before it is signed.
func (h *home) request(i int, change func(*wire.RegistrationRequest)) ([]byte, netip.AddrPort) {
	h.t.Helper()
	h.now += time.Microsecond
	r := wire.RegistrationRequest{
		Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 600,
		HomeAddress: address(20, i), HomeAgent: homeAgent, CareOfAddress: address(30, i), Identification: wire.IdentificationAt(at(h.now).Wall),
	}
	if change != nil {
		change(&r)
	}
	p, err := r.Append(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.associations[i].AppendExtension(p, wire.ExtMobileHomeAuthentication), netip.AddrPortFrom(r.CareOfAddress, 5000)
}

// deliver gives the home agent a datagram and counts the replies.
func (h *home) deliver(p []byte, from netip.AddrPort) error {
	err := h.m.HandleRequest(at(h.now), homeagent.Request{Source: from, Payload: p})
	for _, ok := h.m.PollTransmit(); ok; _, ok = h.m.PollTransmit() {
		h.replies++
	}
	for _, ok := h.m.PollEvent(); ok; _, ok = h.m.PollEvent() {
	}
	return err
}

// accept registers mobile node i after d.
func (h *home) accept(i int, d time.Duration) {
	h.t.Helper()
	h.now += d
	p, from := h.request(i, nil)
	before := h.replies
	if err := h.deliver(p, from); err != nil || h.replies != before+1 {
		h.t.Fatalf("mobile node %d is not served: %v, %d replies", i, err, h.replies-before)
	}
}

// intact fails when a binding is not what the first request made of it.
func (h *home) intact() {
	h.t.Helper()
	if n := h.m.Table().Len(); n != len(h.associations) {
		h.t.Fatalf("%d bindings, want %d", n, len(h.associations))
	}
	for i := range h.associations {
		r := h.m.Table().Route(address(20, i))
		if r == nil || len(r.Tunnels) != 1 || r.Tunnels[0].Remote != netip.AddrPortFrom(address(30, i), 0) {
			h.t.Fatalf("the tunnel of mobile node %d is %+v", i, r)
		}
	}
}

// A flood of requests that are wrong in every way costs no memory and no binding, draws an answer a second for each mobile node at
// most, and does not keep honest mobile nodes from registering.
//
// Shows: AGT-1, GDL-8 (a home agent under a flood)
func TestHostileFloodAtHomeAgent(t *testing.T) {
	const nodes, flood = 200, 12_000
	h := newHome(t, nodes, nil)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	noise := mathrand.NewChaCha8([32]byte{3})
	stranger := secret{spi: 1000, key: "a stranger's key"}.association(t)
	before, replied := inUse(), h.replies
	accepted := 0
	for i := range flood {
		p, _ := h.request(random.IntN(nodes), func(r *wire.RegistrationRequest) { r.CareOfAddress = address(66, i) })
		p = p[:wire.RequestLen] // without its authentication
		switch i % 6 {
		case 0: // noise
			p = make([]byte, random.IntN(1500))
			_, _ = noise.Read(p)
		case 1: // noise of the right type
			p = append(p[:1], make([]byte, random.IntN(1500))...)
			_, _ = noise.Read(p[1:])
		case 2: // another key
			p = stranger.AppendExtension(p, wire.ExtMobileHomeAuthentication)
		case 3: // an SPI that is not known
			p = secret{spi: 256 + random.Uint32N(1<<30), key: "a stranger's key"}.association(t).AppendExtension(p, wire.ExtMobileHomeAuthentication)
		case 4: // nobody's home address
			binary.BigEndian.PutUint32(p[4:], random.Uint32())
			p = stranger.AppendExtension(p, wire.ExtMobileHomeAuthentication)
		case 5: // not signed
		}
		if err := h.deliver(p, netip.AddrPortFrom(address(66, i), 5000)); err == nil {
			t.Fatalf("datagram %d is accepted: %x", i, p)
		}
		if i%100 == 0 {
			h.accept(random.IntN(nodes), time.Millisecond)
			accepted++
		}
	}
	// All of it took less than a second, so that each mobile node may have been told once that its authentication failed.
	if d := h.replies - replied - accepted; h.now >= time.Second || d > nodes {
		t.Errorf("%d answers to strangers in %v, want at most %d", d, h.now, nodes)
	}
	held(t, before)
	h.intact()
}

// What was recorded on the way and is sent again, late, in another order or to another effect, changes nothing.
//
// Shows: MIP-3, AGT-1 (replayed and reordered requests)
func TestHostileReplaysAtHomeAgent(t *testing.T) {
	const nodes = 5
	h := newHome(t, nodes, nil)
	type datagram struct {
		payload []byte
		from    netip.AddrPort
	}
	var recorded []datagram
	for i := range nodes {
		for _, change := range []func(*wire.RegistrationRequest){
			func(r *wire.RegistrationRequest) { r.CareOfAddress = address(66, i) },                          // was elsewhere
			func(r *wire.RegistrationRequest) { r.Lifetime, r.CareOfAddress = 0, r.HomeAddress },            // left for good
			func(r *wire.RegistrationRequest) { r.Lifetime = 0 },                                            // left one place
			func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagSimultaneous; r.Lifetime = 0xffff - 1 }, // more than one
			nil,
		} {
			p, from := h.request(i, change)
			if err := h.deliver(p, from); err != nil {
				t.Fatal(err)
			}
			recorded = append(recorded, datagram{p, from})
		}
	}
	h.intact()
	random := mathrand.New(mathrand.NewPCG(5, 6))
	before := inUse()
	for round := range 3000 {
		d := recorded[random.IntN(len(recorded))]
		if round%2 == 0 { // from another place
			d.from = netip.AddrPortFrom(address(66, round), 5000)
		}
		if round%500 == 499 {
			h.now += 5 * time.Second
		}
		err := h.deliver(d.payload, d.from)
		var denied *homeagent.Denied
		duplicate := err == nil // the last one of each, answered again as RFC 5944 §3.8.2.2 has it
		if !duplicate && (!errors.As(err, &denied) || denied.Code != wire.CodeIdentificationMismatch) {
			t.Fatalf("a replayed request: %v, want code 133", err)
		}
		h.intact()
	}
	held(t, before)
	// The lifetimes are those of the first arrival: 600 s after it nothing is left, whatever was repeated since.
	h.now = 0
	h.m.HandleTimeout(at(601 * time.Second))
	if n := h.m.Table().Len(); n != 0 {
		t.Errorf("%d bindings were made to last longer by replays", n)
	}
}

// Requests cut off anywhere, and such as are as long as a datagram can be, are refused or served, and cost nothing that stays.
//
// Shows: AGT-1 (truncated and oversized requests)
func TestHostileLengthsAtHomeAgent(t *testing.T) {
	const nodes = 5
	h := newHome(t, nodes, nil)
	p, from := h.request(0, nil)
	for n := range p {
		if err := h.deliver(p[:n:n], from); err == nil {
			t.Errorf("%d octets of %d are accepted", n, len(p))
		}
	}
	before := inUse()
	for round := range 12 {
		// Signed by the mobile node itself, full of what is to be skipped: extensions, padding, authentications.
		p, from := h.request(1, func(r *wire.RegistrationRequest) {
			e := []wire.Extension{
				{Type: 200, Data: bytes.Repeat([]byte{byte(round)}, 255)}, {Type: 201}, {Type: wire.ExtPadding}, wire.UDPTunnelRequest{}.Extension(),
			}[round%4]
			r.Extensions = slices.Repeat(wire.Extensions{e}, 65_000/e.Len())
		})
		if err := h.deliver(p, from); err != nil {
			t.Fatalf("%d octets: %v", len(p), err)
		}
		// The same from a stranger: the work is bounded by the length, and there is no answer worth forging.
		p[len(p)-1] ^= 1
		if err := h.deliver(p, netip.AddrPortFrom(address(66, round), 5000)); err == nil {
			t.Fatal("a forged request is accepted")
		}
	}
	held(t, before)
	h.intact()
}
