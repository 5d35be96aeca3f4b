package radius

import (
	"crypto/rand"
	"testing"

	codec "layeh.com/radius"
)

// FuzzResponse has a client take anything in the place of an answer: with the authenticators made right for it, so that what
// is behind them is reached.
func FuzzResponse(f *testing.F) {
	f.Add(byte(2), []byte{79, 6, 3, 0, 0, 4})
	f.Add(byte(11), []byte{79, 6, 1, 1, 0, 4, 24, 3, 1})
	f.Add(byte(3), []byte{18, 4, 65, 66})
	f.Add(byte(2), append([]byte{26, 42, 0, 0, 1, 55, 17, 36, 0x80, 1}, make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, code byte, attributes []byte) {
		c := newClient(t, two())
		_, out := first(t, c)
		list, err := codec.ParseAttributes(attributes)
		if err != nil {
			_ = c.HandleDatagram(at(0), serverA, attributes)
			return
		}
		p, _, err := parse(out.Payload, secret)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Response(codec.Code(code))
		r.Attributes = list
		if n, err := codec.AttributesEncodedLen(list); err != nil || n > 4000 {
			return
		}
		if code != 2 && code != 3 && code != 5 && code != 11 {
			return // Encode makes no authenticators for others
		}
		err = c.HandleDatagram(at(0), serverA, sealResponse(t, r, true))
		if _, ok := c.PollEvent(); ok != (err == nil) {
			t.Fatalf("event: %v, error: %v", ok, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(dynamic(f, codec.CodeDisconnectRequest, at(0).Wall, secret, true, &codec.AVP{Type: attrUserName, Attribute: []byte("alice")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := two()
		cfg.Identifier = "gateway"
		c, err := New(cfg, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.HandleRequest(at(0), serverA, b, func(Target) int { return 1 })
		if (answer == nil) == (err == nil) {
			t.Fatalf("answer %x, error %v", answer, err)
		}
	})
}
