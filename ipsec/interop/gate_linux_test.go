package interop

import (
	"crypto"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"testing"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// gate is an endpoint whose machine is a gateway's. Behind it a host answers that has all addresses.
type gate struct {
	*endpoint
	gateway *gateway.Gateway
	session gateway.SessionID // the last one established
}

// newGate makes our gateway in ns.
func newGate(t testing.TB, ns *os.File, cfg gateway.Config, addrs ...netip.Addr) *gate {
	t.Helper()
	g := &gate{endpoint: newEndpoint(t, ns, addrs...)}
	var err error
	if g.gateway, err = gateway.New(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	g.machine = g.gateway
	g.poll = func() (happening, bool) {
		e, ok := g.gateway.PollEvent()
		if _, up := e.Event.(ike.Established); up {
			g.session = e.Session
		}
		return happening{e.Session, e.Event, e.EAP}, ok
	}
	g.inner = g.echo
	go g.run()
	return g
}

// prove has p answer what the gateway asks.
func (g *gate) prove(p *prover) {
	g.ask = func(now link.Instant, h happening) error {
		switch e := h.eap.(type) {
		case eap.SignatureWanted:
			signature, err := p.eapKey.Sign(rand.Reader, e.Digest, e.Options)
			return g.gateway.EAPSigned(now, h.session, signature, err)
		case eap.TrustWanted:
			return g.gateway.EAPTrusted(now, h.session, p.chains(e.Chain, now.Wall))
		}
		p.machine = gateSession{g.gateway, h.session}
		return p.answer(now, h)
	}
}

// gateSession is a session of a gateway, as an IKE machine takes answers.
type gateSession struct {
	*gateway.Gateway
	id gateway.SessionID
}

func (s gateSession) Signed(now link.Instant, signature []byte, err error) error {
	return s.Gateway.Signed(now, s.id, signature, err)
}

func (s gateSession) Trusted(now link.Instant, key crypto.PublicKey, err error) error {
	return s.Gateway.Trusted(now, s.id, key, err)
}

// AnswerEAP is for machines whose driver has the EAP method.
func (s gateSession) AnswerEAP(link.Instant, ike.EAPAnswer) error { return errors.ErrUnsupported }

// echo answers an inner packet.
func (c *endpoint) echo(p *packet.Buf) {
	answer := echoPacket(packet.IPv4(p.Bytes()))
	p.Release()
	if answer == nil {
		return
	}
	if err := c.seal(answer); err != nil {
		c.t.Errorf("ours: sealing an answer: %v", err)
	}
}
