package ike

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mipvpn/ipsec/suite"
)

// inFIPSMode runs the test again in a process in FIPS 140-3 mode, which is for the life of a process. It returns false in the
// process that the test was started in.
func inFIPSMode(t *testing.T) bool {
	t.Helper()
	if fips140.Enabled() {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "GODEBUG=fips140=on")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in FIPS 140-3 mode: %v\n%s", err, out)
	}
	return false
}

// Shows: IKE-3 (FIPS 140-3 mode of the standard library: what is not approved is neither offered nor accepted, and each profile
// still makes an IKE SA with what is left)
func TestFIPSMode(t *testing.T) {
	if !inFIPSMode(t) {
		return
	}
	for _, profile := range []string{"default", "cnsa", "compatible"} {
		words, err := ProposalsOf(profile)
		if err != nil {
			t.Fatal(err)
		}
		p := completed(t, words)
		for _, e := range slices.Concat(p.Encryption, p.ChildEncryption) {
			if e == suite.ChaCha20Poly1305 {
				t.Errorf("%s: %v is left", profile, e)
			}
		}
		for _, g := range slices.Concat(p.Groups, p.ChildGroups, slices.Concat(p.Additional...)) {
			switch g {
			case suite.GroupP256, suite.GroupP384, suite.GroupP521, suite.GroupMLKEM768, suite.GroupMLKEM1024:
			default:
				t.Errorf("%s: %v is left", profile, g)
			}
		}
		pair := newPair(t, 230, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { i.Proposals, r.Proposals = words, words })
		pair.start()
		pair.drive()
		pair.agree(1)
		for _, do := range commands[:2] {
			if err := do.do(pair, pair.a); err != nil {
				t.Fatal(err)
			}
			pair.drain()
			pair.drive()
			pair.agree(1)
		}
	}
	for name, p := range map[string]Proposals{
		"ChaCha20-Poly1305 alone": {Encryption: []suite.Encryption{suite.ChaCha20Poly1305}},
		"Curve25519 alone":        {Groups: []suite.Group{suite.GroupCurve25519}},
	} {
		c := Config{LocalID: mustID("x"), Proposals: p}
		if err := c.complete(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A peer that offers nothing else is refused.
	offer := (&Proposals{
		Encryption: []suite.Encryption{suite.ChaCha20Poly1305}, PRFs: suite.PRFs(), Groups: []suite.Group{suite.GroupP256},
	}).offerIKE(nil)
	if s, _, _, ok := completed(t, Proposals{}).selectIKE(offer, suite.GroupP256, 0, false); ok {
		t.Errorf("%v was chosen", s)
	}
}

// Shows: IKE-3 (profiles by a word)
func TestProfiles(t *testing.T) {
	for word, want := range map[string][3]int{"": {3, 4, 3}, "default": {3, 4, 3}, "cnsa": {1, 1, 1}, "compatible": {9, 7, 9}} {
		words, err := ProposalsOf(word)
		if err != nil {
			t.Fatal(err)
		}
		p := completed(t, words)
		if got := [3]int{len(p.Encryption), len(p.Groups), len(p.ChildEncryption)}; got != want && !fips140.Enabled() {
			t.Errorf("%q: %v algorithms, want %v", word, got, want)
		}
		if word == "cnsa" != p.RequireAdditional || !slices.Equal(words.ChildCiphers(), p.ChildEncryption) {
			t.Errorf("%q: %+v", word, p)
		}
	}
	if _, err := ProposalsOf("weak"); !errors.Is(err, ErrConfig) {
		t.Errorf("another word: %v", err)
	}
	for name, p := range map[string]Proposals{
		"ML-KEM as the first":   {Groups: []suite.Group{suite.GroupMLKEM768}},
		"an empty list":         {Additional: [][]suite.Group{{}}},
		"eight":                 {Additional: make([][]suite.Group, 8)},
		"required and left out": {RequireAdditional: true, NoAdditional: true},
		"unknown":               {Additional: [][]suite.Group{{35}}},
		"weak cipher":           {Encryption: []suite.Encryption{{ID: 3}}},
		"weak PRF":              {PRFs: []suite.PRF{2}},
		"CBC without integrity": {ChildEncryption: []suite.Encryption{{ID: suite.EncryptionAESCBC, KeyBits: 256}}},
	} {
		c := Config{LocalID: mustID("x"), Proposals: p}
		if err := c.complete(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
