package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"testing"

	"mipvpn/ipsec/pki/pkitest"
)

// weakRSA returns an RSA key of 1024 bits, which the standard library does not make any more.
func weakRSA() crypto.Signer {
	b, _ := pem.Decode([]byte(weakRSAKey))
	key, err := x509.ParsePKCS1PrivateKey(b.Bytes)
	if err != nil {
		panic(err)
	}
	return key
}

// sha1Signed returns the certificate in DER as its issuer would have signed it with ECDSA and SHA-1, which the standard library
// does not do any more.
func sha1Signed(c *x509.Certificate, issuer *pkitest.Authority) []byte {
	algorithm := asn1.RawValue{FullBytes: []byte{0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01}} // ecdsa-with-SHA1
	var fields []asn1.RawValue
	mustParse(c.RawTBSCertificate, &fields)
	fields[2] = algorithm // version, serialNumber, signature (RFC 5280 §4.1)
	tbs := mustMarshal(fields)
	sum := sha1.Sum(tbs)
	signature, err := issuer.Key.Sign(rand.Reader, sum[:], crypto.SHA1)
	if err != nil {
		panic(err)
	}
	return mustMarshal([]asn1.RawValue{{FullBytes: tbs}, algorithm, {Tag: asn1.TagBitString, Bytes: append([]byte{0}, signature...)}})
}

func mustParse(der []byte, v any) {
	if _, err := asn1.Unmarshal(der, v); err != nil {
		panic(err)
	}
}

func mustMarshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return der
}

func TestAnchorsMustBeStrongAuthorities(t *testing.T) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.P256, []string{"a.example"})
	if _, err := NewAnchors(leaf.Certificate); err == nil {
		t.Error("a leaf was taken for an anchor")
	}
	weak := root.Intermediate("weak", pkitest.P224)
	if _, err := NewAnchors(weak.Certificate); !errors.Is(err, ErrWeakKey) {
		t.Errorf("error %v, want %v", err, ErrWeakKey)
	}
	if _, ok := weakRSA().Public().(*rsa.PublicKey); !ok {
		t.Error("the weak key is no RSA key")
	}
	a, err := NewAnchors(root.Certificate, root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if h := a.Hashes(); len(h) != 1 || h[0] != AuthorityHash(root.Certificate) {
		t.Errorf("hashes %x", h)
	}
}

func TestParseCertificates(t *testing.T) {
	root, other := pkitest.NewRoot("root", now, pkitest.P256), pkitest.NewRoot("other", now, pkitest.Ed25519)
	both := pkitest.PEM(root.Certificate, other.Certificate)
	for name, c := range map[string]struct {
		data []byte
		want int
	}{
		"PEM":      {append([]byte("# a comment\n"), both...), 2},
		"with key": {append(pkitest.KeyPEM(root.Key), both...), 2},
		"DER":      {root.Certificate.Raw, 1},
		"two DER":  {append(append([]byte(nil), root.Certificate.Raw...), other.Certificate.Raw...), 2},
		"empty":    {nil, 0},
		"key only": {pkitest.KeyPEM(root.Key), 0},
		"cut":      {root.Certificate.Raw[:100], 0},
		"text":     {[]byte("no certificate"), 0},
	} {
		got, err := ParseCertificates(c.data)
		if len(got) != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d certificates, error %v, want %d", name, len(got), err, c.want)
		}
	}
}

// weakRSAKey belongs to nobody.
const weakRSAKey = `-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQC8+/q5IWlGKjS568sxbWQk3/hDEIvtrfJM0X7UuncqxXCSirc7
af4cMooZIpYLKKlPxSXWzKV5nFF8JJ/jxdFU72URPCAsMY0qgUr11b4qFvtkbvhQ
K0FTeo56SojZy7aC/isiSy+wzxSmDDPBgJgGBhi/pKUd4IeEVyjVVlRCawIDAQAB
AoGBAI5912+bF4tF63d7qDteZbHABapbYYYWL6loFB9FcPCY6eY0HS/5HRYZrTKC
d2t2fyKcXYl1yBbHnFDkNIJC9y+r2SVS2t8cwJsSF54PD8l6Zf7bZ/CONwelmGxp
AwAvYRUax++QfLX8sWu0ZCwdONC6zR0mLMwLhRmEinN7HP9BAkEA87fQ2H+eIFfz
1/uELx3WfFy0389MOVtxa5Oo44IYTCRII7LxYIectBkKEpjYTdUrk98CkOtdsSgg
T2NVEvNw2wJBAMaCDHKBU2RxV4OMuH+1oyMtC5+pb2xcqCp6iHNUFmCS1rX4m+LK
cekbIG/Ef8YYkDgGssq1db8xm8l/2fGVIbECQA4mZPS87BRapuiqTLFjnRlZVJMN
+RH3ci1ZxFt5KSn6jUmtUQBWv01hiskroJtcPgx2zTJWx/jKKJ4TWVQhWDMCQHB9
9DXTigGKpXBcB5X/xeJCPasOJqF+5KGl7LuGdGPn8psOtrBPzzutbrVH4qzM8LV/
PkTXjlF5+HG47TYVMBECQQCbl1i48SplCpeoCHkc+W3MsFeWLE+kBYwU5tO2ZSUI
c4+yHw5jei+wshtoISdAfBOFI6GvRTq3ymkxudw7JZ4g
-----END RSA PRIVATE KEY-----`
