package radius

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"net/netip"
	"testing"
	"time"

	codec "layeh.com/radius"
)

// Shows: IKE-2 (a silent server: the request is repeated, then sent to the next one; the silent one is passed over for a while;
// when all are silent the conversation fails).
func TestFailover(t *testing.T) {
	c := newClient(t, two())
	_, out := first(t, c)
	if out.To != serverA {
		t.Fatalf("want the first server, found %v", out.To)
	}
	for _, wait := range []time.Duration{2 * time.Second, 6 * time.Second} {
		if d, ok := c.Deadline(); !ok || d != wait {
			t.Fatalf("want the deadline %v, found %v", wait, d)
		}
		c.HandleTimeout(at(wait - 1))
		if _, ok := c.PollTransmit(); ok {
			t.Fatal("sent too early")
		}
		c.HandleTimeout(at(wait))
		if again := transmitted(t, c); again.To != serverA || !bytes.Equal(again.Payload, out.Payload) {
			t.Fatalf("want the same request again, found one to %v", again.To)
		}
	}
	c.HandleTimeout(at(14 * time.Second))
	next := transmitted(t, c)
	if next.To != serverB {
		t.Fatalf("want the second server, found %v", next.To)
	}
	if err := c.HandleDatagram(at(15*time.Second), serverB, newServer(t, mschapServer()).answer(t, next.Payload)); err != nil {
		t.Fatal(err)
	}
	if e, _ := c.PollEvent(); e == nil {
		t.Fatal("no challenge")
	}
	if _, out := firstAt(t, c, 20*time.Second); out.To != serverB {
		t.Errorf("the silent server is asked again too early")
	}
	id, out := firstAt(t, c, 80*time.Second)
	if out.To != serverA {
		t.Errorf("the silent server is not asked again")
	}
	for range 30 {
		d, ok := c.Deadline()
		if !ok {
			break
		}
		c.HandleTimeout(at(d))
	}
	var failed int
	for e, ok := c.PollEvent(); ok; e, ok = c.PollEvent() {
		if f, is := e.(Failed); is && errors.Is(f.Err, ErrSilent) && bytes.Equal(f.Message, []byte{4, identity[1], 0, 4}) {
			failed++
		}
	}
	if failed != 2 || len(c.talks) != 1 { // the first conversation waits for its peer
		t.Errorf("want both waiting conversations to fail, %d did; %d are left", failed, len(c.talks))
	}
	if err := c.Send(at(200*time.Second), id, identity); !errors.Is(err, ErrUnknown) {
		t.Errorf("a message in a failed conversation: want ErrUnknown, found %v", err)
	}
}

func firstAt(t testing.TB, c *Client, d time.Duration) (ID, Transmit) {
	t.Helper()
	id, err := c.Open("alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(at(d), id, identity); err != nil {
		t.Fatal(err)
	}
	for {
		out, ok := c.PollTransmit()
		if !ok {
			t.Fatal("nothing is sent")
		}
		if bytes.Contains(out.Payload, identity) {
			return id, out
		}
	}
}

// Shows: IKE-2 (a challenge is answered at the server that made it, even when another comes first; if that falls silent the
// conversation fails, for no other has its state).
func TestStateStays(t *testing.T) {
	c := newClient(t, two())
	id, out := first(t, c)
	c.flows[serverA].silent = 0
	if err := c.HandleDatagram(at(0), serverA, newServer(t, mschapServer()).answer(t, out.Payload)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.PollEvent(); !ok {
		t.Fatal("no challenge")
	}
	c.flows[serverA].silent = time.Hour
	if err := c.Send(at(0), id, identity); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for out, ok := c.PollTransmit(); ok; out, ok = c.PollTransmit() {
			if p, _, err := parse(out.Payload, secret); err != nil || out.To != serverA || p.Get(attrState) == nil {
				t.Errorf("want the request with the state at the first server, found one to %v, %v", out.To, err)
			}
		}
		if d, ok := c.Deadline(); ok {
			c.HandleTimeout(at(d))
		}
	}
	if e, _ := c.PollEvent(); e == nil || !errors.Is(e.(Failed).Err, ErrSilent) {
		t.Errorf("want the conversation to fail, found %+v", e)
	}
}

// Shows: IKE-2 (bounds: conversations, and requests under way at each server).
func TestBounds(t *testing.T) {
	cfg := two()
	cfg.Conversations, cfg.Outstanding = 5, 2
	c := newClient(t, cfg)
	var ids []ID
	for range 5 {
		id, err := c.Open("alice", "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if _, err := c.Open("alice", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("the sixth conversation: want ErrBusy, found %v", err)
	}
	for i, id := range ids {
		if err := c.Send(at(0), id, identity); (i < 4) != (err == nil) || err != nil && !errors.Is(err, ErrBusy) {
			t.Errorf("request %d: found %v", i+1, err)
		}
	}
	if err := c.Send(at(0), ids[0], identity); !errors.Is(err, ErrUnknown) {
		t.Errorf("a second request in a conversation: want ErrUnknown, found %v", err)
	}
	c.Close(ids[0])
	c.Close(ids[0])
	if err := c.Send(at(0), ids[4], identity); err != nil {
		t.Errorf("after a conversation was closed: %v", err)
	}
	if err := c.Send(at(0), ids[1], make([]byte, 5000)); !errors.Is(err, ErrUnknown) {
		t.Errorf("found %v", err)
	}
	c.Close(ids[1])
	id, err := c.Open("alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(at(0), id, make([]byte, 5000)); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long message: want ErrTooLong, found %v", err)
	}
	if err := c.Send(at(0), id, make([]byte, 3800)); err != nil {
		t.Errorf("a message that fits: %v", err)
	}
}

// Shows: IKE-2 (records go to a server that takes them and are repeated until it says so).
func TestAccounting(t *testing.T) {
	c := newClient(t, two())
	id, err := c.Account(at(0), Record{Status: Stop, Session: "s1", User: "alice", Station: "203.0.113.9", Address: netip.MustParseAddr("10.0.0.7"),
		Class: [][]byte{{1}}, Time: time.Hour, InOctets: 5 << 32, OutOctets: 7, InPackets: 1, OutPackets: 2, Cause: UserRequest})
	if err != nil {
		t.Fatal(err)
	}
	out := transmitted(t, c)
	if out.To != acctA || !codec.IsAuthenticRequest(out.Payload, secret) {
		t.Fatalf("want an authentic request to %v, found one to %v", acctA, out.To)
	}
	p, _, err := parse(out.Payload, secret)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[codec.Type][]byte{attrAcctStatusType: {0, 0, 0, 2}, attrAcctSessionID: []byte("s1"), attrUserName: []byte("alice"),
		attrFramedIPAddress: {10, 0, 0, 7}, attrClass: {1}, attrAcctSessionTime: {0, 0, 14, 16}, attrAcctInputGigawords: {0, 0, 0, 5},
		attrAcctInputOctets: {0, 0, 0, 0}, attrAcctOutputOctets: {0, 0, 0, 7}, attrAcctTerminateCause: {0, 0, 0, 1}, attrNASIdentifier: []byte("gateway")} {
		if found := p.Get(kind); !bytes.Equal(found, want) {
			t.Errorf("attribute %d: want %x, found %x", kind, want, found)
		}
	}
	if p.Get(attrAcctOutputGigawords) != nil {
		t.Error("want no gigawords for small counters")
	}
	c.HandleTimeout(at(2 * time.Second))
	transmitted(t, c)
	if err := c.HandleDatagram(at(3*time.Second), acctA, sealResponse(t, p.Response(codec.CodeAccessAccept), false)); !errors.Is(err, ErrForged) && !errors.Is(err, ErrMalformed) {
		t.Errorf("an Access-Accept: found %v", err)
	}
	r := p.Response(codec.CodeAccountingResponse)
	copy(r.Authenticator[:], out.Payload[authenticatorAt:headerSize])
	if err := c.HandleDatagram(at(3*time.Second), acctA, sealResponse(t, r, false)); err != nil {
		t.Fatal(err)
	}
	if e, _ := c.PollEvent(); e != (Accounted{ID: id}) {
		t.Errorf("found %+v", e)
	}
	if id, err = c.Account(at(0), Record{Status: Start, Session: "s2"}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if d, ok := c.Deadline(); ok {
			c.HandleTimeout(at(d))
		}
	}
	if e, _ := c.PollEvent(); e == nil || e.(Accounted).ID != id || !errors.Is(e.(Accounted).Err, ErrSilent) {
		t.Errorf("want ErrSilent, found %+v", e)
	}
	none := newClient(t, Config{Servers: two().Servers[1:]})
	if _, err := none.Account(at(0), Record{Status: Start, Session: "s1"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("no server takes records: found %v", err)
	}
}

// dynamic makes a request of a server's.
func dynamic(t testing.TB, code codec.Code, stamp time.Time, key []byte, sealed bool, list ...*codec.AVP) []byte {
	t.Helper()
	p := &codec.Packet{Code: code, Identifier: 9, Secret: key, Attributes: list}
	p.Add(attrEventTimestamp, codec.NewInteger(uint32(stamp.Unix())))
	if !sealed {
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// Both authenticators are made over zeros in the header, the inner one first.
	return sealRequest(t, p, key)
}

// Shows: IKE-2 (a server ends sessions: only who has the secret, now, and only what is named).
func TestDisconnect(t *testing.T) {
	c, now := newClient(t, two()), at(0)
	var asked []Target
	end := func(found int) func(Target) int {
		return func(target Target) int { asked = append(asked, target); return found }
	}
	alice := &codec.AVP{Type: attrUserName, Attribute: []byte("alice")}
	good := dynamic(t, codec.CodeDisconnectRequest, now.Wall, secret, true, alice, &codec.AVP{Type: attrProxyState, Attribute: []byte{7}})
	for _, x := range []struct {
		name    string
		from    netip.AddrPort
		payload []byte
		found   int
		code    codec.Code
		cause   uint32
		asked   int
		err     error
	}{
		{"found", serverA, good, 1, codec.CodeDisconnectACK, 0, 1, nil},
		{"not found", serverA, good, 0, codec.CodeDisconnectNAK, causeSessionNotFound, 1, nil},
		{"a stranger's address", netip.MustParseAddrPort("203.0.113.1:9"), good, 1, 0, 0, 0, ErrUnknown},
		{"a wrong secret", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall, []byte("another secret"), true, alice), 1, 0, 0, 0, ErrForged},
		{"no Message-Authenticator", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall, secret, false, alice), 1, 0, 0, 0, ErrForged},
		{"an old one", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall.Add(-10*time.Minute), secret, true, alice), 1, 0, 0, 0, ErrForged},
		{"one of the future", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall.Add(10*time.Minute), secret, true, alice), 1, 0, 0, 0, ErrForged},
		{"nobody is named", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall, secret, true), 1, codec.CodeDisconnectNAK, causeUnsupported, 0, nil},
		{"an unknown attribute", serverA, dynamic(t, codec.CodeDisconnectRequest, now.Wall, secret, true, alice, &codec.AVP{Type: 5, Attribute: []byte{0, 0, 0, 1}}),
			1, codec.CodeDisconnectNAK, causeUnsupported, 0, nil},
		{"a change", serverA, dynamic(t, codec.CodeCoARequest, now.Wall, secret, true, alice), 1, codec.CodeCoANAK, causeNotImplemented, 0, nil},
	} {
		asked = nil
		b, err := c.HandleRequest(now, x.from, x.payload, end(x.found))
		if !errors.Is(err, x.err) || (err == nil) != (b != nil) || len(asked) != x.asked {
			t.Errorf("%s: want %v, found %v; %d questions", x.name, x.err, err, len(asked))
			continue
		}
		if err != nil {
			continue
		}
		p, err := openResponse(b, x.payload, secret, true)
		if err != nil {
			t.Errorf("%s: the answer: %v", x.name, err)
			continue
		}
		var cause uint32
		if v, ok := p.Lookup(attrErrorCause); ok {
			cause, _ = codec.Integer(v)
		}
		if p.Code != x.code || cause != x.cause {
			t.Errorf("%s: want %v with cause %d, found %v with %d", x.name, x.code, x.cause, p.Code, cause)
		}
	}
}

func sealRequest(t testing.TB, p *codec.Packet, key []byte) []byte {
	t.Helper()
	p.Attributes = append(codec.Attributes{{Type: attrMessageAuthenticator, Attribute: make([]byte, md5.Size)}}, p.Attributes...)
	b, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(md5.New, key)
	h.Write(b)
	p.Attributes[0].Attribute = h.Sum(nil)
	if b, err = p.Encode(); err != nil {
		t.Fatal(err)
	}
	return b
}
