package gateway

import (
	"crypto"
	"errors"
	"fmt"

	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// ErrRule tells that a user proved an identity that may not come in the way in which it came.
var ErrRule = errors.New("gateway: this user may not connect in this way")

// Authentication says what a peer has to prove, by the identity that it claims, never by where it is (REQUIREMENTS IKE-8).
func (p policy) Authentication(local, remote ike.Identity) (ike.Requirement, error) {
	r, err := p.requirement(local, remote)
	for _, k := range p.g.cfg.PPKs {
		if k.Identity == remote {
			r.PPKs = append(r.PPKs, k.PPK)
		}
	}
	r.RequirePPK = p.g.cfg.RequirePPK
	return r, err
}

// requirement is what Authentication says of proofs.
func (p policy) requirement(local, remote ike.Identity) (ike.Requirement, error) {
	c := &p.g.cfg
	if own := c.IKE.LocalID; !local.IsZero() && local != own {
		return ike.Requirement{}, fmt.Errorf("%w: want %v, found %v", ErrNotMe, own, local)
	}
	if peer, ok := p.g.peers[remote]; ok {
		p.s.asked, p.s.key, p.s.provision = remote, peer.PSK, p.g.provisions[""]
		return ike.Requirement{Own: ike.Proof{PSK: peer.PSK}, Rounds: []ike.Acceptance{{PSK: peer.PSK}}}, nil
	}
	r := c.rule(remote)
	if r == nil {
		return ike.Requirement{}, fmt.Errorf("%w: %v", ErrUnknownPeer, remote)
	}
	if p.s.rule == nil {
		p.s.asked = remote
	}
	p.s.rule, p.s.provision = r, p.g.provisions[r.Policy]
	out := ike.Requirement{Own: ike.Proof{Certificates: c.Certificates, EAP: r.EAPOnly}}
	for _, round := range r.Rounds {
		a := ike.Acceptance{EAP: true}
		if round == ByCertificate {
			a = c.accept()
		}
		out.Rounds = append(out.Rounds, a)
	}
	return out, nil
}

// rule returns the first rule that fits, nil when there is none.
func (c *Config) rule(id ike.Identity) *Rule {
	for i := range c.Rules {
		if c.Rules[i].matches(id) {
			return &c.Rules[i]
		}
	}
	return nil
}

// accept is what certificates are asked for with.
func (c *Config) accept() ike.Acceptance {
	if len(c.Authorities) == 0 {
		return ike.Acceptance{}
	}
	return ike.Acceptance{Certificates: true, Authorities: c.Authorities, OCSP: c.OCSP}
}

// multiple tells whether a rule wants several rounds.
func (c *Config) multiple() bool {
	for _, r := range c.Rules {
		if len(r.Rounds) > 1 {
			return true
		}
	}
	return false
}

// Signed answers ike.SignatureWanted of a session; see ike.Machine.Signed. Errors: ErrUnknownSPI for a session that is gone,
// and those of the machine.
func (g *Gateway) Signed(now link.Instant, id SessionID, signature []byte, err error) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.Signed(now, signature, err) })
}

// Trusted answers ike.TrustWanted of a session; see ike.Machine.Trusted. Errors: as Signed.
func (g *Gateway) Trusted(now link.Instant, id SessionID, key crypto.PublicKey, err error) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.Trusted(now, key, err) })
}
