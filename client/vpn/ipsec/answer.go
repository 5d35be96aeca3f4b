package ipsec

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/tun/link"
)

// errNoTrust means that a certificate is to be verified and there is nothing to verify it with.
var errNoTrust = errors.New("no trust anchors are configured ([trust] anchors)")

// errRefused ends an attempt whose password was refused; the next one asks for another.
var errRefused = errors.New("the password was refused")

// beside has work done on a goroutine of its own, and what it returns done on the client's, unless the tunnel has been closed.
func (t *tunnel) beside(work func(ctx context.Context) func(now link.Instant)) {
	go func() {
		f := work(t.ctx)
		t.access.Hand(t.ctx, func(now link.Instant) {
			if t.ctx.Err() == nil {
				f(now)
			}
		})
	}()
}

// answered notes that an answer was not taken: the attempt has ended, which its event says.
func (t *tunnel) answered(err error) {
	if err != nil {
		t.access.Log.Debug("answer to the IKE machine", zap.Error(err))
	}
}

// sign answers ike.SignatureWanted.
func (t *tunnel) sign(e ike.SignatureWanted) {
	k, m := t.access.protocol.key, t.machine
	t.beside(func(context.Context) func(link.Instant) {
		var signature []byte
		err := errUnprepared
		if k != nil {
			signature, err = k.sign(e.Scheme, e.Octets)
		}
		return func(now link.Instant) {
			if err != nil {
				t.access.protocol.dropKey()
			}
			t.answered(m.Signed(now, signature, err))
		}
	})
}

// trust answers ike.TrustWanted.
func (t *tunnel) trust(e ike.TrustWanted, wall link.Instant) {
	m, trust := t.machine, t.access.protocol.cfg.Trust
	t.beside(func(ctx context.Context) func(link.Instant) {
		got, err := t.verify(ctx, trust, pki.Presented{ID: e.ID, Chain: e.Chain, CRLs: e.CRLs, OCSP: e.OCSP}, wall)
		return func(now link.Instant) {
			var key crypto.PublicKey
			if err == nil {
				key = got.Key
				t.gateway = "certificate of " + got.Chain[0].Subject.String() + ", revocation: " + got.Unrevoked
			}
			t.answered(m.Trusted(now, key, err))
		}
	})
}

// verify verifies a certificate of the gateway's or of an EAP server's.
func (t *tunnel) verify(ctx context.Context, trust config.Trust, p pki.Presented, now link.Instant) (pki.Trusted, error) {
	if trust.Verifier == nil {
		return pki.Trusted{}, errNoTrust
	}
	v := *trust.Verifier
	if trust.Fetch && t.access.Connect != nil {
		v.Fetcher = pki.NewHTTPFetcher(t.access.Connect)
	}
	return v.Verify(ctx, p, now.Wall)
}

// receiveEAP answers ike.EAPReceived, by the method of the round.
func (t *tunnel) receiveEAP(now link.Instant, e ike.EAPReceived) {
	if t.eap == nil {
		m, err := t.newEAP()
		if err != nil {
			t.answered(t.machine.AnswerEAP(now, ike.EAPAnswer{Err: err}))
			return
		}
		t.eap = m
	}
	if err := t.eap.HandleMessage(e.Message); err != nil {
		t.answered(t.machine.AnswerEAP(now, ike.EAPAnswer{Err: err}))
		return
	}
	t.drainEAP(now)
}

// methods are the rounds that are methods of EAP.
func (t *tunnel) methods() []config.Round {
	var all []config.Round
	for _, r := range t.access.protocol.cfg.Authentication.AllRounds() {
		if r.EAP() {
			all = append(all, r)
		}
	}
	return all
}

// newEAP makes the peer's end for the next round of EAP.
func (t *tunnel) newEAP() (*eap.Machine, error) {
	methods := t.methods()
	if t.round >= len(methods) {
		return nil, fmt.Errorf("%w: more rounds of EAP than are configured", eap.ErrUnexpected)
	}
	p, auth := t.access.protocol, t.access.protocol.cfg.Authentication
	c := eap.PeerConfig{Common: eap.Common{Rand: t.access.Random}, Identity: auth.EAPIdentity, User: p.user(), ServerName: p.eapServer()}
	if c.Identity == "" {
		c.Identity = c.User
	}
	switch methods[t.round] {
	case config.RoundMSCHAPv2:
		c.Methods = []eap.Type{eap.TypeMSCHAPv2}
	case config.RoundTTLS:
		c.Methods = []eap.Type{eap.TypeTTLS}
		c.Inner = []eap.Inner{map[string]eap.Inner{"pap": eap.InnerPAP, "eap": eap.InnerEAP}[auth.Inner]}
		if c.Inner[0] == 0 {
			c.Inner[0] = eap.InnerMSCHAPv2
		}
	case config.RoundTLS:
		if p.key == nil {
			return nil, errUnprepared
		}
		c.Methods = []eap.Type{eap.TypeTLS}
		own := p.key.loaded.Certificates()
		c.Certificate = &eap.Certificate{Chain: own.Chain, Public: p.key.loaded.Leaf().PublicKey, NoPSS: true}
		for _, s := range own.Schemes {
			if s.Algorithm != ike.RSAPKCS1 {
				c.Certificate.NoPSS = false
			}
		}
	case config.RoundPSK, config.RoundCertificate:
	}
	return eap.NewPeer(c)
}

// eapServer is the name that the EAP server's certificate must have.
func (p *Protocol) eapServer() string {
	if s := p.cfg.Authentication.EAPServer; s != "" {
		return s
	}
	return p.cfg.Gateway.RemoteIdentity
}

// drainEAP handles what the EAP machine has to say.
func (t *tunnel) drainEAP(now link.Instant) {
	for t.eap != nil {
		e, ok := t.eap.PollEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case eap.PasswordWanted:
			t.password(e)
		case eap.SignatureWanted:
			t.signEAP(e)
		case eap.TrustWanted:
			t.trustEAP(e, now)
		case eap.Notified:
			t.emit(vpn.Trouble{What: "says", Err: errors.New(e.Text)})
		case eap.Finished:
			t.finishEAP(e)
		}
		if a, ok := eap.Answer(e); ok {
			t.answered(t.machine.AnswerEAP(now, a))
			clear(a.MSK)
		}
	}
}

// finishEAP ends a round of EAP. A password that was refused is not tried again.
func (t *tunnel) finishEAP(e eap.Finished) {
	t.eap = nil
	t.round++
	p := t.access.protocol
	if e.Err == nil || !t.toldPassword {
		return
	}
	if errors.Is(e.Err, eap.ErrPasswordWrong) || errors.Is(e.Err, eap.ErrRejected) {
		p.desk.Wrong(p.passwordName(), e.Err.Error())
	}
}

// password answers eap.PasswordWanted with what Prepare has got.
func (t *tunnel) password(e eap.PasswordWanted) {
	p := t.access.protocol
	if e.Again {
		p.desk.Wrong(p.passwordName(), e.Text)
		t.answered(t.eap.AnswerPassword(eap.Secret{}, fmt.Errorf("%w: %w", eap.ErrPasswordWrong, errRefused)))
		return
	}
	s := p.desk.Known(p.passwordName())
	defer clear(s)
	if s == nil {
		t.answered(t.eap.AnswerPassword(eap.Secret{}, errRefused))
		return
	}
	t.toldPassword = true
	t.answered(t.eap.AnswerPassword(eap.Secret{Password: s}, nil))
}

// signEAP answers eap.SignatureWanted.
func (t *tunnel) signEAP(e eap.SignatureWanted) {
	k, m := t.access.protocol.key, t.eap
	t.beside(func(context.Context) func(link.Instant) {
		var signature []byte
		err := errUnprepared
		if k != nil {
			signature, err = k.signDigest(e.Digest, e.Options)
		}
		return func(now link.Instant) {
			if err != nil {
				t.access.protocol.dropKey()
			}
			t.answered(m.AnswerSignature(signature, err))
			t.drainEAP(now)
		}
	})
}

// trustEAP answers eap.TrustWanted.
func (t *tunnel) trustEAP(e eap.TrustWanted, wall link.Instant) {
	m, trust := t.eap, t.access.protocol.cfg.Trust
	id, err := message.NewIdentity(t.access.protocol.eapServer())
	p := pki.Presented{ID: id, Chain: e.Chain}
	if len(e.OCSP) > 0 {
		p.OCSP = [][]byte{e.OCSP}
	}
	t.beside(func(ctx context.Context) func(link.Instant) {
		if err == nil {
			_, err = t.verify(ctx, trust, p, wall)
		}
		return func(now link.Instant) {
			t.answered(m.AnswerTrust(err))
			t.drainEAP(now)
		}
	})
}
