package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/radius"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// maxProving bounds the questions about signatures and certificates that are answered at a time.
const maxProving = 64

// errProving tells a client's session that too many others are being authenticated.
var errProving = errors.New("agent: too many signatures and certificates are under way")

// errNoVerifier and errNoCredential tell that the configuration lacks what a client's authentication needs.
var (
	errNoVerifier   = errors.New("agent: no trust anchors are configured")
	errNoCredential = errors.New("agent: no certificate is configured")
)

// prover answers what clients' authentication asks, each question in a goroutine of its own: keys may be in slow devices, and
// revocation is looked up in the network.
type prover struct {
	credential *credential.Credential // of the loop, like verifier
	verifier   *pki.Verifier
	places     chan struct{}
	ctx        context.Context
	cancel     context.CancelFunc
	working    sync.WaitGroup
}

func newProver(c *GatewayConfig) *prover {
	p := &prover{credential: c.Credential, verifier: c.Verifier, places: make(chan struct{}, maxProving)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// prove completes the configuration with what follows from Credential and Verifier.
func (c *GatewayConfig) prove() {
	if own := c.Credential; own != nil {
		if c.Certificates == nil {
			c.Certificates = own.Certificates()
		}
		if c.EAP.Certificate == nil {
			c.EAP.Certificate = &eap.Certificate{Chain: c.Certificates.Chain, Public: own.Leaf().PublicKey}
		}
	}
	if len(c.Authorities) == 0 && c.Verifier != nil && c.Verifier.Anchors != nil {
		c.Authorities = c.Verifier.Anchors.Hashes()
	}
}

// close ends what is under way; the loop may have ended before.
func (p *prover) close() {
	p.cancel()
	p.working.Wait()
}

// answer has slow answer a question beside the loop, and brings what it returns to the loop. busy answers when too many are
// under way. It is called on the loop.
func (g *Gateway) answer(now link.Instant, busy func(link.Instant), slow func(now link.Instant) func(link.Instant)) {
	select {
	case g.prover.places <- struct{}{}:
	default:
		busy(now)
		return
	}
	g.prover.working.Go(func() {
		reply := slow(now)
		<-g.prover.places
		g.loop.deliver(reply)
	})
}

// prove answers the questions among a session's events; false for any other event.
func (g *Gateway) prove(now link.Instant, e gateway.Event) bool {
	// What is configured now answers, also if that changes meanwhile.
	id, own, verifier := e.Session, g.prover.credential, g.prover.verifier
	switch q := e.Event.(type) {
	case ike.SignatureWanted:
		reply := func(sig []byte, err error) func(link.Instant) {
			return func(now link.Instant) { g.proved(g.machine.Signed(now, id, sig, err)) }
		}
		g.answer(now, reply(nil, errProving), func(link.Instant) func(link.Instant) {
			if own == nil {
				return reply(nil, errNoCredential)
			}
			return reply(own.Sign(q.Scheme, q.Octets))
		})
		return true
	case ike.TrustWanted:
		reply := func(t pki.Trusted, err error) func(link.Instant) {
			return func(now link.Instant) { g.proved(g.machine.Trusted(now, id, t.Key, err)) }
		}
		g.answer(now, reply(pki.Trusted{}, errProving), func(now link.Instant) func(link.Instant) {
			return reply(g.prover.verify(now, verifier, pki.Presented{ID: q.ID, Chain: q.Chain, CRLs: q.CRLs, OCSP: q.OCSP}))
		})
		return true
	}
	switch q := e.EAP.(type) {
	case eap.SignatureWanted:
		reply := func(sig []byte, err error) func(link.Instant) {
			return func(now link.Instant) { g.proved(g.machine.EAPSigned(now, id, sig, err)) }
		}
		g.answer(now, reply(nil, errProving), func(link.Instant) func(link.Instant) {
			if own == nil {
				return reply(nil, errNoCredential)
			}
			return reply(own.Signer().Sign(rand.Reader, q.Digest, q.Options))
		})
	case eap.TrustWanted:
		reply := func(err error) func(link.Instant) {
			return func(now link.Instant) { g.proved(g.machine.EAPTrusted(now, id, err)) }
		}
		g.answer(now, reply(errProving), func(now link.Instant) func(link.Instant) {
			return reply(g.prover.verifyTLS(now, verifier, q))
		})
	}
	return e.EAP != nil
}

// proved tells why a session's authentication has ended with an answer; that it is gone is nothing new.
func (g *Gateway) proved(err error) {
	if err != nil && !errors.Is(err, gateway.ErrUnknownSPI) {
		g.log.Debug("client's authentication ended", zap.Error(err))
	}
}

func (p *prover) verify(now link.Instant, v *pki.Verifier, presented pki.Presented) (pki.Trusted, error) {
	if v == nil {
		return pki.Trusted{}, errNoVerifier
	}
	return v.Verify(p.ctx, presented, now.Wall)
}

// verifyTLS checks a client's certificate of EAP-TLS, which has to name the identity that the client claims.
func (p *prover) verifyTLS(now link.Instant, v *pki.Verifier, q eap.TrustWanted) error {
	id, err := message.NewIdentity(q.Identity)
	if err != nil {
		return err
	}
	presented := pki.Presented{ID: id, Chain: q.Chain}
	if len(q.OCSP) > 0 {
		presented.OCSP = [][]byte{q.OCSP}
	}
	_, err = p.verify(now, v, presented)
	return err
}

// openRADIUS opens the flow to the RADIUS servers.
func (g *Gateway) openRADIUS() error {
	if g.cfg.RADIUS == nil {
		return nil
	}
	source := g.cfg.RADIUSSource
	if !source.IsValid() {
		source = g.cfg.Address
	}
	under, err := g.host.Underlay(0, source)
	if err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	if g.radius, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, whenReady(g.ready, &g.drops, g.receiveRADIUS)); err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	return nil
}

// receiveRADIUS has answers of RADIUS servers handled.
func (g *Gateway) receiveRADIUS(b *packet.Batch) {
	for _, p := range b.Bufs {
		from, payload := p.Peer, append([]byte(nil), p.Bytes()...)
		g.post(func(now link.Instant) {
			if err := g.machine.HandleRADIUS(now, from, payload); err != nil {
				if suppressed, due := g.notices.due("RADIUS", now.Boot); due {
					g.log.Warn("RADIUS answer rejected", zap.Stringer("from", from), zap.Error(err), zap.Int("suppressed", suppressed))
				}
			}
		})
	}
	b.Release()
}

// sendRADIUS sends what is for RADIUS servers.
func (g *Gateway) sendRADIUS() {
	for t, ok := g.machine.PollRADIUS(); ok; t, ok = g.machine.PollRADIUS() {
		if err := g.radius.Send(t.To, t.Payload); err != nil {
			g.log.Warn("RADIUS request could not be sent", zap.Stringer("to", t.To), zap.Error(err))
		}
	}
}

// newBoot makes the part of Acct-Session-Id that tells runs of the gateway apart.
func newBoot() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// account sends a session's record to the RADIUS servers, and to whoever else is to be told.
func (g *Gateway) account(r AccountingRecord) {
	if g.cfg.Account != nil {
		g.cfg.Account(r)
	}
	if g.cfg.RADIUS == nil {
		return
	}
	out := radius.Record{
		Session: fmt.Sprintf("%s-%d", g.boot, r.Session), User: r.Identity.String(), Station: r.Remote.Addr().String(), Address: r.Address,
		Time: r.Lasted, InOctets: r.From.Bytes, OutOctets: r.To.Bytes, InPackets: r.From.Packets, OutPackets: r.To.Packets,
	}
	switch r.Kind {
	case AccountingStart:
		out.Status = radius.Start
	case AccountingInterim:
		out.Status = radius.Interim
	case AccountingStop:
		out.Status, out.Cause = radius.Stop, cause(r.Cause)
	}
	g.machine.Account(g.host.Now(), r.Session, out)
}

// cause is the reason of a session's end in RFC 2866 §5.10.
func cause(err error) radius.Cause {
	switch {
	case errors.Is(err, ike.ErrDeletedByPeer), errors.Is(err, ike.ErrReplaced):
		return radius.UserRequest
	case errors.Is(err, ike.ErrNoAnswer):
		return radius.LostCarrier
	case errors.Is(err, ike.ErrDeleted):
		return radius.AdminReset
	default:
		return radius.NASError
	}
}
