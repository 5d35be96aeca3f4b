package eap

import (
	"bytes"
	"errors"
	"testing"
)

// Shows: IKE-2 (method negotiation: the peer refuses what it may not use and the server takes its next proposal of the
// peer's list; RFC 3748 §5.3.1).
func TestNak(t *testing.T) {
	e := tlsEnds(t, TypeTTLS, newECDSA(t), newECDSA(t), 0)
	e.sc.Methods = []Type{TypeTLS, TypeTTLS, TypeMSCHAPv2}
	for _, want := range []Type{TypeTLS, TypeTTLS, TypeMSCHAPv2} {
		e.pc.Methods = []Type{want}
		if want == TypeTLS {
			pp := newPair(t, newECDSA(t), "alice@example.org", 0)
			e.pc.Certificate, e.pd.key = &pp.cert, pp.key
		}
		p, s, _ := e.run(t, nil)
		agree(t, p, s)
		if p.Method != want {
			t.Errorf("want %v, found %v", want, p.Method)
		}
	}
	e.sc.Methods, e.pc.Methods = []Type{TypeTTLS}, []Type{TypeMSCHAPv2}
	if p, s, _ := e.run(t, nil); !errors.Is(p.Err, ErrRejected) || !errors.Is(s.Err, ErrMethod) {
		t.Errorf("nothing in common: found peer: %v, server: %v", p.Err, s.Err)
	}
}

func message(t testing.TB, p Packet) []byte {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answers has a fresh peer for EAP-MSCHAPv2 take a message and returns what it sends and how it ends.
func answers(t testing.TB, messages ...[]byte) (sent []byte, end *Finished, d *driver) {
	t.Helper()
	c := mschapPeer("alice")
	c.Rand = bytes.NewReader(make([]byte, 1000))
	m, err := NewPeer(c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d = &driver{password: passwords("secret")}
	for _, b := range messages {
		if err := m.HandleMessage(b); err != nil {
			t.Fatal(err)
		}
		if sent, end = d.drive(t, m); end != nil {
			break
		}
	}
	return sent, end, d
}

// Shows: IKE-2 (a request in the expanded form is answered in it, and an unknown one of another vendor by an Expanded Nak;
// RFC 3748 §5.3.2, §5.7).
func TestExpanded(t *testing.T) {
	challenge := append([]byte{opChallenge, 7, 0, 22, 16}, make([]byte, 17)...)
	sent, _, _ := answers(t, message(t, Packet{Code: Request, Identifier: 9, Type: TypeMSCHAPv2, Expanded: true, Data: challenge}))
	p, err := Parse(sent)
	if err != nil || !p.Expanded || p.Type != TypeMSCHAPv2 || p.Code != Response || p.Identifier != 9 || len(p.Data) < 54 {
		t.Errorf("found %+v, %v", p, err)
	}
	sent, _, _ = answers(t, []byte{1, 4, 0, 13, 254, 0, 1, 2, 0, 0, 0, 26, 1})
	if want := []byte{2, 4, 0, 20, 254, 0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 26}; !bytes.Equal(sent, want) {
		t.Errorf("Expanded Nak: want %x, found %x", want, sent)
	}
	sent, _, _ = answers(t, []byte{1, 5, 0, 6, 4, 1})
	if want := []byte{2, 5, 0, 6, 3, 26}; !bytes.Equal(sent, want) {
		t.Errorf("Nak: want %x, found %x", want, sent)
	}
	nak, err := Parse([]byte{2, 4, 0, 28, 254, 0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 26, 254, 0, 1, 2, 0, 0, 0, 13})
	if err != nil || nak.Type != TypeNak {
		t.Fatalf("found %+v, %v", nak, err)
	}
	var list *nakError
	if errors.As(parseNak(nak), &list); list == nil || len(list.wanted) != 1 || list.wanted[0] != TypeMSCHAPv2 {
		t.Errorf("Expanded Nak read: %v", list)
	}
}

// Shows: IKE-2 (Identity and Notification; RFC 3748 §5.1, §5.2).
func TestIdentityAndNotification(t *testing.T) {
	sent, _, _ := answers(t, message(t, Packet{Code: Request, Identifier: 3, Type: TypeIdentity}))
	if want := append([]byte{2, 3, 0, 10, 1}, "alice"...); !bytes.Equal(sent, want) {
		t.Errorf("want %x, found %x", want, sent)
	}
	sent, end, d := answers(t, message(t, Packet{Code: Request, Identifier: 4, Type: TypeNotification, Data: []byte("Pass\x1b[2Jword expires")}))
	if want := []byte{2, 4, 0, 5, 2}; end != nil || !bytes.Equal(sent, want) {
		t.Errorf("want %x, found %x", want, sent)
	}
	if len(d.notified) != 1 || d.notified[0] != "Pass[2Jword expires" {
		t.Errorf("found notification %q", d.notified)
	}
}
