package radius

import (
	"bytes"
	"crypto/md5"
	"errors"
	"testing"

	codec "layeh.com/radius"
)

func chapOf(password string, challenge []byte) CHAP {
	sum := md5.Sum(append(append([]byte{7}, password...), challenge...))
	return CHAP{Identifier: 7, Challenge: challenge, Response: sum[:]}
}

// Shows: AGT-4 (Mobile-AAA authentication at a RADIUS server: the client's side)
func TestCHAP(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   codec.Code
		sealed bool
		want   error // of the event; nil for Accepted
		forged bool
	}{
		{"accepted", codec.CodeAccessAccept, true, nil, false},
		{"rejected", codec.CodeAccessReject, true, ErrRejected, false},
		{"challenged", codec.CodeAccessChallenge, true, ErrRejected, false},
		{"without Message-Authenticator", codec.CodeAccessAccept, false, nil, true},
	} {
		client := newClient(t, two())
		challenge := bytes.Repeat([]byte{1}, 32)
		id, err := client.Authenticate(at(0), "mn@corp.example", "10.0.8.100", chapOf("password", challenge))
		if err != nil {
			t.Fatal(err)
		}
		out := transmitted(t, client)
		p, b, err := parse(out.Payload, secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkMessageAuthenticator(b, b[authenticatorAt:headerSize], secret, true); err != nil {
			t.Error(err)
		}
		answer := chapOf("password", challenge)
		if got := p.Get(attrCHAPPassword); !bytes.Equal(got, append([]byte{7}, answer.Response...)) {
			t.Errorf("CHAP-Password %x", got)
		}
		if got := p.Get(attrCHAPChallenge); !bytes.Equal(got, challenge) || string(p.Get(attrUserName)) != "mn@corp.example" || p.Get(attrEAPMessage) != nil {
			t.Errorf("CHAP-Challenge %x, User-Name %q", got, p.Get(attrUserName))
		}
		err = client.HandleDatagram(at(0), out.To, sealResponse(t, p.Response(c.code), c.sealed))
		if c.forged {
			if err == nil {
				t.Errorf("%s: taken", c.name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		e, _ := client.PollEvent()
		switch e := e.(type) {
		case Accepted:
			if c.want != nil || e.ID != id {
				t.Errorf("%s: %+v", c.name, e)
			}
		case Failed:
			if c.want == nil || !errors.Is(e.Err, c.want) || e.ID != id {
				t.Errorf("%s: %v", c.name, e.Err)
			}
		default:
			t.Errorf("%s: event %+v", c.name, e)
		}
		if _, ok := client.Deadline(); ok || len(client.talks) != 0 {
			t.Errorf("%s: something is left", c.name)
		}
	}
	client := newClient(t, two())
	for _, bad := range []CHAP{{}, {Challenge: make([]byte, 254), Response: make([]byte, 16)}, {Challenge: []byte{1}, Response: make([]byte, 15)}} {
		if _, err := client.Authenticate(at(0), "mn", "", bad); !errors.Is(err, ErrTooLong) || len(client.talks) != 0 {
			t.Errorf("%d and %d octets: %v", len(bad.Challenge), len(bad.Response), err)
		}
	}
}
