package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mipvpn/mipv4/wire"
)

func aaa(t testing.TB, spi uint32, key string) *AAA {
	t.Helper()
	a, err := NewAAA(Parameters{SPI: spi, Key: Key(key)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The authenticators put together by hand from RFC 4721 §6 and §8.
//
// Shows: MIP-2 (CHAP_SPI 2), MIP-9
func TestAAAByHand(t *testing.T) {
	message := []byte("the registration request and all that stands before")
	for _, challenge := range [][]byte{{7}, []byte("sixteen octets.."), bytes.Repeat([]byte{9}, 237), append([]byte{1}, bytes.Repeat([]byte{2}, 254)...)} {
		header := []byte{36, 1, 0, 20, 0, 0, 0, 2}
		covered := append(bytes.Clone(message), header...)
		inner := md5.Sum(covered)
		tail := challenge
		if len(tail) > 237 {
			tail = tail[len(tail)-237:]
		}
		data := append(append(append([]byte{challenge[0]}, "secret"...), inner[:]...), tail...)
		want := md5.Sum(data)
		got := aaa(t, wire.CHAPSPI, "secret").AppendExtension(bytes.Clone(message), challenge)
		if !bytes.Equal(got, append(covered, want[:]...)) {
			t.Errorf("challenge of %d octets: %x", len(challenge), got)
		}
		// What RADIUS makes of it (RFC 2865 §5.3).
		c, err := CredentialsAt(got, len(message), challenge)
		if err != nil || c.SPI != wire.CHAPSPI || len(c.Challenge) > 253 {
			t.Fatalf("%+v, %v", c, err)
		}
		radius := md5.Sum(append(append([]byte{c.Identifier}, "secret"...), c.Challenge...))
		if !aaa(t, wire.CHAPSPI, "secret").Answers(c) || aaa(t, wire.CHAPSPI, "another").Answers(c) || aaa(t, 1024, "secret").Answers(c) {
			t.Error("Answers is wrong")
		}
		if !bytes.Equal(radius[:], c.Response) {
			t.Errorf("challenge of %d octets: RADIUS computes %x", len(challenge), radius)
		}
	}
	covered := append(bytes.Clone(message), 36, 1, 0, 20, 0, 0, 4, 0)
	h := hmac.New(md5.New, []byte("secret"))
	h.Write(covered)
	if got := aaa(t, 1024, "secret").AppendExtension(bytes.Clone(message), nil); !bytes.Equal(got, h.Sum(covered)) {
		t.Errorf("HMAC-MD5: %x", got)
	}
}

// Shows: MIP-2, MIP-9
func TestAAAVerify(t *testing.T) {
	message, challenge := []byte("a request"), []byte("a challenge")
	for _, spi := range []uint32{wire.CHAPSPI, 1024} {
		a := aaa(t, spi, "secret")
		p := a.AppendExtension(bytes.Clone(message), challenge)
		if err := a.Verify(append(p, 1, 2, 3), len(message), challenge); err != nil {
			t.Error(err)
		}
		for i := range p {
			q := bytes.Clone(p)
			q[i] ^= 1
			if err := a.Verify(q, len(message), challenge); err == nil {
				t.Errorf("SPI %d: a change of octet %d of %d is not noticed", spi, i, len(p))
			}
		}
		if err := aaa(t, spi, "another").Verify(p, len(message), challenge); !errors.Is(err, ErrAuthenticator) {
			t.Errorf("another key: %v", err)
		}
		if err := aaa(t, 1025, "secret").Verify(p, len(message), challenge); !errors.Is(err, ErrSPI) {
			t.Errorf("another SPI: %v", err)
		}
		if err := a.Verify(p, len(message), []byte("another challenge")); spi == wire.CHAPSPI && !errors.Is(err, ErrAuthenticator) {
			t.Errorf("another challenge: %v", err)
		}
		for n := range p {
			if _, err := CredentialsAt(p[:n], len(message), challenge); !errors.Is(err, wire.ErrExtension) {
				t.Errorf("%d of %d octets: %v", n, len(p), err)
			}
		}
		for _, shown := range []string{fmt.Sprint(a), fmt.Sprintf("%+v %x %q", a, a, a), a.String()} {
			if strings.Contains(shown, "secret") || strings.Contains(shown, "736563726574") {
				t.Errorf("the key is shown: %s", shown)
			}
		}
		a.Wipe()
		if err := a.Verify(p, len(message), challenge); err == nil {
			t.Error("a wiped key still verifies")
		}
	}
	long := wire.AppendMobileAAAHeader(nil, wire.CHAPSPI, 17)
	if _, err := CredentialsAt(append(long, make([]byte, 17)...), 0, challenge); !errors.Is(err, wire.ErrExtension) {
		t.Errorf("a CHAP response of 17 octets: %v", err)
	}
}

func TestNewAAARefuses(t *testing.T) {
	for _, p := range []Parameters{{SPI: 1, Key: Key("k")}, {SPI: 255, Key: Key("k")}, {SPI: 2}, {SPI: 2, Key: make(Key, MaxKeyLen+1)}, {SPI: 300, Key: Key("k"), Algorithm: numAlgorithms}} {
		if _, err := NewAAA(p); !errors.Is(err, ErrParameters) {
			t.Errorf("SPI %d, %d octets: %v", p.SPI, len(p.Key), err)
		}
	}
}

func FuzzCredentialsAt(f *testing.F) {
	a, err := NewAAA(Parameters{SPI: wire.CHAPSPI, Key: Key("secret")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.AppendExtension([]byte("x"), []byte("c")), 1, []byte("c"))
	f.Add([]byte{36, 1, 0xff, 0xff, 0, 0, 0, 2}, 0, []byte{})
	f.Fuzz(func(t *testing.T, message []byte, offset int, challenge []byte) {
		c, err := CredentialsAt(message, offset, challenge)
		if err == nil && (len(c.Challenge) > 253 || len(c.Challenge) < 17 || len(c.Response) < 16) {
			t.Fatalf("%x at %d: %+v", message, offset, c)
		}
		_ = a.Verify(message, offset, challenge)
	})
}
