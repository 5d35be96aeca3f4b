package location

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// delay is the one-way delay of a path.
const delay = 20 * time.Millisecond

// path is a registration machine and the home agent that it registers with, a lossy network between them.
type path struct {
	t        *testing.T
	machine  *mobilenode.Machine
	key      *auth.SecurityAssociation
	random   *rand.Rand // nil: nothing is lost
	tnc      func(reply []byte) []byte
	inFlight []datagram // replies, in the order of their arrival
	err      error      // what the detector said of the last reply
}

type datagram struct {
	at      time.Duration
	payload []byte
}

// withTNC puts the extension where the home agent vouches for it.
func withTNC(key *auth.SecurityAssociation) func([]byte) []byte {
	return func(p []byte) []byte {
		return key.AppendExtension(append(p, 149, 2, 0, 0), wire.ExtMobileHomeAuthentication)
	}
}

func newPath(t *testing.T, r mobilenode.Retransmission, change ...func(*mobilenode.Config)) *path {
	t.Helper()
	key, err := auth.New(auth.Parameters{SPI: 256, Key: bytes.Repeat([]byte{7}, 16)})
	if err != nil {
		t.Fatal(err)
	}
	c := mobilenode.Config{HomeAgent: iHA, HomeAddress: netip.MustParseAddr("10.0.8.100"), CareOfAddress: careO, Association: key,
		Lifetime: 18 * time.Hour, ReverseTunnel: true, Encapsulation: mobilenode.EncapsulationIPIP, Retransmission: r,
		Origin: mobilenode.Origin{Interface: iface, Epoch: epoch, Direct: true}}
	for _, f := range change {
		f(&c)
	}
	m, err := mobilenode.NewMachine(c, crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &path{t: t, machine: m, key: c.Association, tnc: withTNC(c.Association)}
}

// exchange carries what the machine sends to the home agent and puts its replies under way. It returns the number of
// requests.
func (p *path) exchange(now link.Instant) int {
	n := 0
	for {
		out, ok := p.machine.PollTransmit()
		if !ok {
			return n
		}
		n++
		requestLost, replyLost := p.lost(), p.lost()
		if requestLost || replyLost {
			continue
		}
		request, err := wire.ParseRegistrationRequest(out.Payload)
		if err != nil {
			p.t.Fatal(err)
		}
		reply, err := request.Reply(wire.CodeAccepted, request.Lifetime).Append(nil)
		if err != nil {
			p.t.Fatal(err)
		}
		p.inFlight = append(p.inFlight, datagram{now.Boot + 2*delay, p.tnc(reply)})
	}
}

func (p *path) lost() bool { return p.random != nil && p.random.Float64() < lossEachWay }

// next returns when something happens next.
func (p *path) next(m *Machine) (time.Duration, bool) {
	at, ok := m.Deadline()
	if d, armed := p.machine.Deadline(); armed && (!ok || d < at) {
		at, ok = d, true
	}
	if len(p.inFlight) > 0 && (!ok || p.inFlight[0].at < at) {
		at, ok = p.inFlight[0].at, true
	}
	return at, ok
}

// deliver gives the machine the replies that have arrived, and the detector what comes of them.
func (p *path) deliver(now link.Instant, m *Machine) {
	for len(p.inFlight) > 0 && p.inFlight[0].at <= now.Boot {
		if err := p.machine.HandleReply(now, p.inFlight[0].payload); err != nil {
			p.t.Fatal(err)
		}
		p.inFlight = p.inFlight[1:]
		p.drain(now, m)
	}
}

// drain gives the detector the machine's events.
func (p *path) drain(now link.Instant, m *Machine) {
	for {
		e, ok := p.machine.PollEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case mobilenode.Accepted:
			p.err = m.HandleInternalReply(now, e.Reply)
		case mobilenode.Unanswered:
			p.err = m.HandleInternalUnanswered(now, epoch)
		default:
			p.t.Fatalf("unexpected %T %+v", e, e)
		}
	}
}

// Shows: DET-3, DET-17 (with replies that only the registration machine can verify)
func TestVerifiedReplies(t *testing.T) {
	association := func(algorithm auth.Algorithm, octets int) *auth.SecurityAssociation {
		a, err := auth.New(auth.Parameters{SPI: 300, Algorithm: algorithm, Key: bytes.Repeat([]byte{9}, octets)})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	tests := []struct {
		name   string
		change func(*mobilenode.Config)
		reply  func(*path) func([]byte) []byte
		want   error
	}{
		{name: "a proof"},
		{name: "no TNC", want: ErrNoTNC, reply: func(p *path) func([]byte) []byte {
			return func(b []byte) []byte { return p.key.AppendExtension(b, wire.ExtMobileHomeAuthentication) }
		}},
		{name: "TNC behind the authenticator, as a foreign agent could append it", want: ErrNoTNC, reply: func(p *path) func([]byte) []byte {
			return func(b []byte) []byte {
				return append(p.key.AppendExtension(b, wire.ExtMobileHomeAuthentication), 149, 2, 0, 0)
			}
		}},
		{name: "TNC of length 3", want: ErrNoTNC, reply: func(p *path) func([]byte) []byte {
			return func(b []byte) []byte {
				return p.key.AppendExtension(append(b, 149, 3, 0, 0, 0), wire.ExtMobileHomeAuthentication)
			}
		}},
		{name: "TNC of sub-type 1", want: ErrNoTNC, reply: func(p *path) func([]byte) []byte {
			return func(b []byte) []byte {
				return p.key.AppendExtension(append(b, 149, 2, 1, 0), wire.ExtMobileHomeAuthentication)
			}
		}},
		{name: "through the VPN", want: ErrNotDirect, change: func(c *mobilenode.Config) { c.Origin.Direct = false }},
		{name: "another interface", want: ErrOtherInterface, change: func(c *mobilenode.Config) { c.Origin.Interface++ }},
		{name: "another epoch", want: ErrStaleEpoch, change: func(c *mobilenode.Config) { c.Origin.Epoch-- }},
		{name: "another agent", want: ErrOtherAgent, change: func(c *mobilenode.Config) { c.HomeAgent = xHA }},
		{name: "key of 120 bits", want: ErrWeakKey, change: func(c *mobilenode.Config) { c.Association = association(auth.HMACMD5, 15) }},
		{name: "keyed MD5", want: ErrWeakKey, change: func(c *mobilenode.Config) { c.Association = association(auth.KeyedMD5, 16) }},
		{name: "HMAC-SHA-256", change: func(c *mobilenode.Config) { c.Association = association(auth.HMACSHA256, 32) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := detecting(t)
			change := tc.change
			if change == nil {
				change = func(*mobilenode.Config) {}
			}
			p := newPath(t, mobilenode.Retransmission{}, change)
			if tc.reply != nil {
				p.tnc = tc.reply(p)
			}
			p.machine.Register(b.now)
			sent := b.now.Boot
			p.exchange(b.now)
			b.now = b.now.Add(2 * delay)
			p.deliver(b.now, b.m)
			if !errors.Is(p.err, tc.want) {
				t.Fatalf("error %v, want %v", p.err, tc.want)
			}
			proof, ok := b.m.Proof()
			if ok != (tc.want == nil) {
				t.Fatalf("proof %v %+v", ok, proof)
			}
			if ok && proof.SentAt() != sent {
				t.Errorf("the proof counts from %v, the request was sent at %v", proof.SentAt(), sent)
			}
		})
	}
	t.Run("the zero reply", func(t *testing.T) {
		b := detecting(t)
		if err := b.m.HandleInternalReply(b.now, mobilenode.VerifiedReply{}); err == nil {
			t.Error("accepted")
		}
		if err := b.m.HandleExternalReply(b.now, mobilenode.VerifiedReply{}); err == nil {
			t.Error("accepted")
		}
		b.want()
	})
}
