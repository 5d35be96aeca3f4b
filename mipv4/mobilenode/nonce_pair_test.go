package mobilenode_test

import (
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
)

const pairKey = "a key of the home agent"

// With nonces nobody's clock matters; whichever of the first messages are lost, the two end registered, renew in time and never expire.
//
// Shows: MIP-3 (nonces)
func TestPairWithNoncesUnderLoss(t *testing.T) {
	for pattern := range 1 << 5 {
		for _, offset := range []time.Duration{0, -24 * time.Hour} {
			p := newPairOf(t, mobilenode.EncapsulationAuto, pairKey, auth.Nonces, nil)
			p.lost = func(i int) bool { return i < 5 && pattern&(1<<i) != 0 }
			p.offset = offset
			p.mn.Register(p.now(0, offset))
			p.run(29 * time.Minute)
			accepted, mismatches := 0, 0
			for _, e := range p.events {
				switch e := e.(type) {
				case mobilenode.Accepted:
					accepted++
				case mobilenode.Refused:
					if e.Code == wire.CodeIdentificationMismatch {
						mismatches++
					}
				case mobilenode.Expired, mobilenode.Unanswered:
					t.Errorf("pattern %05b, clock %v: %+v", pattern, offset, e)
				}
			}
			if accepted < 3 || p.mn.State() != mobilenode.StateRegistered || p.ha.Table().Len() != 1 {
				t.Errorf("pattern %05b, clock %v: accepted %d times, state %v", pattern, offset, accepted, p.mn.State())
			}
			// The first request has no nonce yet, and a nonce is used up when an acceptance is lost and its repetition comes as another request.
			if mismatches < 1 || mismatches > 3 {
				t.Errorf("pattern %05b, clock %v: %d times another nonce was needed", pattern, offset, mismatches)
			}
		}
	}
}

// A request that is not answered is sent again octet by octet, for as long as its reply could still be a proof, and gets the answer of
// the first one; what is recorded and replayed later changes nothing and does not cost the mobile node its nonce.
//
// Shows: MIP-3 (nonces)
func TestNonceRepetitionAndReplay(t *testing.T) {
	p := newPairOf(t, mobilenode.EncapsulationIPIP, pairKey, auth.Nonces, nil)
	p.mn.Register(p.now(0, 0))
	p.run(time.Second)
	first := last[mobilenode.Accepted](p).Reply

	transmit := func() []byte {
		t.Helper()
		tr, ok := p.mn.PollTransmit()
		if !ok {
			t.Fatal("no request")
		}
		return tr.Payload
	}
	ask := func(d time.Duration, payload []byte) (*wire.RegistrationReply, error) {
		t.Helper()
		err := p.ha.HandleRequest(p.now(d, 0), homeagent.Request{Source: p.source, Payload: payload})
		tr, ok := p.ha.PollTransmit()
		if !ok {
			t.Fatalf("no reply: %v", err)
		}
		reply, e := wire.ParseRegistrationReply(tr.Payload)
		if e != nil {
			t.Fatal(e)
		}
		return reply, err
	}
	p.mn.Register(p.now(10*time.Second, 0))
	one := transmit()
	lost, err := ask(10*time.Second, one)
	if err != nil || !lost.Code.Accepted() {
		t.Fatalf("code %v, %v", lost.Code, err)
	}
	p.mn.HandleTimeout(p.now(11*time.Second, 0))
	two := transmit()
	if string(one) != string(two) {
		t.Fatal("the unanswered request was not repeated unchanged")
	}
	again, err := ask(11*time.Second, two)
	if err != nil || again.Code != lost.Code || again.Identification != lost.Identification || again.Lifetime >= lost.Lifetime {
		t.Fatalf("the repetition got %+v, %v; the first %+v", again, err, lost)
	}
	if again.Identification.Low() != mustParse(t, one).Identification.Low() || again.Identification.High() == mustParse(t, one).Identification.High() {
		t.Errorf("Identification %v in the reply to %v", again.Identification, mustParse(t, one).Identification)
	}
	p.mn.HandleTimeout(p.now(13*time.Second, 0))
	if string(transmit()) != string(one) {
		t.Error("not repeated after three seconds")
	}
	p.mn.HandleTimeout(p.now(17*time.Second, 0))
	late := transmit()
	if string(late) == string(one) || mustParse(t, late).Identification.High() != mustParse(t, one).Identification.High() {
		t.Error("the repetition at 7 s is no request of its own with the nonce that is known")
	}

	// The reply that was not lost: the proof counts from the first transmission.
	p.events = nil
	raw := reply(t, p, 18*time.Second, late)
	if err := p.mn.HandleReply(p.now(18*time.Second, 0), raw); err != nil {
		t.Fatal(err)
	}
	renewed := transmit() // at once, with the nonce of the denial
	if err := p.mn.HandleReply(p.now(19*time.Second, 0), reply(t, p, 19*time.Second, renewed)); err != nil {
		t.Fatal(err)
	}
	p.drain(19 * time.Second)
	v := last[mobilenode.Accepted](p).Reply
	if v.SentAt() <= first.SentAt() || v.SentAt() != p.now(18*time.Second, 0).Boot {
		t.Errorf("sent at %v", v.SentAt())
	}

	for _, old := range [][]byte{one, late} {
		denied, err := ask(30*time.Second, old)
		var d *homeagent.Denied
		if !errors.As(err, &d) || denied.Code != wire.CodeIdentificationMismatch {
			t.Errorf("a replay got code %v, %v", denied.Code, err)
		}
	}
	moved := *mustParse(t, renewed)
	moved.CareOfAddress = netip.MustParseAddr("192.168.1.51")
	b, err := moved.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(31*time.Second, b); err == nil {
		t.Error("a changed request was accepted")
	}
	p.mn.Register(p.now(40*time.Second, 0))
	if got, err := ask(40*time.Second, transmit()); err != nil || !got.Code.Accepted() {
		t.Errorf("after the replays: code %v, %v", got.Code, err)
	}
}

func mustParse(t *testing.T, payload []byte) *wire.RegistrationRequest {
	t.Helper()
	r, err := wire.ParseRegistrationRequest(payload)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reply is what the home agent says to the request, as it is on the wire.
func reply(t *testing.T, p *pair, d time.Duration, payload []byte) []byte {
	t.Helper()
	_ = p.ha.HandleRequest(p.now(d, 0), homeagent.Request{Source: p.source, Payload: payload}) // the mobile node judges the reply
	tr, ok := p.ha.PollTransmit()
	if !ok {
		t.Fatal("no reply")
	}
	return tr.Payload
}

// Two machines that share an association, as two interfaces of a laptop do, register at once with one nonce.
//
// Shows: MIP-3 (nonces)
func TestNoncesOfTwoMachines(t *testing.T) {
	p := newPairOf(t, mobilenode.EncapsulationIPIP, pairKey, auth.Nonces, func(c *homeagent.Config) { c.SimultaneousBindings = 2 })
	cfg := p.mn.Config()
	cfg.CareOfAddress, cfg.Simultaneous = netip.MustParseAddr("192.168.2.50"), true
	q := *p
	var err error
	if q.mn, err = mobilenode.NewMachine(cfg, mathrand.NewChaCha8([32]byte{7})); err != nil {
		t.Fatal(err)
	}
	q.source, q.queue, q.events = netip.AddrPortFrom(cfg.CareOfAddress, 40001), nil, nil
	p.mn.SetSimultaneous(true)
	for round := range 5 {
		at := time.Duration(round) * 20 * time.Second
		for _, e := range []*pair{p, &q} {
			e.mn.Register(e.now(at, 0))
		}
		a, _ := p.mn.PollTransmit()
		b, _ := q.mn.PollTransmit()
		// Both requests are with the home agent before either hears of the other's nonce.
		ra, rb := reply(t, p, at, a.Payload), reply(t, &q, at, b.Payload)
		if err := errors.Join(p.mn.HandleReply(p.now(at, 0), ra), q.mn.HandleReply(q.now(at, 0), rb)); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			for _, e := range []*pair{p, &q} {
				if tr, ok := e.mn.PollTransmit(); ok {
					if err := e.mn.HandleReply(e.now(at, 0), reply(t, e, at, tr.Payload)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, e := range []*pair{p, &q} {
			if b, ok := e.mn.Binding(); !ok || b.SentAt() != e.now(at, 0).Boot {
				t.Fatalf("round %d: %v not registered anew: %+v", round, e.source, b)
			}
		}
	}
	if r := p.ha.Table().Route(home); r == nil || len(r.Tunnels) != 2 {
		t.Errorf("route %+v", r)
	}
}
