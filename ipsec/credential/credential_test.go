package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki/pkitest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const laptop = "laptop@corp.example"

// source reads files of a test, without looking at modes.
func source(certificate, key string) Source {
	return Source{Certificate: certificate, Key: key, ReadPrivate: os.ReadFile, ReadPublic: os.ReadFile}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// exercise signs with every scheme of the credential.
func exercise(t *testing.T, c *Credential) {
	t.Helper()
	p := c.Certificates()
	if len(p.Schemes) == 0 {
		t.Fatal("no schemes")
	}
	octets := []byte("the octets that AUTH covers")
	for _, s := range p.Schemes {
		signature, err := c.Sign(s, octets)
		if err != nil {
			t.Errorf("%s: %v", describe(s), err)
			continue
		}
		digest, _, err := prepare(s, octets)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(c.Leaf().PublicKey, s, digest, signature); err != nil {
			t.Error(err)
		}
		digest[0] ^= 1
		if verify(c.Leaf().PublicKey, s, digest, signature) == nil {
			t.Errorf("%s: the signature is good for other octets", describe(s))
		}
	}
}

// Shows: IKE-2
func TestFilesInPEM(t *testing.T) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	inter := root.Intermediate("intermediate", pkitest.P256)
	for name, c := range map[string]struct {
		kind    pkitest.Key
		schemes int
	}{"rsa": {pkitest.RSA2048, 6}, "p256": {pkitest.P256, 4}, "p384": {pkitest.P384, 4}, "p521": {pkitest.P521, 4}, "ed25519": {pkitest.Ed25519, 1}} {
		leaf := inter.Issue(c.kind, []string{laptop})
		blocks := map[string][]byte{"PKCS#8": pkitest.KeyPEM(leaf.Key)}
		switch k := leaf.Key.(type) {
		case *rsa.PrivateKey:
			blocks["PKCS#1"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(k)
			if err != nil {
				t.Fatal(err)
			}
			blocks["SEC 1"] = append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
				pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
		}
		for format, key := range blocks {
			chain := pkitest.PEM(root.Certificate, inter.Certificate, leaf.Certificate) // not in order
			for i, s := range []Source{
				source(write(t, "cert.pem", chain), write(t, "key.pem", key)),
				source(write(t, "both.pem", append(append([]byte(nil), key...), chain...)), ""),
			} {
				got, err := Load(s)
				if err != nil {
					t.Errorf("%s in %s: %v", name, format, err)
					continue
				}
				p := got.Certificates()
				if i == 0 && format == "PKCS#8" {
					exercise(t, got)
				} else if _, err := got.Sign(p.Schemes[0], nil); err != nil {
					t.Errorf("%s in %s: %v", name, format, err)
				}
				if len(p.Schemes) != c.schemes || len(p.Chain) != 2 || !bytes.Equal(p.Chain[0], leaf.Certificate.Raw) || !bytes.Equal(p.Chain[1], inter.Certificate.Raw) {
					t.Errorf("%s in %s: %d schemes, %d certificates to send", name, format, len(p.Schemes), len(p.Chain))
				}
				if err := got.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestSchemesPreferTheCurvesHash(t *testing.T) {
	key := pkitest.NewKey(pkitest.P384)
	got := Schemes(key.Public())
	want := ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA384}
	if got[0] != want {
		t.Errorf("first %+v, want %+v", got[0], want)
	}
	last := ike.SignatureScheme{Method: message.AuthECDSA384, Algorithm: ike.ECDSA, Hash: crypto.SHA384}
	if got[len(got)-1] != last {
		t.Errorf("last %+v, want %+v", got[len(got)-1], last)
	}
	if Schemes(pkitest.NewKey(pkitest.P224).Public()) != nil {
		t.Error("P-224 has schemes")
	}
}

func TestSignRefusesWhatDoesNotFit(t *testing.T) {
	key, other := pkitest.NewKey(pkitest.P256), pkitest.NewKey(pkitest.P256)
	good := Schemes(key.Public())[0]
	if _, err := Sign(key, other.Public(), good, nil); !errors.Is(err, ErrSelfCheck) {
		t.Errorf("another's key: %v", err)
	}
	for _, s := range []ike.SignatureScheme{
		{Method: message.AuthDigitalSignature, Algorithm: ike.RSAPSS, Hash: crypto.SHA256},
		{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA1},
		{Method: message.AuthDigitalSignature, Algorithm: ike.Ed25519, Hash: crypto.SHA256},
		{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA},
	} {
		if _, err := Sign(key, key.Public(), s, nil); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf, other := root.Issue(pkitest.P256, []string{laptop}), root.Issue(pkitest.P256, []string{laptop})
	cert := write(t, "cert.pem", pkitest.PEM(leaf.Certificate))
	weak := root.Issue(pkitest.P224, []string{laptop})
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30, 0}})
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}})
	for name, c := range map[string]struct {
		s    Source
		want error
	}{
		"no certificate":      {source("", write(t, "k", pkitest.KeyPEM(leaf.Key))), nil},
		"missing file":        {source(cert, "/nowhere/key.pem"), os.ErrNotExist},
		"another key":         {source(cert, write(t, "k", pkitest.KeyPEM(other.Key))), ErrMismatch},
		"encrypted":           {source(cert, write(t, "k", encrypted)), ErrKey},
		"encrypted, old":      {source(cert, write(t, "k", old)), ErrKey},
		"no key":              {source(cert, write(t, "k", pkitest.PEM(leaf.Certificate))), ErrKey},
		"rubbish":             {source(cert, write(t, "k", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2}}))), ErrKey},
		"unknown kind":        {source(cert, write(t, "k", pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte{1}}))), ErrKey},
		"weak key":            {source(write(t, "c", pkitest.PEM(weak.Certificate)), write(t, "k", pkitest.KeyPEM(weak.Key))), ErrKey},
		"no PKCS#12":          {source(write(t, "c.p12", []byte{0x30, 3, 1, 2, 3}), ""), ErrKey},
		"TPM key, not there":  {Source{Certificate: cert, Key: "tpm2:0x81000001", Device: "/nowhere/tpm", ReadPublic: os.ReadFile}, os.ErrNotExist},
		"TPM handle":          {source(cert, "tpm2:0x40000001"), ErrKey},
		"TPM file":            {source(cert, write(t, "k", pem.EncodeToMemory(&pem.Block{Type: tssBlock, Bytes: []byte{0x30, 0}}))), ErrKey},
		"token without URI":   {source(cert, "pkcs11:token=x"), ErrKey},
		"token's PIN in text": {source(cert, "pkcs11:token=x?module-path=/x.so&pin-value=1234"), ErrKey},
	} {
		_, err := Load(c.s)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

// Shows: IKE-2
func TestPKCS12(t *testing.T) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.RSA2048, []string{laptop})
	for name, encoder := range map[string]*pkcs12.Encoder{"modern": pkcs12.Modern2023, "legacy": pkcs12.LegacyDES} {
		data, err := encoder.Encode(leaf.Key, leaf.Certificate, []*x509.Certificate{root.Certificate}, "geheim")
		if err != nil {
			t.Fatal(err)
		}
		s := source(write(t, "laptop.p12", data), "")
		if _, err := Load(s); !errors.Is(err, ErrNobodyToAsk) {
			t.Errorf("%s: nobody to ask: %v", name, err)
		}
		var prompts []string
		answer := "falsch"
		s.Ask = func(prompt string) ([]byte, error) {
			prompts = append(prompts, prompt)
			return []byte(answer), nil
		}
		if _, err := Load(s); !errors.Is(err, ErrPassword) {
			t.Errorf("%s: wrong password: %v", name, err)
		}
		answer = "geheim"
		c, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		exercise(t, c)
		if len(prompts) != 2 || !strings.Contains(prompts[0], "laptop.p12") || len(c.Certificates().Chain) != 1 {
			t.Errorf("%s: prompts %q, %d certificates", name, prompts, len(c.Certificates().Chain))
		}
	}
}

// What openssl writes is read.
func TestPKCS12OfOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed (Debian: openssl)")
	}
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.P384, []string{laptop})
	cert, key := write(t, "c.pem", pkitest.PEM(leaf.Certificate, root.Certificate)), write(t, "k.pem", pkitest.KeyPEM(leaf.Key))
	out := filepath.Join(t.TempDir(), "laptop.p12")
	if b, err := exec.CommandContext(t.Context(), "openssl", "pkcs12", "-export", "-in", cert, "-inkey", key, "-out", out, "-passout", "pass:x").CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, b)
	}
	s := source(out, "")
	s.Ask = func(string) ([]byte, error) { return []byte("x"), nil }
	c, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, c)
}

func TestDERECDSA(t *testing.T) {
	key := pkitest.NewKey(pkitest.P256)
	digest := make([]byte, 32)
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	r, s, err := ecdsa.Sign(rand.Reader, k, digest)
	if err != nil {
		t.Fatal(err)
	}
	der, err := derECDSA(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	if err != nil || !ecdsa.VerifyASN1(&k.PublicKey, digest, der) {
		t.Errorf("error %v, or the signature does not verify", err)
	}
	for _, raw := range [][]byte{nil, make([]byte, 63)} {
		if _, err := derECDSA(raw); err == nil {
			t.Errorf("%d octets were taken", len(raw))
		}
	}
}

// FuzzKeyFiles shows that reading keys is total.
func FuzzKeyFiles(f *testing.F) {
	key := pkitest.NewKey(pkitest.P256)
	f.Add(pkitest.KeyPEM(key))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: tssBlock, Bytes: tssExample()}))
	f.Add(tssExample())
	f.Add([]byte("pkcs11:token=a;object=b%20c;id=%01?module-path=/usr/lib/x.so"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if block, err := keyBlock(b); err == nil {
			if k, err := parseKey(block); err == nil && k == nil {
				t.Fatal("neither key nor error")
			}
		}
		if k, err := parseTSS(b); err == nil && k.parent == 0 && k.public == nil && k.private == nil && len(b) < 10 {
			t.Fatal("an empty key file was taken")
		}
		if u, err := parseTokenURI(string(b)); err == nil && u.module == "" {
			t.Fatal("a URI without a module was taken")
		}
	})
}

// FuzzPKCS12 shows that reading PKCS#12 is total.
func FuzzPKCS12(f *testing.F) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	data, err := pkcs12.Passwordless.Encode(root.Key, root.Certificate, nil, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("\x02\x03")) || len(b) > 4096 {
			t.Skip("iteration counts of millions take seconds") // the count is the administrator's own
		}
		if c, err := parsePKCS12(source("x.p12", ""), b); err == nil && c == nil {
			t.Fatal("neither credential nor error")
		}
	})
}

func TestTokenURI(t *testing.T) {
	got, err := parseTokenURI("pkcs11:token=My%20card;object=VPN;id=%01%02;type=private;slot-id=3?module-path=/usr/lib/opensc-pkcs11.so")
	want := tokenURI{module: "/usr/lib/opensc-pkcs11.so", token: "My card", object: "VPN", id: "\x01\x02", slot: 3}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "pkcs11:", "pkcs11:token", "pkcs11:token=%zz?module-path=/x", "pkcs11:token=a;token=b?module-path=/x",
		"pkcs11:colour=red?module-path=/x", "pkcs11:slot-id=-1?module-path=/x", "pkcs11:type=data?module-path=/x", "pkcs11:?pin-source=/x&module-path=/x",
		"pkcs11:" + strings.Repeat("a", maxURI)} {
		if u, err := parseTokenURI(bad); err == nil {
			t.Errorf("%q gives %+v", bad, u)
		}
	}
}
