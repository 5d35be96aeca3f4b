package eap

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte{1, 1, 0, 5, 1})
	f.Add([]byte{1, 4, 0, 13, 254, 0, 1, 2, 0, 0, 0, 26, 1})
	f.Add([]byte{2, 4, 0, 20, 254, 0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 26})
	f.Add([]byte{3, 1, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("want ErrMalformed, found %v", err)
			}
			return
		}
		again, err := p.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x: written again as %x, %v", b, again, err)
		}
		if p.Type == TypeNak {
			_ = parseNak(p).Error()
		}
	})
}

func FuzzAttributes(f *testing.F) {
	f.Add(appendAVP(appendAVP(nil, 0, avpUserName, []byte("alice")), vendorMicrosoft, avpMS2Success, []byte("xS=")))
	f.Add([]byte{0, 0, 0, 79, 0x40, 0, 0, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseAVPs(b)
		if err != nil {
			return
		}
		var again []byte
		for _, a := range list {
			again = appendAVP(again, a.vendor, a.code, a.value)
		}
		second, err := parseAVPs(again)
		if err != nil || len(second) != len(list) {
			t.Fatalf("%x: read again: %d attributes for %d, %v", b, len(second), len(list), err)
		}
		_, _ = understood(list), eapMessage(list)
	})
}

func FuzzMSCHAP(f *testing.F) {
	f.Add([]byte("E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=no"))
	f.Add(append([]byte{opResponse, 1, 0, 60, 49}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = parseFailure(b).err()
		p, err := parseMS(b)
		if err != nil {
			return
		}
		_, _ = parseChallenge(p.value)
		if r, err := parseMSResponse(p.value); err == nil && !bytes.Equal(r.append(nil)[:16], p.value[:16]) {
			t.Fatal("a response changes")
		}
	})
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte{flagLength | flagMore, 0, 0, 0, 9, 1, 2})
	f.Add([]byte{flagStart})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseFragment(b)
		if err == nil && (p.total > maxFlight || len(p.data) > len(b) || p.more && len(p.data) == 0) {
			t.Fatalf("%x: found %+v", b, p)
		}
	})
}

// FuzzPeer and FuzzServer have a whole machine take messages of anybody's making; each octet string is cut into messages by a
// length in front. Without the other end's secrets nothing may succeed.
func FuzzPeer(f *testing.F) {
	for _, s := range [][]byte{
		{5, 1, 1, 0, 5, 1, 6, 1, 2, 0, 6, 13, 0x20, 4, 3, 3, 0, 4},
		{6, 1, 2, 0, 6, 21, 0x20, 9, 1, 3, 0, 9, 21, 0, 22, 3, 3},
		append([]byte{26, 1, 1, 0, 26, 26, opChallenge, 7, 0, 21, 16}, make([]byte, 16)...),
	} {
		f.Add(s)
	}
	key := newPair(f, newECDSA(f), "alice", 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := NewPeer(PeerConfig{Common: Common{Methods: []Type{TypeTLS, TypeTTLS, TypeMSCHAPv2}, Certificate: &key.cert, Rand: rand.Reader}, Identity: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		feed(t, m, &driver{password: passwords("secret"), key: key.key}, b)
	})
}

func FuzzServer(f *testing.F) {
	for _, s := range [][]byte{
		{6, 2, 1, 0, 6, 3, 21, 9, 2, 2, 0, 9, 21, 0, 22, 3, 1},
		{6, 2, 1, 0, 6, 3, 26, 9, 2, 2, 0, 9, 26, 2, 0, 0, 4},
	} {
		f.Add(s)
	}
	key := newPair(f, newECDSA(f), "gateway", 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := NewServer(ServerConfig{Common: Common{Methods: []Type{TypeTLS, TypeTTLS, TypeMSCHAPv2}, Certificate: &key.cert,
			Rand: bytes.NewReader(make([]byte, 1000))}, Identity: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.HandleMessage(nil); err != nil {
			t.Fatal(err)
		}
		feed(t, m, &driver{password: passwords("secret"), key: key.key}, b)
	})
}

func feed(t *testing.T, m *Machine, d *driver, b []byte) {
	defer m.Close()
	d.drive(t, m)
	for len(b) > 0 {
		n := min(int(b[0]), len(b)-1)
		if err := m.HandleMessage(b[1 : 1+n]); err != nil {
			if errors.Is(err, ErrClosed) {
				return
			}
			t.Fatal(err)
		}
		if _, end := d.drive(t, m); end != nil && (end.Err == nil || end.MSK != nil) {
			t.Fatalf("success with a stranger: %+v", end)
		}
		b = b[1+n:]
	}
}
