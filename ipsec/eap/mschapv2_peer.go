package eap

import (
	"crypto/subtle"
	"fmt"
	"io"

	"mipvpn/ipsec/eap/mschap"
)

// mschapv2 is EAP-MSCHAPv2 as a peer.
func (p *peer) mschapv2(first []byte) ([]byte, error) {
	in, err := parseMS(first)
	if err != nil {
		return nil, err
	}
	if in.op != opChallenge {
		return nil, fmt.Errorf("%w: EAP-MSCHAPv2: want a challenge, found operation %d", ErrUnexpected, in.op)
	}
	x := mschap.Exchange{User: p.cfg.User}
	if x.Server, err = parseChallenge(in.value); err != nil {
		return nil, err
	}
	ask := PasswordWanted{User: p.cfg.User}
	for id := in.id; ; {
		var password mschap.Hash
		if err := p.talk.password(ask, func(s Secret) (err error) { password, err = s.hash(); return err }); err != nil {
			return nil, err
		}
		msk, failure, err := p.attempt(&x, id, password)
		clear(password[:])
		if failure == nil {
			return msk, err
		}
		if !failure.retry || failure.code != errorAuthentication {
			return nil, p.fail([]byte{opFailure}, failure.err())
		}
		// Once more, with the next ID (RFC 2759 §6) and the new challenge, if there is one.
		id++
		ask.Again, ask.Text = true, failure.text
		if failure.challenge != nil {
			x.Server = *failure.challenge
		}
	}
}

// attempt tries a password: a key, or the server's refusal, or an error.
func (p *peer) attempt(x *mschap.Exchange, id byte, password mschap.Hash) ([]byte, *msFailure, error) {
	r, err := answerChallenge(x, password, p.cfg.Rand)
	if err != nil {
		return nil, nil, err
	}
	value := append(r.append([]byte{responseValue}), 0)
	b, success, err := p.exchange(msPacket{op: opResponse, id: id, value: append(value, p.cfg.User...)}.marshal())
	switch {
	case err != nil:
		return nil, nil, err
	case success:
		return nil, nil, ErrEarlySuccess
	}
	in, err := parseMS(b)
	if err != nil {
		return nil, nil, err
	}
	switch in.op {
	case opFailure:
		f := parseFailure(in.value)
		return nil, &f, nil
	case opSuccess:
		if err := checkSuccess(x, password, r, in.value); err != nil {
			return nil, nil, p.fail([]byte{opFailure}, err)
		}
		if err := p.finish([]byte{opSuccess}); err != nil {
			return nil, nil, err
		}
		return msKey(password, r.response), nil, nil
	default:
		return nil, nil, fmt.Errorf("%w: EAP-MSCHAPv2: want success or failure, found operation %d", ErrUnexpected, in.op)
	}
}

// answerChallenge makes a challenge of the peer's own and the response to the server's.
func answerChallenge(x *mschap.Exchange, password mschap.Hash, rand io.Reader) (msResponse, error) {
	if _, err := io.ReadFull(rand, x.Peer[:]); err != nil {
		return msResponse{}, fmt.Errorf("eap: %w", err)
	}
	return msResponse{peer: x.Peer, response: x.Response(password)}, nil
}

// checkSuccess checks the server's "S=..." (RFC 2759 §5), after which a text may follow.
func checkSuccess(x *mschap.Exchange, password mschap.Hash, r msResponse, text []byte) error {
	want := x.AuthenticatorResponse(password, r.response)
	if len(text) < len(want) || subtle.ConstantTimeCompare(text[:len(want)], []byte(want)) != 1 {
		return ErrServer
	}
	return nil
}
