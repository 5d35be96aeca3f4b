package eap

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"mipvpn/ipsec/eap/mschap"
)

// mschapv2 is EAP-MSCHAPv2 as a server.
func (s *server) mschapv2() (msk []byte, identity string, err error) {
	var x mschap.Exchange
	if _, err := io.ReadFull(s.cfg.Rand, x.Server[:]); err != nil {
		return nil, "", fmt.Errorf("eap: %w", err)
	}
	id := s.id + 1
	value := append([]byte{mschap.ChallengeSize}, x.Server[:]...)
	b, err := s.exchange(msPacket{op: opChallenge, id: id, value: append(value, s.cfg.Name...)}.marshal())
	for try := 0; err == nil; try++ {
		var in msPacket
		if in, err = parseMS(b); err != nil {
			return nil, "", err
		}
		switch {
		case in.op == opFailure && try > 0:
			return nil, "", ErrPasswordWrong
		case in.op == opChange:
			return nil, "", fmt.Errorf("%w: the peer wants to change its password, which is not possible here", ErrRejected)
		case in.op != opResponse:
			return nil, "", fmt.Errorf("%w: EAP-MSCHAPv2: want a response, found operation %d", ErrUnexpected, in.op)
		}
		var answer []byte
		answer, msk, err = s.judge(&x, in.value)
		if err == nil {
			return s.proven(id, answer, msk, x.User)
		}
		if !errors.Is(err, ErrPasswordWrong) {
			return nil, "", err
		}
		if try == s.cfg.Retries {
			_, sent := s.exchange(msPacket{op: opFailure, id: id, value: refusal(x.Server, false)}.marshal())
			if errors.Is(sent, ErrClosed) {
				err = sent
			}
			return nil, "", err
		}
		if _, err := io.ReadFull(s.cfg.Rand, x.Server[:]); err != nil {
			return nil, "", fmt.Errorf("eap: %w", err)
		}
		b, err = s.exchange(msPacket{op: opFailure, id: id, value: refusal(x.Server, true)}.marshal())
		id++
	}
	return nil, "", err
}

func refusal(challenge [mschap.ChallengeSize]byte, retry bool) []byte {
	return msFailure{code: errorAuthentication, retry: retry, challenge: &challenge, text: "Authentication failed"}.marshal()
}

// judge checks a response in the form of EAP: a size, the value, the user's name. It returns the authenticator's response
// and the key.
func (s *server) judge(x *mschap.Exchange, b []byte) (answer, msk []byte, err error) {
	if len(b) < 1+responseValue || b[0] != responseValue {
		return nil, nil, fmt.Errorf("%w: EAP-MSCHAPv2 response: want a value of %d octets", ErrMalformed, responseValue)
	}
	r, err := parseMSResponse(b[1:])
	if err != nil {
		return nil, nil, err
	}
	return s.checkMSCHAP(x, r, b[1+responseValue:])
}

// checkMSCHAP asks for the user's password and compares. ErrPasswordWrong stands for an unknown user too.
func (s *server) checkMSCHAP(x *mschap.Exchange, r msResponse, name []byte) (answer, msk []byte, err error) {
	if len(name) == 0 || len(name) > maxName {
		return nil, nil, fmt.Errorf("%w: MS-CHAPv2: want a name of 1 to %d octets, found %d", ErrMalformed, maxName, len(name))
	}
	x.User, x.Peer = string(name), r.peer
	err = s.talk.password(PasswordWanted{User: x.User}, func(secret Secret) error {
		password, err := secret.hash()
		if err != nil {
			return err
		}
		defer clear(password[:])
		want := x.Response(password)
		if subtle.ConstantTimeCompare(want[:], r.response[:]) != 1 {
			return ErrPasswordWrong
		}
		answer, msk = []byte(x.AuthenticatorResponse(password, r.response)), msKey(password, r.response)
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrPasswordWrong) {
		err = fmt.Errorf("%w: user %q: %w", ErrPasswordWrong, plain(name), err)
	}
	return answer, msk, err
}

// proven tells the peer that it is authenticated and that the server knows the password; the peer acknowledges.
func (s *server) proven(id byte, answer, msk []byte, user string) ([]byte, string, error) {
	b, err := s.exchange(msPacket{op: opSuccess, id: id, value: append(answer, " M=OK"...)}.marshal())
	if err == nil && (len(b) == 0 || b[0] != opSuccess) {
		err = fmt.Errorf("%w: the peer does not acknowledge success", ErrRejected)
	}
	if err != nil {
		clear(msk)
		return nil, "", err
	}
	return msk, user, nil
}
