package mschap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// example is the exchange of RFC 2759 §9.2.
func example(t testing.TB) *Exchange {
	return &Exchange{
		Server: [16]byte(octets(t, "5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28")),
		Peer:   [16]byte(octets(t, "21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E")),
		User:   "User",
	}
}

// Shows: IKE-2 (the hash example of RFC 2759 §9.2 and the key example of RFC 3079 §3.5.3).
func TestExample(t *testing.T) {
	x := example(t)
	h, err := HashPassword([]byte("clientPass"))
	if err != nil {
		t.Fatal(err)
	}
	if want := octets(t, "44 EB BA 8D 53 12 B8 D6 11 47 44 11 F5 69 89 AE"); !bytes.Equal(h[:], want) {
		t.Errorf("password hash: want %x, found %x", want, h[:])
	}
	if c, want := x.challenge(), octets(t, "D0 2E 43 86 BC E9 12 26"); !bytes.Equal(c[:], want) {
		t.Errorf("challenge: want %x, found %x", want, c)
	}
	for _, user := range []string{"User", `BIGCO\User`} {
		x.User = user
		r := x.Response(h)
		if want := octets(t, "82 30 9E CD 8D 70 8B 5E A0 8F AA 39 81 CD 83 54 42 33 11 4A 3D 85 D6 DF"); !bytes.Equal(r[:], want) {
			t.Errorf("NT response of %s: want %x, found %x", user, want, r)
		}
		if a, want := x.AuthenticatorResponse(h, r), "S=407A5589115FD0D6209F510FE9C04566932CDA56"; a != want {
			t.Errorf("authenticator response of %s: want %s, found %s", user, want, a)
		}
		_, send := Keys(h, r)
		if want := octets(t, "8B 7C DC 14 9B 99 3A 1B A1 18 CB 15 3F 56 DC CB"); !bytes.Equal(send[:], want) {
			t.Errorf("send key: want %x, found %x", want, send)
		}
	}
	twice := hashOf(h[:])
	if want := octets(t, "41 C0 0C 58 4B D2 D9 1C 40 17 A2 A1 2F A5 9F 3F"); !bytes.Equal(twice[:], want) {
		t.Errorf("hash of the hash: want %x, found %x", want, twice[:])
	}
}

// Shows: IKE-2 (the DES keys of RFC 2759 §9.3).
func TestDESKey(t *testing.T) {
	for raw, want := range map[string]string{
		"FC 15 6A F7 ED CD 6C": "FD 0B 5B 5E 7F 6E 34 D9",
		"0E DD E3 33 7D 42 7F": "0E 6E 79 67 37 EA 08 FE",
	} {
		if k := desKey([7]byte(octets(t, raw))); !bytes.Equal(k[:], octets(t, want)) {
			t.Errorf("key of %s: want %s, found %x", raw, want, k)
		}
	}
}

// TestPasswords has passwords outside ASCII and outside the Basic Multilingual Plane, and ones that are refused.
func TestPasswords(t *testing.T) {
	h, err := HashPassword([]byte("grüße"))
	if err != nil {
		t.Fatal(err)
	}
	if want := hashOf(octets(t, "6700 7200 fc00 df00 6500")); h != want {
		t.Errorf("hash of a password with umlauts: want %x, found %x", want[:], h[:])
	}
	if h, err = HashPassword([]byte("\U0001F511")); err != nil || h != hashOf(octets(t, "3dd8 11dd")) {
		t.Errorf("hash of a password with a surrogate pair: found %x, %v", h[:], err)
	}
	for _, bad := range []string{"\xff", strings.Repeat("x", 257), strings.Repeat("\U0001F511", 129)} {
		if _, err := HashPassword([]byte(bad)); !errors.Is(err, ErrPassword) {
			t.Errorf("password of %d octets: want ErrPassword, found %v", len(bad), err)
		}
	}
	if _, err := HashPassword([]byte(strings.Repeat("x", 256))); err != nil {
		t.Errorf("password of 256 characters: %v", err)
	}
}

func TestParseHash(t *testing.T) {
	h, err := ParseHash(" 44EBBA8D5312b8d611474411f56989ae\n")
	if want, _ := HashPassword([]byte("clientPass")); err != nil || h != want {
		t.Errorf("found %x, %v", h[:], err)
	}
	for _, bad := range []string{"", "44", strings.Repeat("g", 32), strings.Repeat("4", 34)} {
		if _, err := ParseHash(bad); !errors.Is(err, ErrPassword) || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("hash %q: found %v", bad, err)
		}
	}
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		if s := fmt.Sprintf(format, h); strings.Contains(strings.ToLower(s), "44") {
			t.Errorf("%s shows the hash: %s", format, s)
		}
	}
}
