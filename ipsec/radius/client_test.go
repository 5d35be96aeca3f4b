package radius

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"

	codec "layeh.com/radius"

	"mipvpn/ipsec/eap"
	"mipvpn/tun/link"
)

var (
	secret  = []byte("the shared secret")
	serverA = netip.MustParseAddrPort("192.0.2.1:1812")
	acctA   = netip.MustParseAddrPort("192.0.2.1:1813")
	serverB = netip.MustParseAddrPort("192.0.2.2:1812")
)

func newClient(t testing.TB, c Config) *Client {
	t.Helper()
	c.Identifier = "gateway"
	client, err := New(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func two() Config {
	return Config{Servers: []Server{{Address: serverA, Accounting: acctA, Secret: secret}, {Address: serverB, Secret: secret}}}
}

// server is a RADIUS server with an EAP server behind it.
type server struct {
	machine *eap.Machine
	state   byte
	// change is called on each response before it is sealed.
	change func(*codec.Packet)
	accept codec.Attributes
	key    crypto.Signer
	// foreign is set for requests of others, whose Message-Authenticator may stand anywhere.
	foreign bool
	end     eap.Finished
}

func newServer(t testing.TB, c eap.ServerConfig) *server {
	t.Helper()
	c.Rand = rand.Reader
	c.AskIdentity = true
	m, err := eap.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &server{machine: m}
}

// answer answers an Access-Request; the user's password is "secret".
func (s *server) answer(t testing.TB, request []byte) []byte {
	t.Helper()
	p, b, err := parse(request, secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkMessageAuthenticator(b, b[authenticatorAt:headerSize], secret, true); err != nil || !s.foreign && b[headerSize] != byte(attrMessageAuthenticator) {
		t.Fatalf("want a Message-Authenticator as the first attribute, found %x, %v", b[headerSize:headerSize+18], err)
	}
	message := joined(p, attrEAPMessage)
	if s.state == 0 {
		if err := s.machine.HandleMessage(nil); err != nil {
			t.Fatal(err)
		}
		first := s.drive(t)
		message[1] = first.Message[1] // the identifier of the request that a gateway does not pass on
	}
	if err := s.machine.HandleMessage(message); err != nil {
		t.Fatal(err)
	}
	s.state++
	end := s.drive(t)
	r := p.Response(codec.CodeAccessChallenge)
	add(r, attrState, []byte{s.state})
	if end.Method != 0 {
		s.end = end
		if r = p.Response(codec.CodeAccessReject); end.Err == nil {
			r = p.Response(codec.CodeAccessAccept)
			r.Attributes = append(r.Attributes, s.accept...)
			addKey(t, r, msMPPERecvKey, end.MSK[:32])
			addKey(t, r, msMPPESendKey, end.MSK[32:])
		}
	}
	for rest := end.Message; len(rest) > 0; rest = rest[min(len(rest), maxValue):] {
		add(r, attrEAPMessage, rest[:min(len(rest), maxValue)])
	}
	if s.change != nil {
		s.change(r)
	}
	return sealResponse(t, r, true)
}

func addKey(t testing.TB, p *codec.Packet, kind byte, k []byte) {
	t.Helper()
	hidden, err := codec.NewTunnelPassword(k, []byte{0x80, kind}, secret, p.Authenticator[:])
	if err != nil {
		t.Fatal(err)
	}
	v, err := codec.NewVendorSpecific(vendorMicrosoft, append([]byte{kind, byte(2 + len(hidden))}, hidden...))
	if err != nil {
		t.Fatal(err)
	}
	p.Add(attrVendorSpecific, v)
}

func sealResponse(t testing.TB, p *codec.Packet, sealed bool) []byte {
	t.Helper()
	p.Secret = secret
	if sealed {
		p.Attributes = append(codec.Attributes{{Type: attrMessageAuthenticator, Attribute: make([]byte, 16)}}, p.Attributes...)
		b, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(md5.New, secret)
		h.Write(b)
		p.Attributes[0].Attribute = h.Sum(nil)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// drive returns the machine's next message, or how it ended.
func (s *server) drive(t testing.TB) eap.Finished {
	t.Helper()
	for {
		e, ok := s.machine.PollEvent()
		if !ok {
			t.Fatal("the EAP server says nothing")
		}
		switch e := e.(type) {
		case eap.Send:
			return eap.Finished{Message: e.Message}
		case eap.Finished:
			return e
		case eap.PasswordWanted:
			if err := s.machine.AnswerPassword(eap.Secret{Password: []byte("secret")}, nil); err != nil {
				t.Fatal(err)
			}
		case eap.TrustWanted:
			if err := s.machine.AnswerTrust(nil); err != nil {
				t.Fatal(err)
			}
		case eap.SignatureWanted:
			sig, err := s.key.Sign(rand.Reader, e.Digest, e.Options)
			if err := s.machine.AnswerSignature(sig, err); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// identity is the peer's first message.
var identity = append([]byte{2, 0, 0, 10, 1}, "alice"...)

func newPeer(t testing.TB) *eap.Machine {
	t.Helper()
	m, err := eap.NewPeer(eap.PeerConfig{Common: eap.Common{Methods: []eap.Type{eap.TypeMSCHAPv2}, Rand: rand.Reader}, Identity: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// respond has the peer take a message; end is set when it has finished.
func respond(t testing.TB, m *eap.Machine, message []byte, password string) (response []byte, end *eap.Finished) {
	t.Helper()
	if err := m.HandleMessage(message); err != nil {
		t.Fatal(err)
	}
	for {
		e, ok := m.PollEvent()
		if !ok {
			return response, end
		}
		switch e := e.(type) {
		case eap.Send:
			response = e.Message
		case eap.Finished:
			end = &e
		case eap.PasswordWanted:
			if err := m.AnswerPassword(eap.Secret{Password: []byte(password)}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func at(d time.Duration) link.Instant {
	return link.Instant{Boot: d, Wall: time.Unix(1_800_000_000, 0).Add(d)}
}

// transmitted returns the only datagram.
func transmitted(t testing.TB, c *Client) Transmit {
	t.Helper()
	out, ok := c.PollTransmit()
	if !ok {
		t.Fatal("nothing is sent")
	}
	if more, ok := c.PollTransmit(); ok {
		t.Fatalf("want one datagram, found another to %v", more.To)
	}
	return out
}

// pass lets a peer with a password be authenticated and returns the last event and how the peer ended.
func pass(t testing.TB, c *Client, s *server, password string) (Event, *eap.Finished) {
	t.Helper()
	id, err := c.Open("alice", "203.0.113.9")
	if err != nil {
		t.Fatal(err)
	}
	peer, message := newPeer(t), identity
	for range 20 {
		if err := c.Send(at(0), id, message); err != nil {
			t.Fatal(err)
		}
		out := transmitted(t, c)
		if err := c.HandleDatagram(at(0), out.To, s.answer(t, out.Payload)); err != nil {
			t.Fatal(err)
		}
		e, ok := c.PollEvent()
		if !ok {
			t.Fatal("no event")
		}
		switch e := e.(type) {
		case Challenge:
			message, _ = respond(t, peer, e.Message, password)
		case Accepted:
			_, end := respond(t, peer, e.Message, password)
			return e, end
		case Failed:
			_, end := respond(t, peer, e.Message, password)
			return e, end
		}
	}
	t.Fatal("no end")
	return nil, nil
}

func mschapServer() eap.ServerConfig {
	return eap.ServerConfig{Common: eap.Common{Methods: []eap.Type{eap.TypeMSCHAPv2}}}
}

// Shows: IKE-2 (a user is authenticated at a RADIUS server; the gateway gets the key that the peer has, and what the server
// says of the user).
func TestPassThrough(t *testing.T) {
	c, s := newClient(t, two()), newServer(t, mschapServer())
	s.accept = codec.Attributes{
		{Type: attrFramedIPAddress, Attribute: []byte{10, 0, 0, 7}}, {Type: attrFilterID, Attribute: []byte("staff")},
		{Type: attrSessionTimeout, Attribute: []byte{0, 0, 14, 16}}, {Type: attrClass, Attribute: []byte{1}}, {Type: attrClass, Attribute: []byte{2}},
		{Type: attrUserName, Attribute: []byte("ALICE")},
	}
	e, end := pass(t, c, s, "secret")
	a, ok := e.(Accepted)
	if !ok || end == nil || end.Err != nil {
		t.Fatalf("found %+v, peer: %+v", e, end)
	}
	if len(a.MSK) != 64 || !bytes.Equal(a.MSK, end.MSK) {
		t.Errorf("the keys differ: %d and %d octets", len(a.MSK), len(end.MSK))
	}
	u := a.User
	if u.Name != "ALICE" || u.Address != netip.MustParseAddr("10.0.0.7") || u.Filter != "staff" || u.Session != time.Hour || len(u.Class) != 2 {
		t.Errorf("found user %+v", u)
	}
	if _, waits := c.Deadline(); waits || len(c.talks) != 0 {
		t.Errorf("something is left of the conversation")
	}
}

// Shows: IKE-2 (a wrong password at the RADIUS server).
func TestRejected(t *testing.T) {
	c, s := newClient(t, two()), newServer(t, mschapServer())
	s.change = func(p *codec.Packet) {
		if p.Code == codec.CodeAccessReject {
			add(p, attrReplyMessage, []byte("Not\x1b today"))
		}
	}
	e, end := pass(t, c, s, "wrong")
	f, ok := e.(Failed)
	if !ok || !errors.Is(f.Err, ErrRejected) || f.Err.Error() != ErrRejected.Error()+" (Not today)" || end == nil || !errors.Is(end.Err, eap.ErrPasswordWrong) {
		t.Fatalf("found %+v, peer: %+v", e, end)
	}
}

// first has the first request sent and returns it.
func first(t testing.TB, c *Client) (ID, Transmit) {
	t.Helper()
	id, err := c.Open("alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(at(0), id, identity); err != nil {
		t.Fatal(err)
	}
	return id, transmitted(t, c)
}

// Shows: IKE-2 (answers are taken only with a right Message-Authenticator, CVE-2024-3596, from the server that was asked; what
// is refused changes nothing, and the true answer is taken afterwards).
func TestForged(t *testing.T) {
	c := newClient(t, two())
	_, out := first(t, c)
	make1 := func(change func(*codec.Packet), sealed bool) []byte {
		p, _, err := parse(out.Payload, secret)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Response(codec.CodeAccessAccept)
		if change != nil {
			change(r)
		}
		return sealResponse(t, r, sealed)
	}
	good := make1(nil, true)
	flip := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 1; return b }
	for name, f := range map[string]struct {
		from    netip.AddrPort
		payload []byte
		want    error
	}{
		"no Message-Authenticator":    {serverA, make1(nil, false), ErrForged},
		"wrong Message-Authenticator": {serverA, sealTwice(t, make1, flip(30)[22:38]), ErrForged},
		"two of them": {serverA, make1(func(p *codec.Packet) {
			add(p, attrMessageAuthenticator, make([]byte, 16))
		}, true), ErrMalformed},
		"short one": {serverA, make1(func(p *codec.Packet) {
			add(p, attrMessageAuthenticator, make([]byte, 15))
		}, false), ErrMalformed},
		"wrong Response Authenticator": {serverA, flip(5), ErrForged},
		"another code":                 {serverA, flip(0), ErrForged},
		"another server":               {serverB, good, ErrUnknown},
		"a stranger":                   {netip.MustParseAddrPort("203.0.113.1:1812"), good, ErrUnknown},
		"another identifier":           {serverA, flip(1), ErrUnknown},
		"short":                        {serverA, good[:19], ErrUnknown},
		"cut off":                      {serverA, good[:30], ErrMalformed},
		"challenge without EAP":        {serverA, make1(func(p *codec.Packet) { p.Code = codec.CodeAccessChallenge }, true), ErrMalformed},
		"accounting response":          {serverA, make1(func(p *codec.Packet) { p.Code = codec.CodeAccountingResponse }, true), ErrMalformed},
	} {
		if err := c.HandleDatagram(at(0), f.from, f.payload); !errors.Is(err, f.want) {
			t.Errorf("%s: want %v, found %v", name, f.want, err)
		}
		if e, ok := c.PollEvent(); ok {
			t.Fatalf("%s: found %+v", name, e)
		}
	}
	if err := c.HandleDatagram(at(0), netip.AddrPortFrom(netip.AddrFrom16(serverA.Addr().As16()), serverA.Port()), append(good, 0, 0)); err != nil {
		t.Fatal(err)
	}
	e, _ := c.PollEvent()
	if a, ok := e.(Accepted); !ok || a.MSK != nil || !bytes.Equal(a.Message, []byte{3, identity[1], 0, 4}) {
		t.Fatalf("the true answer: found %+v", e)
	}
}

// sealTwice makes a response whose Message-Authenticator is wrong and whose Response Authenticator is right.
func sealTwice(t testing.TB, make1 func(func(*codec.Packet), bool) []byte, wrong []byte) []byte {
	t.Helper()
	return make1(func(p *codec.Packet) { add(p, attrMessageAuthenticator, wrong) }, false)
}
