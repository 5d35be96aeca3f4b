package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mipvpn/mipv4/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// key is 00 01 ... 0f.
func key(n int) Key {
	k := make(Key, n)
	for i := range k {
		k[i] = byte(i)
	}
	return k
}

func association(t testing.TB, a Algorithm) *SecurityAssociation {
	t.Helper()
	s, err := New(Parameters{SPI: 1024, Algorithm: a, Key: key(16)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Shows: MIP-2 (published vectors: RFC 2202 §2 and §3 test case 1, RFC 4231 §4.2)
func TestPublishedVectors(t *testing.T) {
	for _, c := range []struct {
		a    Algorithm
		key  int
		want string
	}{
		{HMACMD5, 16, "9294727a3638bb1c13f48ef8158bfc9d"},
		{HMACSHA1, 20, "b617318655057264e28bc0b6fb378c8ef146be00"},
		{HMACSHA256, 20, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	} {
		got := c.a.sum(nil, bytes.Repeat([]byte{0x0b}, c.key), []byte("Hi There"))
		if hex.EncodeToString(got) != c.want {
			t.Errorf("%v: %x, want %s", c.a, got, c.want)
		}
		if len(got) != c.a.Size() {
			t.Errorf("%v: %d octets, Size says %d", c.a, len(got), c.a.Size())
		}
	}
}

// A request of RFC 5944 App. G.2 with a UDP Tunnel Request; its authenticators were computed by another program over
// request and extension header (RFC 5944 §3.5.1, RFC 2002 §3.5.1).
const message = "01220708 c6336464 c0000214 c0a80132 eb1b4c0012345678 9006000080040000"

// Shows: MIP-2
func TestMessageVectors(t *testing.T) {
	for _, c := range []struct {
		a             Algorithm
		header, value string
	}{
		{HMACMD5, "2014 00000400", "4524f3895804b505c30dad59528063d7"},
		{KeyedMD5, "2014 00000400", "921e20397cc06fc00ffa29e9fec6a854"},
		{HMACSHA1, "2018 00000400", "ec9f5e4cc91c166854ed2ae90c94875110e04433"},
		{HMACSHA256, "2024 00000400", "6a1ff3d98e93ec8558c19e1f2bf30528f9bca6f3020b7ad23c91bab6f3d45f2a"},
	} {
		s := association(t, c.a)
		m := unhex(t, message)
		offset := len(m)
		got := s.AppendExtension(m, wire.ExtMobileHomeAuthentication)
		if want := unhex(t, message+c.header+c.value); !bytes.Equal(got, want) {
			t.Errorf("%v:\n%x, want\n%x", c.a, got, want)
		}
		if len(got)-offset != s.Overhead() {
			t.Errorf("%v: %d octets, Overhead says %d", c.a, len(got)-offset, s.Overhead())
		}
		if err := s.Verify(got, offset, wire.ExtMobileHomeAuthentication); err != nil {
			t.Errorf("%v: %v", c.a, err)
		}
		// What others add behind it does not matter.
		if err := s.Verify(append(got, 0x95, 2, 0, 0), offset, wire.ExtMobileHomeAuthentication); err != nil {
			t.Errorf("%v with an extension behind: %v", c.a, err)
		}
	}
}

// Every bit of what is covered matters, the extension's own header and authenticator included.
//
// Shows: MIP-2
func TestEveryBit(t *testing.T) {
	for a := range numAlgorithms {
		s := association(t, a)
		m := unhex(t, message)
		offset := len(m)
		good := s.AppendExtension(m, wire.ExtMobileHomeAuthentication)
		for i := range 8 * len(good) {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			err := s.Verify(bad, offset, wire.ExtMobileHomeAuthentication)
			if err == nil {
				t.Fatalf("%v: bit %d changed and nobody noticed", a, i)
			}
			if i/8 < offset && !errors.Is(err, ErrAuthenticator) {
				t.Errorf("%v: bit %d: %v, want ErrAuthenticator", a, i, err)
			}
			if j := i/8 - offset; j >= 2 && j < 6 && !errors.Is(err, ErrSPI) {
				t.Errorf("%v: bit %d of the SPI: %v, want ErrSPI", a, i, err)
			}
		}
		for n := range good {
			if err := s.Verify(good[:n], offset, wire.ExtMobileHomeAuthentication); err == nil {
				t.Errorf("%v: the first %d octets pass", a, n)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := association(t, HMACMD5)
	m := unhex(t, message)
	offset := len(m)
	good := s.AppendExtension(m, wire.ExtMobileHomeAuthentication)
	if err := s.Verify(good, offset, wire.ExtForeignHomeAuthentication); !errors.Is(err, wire.ErrExtension) {
		t.Errorf("another type asked for: %v", err)
	}
	for _, at := range []int{-1, len(good) - 1, len(good), len(good) + 1, 1 << 40} {
		if err := s.Verify(good, at, wire.ExtMobileHomeAuthentication); !errors.Is(err, wire.ErrExtension) {
			t.Errorf("at octet %d: %v", at, err)
		}
	}
	other, err := New(Parameters{SPI: 1024, Key: append(key(15), 0xff)})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Verify(good, offset, wire.ExtMobileHomeAuthentication); !errors.Is(err, ErrAuthenticator) {
		t.Errorf("another key: %v, want ErrAuthenticator", err)
	}
	for _, a := range []Algorithm{KeyedMD5, HMACSHA1, HMACSHA256} {
		if err := association(t, a).Verify(good, offset, wire.ExtMobileHomeAuthentication); !errors.Is(err, ErrAuthenticator) {
			t.Errorf("%v: %v, want ErrAuthenticator", a, err)
		}
	}
	// An authenticator cut short to nothing must not compare equal to nothing.
	cut := append(bytes.Clone(good[:offset]), 0x20, 4, 0, 0, 4, 0)
	if err := s.Verify(cut, offset, wire.ExtMobileHomeAuthentication); !errors.Is(err, ErrAuthenticator) {
		t.Errorf("no authenticator: %v, want ErrAuthenticator", err)
	}
}

// Shows: MIP-2 (reserved SPIs)
func TestParameters(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Parameters
		ok   bool
	}{
		{"SPI 0", Parameters{SPI: 0, Key: key(16)}, false},
		{"SPI 255", Parameters{SPI: 255, Key: key(16)}, false},
		{"SPI 256", Parameters{SPI: 256, Key: key(16)}, true},
		{"greatest SPI", Parameters{SPI: 1<<32 - 1, Key: key(16)}, true},
		{"no key", Parameters{SPI: 256}, false},
		{"long key", Parameters{SPI: 256, Key: key(MaxKeyLen)}, true},
		{"key too long", Parameters{SPI: 256, Key: key(MaxKeyLen + 1)}, false},
		{"unknown algorithm", Parameters{SPI: 256, Key: key(16), Algorithm: numAlgorithms}, false},
	} {
		s, err := New(c.p)
		if (err == nil) != c.ok || (err != nil) != errors.Is(err, ErrParameters) || (s == nil) == c.ok {
			t.Errorf("%s: %v, %v", c.name, s, err)
		}
	}
}

// Shows: DET-17
func TestStrong(t *testing.T) {
	for _, c := range []struct {
		a    Algorithm
		key  int
		want bool
	}{
		{HMACMD5, 16, true}, {HMACMD5, 15, false}, {KeyedMD5, 16, false}, {KeyedMD5, 64, false},
		{HMACSHA1, 16, true}, {HMACSHA1, 15, false}, {HMACSHA256, 32, true}, {HMACSHA256, 8, false},
	} {
		s, err := New(Parameters{SPI: 256, Algorithm: c.a, Key: key(c.key)})
		if err != nil {
			t.Fatal(err)
		}
		if s.Strong() != c.want {
			t.Errorf("%v with %d octets: Strong() = %v", c.a, c.key, s.Strong())
		}
	}
}

func TestAlgorithmNames(t *testing.T) {
	for _, n := range AlgorithmNames() {
		a, err := ParseAlgorithm(n)
		if err != nil || a.String() != n {
			t.Errorf("%q: %v, %v", n, a, err)
		}
	}
	if _, err := ParseAlgorithm("rot13"); err == nil || !strings.Contains(err.Error(), "hmac-sha256") {
		t.Errorf("an unknown name: %v, want the names that are possible", err)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	secret := Key("a most secret key")
	s, err := New(Parameters{SPI: 1024, Key: secret})
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(map[string]any{"p": Parameters{Key: secret}, "k": secret})
	if err != nil {
		t.Fatal(err)
	}
	out := string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		out += fmt.Sprintf(verb+" "+verb+" "+verb+" "+verb, s, secret, Parameters{Key: secret}, struct{ A any }{s})
	}
	for _, leak := range []string{"secret", hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), "97 32 109"} {
		if strings.Contains(out, leak) {
			t.Errorf("%q shows in %q", leak, out)
		}
	}
	if !strings.Contains(out, "136-bit key") || !strings.Contains(out, "17 octets") {
		t.Errorf("length of the key is not shown in %q", out)
	}
}

// New copies the key, so that callers may clear theirs; Wipe clears the copy.
func TestWipe(t *testing.T) {
	k := key(16)
	s, err := New(Parameters{SPI: 1024, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	clear(k)
	m := unhex(t, message)
	offset := len(m)
	good := s.AppendExtension(m, wire.ExtMobileHomeAuthentication)
	if err := association(t, HMACMD5).Verify(good, offset, wire.ExtMobileHomeAuthentication); err != nil {
		t.Errorf("the association lost its key with the caller's: %v", err)
	}
	s.Wipe()
	if !bytes.Equal(s.key, make([]byte, 16)) {
		t.Error("Wipe left the key")
	}
}
