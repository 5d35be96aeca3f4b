package eap

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

// Shows: IKE-2 (messages that have no place end the conversation, EAP-Success before the method has succeeded above all).
func TestHostileServer(t *testing.T) {
	challenge := message(t, Packet{Code: Request, Identifier: 1, Type: TypeMSCHAPv2, Data: append([]byte{opChallenge, 7, 0, 22, 16}, make([]byte, 17)...)})
	success := []byte{3, 2, 0, 4}
	for name, c := range map[string]struct {
		messages [][]byte
		want     error
	}{
		"success at once":           {[][]byte{success}, ErrEarlySuccess},
		"success after identity":    {[][]byte{{1, 1, 0, 5, 1}, success}, ErrEarlySuccess},
		"success after challenge":   {[][]byte{challenge, success}, ErrEarlySuccess},
		"failure at once":           {[][]byte{{4, 1, 0, 4}}, ErrRejected},
		"a response":                {[][]byte{{2, 1, 0, 5, 1}}, ErrUnexpected},
		"a nak":                     {[][]byte{{1, 1, 0, 6, 3, 26}}, ErrUnexpected},
		"another method":            {[][]byte{challenge, {1, 2, 0, 6, 13, 0x20}}, ErrUnexpected},
		"identity within a method":  {[][]byte{challenge, {1, 2, 0, 5, 1}}, ErrUnexpected},
		"challenge again":           {[][]byte{challenge, challenge}, ErrUnexpected},
		"short challenge":           {[][]byte{{1, 1, 0, 9, 26, 1, 7, 0, 4}}, ErrMalformed},
		"success as the first":      {[][]byte{{1, 1, 0, 9, 26, 3, 7, 0, 4}}, ErrUnexpected},
		"empty method data":         {[][]byte{{1, 1, 0, 5, 26}}, ErrMalformed},
		"empty message":             {[][]byte{{}}, ErrMalformed},
		"length too large":          {[][]byte{{1, 1, 0, 6, 1}}, ErrMalformed},
		"length too small":          {[][]byte{{1, 1, 0, 4, 1}}, ErrMalformed},
		"success with data":         {[][]byte{{3, 1, 0, 5, 1}}, ErrMalformed},
		"code 0":                    {[][]byte{{0, 1, 0, 5, 1}}, ErrMalformed},
		"request without a type":    {[][]byte{{1, 1, 0, 4}}, ErrMalformed},
		"short expanded type":       {[][]byte{{1, 1, 0, 6, 254, 0}}, ErrMalformed},
		"a flood of notifications":  {repeat([]byte{1, 1, 0, 5, 2}, maxRounds+1), ErrTooLong},
		"a flood of identities":     {repeat([]byte{1, 1, 0, 5, 1}, maxRounds+1), ErrTooLong},
		"a flood of other methods":  {repeat([]byte{1, 1, 0, 5, 4}, maxRounds+1), ErrTooLong},
		"success in a wrong moment": {[][]byte{challenge, {1, 2, 0, 9, 26, 3, 7, 0, 4}, success}, ErrServer},
	} {
		_, end, _ := answers(t, c.messages...)
		if name == "success in a wrong moment" {
			_, end, _ = answers(t, append(c.messages[:2:2], success)...)
		}
		if end == nil || !errors.Is(end.Err, c.want) || end.MSK != nil {
			t.Errorf("%s: want %v, found %+v", name, c.want, end)
		}
	}
}

func repeat(b []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, b)
	}
	return out
}

// Shows: IKE-2 (the same for a server).
func TestHostilePeer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(request []byte) []byte
		want   error
	}{
		"wrong identifier":   {func(r []byte) []byte { return []byte{2, r[1] + 1, 0, 5, 26} }, ErrUnexpected},
		"a request":          {func(r []byte) []byte { return []byte{1, r[1], 0, 5, 26} }, ErrUnexpected},
		"success":            {func(r []byte) []byte { return []byte{3, r[1], 0, 4} }, ErrUnexpected},
		"another method":     {func(r []byte) []byte { return []byte{2, r[1], 0, 5, 13} }, ErrUnexpected},
		"nak of nothing":     {func(r []byte) []byte { return []byte{2, r[1], 0, 5, 3} }, ErrMethod},
		"nak of the same":    {func(r []byte) []byte { return []byte{2, r[1], 0, 6, 3, 26} }, ErrMethod},
		"broken nak":         {func(r []byte) []byte { return []byte{2, r[1], 0, 13, 254, 0, 0, 0, 0, 0, 0, 3, 1} }, ErrMalformed},
		"change of password": {func(r []byte) []byte { return []byte{2, r[1], 0, 9, 26, 7, 1, 0, 4} }, ErrRejected},
		"success unasked":    {func(r []byte) []byte { return []byte{2, r[1], 0, 6, 26, 3} }, ErrUnexpected},
		"short response":     {func(r []byte) []byte { return []byte{2, r[1], 0, 10, 26, 2, 1, 0, 5, 49} }, ErrMalformed},
		"no name": {func(r []byte) []byte {
			return append([]byte{2, r[1], 0, 59, 26, 2, 1, 0, 54, 49}, make([]byte, 49)...)
		}, ErrMalformed},
	} {
		_, s, _ := converse(t, mschapPeer("alice"), mschapServer(), &driver{password: passwords("secret")}, &driver{password: passwords("secret")},
			func() tamper {
				var request []byte
				return func(toPeer bool, n int, m []byte) []byte {
					if toPeer && n == 0 {
						request = m
					}
					if n == 1 {
						return c.change(request)
					}
					return m
				}
			}())
		if !errors.Is(s.Err, c.want) || s.MSK != nil || len(s.Message) != 4 || s.Message[0] != byte(Failure) {
			t.Errorf("%s: want %v and EAP-Failure, found %+v", name, c.want, s)
		}
	}
}

// Shows: IKE-2 (EAP-TLS: no success without the server's proof that it took our certificate, RFC 9190 §2.5, and none in the
// midst of a handshake or of fragments).
func TestTLSEarlySuccess(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		for _, method := range []Type{TypeTLS, TypeTTLS} {
			e := tlsEnds(t, method, newECDSA(t), newECDSA(t), v)
			p, s, total := e.run(t, nil)
			agree(t, p, s)
			for at := 0; at < total-1; at += 2 {
				p, _, _ := e.run(t, func(_ bool, n int, m []byte) []byte {
					if n == at {
						return []byte{byte(Success), m[1], 0, 4}
					}
					return m
				})
				if !errors.Is(p.Err, ErrEarlySuccess) || p.MSK != nil {
					t.Errorf("%v %x: EAP-Success as message %d of %d: found %v", method, uint16(v), at, total, p.Err)
				}
			}
		}
	}
}

// TestFragmentsRefused has fragments that cannot be put together.
func TestFragmentsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		parts [][]byte
		want  error
	}{
		"nothing":               {[][]byte{{}}, ErrMalformed},
		"half a length":         {[][]byte{{flagLength, 0, 0}}, ErrMalformed},
		"too long":              {[][]byte{{flagLength, 0, 1, 0, 1}}, ErrTooLong},
		"more than was said":    {[][]byte{{flagLength, 0, 0, 0, 1, 1, 2}}, ErrMalformed},
		"less than was said":    {[][]byte{{flagLength, 0, 0, 0, 9, 1, 2}}, ErrMalformed},
		"empty, more to follow": {[][]byte{{flagMore}}, ErrMalformed},
		"another length":        {[][]byte{{flagLength | flagMore, 0, 0, 0, 3, 1}, {flagLength, 0, 0, 0, 2, 2}}, ErrMalformed},
		"start":                 {[][]byte{{flagMore, 1}, {flagStart}}, ErrUnexpected},
		"endless":               {repeat(append([]byte{flagMore}, make([]byte, 1000)...), 70), ErrTooLong},
	} {
		n := 0
		f := flights{size: 1000, exchange: func([]byte) ([]byte, bool, error) {
			if n++; n >= len(c.parts) {
				return nil, false, errUnfinished
			}
			return c.parts[n], false, nil
		}}
		if b, _, err := f.collect(c.parts[0]); !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: want %v, found %v", name, c.want, err)
		}
	}
}

// Shows: IKE-2 (a conversation can be given up in any state, and nothing of it is left: the bubble would not end otherwise).
func TestClose(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		for _, method := range []Type{TypeTLS, TypeTTLS, TypeMSCHAPv2} {
			t.Run(fmt.Sprintf("%v %x", method, uint16(v)), func(t *testing.T) {
				e := tlsEnds(t, method, newECDSA(t), newECDSA(t), v)
				e.pc.Rand, e.sc.Rand = rand.Reader, rand.Reader
				for steps := 0; ; steps++ {
					var over bool
					synctest.Test(t, func(t *testing.T) { over = e.closeAfter(t, steps) })
					if over {
						if steps < 5 {
							t.Errorf("want more than %d steps", steps)
						}
						return
					}
				}
			})
		}
	}
}

// closeAfter goes so many steps, a message or an answer each, and closes both ends. It tells whether the conversation ended.
func (e ends) closeAfter(t *testing.T, steps int) (over bool) {
	peer, err := NewPeer(e.pc)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(e.sc)
	if err != nil {
		t.Fatal(err)
	}
	machines, drivers := [2]*Machine{peer, server}, [2]*driver{e.pd, e.sd}
	defer func() {
		for _, m := range machines {
			m.Close()
			m.Close()
			if _, ok := m.PollEvent(); ok {
				t.Error("an event after Close")
			}
			if err := m.HandleMessage([]byte{3, 0, 0, 4}); !errors.Is(err, ErrClosed) {
				t.Errorf("want ErrClosed, found %v", err)
			}
			if err := m.AnswerTrust(nil); !errors.Is(err, ErrClosed) {
				t.Errorf("want ErrClosed, found %v", err)
			}
		}
	}()
	if steps == 0 {
		return false
	}
	if err := server.HandleMessage(nil); err != nil {
		t.Fatal(err)
	}
	for at, n := 1, 1; n < steps; n++ {
		ev, ok := machines[at].PollEvent()
		if !ok {
			return true
		}
		switch ev := ev.(type) {
		case Send:
			at = 1 - at
			err = machines[at].HandleMessage(ev.Message)
		case PasswordWanted:
			err = machines[at].AnswerPassword(Secret{Password: []byte("secret")}, nil)
		case SignatureWanted:
			var sig []byte
			if sig, err = drivers[at].key.Sign(rand.Reader, ev.Digest, ev.Options); err == nil {
				err = machines[at].AnswerSignature(sig, nil)
			}
		case TrustWanted:
			err = machines[at].AnswerTrust(nil)
		case Finished:
			if ev.Message == nil {
				return true
			}
			at = 1 - at
			err = machines[at].HandleMessage(ev.Message)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return false
}

// TestNotAsked has answers without questions, and messages while a question is open.
func TestNotAsked(t *testing.T) {
	c := mschapPeer("alice")
	c.Rand = rand.Reader
	m, err := NewPeer(c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, err := range []error{m.AnswerPassword(Secret{}, nil), m.AnswerSignature(nil, nil), m.AnswerTrust(nil)} {
		if !errors.Is(err, ErrNotAsked) {
			t.Errorf("before the beginning: want ErrNotAsked, found %v", err)
		}
	}
	if err := m.HandleMessage(message(t, Packet{Code: Request, Type: TypeMSCHAPv2, Data: append([]byte{1, 7, 0, 22, 16}, make([]byte, 17)...)})); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{m.HandleMessage([]byte{3, 0, 0, 4}), m.AnswerSignature(nil, nil), m.AnswerTrust(nil)} {
		if !errors.Is(err, ErrNotAsked) {
			t.Errorf("while a password is wanted: want ErrNotAsked, found %v", err)
		}
	}
	s, err := NewServer(ServerConfig{Common: c.Common})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.HandleMessage([]byte{2, 0, 0, 5, 1}); !errors.Is(err, ErrNotAsked) {
		t.Errorf("a message before the server has begun: want ErrNotAsked, found %v", err)
	}
}

// TestSecretsHidden has secrets printed.
func TestSecretsHidden(t *testing.T) {
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, Secret{Password: []byte("hunter2")}); bytes.Contains([]byte(s), []byte("hunter")) || bytes.Contains([]byte(s), []byte("104")) {
			t.Errorf("%s shows the password: %s", f, s)
		}
	}
}
