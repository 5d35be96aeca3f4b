package foreignagent

import (
	"bytes"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// challengeFixture is a foreign agent that challenges.
func challengeFixture(t testing.TB, change func(*Config)) (*fixture, *auth.AAA) {
	t.Helper()
	f := newFixture(t, func(c *Config) {
		c.Challenge, c.Interval = true, time.Second
		if change != nil {
			change(c)
		}
	})
	f.m.random = mathrand.NewChaCha8([32]byte{3})
	f.m.HandleTimeout(f.now)
	a, err := auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("secret")})
	if err != nil {
		t.Fatal(err)
	}
	return f, a
}

// heard returns the challenge of the advertisement that is to be sent.
func (f *fixture) heard() []byte {
	f.t.Helper()
	for _, x := range f.transmits() {
		if x.To != Advertise {
			continue
		}
		ad, err := discovery.ParseAdvertisement(x.Payload)
		if err != nil || len(ad.Challenge) < 4 {
			f.t.Fatalf("challenge %x, %v", ad.Challenge, err)
		}
		return ad.Challenge
	}
	f.t.Fatal("no advertisement")
	return nil
}

// next returns the challenge of the next periodic advertisement.
func (f *fixture) next() []byte {
	f.t.Helper()
	f.advance(time.Second)
	f.m.HandleTimeout(f.now)
	return f.heard()
}

// answering is what a mobile node appends to answer a challenge.
func answering(challenge []byte, a *auth.AAA) func([]byte) []byte {
	return func(b []byte) []byte {
		b = append(append(b, uint8(wire.ExtMobileForeignChallenge), uint8(len(challenge))), challenge...)
		if a != nil {
			b = a.AppendExtension(b, challenge)
		}
		return b
	}
}

// offered returns the challenge of a reply.
func offered(t testing.TB, reply *wire.RegistrationReply) []byte {
	t.Helper()
	i := reply.Extensions.Index(wire.ExtMobileForeignChallenge)
	if i < 0 {
		t.Fatalf("no challenge in %+v", reply)
	}
	return reply.Extensions[i].Data
}

// accepted has the home agent accept the request and returns the reply that the mobile node gets.
func (f *fixture) accepted(r *wire.RegistrationRequest, tail func([]byte) []byte) *wire.RegistrationReply {
	f.t.Helper()
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(r.HomeAgent, 434), f.reply(r, 1, r.Lifetime, tail)); err != nil {
		f.t.Fatal(err)
	}
	out := f.transmits()
	if len(out) != 1 || out[0].To != ToMobileNode {
		f.t.Fatalf("sent %+v", out)
	}
	reply, err := wire.ParseRegistrationReply(out[0].Payload)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply
}

// Shows: AGT-4, MIP-9 (challenges: which are taken, once each; codes 104, 105 and 106, each with a challenge that can be used).
func TestChallenge(t *testing.T) {
	f, a := challengeFixture(t, nil)
	first := f.heard()
	reply := f.denied(f.arrive(f.request(), nil), wire.CodeFAMissingChallenge)
	if !bytes.Equal(offered(t, reply), first) {
		t.Error("a denial without state has another challenge than the advertisement")
	}
	f.advance(time.Second)
	if err := f.m.HandleRequest(f.now, f.arrive(f.request(), answering(first, nil))); !errors.Is(err, ErrUnauthenticated) || len(f.transmits()) != 0 {
		t.Errorf("a challenge without authentication: %v", err)
	}
	f.denied(f.arrive(f.request(), answering([]byte("made up"), a)), wire.CodeFAUnknownChallenge)
	f.advance(time.Second)

	// Accepted; what the Mobile-AAA authentication covers goes to the home agent as it is.
	r := f.request()
	q := f.arrive(r, answering(first, a))
	if up := f.relayed(q); !bytes.Equal(up.Payload, q.Payload) {
		t.Errorf("relayed\n%x, want\n%x", up.Payload, q.Payload)
	}
	// A retransmission with a new Identification may have the same challenge while the first one is pending.
	again := f.request()
	f.relayed(f.arrive(again, answering(first, a)))
	reply = f.accepted(again, answering(first, nil)) // the home agent copies the challenge (§3.4)
	second := offered(t, reply)
	if bytes.Equal(second, first) {
		t.Error("the reply offers the challenge that was used")
	}
	if f.m.Table().Len() != 1 {
		t.Fatal("no visitor")
	}
	// Then it is stale, and so for this mobile node is everything before it.
	reply = f.denied(f.arrive(f.request(), answering(first, a)), wire.CodeFAStaleChallenge)
	if !bytes.Equal(offered(t, reply), second) {
		t.Error("the denial does not repeat the unused challenge of the reply")
	}
	f.advance(time.Second)
	f.relayed(f.arrive(f.request(), answering(second, a)))
	f.denied(f.arrive(func() *wire.RegistrationRequest { r := f.request(); r.HomeAddress = homeIn; return r }(), answering(second, a)), wire.CodeFAUnknownChallenge)

	// The window: the last two of the advertisements.
	c3, c4 := f.next(), f.next()
	if bytes.Equal(c3, c4) || bytes.Equal(c3, first) {
		t.Error("advertisements repeat a challenge")
	}
	f.denied(f.arrive(f.request(), answering(first, a)), wire.CodeFAUnknownChallenge)
	f.advance(time.Second)
	r = f.request()
	f.relayed(f.arrive(r, answering(c4, a)))
	f.accepted(r, nil) // a home agent that does not copy the challenge is no worse
	f.denied(f.arrive(f.request(), answering(c3, a)), wire.CodeFAStaleChallenge)
}

// A solicitation makes no new challenge (RFC 4721 §2.1).
func TestChallengeSolicited(t *testing.T) {
	f, _ := challengeFixture(t, nil)
	first := f.heard()
	for range 3 {
		if err := f.m.HandleSolicitation(f.now, laptop.Hardware, netip.IPv4Unspecified(), discovery.AppendSolicitation(nil)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.heard(), first) {
			t.Error("a solicitation changed the challenge")
		}
	}
}

// Shows: AGT-4, MIP-9 (ha_wrong_challenge in an FA Error extension, RFC 4721 §3.3, RFC 4636; the registration does not count).
func TestWrongChallenge(t *testing.T) {
	f, a := challengeFixture(t, nil)
	first := f.heard()
	r := f.request()
	f.relayed(f.arrive(r, answering(first, a)))
	reply := f.accepted(r, answering([]byte("another"), nil))
	i := reply.Extensions.Index(wire.ExtForeignAgentError)
	if i < 0 || f.m.Table().Len() != 0 {
		t.Fatalf("reply %+v, %d visitors", reply, f.m.Table().Len())
	}
	if code, err := wire.ParseForeignAgentError(reply.Extensions[i]); err != nil || code != wire.CodeFAWrongChallenge || !reply.Code.Accepted() {
		t.Errorf("status %v, %v, code %v", code, err, reply.Code)
	}
}

// A mobile node that shares a key with the agent may do without; its challenge is checked where it has one.
func TestChallengeKnownMobileNode(t *testing.T) {
	mn := association(t, 3000)
	f, _ := challengeFixture(t, func(c *Config) { c.MobileNodes = []Peer{{homeOut, mn}} })
	first := f.heard()
	sign := func(b []byte) []byte { return mn.AppendExtension(b, wire.ExtMobileForeignAuthentication) }
	r := f.request()
	f.relayed(f.arrive(r, sign))
	f.accepted(r, nil)
	r = f.request()
	q := f.arrive(r, func(b []byte) []byte { return sign(answering(first, nil)(b)) })
	if up := f.relayed(q); up.Payload[len(up.Payload)-1] != q.Payload[wire.RequestLen+21] {
		t.Errorf("relayed %x, want the challenge taken off", up.Payload)
	}
	reply := f.accepted(r, nil)
	if c, m := reply.Extensions.Index(wire.ExtMobileForeignChallenge), reply.Extensions.Index(wire.ExtMobileForeignAuthentication); c < 0 || m < c {
		t.Errorf("challenge is extension %d, authentication %d", c, m)
	}
	f.denied(f.arrive(f.request(), func(b []byte) []byte { return sign(answering(first, nil)(b)) }), wire.CodeFAStaleChallenge)
}

// Shows: AGT-4, MIP-9 (an AAA infrastructure is asked before a request is relayed; code 108)
func TestAskAAA(t *testing.T) {
	f, a := challengeFixture(t, func(c *Config) { c.AAA = true })
	nai, err := wire.NAI("mn@corp.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []auth.Verdict{auth.Granted, auth.Rejected, auth.Unavailable} {
		c := f.next()
		r := f.request()
		r.Extensions = wire.Extensions{nai}
		q := f.arrive(r, answering(c, a))
		if err := f.m.HandleRequest(f.now, q); err != nil || len(f.transmits()) != 0 {
			t.Fatalf("before the answer: %v", err)
		}
		ask, ok := f.m.PollQuestion()
		if !ok || ask.NAI != "mn@corp.example" || ask.HomeAddress != homeOut || ask.HomeAgent != external || ask.Credentials.SPI != wire.CHAPSPI || len(ask.Credentials.Response) != 16 {
			t.Fatalf("question %+v", ask)
		}
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, nil)); !errors.Is(err, ErrNoPending) {
			t.Errorf("a reply to what was not relayed: %v", err)
		}
		err := f.m.HandleVerdict(f.now, ask.ID, v)
		out := f.transmits()
		if len(out) != 1 {
			t.Fatalf("%v: sent %+v", v, out)
		}
		var d *Denied
		switch {
		case v == auth.Granted && (err != nil || out[0].To != ToHomeAgent || !bytes.Equal(out[0].Payload, q.Payload)):
			t.Errorf("granted: %+v, %v", out, err)
		case v == auth.Rejected && (!errors.As(err, &d) || d.Code != wire.CodeFABadAAAAuthentication):
			t.Errorf("rejected: %v", err)
		case v == auth.Unavailable && (!errors.As(err, &d) || d.Code != wire.CodeFAInsufficientResources):
			t.Errorf("no answer: %v", err)
		}
		if err := f.m.HandleVerdict(f.now, ask.ID, auth.Granted); err != nil || len(f.transmits()) != 0 {
			t.Errorf("a second answer: %v", err)
		}
		f.advance(time.Second)
	}
	c := f.next()
	if err := f.m.HandleRequest(f.now, f.arrive(f.request(), answering(c, a))); err != nil {
		t.Fatal(err)
	}
	ask, _ := f.m.PollQuestion()
	f.advance(2 * PendingTime)
	f.m.HandleTimeout(f.now)
	f.transmits()
	if err := f.m.HandleVerdict(f.now, ask.ID, auth.Granted); err != nil || len(f.transmits()) != 0 || len(f.m.asking) != 0 {
		t.Errorf("an answer that is too late: %v", err)
	}
	// What can be no CHAP response is not asked about.
	c = f.next()
	f.denied(f.arrive(f.request(), func(b []byte) []byte {
		b = append(append(b, uint8(wire.ExtMobileForeignChallenge), uint8(len(c))), c...)
		return append(wire.AppendMobileAAAHeader(b, wire.CHAPSPI, 20), make([]byte, 20)...)
	}), wire.CodeFABadAAAAuthentication)
	// The home agent is not given what stands under the mobile node's name for somebody else.
	f.denied(f.arrive(func() *wire.RegistrationRequest { r := f.request(); r.HomeAddress = homeIn; return r }(), func(b []byte) []byte {
		e := wire.UDPTunnelRequest{}.Extension()
		return answering(c, a)(append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...))
	}), wire.CodeFAPoorlyFormedRequest)
}

// Requests of ever new home addresses cost bounded memory.
func TestChallengeFlood(t *testing.T) {
	f, a := challengeFixture(t, func(c *Config) { c.MaxVisitors, c.MaxPending = 10, 10 })
	c := f.heard()
	for i := range 2000 {
		r := f.request()
		r.HomeAddress = netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		q := f.arrive(r, answering(c, a))
		q.Station = Station{Hardware: packet.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}}
		_ = f.m.HandleRequest(f.now, q)
		f.transmits()
		if i%9 == 8 {
			f.now.Boot += PendingTime
			for _, p := range f.m.registrations { // their time is over
				f.m.expirePending(f.now, p)
				f.m.tidy(p)
			}
			f.transmits()
		}
	}
	if n := len(f.m.challenges.records); n > 10+10+spareChallenged {
		t.Errorf("%d mobile nodes are remembered", n)
	}
}
