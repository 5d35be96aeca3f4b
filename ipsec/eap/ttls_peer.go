package eap

import (
	"errors"
	"fmt"

	"mipvpn/ipsec/eap/mschap"
)

// ttls is EAP-TTLS version 0 as a peer.
func (p *peer) ttls(first []byte) ([]byte, error) {
	t, err := p.open(first)
	if err != nil {
		return nil, err
	}
	switch p.cfg.Inner[0] {
	case InnerPAP:
		err = p.ttlsPAP(t)
	case InnerMSCHAPv2:
		err = p.ttlsMSCHAP(t)
	default:
		err = p.ttlsEAP(t)
	}
	if err != nil {
		return nil, err
	}
	return t.key(TypeTTLS)
}

// send writes attributes into the tunnel and reads the server's next ones; none means that EAP-Success came.
func (t *tunnel) send(attributes []byte) ([]avp, error) {
	defer clear(attributes)
	if _, err := t.conn.Write(attributes); err != nil {
		return nil, t.failed(err)
	}
	b, err := t.read()
	if err != nil {
		return nil, err
	}
	list, err := parseAVPs(b)
	if err == nil {
		err = understood(list)
	}
	return list, err
}

// ttlsPAP shows the password in the tunnel (RFC 5281 §11.2.5), padded to a multiple of 16 octets with zeros.
func (p *peer) ttlsPAP(t *tunnel) error {
	var b []byte
	err := p.talk.password(PasswordWanted{User: p.cfg.User}, func(s Secret) error {
		if s.Hash != nil {
			return fmt.Errorf("%w: PAP needs the password, not its hash", ErrConfig)
		}
		padded := make([]byte, max(16, (len(s.Password)+15)&^15))
		defer clear(padded)
		copy(padded, s.Password)
		b = appendAVP(appendAVP(nil, 0, avpUserName, []byte(p.cfg.User)), 0, avpUserPassword, padded)
		return nil
	})
	if err != nil {
		return err
	}
	list, err := t.send(b)
	if err != nil {
		return err
	}
	if !t.success {
		return fmt.Errorf("%w: EAP-TTLS: want the end after PAP, found %d attributes", ErrUnexpected, len(list))
	}
	return nil
}

// ttlsMSCHAP is MS-CHAP-V2 in the tunnel, its challenge being made of the TLS connection (RFC 5281 §11.1, §11.2.4).
func (p *peer) ttlsMSCHAP(t *tunnel) error {
	implicit, err := t.export(labelChallenge, nil, mschap.ChallengeSize+1)
	if err != nil {
		return err
	}
	x := mschap.Exchange{User: p.cfg.User, Server: [mschap.ChallengeSize]byte(implicit)}
	id := implicit[mschap.ChallengeSize]
	var password mschap.Hash
	defer clear(password[:])
	if err := p.talk.password(PasswordWanted{User: p.cfg.User}, func(s Secret) (err error) { password, err = s.hash(); return err }); err != nil {
		return err
	}
	r, err := answerChallenge(&x, password, p.cfg.Rand)
	if err != nil {
		return err
	}
	b := appendAVP(nil, 0, avpUserName, []byte(p.cfg.User))
	b = appendAVP(b, vendorMicrosoft, avpMSChallenge, x.Server[:])
	b = appendAVP(b, vendorMicrosoft, avpMS2Response, r.append([]byte{id, 0}))
	list, err := t.send(b)
	if err != nil {
		return err
	}
	if t.success {
		return ErrEarlySuccess // the server has not shown that it knows the password
	}
	if v, ok := find(list, vendorMicrosoft, avpMSError); ok && len(v) > 0 {
		return p.fail([]byte{0}, parseFailure(v[1:]).err())
	}
	v, ok := find(list, vendorMicrosoft, avpMS2Success)
	switch {
	case !ok:
		return fmt.Errorf("%w: EAP-TTLS: want MS-CHAP2-Success", ErrUnexpected)
	case len(v) == 0 || v[0] != id:
		return fmt.Errorf("%w: EAP-TTLS: MS-CHAP2-Success of another exchange", ErrMalformed)
	}
	if err := checkSuccess(&x, password, r, v[1:]); err != nil {
		return p.fail([]byte{0}, err)
	}
	return p.finish([]byte{0})
}

// ttlsEAP is EAP in the tunnel (RFC 5281 §11.2.1). The peer begins with its identity, unasked; the inner EAP-Success is left
// out, the outer one stands for it.
func (p *peer) ttlsEAP(t *tunnel) error {
	c := *p.cfg
	c.Identity = c.User
	in := peer{cfg: &c, talk: p.talk, inside: true, carry: func(message []byte) ([]byte, error) {
		if message == nil {
			return Packet{Code: Request, Type: TypeIdentity}.Marshal()
		}
		list, err := t.send(appendAVP(nil, 0, avpEAPMessage, message))
		if err != nil {
			return nil, err
		}
		if t.success {
			return []byte{byte(Success), 0, 0, headerSize}, nil
		}
		return eapMessage(list), nil
	}}
	msk, err := in.converse()
	clear(msk)
	if err != nil && t.cause == nil && !t.success && !errors.Is(err, ErrClosed) {
		return p.fail([]byte{0}, err)
	}
	return err
}
