package eap

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"mipvpn/ipsec/eap/mschap"
)

func mschapPeer(user string) PeerConfig {
	return PeerConfig{Common: Common{Methods: []Type{TypeMSCHAPv2}}, Identity: user}
}

func mschapServer() ServerConfig {
	return ServerConfig{Common: Common{Methods: []Type{TypeMSCHAPv2}}}
}

// Shows: IKE-2 (EAP-MSCHAPv2 between our ends: with and without an Identity request, with a domain, with a stored hash, and
// with passwords outside ASCII).
func TestMSCHAPv2(t *testing.T) {
	for _, c := range []struct {
		user, password string
		ask, hashed    bool
	}{
		{"alice", "secret", false, false},
		{"alice", "secret", true, false},
		{`BIGCO\alice`, "pässwörd", false, true},
		{"alice@example.org", "\U0001F511", true, true},
	} {
		sc := mschapServer()
		sc.AskIdentity = c.ask
		sd := &driver{password: func(q PasswordWanted) (Secret, error) {
			if q.User != c.user {
				t.Errorf("want the user %q asked for, found %q", c.user, q.User)
			}
			if c.hashed {
				h, err := mschap.HashPassword([]byte(c.password))
				return Secret{Hash: &h}, err
			}
			return Secret{Password: []byte(c.password)}, nil
		}}
		p, s, _ := converse(t, mschapPeer(c.user), sc, &driver{password: passwords(c.password)}, sd, nil)
		agree(t, p, s)
		if s.Identity != c.user {
			t.Errorf("want identity %q, found %q", c.user, s.Identity)
		}
		if !bytes.Equal(p.MSK[32:], make([]byte, 32)) || bytes.Equal(p.MSK[:16], p.MSK[16:32]) {
			t.Errorf("want two different keys and 32 zeros")
		}
	}
}

// Shows: IKE-2 (a wrong password: asked for again while the server allows, then a named error at both ends).
func TestMSCHAPv2Retry(t *testing.T) {
	sc := mschapServer()
	sc.Retries = 2
	pd := &driver{password: passwords("one", "two", "secret")}
	p, s, _ := converse(t, mschapPeer("alice"), sc, pd, &driver{password: passwords("secret")}, nil)
	agree(t, p, s)
	if len(pd.asked) != 3 {
		t.Fatalf("want three questions, found %d", len(pd.asked))
	}
	for i, e := range pd.asked {
		if q := e.(PasswordWanted); q.Again != (i > 0) || q.User != "alice" {
			t.Errorf("question %d: found %+v", i, q)
		}
	}
	pd = &driver{password: passwords("wrong")}
	p, s, _ = converse(t, mschapPeer("alice"), sc, pd, &driver{password: passwords("secret")}, nil)
	if !errors.Is(p.Err, ErrPasswordWrong) || !errors.Is(s.Err, ErrPasswordWrong) || len(pd.asked) != 3 {
		t.Errorf("want ErrPasswordWrong after three tries, found peer: %v, server: %v, %d tries", p.Err, s.Err, len(pd.asked))
	}
	if s.MSK != nil || p.MSK != nil || s.Message[0] != byte(Failure) || s.Identity != "" {
		t.Errorf("a failure must yield neither key nor identity")
	}
}

// Shows: IKE-2 (an unknown user is refused with the same messages as a wrong password).
func TestMSCHAPv2UnknownUser(t *testing.T) {
	unknown := errors.New("no such user")
	var shapes [2][]byte
	for i, sd := range []*driver{{password: passwords("secret")}, {password: func(PasswordWanted) (Secret, error) { return Secret{}, unknown }}} {
		p, s, _ := converse(t, mschapPeer("alice"), mschapServer(), &driver{password: passwords("wrong")}, sd,
			func(toPeer bool, _ int, m []byte) []byte {
				if toPeer && len(m) > 5 && m[5] == opFailure {
					shapes[i] = append(shapes[i], m[9:15]...)
				}
				return m
			})
		if !errors.Is(p.Err, ErrPasswordWrong) || !errors.Is(s.Err, ErrPasswordWrong) {
			t.Errorf("found peer: %v, server: %v", p.Err, s.Err)
		}
		if i == 1 && !errors.Is(s.Err, unknown) {
			t.Errorf("the server's error does not say what the driver said: %v", s.Err)
		}
	}
	if !bytes.Equal(shapes[0], shapes[1]) || string(shapes[0]) != "E=691 " {
		t.Errorf("want equal refusals, found %q and %q", shapes[0], shapes[1])
	}
}

// Shows: IKE-2 (a peer's driver that has no password ends the conversation with its error).
func TestPasswordRefused(t *testing.T) {
	cancelled := errors.New("cancelled")
	p, _, _ := converse(t, mschapPeer("alice"), mschapServer(),
		&driver{password: func(PasswordWanted) (Secret, error) { return Secret{}, cancelled }}, &driver{password: passwords("secret")}, nil)
	if !errors.Is(p.Err, cancelled) {
		t.Errorf("want the driver's error, found %v", p.Err)
	}
}

// TestFailureCodes has the error codes of RFC 2759 §6 as servers write them.
func TestFailureCodes(t *testing.T) {
	for text, want := range map[string]error{
		"E=691 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=Bad\x07 luck": ErrPasswordWrong,
		"E=646 R=0 V=3": ErrAccount, "E=647 R=0": ErrAccount, "E=649 R=0": ErrAccount,
		"E=648 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=": ErrPasswordExpired,
		"E=709 R=0": ErrRejected, "": ErrRejected, "M=E=691": ErrRejected,
	} {
		if err := parseFailure([]byte(text)).err(); !errors.Is(err, want) || strings.ContainsRune(err.Error(), 7) {
			t.Errorf("%q: want %v, found %v", text, want, err)
		}
	}
	f := parseFailure([]byte("E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Welt hallo\x00"))
	if !f.retry || f.challenge == nil || f.challenge[15] != 0xff || f.text != "Welt hallo" {
		t.Errorf("found %+v", f)
	}
	if again := parseFailure(f.marshal()); again.code != f.code || again.retry != f.retry || *again.challenge != *f.challenge || again.text != f.text {
		t.Errorf("written and read again: %+v", again)
	}
}

// Shows: IKE-2 (an expired password is refused politely: the peer answers with a Failure packet and names the reason).
func TestPasswordExpired(t *testing.T) {
	p, s, _ := converse(t, mschapPeer("alice"), mschapServer(), &driver{password: passwords("old")}, &driver{password: passwords("new")},
		func(toPeer bool, _ int, m []byte) []byte {
			if toPeer && m[0] == byte(Request) && m[5] == opFailure {
				copy(m[9:], "E=648 R=1")
			}
			if !toPeer && m[5] != opResponse && !bytes.Equal(m[4:], []byte{byte(TypeMSCHAPv2), opFailure}) {
				t.Errorf("want a Failure packet of one octet, found %x", m)
			}
			return m
		})
	if !errors.Is(p.Err, ErrPasswordExpired) || !errors.Is(s.Err, ErrPasswordWrong) {
		t.Errorf("found peer: %v, server: %v", p.Err, s.Err)
	}
}

// Shows: IKE-2 (a server that does not know the password is found out by its authenticator response).
func TestMSCHAPv2FalseServer(t *testing.T) {
	p, s, _ := converse(t, mschapPeer("alice"), mschapServer(), &driver{password: passwords("secret")}, &driver{password: passwords("secret")},
		func(toPeer bool, _ int, m []byte) []byte {
			if toPeer && m[0] == byte(Request) && m[5] == opSuccess {
				m[20] ^= 1
			}
			return m
		})
	if !errors.Is(p.Err, ErrServer) || s.Err == nil {
		t.Errorf("found peer: %v, server: %v", p.Err, s.Err)
	}
}
