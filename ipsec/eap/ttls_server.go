package eap

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/eap/mschap"
)

// ttls is EAP-TTLS version 0 as a server.
func (s *server) ttls() (msk []byte, identity string, err error) {
	t, err := s.open(tls.NoClientCert)
	if err != nil {
		return nil, "", err
	}
	list, err := s.attributes(t)
	if err != nil {
		return nil, "", err
	}
	name, _ := find(list, 0, avpUserName)
	password, isPAP := find(list, 0, avpUserPassword)
	response, isMSCHAP := find(list, vendorMicrosoft, avpMS2Response)
	switch first := eapMessage(list); {
	case isPAP && s.takes(InnerPAP):
		identity, err = s.ttlsPAP(name, password)
	case isMSCHAP && s.takes(InnerMSCHAPv2):
		identity, err = s.ttlsMSCHAP(t, list, name, response)
	case len(first) > 0 && s.takes(InnerEAP):
		identity, err = s.ttlsEAP(t, first)
	default:
		err = fmt.Errorf("%w: EAP-TTLS: want one of %v inside", ErrMethod, s.cfg.Inner)
	}
	if err != nil {
		return nil, "", err
	}
	if msk, err = t.key(TypeTTLS); err != nil {
		return nil, "", err
	}
	return msk, identity, nil
}

func (s *server) takes(i Inner) bool { return slices.Contains(s.cfg.Inner, i) }

// attributes reads the peer's next attributes.
func (s *server) attributes(t *tunnel) ([]avp, error) {
	b, err := t.drainOrRead()
	if err != nil {
		return nil, err
	}
	list, err := parseAVPs(b)
	if err == nil {
		err = understood(list)
	}
	return list, err
}

// drainOrRead returns application data that came with the end of the handshake, or that of the next flight: with TLS 1.3 a
// peer sends both at once.
func (t *tunnel) drainOrRead() ([]byte, error) {
	if b, err := t.drain(); len(b) > 0 || err != nil {
		return b, err
	}
	return t.read()
}

// ttlsPAP compares the password (RFC 5281 §11.2.5).
func (s *server) ttlsPAP(name, padded []byte) (string, error) {
	if len(name) == 0 || len(name) > maxName {
		return "", fmt.Errorf("%w: PAP: want a name of 1 to %d octets, found %d", ErrMalformed, maxName, len(name))
	}
	given := padded
	for len(given) > 0 && given[len(given)-1] == 0 {
		given = given[:len(given)-1]
	}
	err := s.talk.password(PasswordWanted{User: string(name)}, func(secret Secret) error {
		var same int
		if secret.Hash != nil {
			h, err := mschap.HashPassword(given)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrPasswordWrong, err)
			}
			same = subtle.ConstantTimeCompare(h[:], secret.Hash[:])
			clear(h[:])
		} else {
			a, b := sha256.Sum256(given), sha256.Sum256(secret.Password) // so that lengths do not show in time
			same = subtle.ConstantTimeCompare(a[:], b[:])
		}
		if same != 1 || len(given) == 0 {
			return ErrPasswordWrong
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrPasswordWrong) {
		err = fmt.Errorf("%w: user %q: %w", ErrPasswordWrong, plain(name), err)
	}
	return string(name), err
}

// ttlsMSCHAP checks MS-CHAP-V2, whose challenge must be the one of this connection (RFC 5281 §11.1, §11.2.4).
func (s *server) ttlsMSCHAP(t *tunnel, list []avp, name, response []byte) (string, error) {
	implicit, err := t.export(labelChallenge, nil, mschap.ChallengeSize+1)
	if err != nil {
		return "", err
	}
	id := implicit[mschap.ChallengeSize]
	challenge, _ := find(list, vendorMicrosoft, avpMSChallenge)
	if subtle.ConstantTimeCompare(challenge, implicit[:mschap.ChallengeSize]) != 1 || len(response) != 2+responseBody || response[0] != id {
		return "", fmt.Errorf("%w: EAP-TTLS: MS-CHAP-V2 of another connection", ErrMalformed)
	}
	r, err := parseMSResponse(response[2:])
	if err != nil {
		return "", err
	}
	x := mschap.Exchange{Server: [mschap.ChallengeSize]byte(implicit)}
	answer, key, err := s.checkMSCHAP(&x, r, name)
	clear(key)
	if err != nil {
		return "", err
	}
	if _, err := t.conn.Write(appendAVP(nil, vendorMicrosoft, avpMS2Success, append([]byte{id}, answer...))); err != nil {
		return "", t.failed(err)
	}
	return x.User, s.acknowledged(t)
}

// ttlsEAP is EAP in the tunnel; first is the peer's identity, which it sends unasked (RFC 5281 §11.2.1).
func (s *server) ttlsEAP(t *tunnel, first []byte) (string, error) {
	c := *s.cfg
	in := server{cfg: &c, talk: s.talk, inside: true}
	in.carry = func(message []byte) ([]byte, error) {
		if b := first; b != nil {
			if first = nil; len(b) > 1 {
				b[1] = in.id // the identifier of the request that was not sent
			}
			return b, nil
		}
		if _, err := t.conn.Write(appendAVP(nil, 0, avpEAPMessage, message)); err != nil {
			return nil, t.failed(err)
		}
		list, err := s.attributes(t)
		if err != nil {
			return nil, err
		}
		return eapMessage(list), nil
	}
	msk, identity, err := in.converse()
	clear(msk)
	return identity, err
}
