package ike

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"

	"mipvpn/ipsec/ike/message"
)

// The AlgorithmIdentifiers are those of RFC 7427 appendix A and RFC 8420 appendix A.
// Shows: IKE-2
func TestAlgorithmIdentifiers(t *testing.T) {
	for _, c := range []struct {
		der  string
		want SignatureScheme
		sent bool
	}{
		{"300d06092a864886f70d01010b0500", schemeOf(RSAPKCS1, crypto.SHA256), true},
		{"300d06092a864886f70d01010c0500", schemeOf(RSAPKCS1, crypto.SHA384), true},
		{"300d06092a864886f70d01010d0500", schemeOf(RSAPKCS1, crypto.SHA512), true},
		{"300b06092a864886f70d01010b", schemeOf(RSAPKCS1, crypto.SHA256), false}, // RFC 4055 §5
		{"300a06082a8648ce3d040302", schemeOf(ECDSA, crypto.SHA256), true},
		{"300a06082a8648ce3d040303", schemeOf(ECDSA, crypto.SHA384), true},
		{"300a06082a8648ce3d040304", schemeOf(ECDSA, crypto.SHA512), true},
		{"300506032b6570", schemeOf(Ed25519, 0), true},
		// A.4.3, which has the trailer field that DER leaves out as the default.
		{"304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500" +
			"a203020120a303020101", schemeOf(RSAPSS, crypto.SHA256), false},
		{"304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500" +
			"a203020120", schemeOf(RSAPSS, crypto.SHA256), true},
		{"304106092a864886f70d01010a3034a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d06096086480165030402030500" +
			"a203020140", schemeOf(RSAPSS, crypto.SHA512), true},
	} {
		id := octets(c.der)
		auth := message.Auth{Method: message.AuthDigitalSignature, Data: append(append([]byte{byte(len(id))}, id...), "signature"...)}
		got, sig, err := parseSignature(auth)
		if err != nil || got != c.want || string(sig) != "signature" {
			t.Errorf("%s: %v, signature %q, %v; want %v", c.der, got, sig, err, c.want)
		}
		if made, err := c.want.appendSignature([]byte("signature")); c.sent != bytes.Equal(made, auth.Data) || err != nil {
			t.Errorf("%v is sent as %x, %v; want that to be %s: %t", c.want, made, err, c.der, c.sent)
		}
	}
	for der, want := range map[string]error{
		"300d06092a864886f70d0101050500": ErrWeakSignature,   // A.1.1, sha1WithRSAEncryption
		"300d06092a864886f70d01010a3000": ErrWeakSignature,   // A.4.1, RSASSA-PSS with defaults, which are SHA-1
		"300906072a8648ce3d0401":         ErrWeakSignature,   // A.3.1, ecdsa-with-sha1
		"300506032b6571":                 ErrSignatureScheme, // Ed448
		"300c06082a8648ce3d0403020500":   ErrSignatureScheme, // ECDSA with parameters
		"300d06092a864886f70d01010b0501": ErrSignatureScheme, // not NULL
		"308006032b65700000":             ErrSignatureScheme, // indefinite length
		"304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020114": ErrSignatureScheme, // salt of 20
		"304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020120": ErrSignatureScheme, // another hash in MGF1
		"": ErrSignatureScheme,
	} {
		id := octets(der)
		if _, _, err := parseSignature(message.Auth{Method: message.AuthDigitalSignature, Data: append([]byte{byte(len(id))}, id...)}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", der, err, want)
		}
	}
}

// The values of RFC 4754 §8: public keys, message "abc", and the AUTH payloads of these signatures.
// Shows: IKE-2
func TestECDSAVectors(t *testing.T) {
	for _, v := range []struct {
		method message.AuthMethod
		curve  elliptic.Curve
		x, y   string
		auth   string // from the Auth Method on
	}{
		{message.AuthECDSA256, elliptic.P256(),
			"2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970", "6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D",
			"09000000CB28E0999B9C7715FD0A80D8E47A77079716CBBF917DD72E97566EA1C066957C86FA3BB4E26CAD5BF90B7F81899256CE7594BB1EA0C89212748BFF3B3D5B0315"},
		{message.AuthECDSA384, elliptic.P384(),
			"96281BF8DD5E0525CA049C048D345D3082968D10FEDF5C5ACA0C64E6465A97EA5CE10C9DFEC21797415710721F437922",
			"447688BA94708EB6E2E4D59F6AB6D7EDFF9301D249FE49C33096655F5D502FAD3D383B91C5E7EDAA2B714CC99D5743CA",
			"0A000000FB017B914E29149432D8BAC29A514640B46F53DDAB2C69948084E2930F1C8F7E08E07C9C63F2D21A07DCB56A6AF56EB3" +
				"B263A1305E057F984D38726A1B46874109F417BCA112674C528262A40A629AF1CBB9F516CE0FA7D2FF630863A00E8B9F"},
		{message.AuthECDSA521, elliptic.P521(),
			"0151518F1AF0F563517EDD5485190DF95A4BF57B5CBA4CF2A9A3F6474725A35F7AFE0A6DDEB8BEDBCD6A197E592D40188901CECD650699C9B5E456AEA5ADD19052A8",
			"006F3B142EA1BFFF7E2837AD44C9E4FF6D2D34C73184BBAD90026DD5E6E85317D9DF45CAD7803C6C20035B2F3FF63AFF4E1BA64D1C077577DA3F4286C58F0AEAE643",
			"0B0000000154FD3836AF92D0DCA57DD5341D3053988534FDE8318FC6AAAAB68E2E6F4339B19F2F281A7E0B22C269D93CF8794A9278880ED7DBB8D9362CAEACEE544320552251" +
				"017705A7030290D1CEB605A9A1BB03FF9CDD521E87A696EC926C8C10C8362DF4975367101F67D1CF9BCCBF2F3D239534FA509E70AAC851AE01AAC68D62F866472660"},
	} {
		body := octets(v.auth)
		auth := message.Auth{Method: message.AuthMethod(body[0]), Data: body[4:]}
		key, err := ecdsa.ParseUncompressedPublicKey(v.curve, slices.Concat([]byte{4}, octets(v.x), octets(v.y)))
		if err != nil {
			t.Fatal(err)
		}
		s, sig, err := parseSignature(auth)
		if err != nil || s.Method != v.method {
			t.Fatalf("method %d: %v, %v", v.method, s, err)
		}
		if err := s.verify(key, []byte("abc"), sig); err != nil {
			t.Errorf("method %d: %v", v.method, err)
		}
		if err := s.verify(key, []byte("abd"), sig); !errors.Is(err, ErrAuthentication) {
			t.Errorf("method %d: another message: %v", v.method, err)
		}
		if err := s.verify(testKeys()["RSA 2048"].Public(), []byte("abc"), sig); !errors.Is(err, ErrSignatureScheme) {
			t.Errorf("method %d: an RSA key: %v", v.method, err)
		}
		n := len(sig) / 2
		inDER, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.appendSignature(inDER); err != nil || !bytes.Equal(got, auth.Data) {
			t.Errorf("method %d: made %x, %v", v.method, got, err)
		}
		for _, wrong := range [][]byte{nil, inDER[:len(inDER)-1], append(bytes.Clone(inDER), 0), sig} {
			if _, err := s.appendSignature(wrong); !errors.Is(err, ErrSignatureScheme) {
				t.Errorf("method %d: %x: %v", v.method, wrong, err)
			}
		}
		for _, other := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			k, err := ecdsa.GenerateKey(other, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			want := ErrSignatureScheme
			if other == v.curve {
				want = ErrAuthentication
			}
			if err := s.verify(&k.PublicKey, []byte("abc"), sig); !errors.Is(err, want) {
				t.Errorf("method %d with a key of %s: %v", v.method, other.Params().Name, err)
			}
		}
		for _, size := range []int{0, len(auth.Data) - 1, len(auth.Data) + 1} {
			if _, _, err := parseSignature(message.Auth{Method: v.method, Data: make([]byte, size)}); !errors.Is(err, ErrSignatureScheme) {
				t.Errorf("method %d with %d octets: %v", v.method, size, err)
			}
		}
		if err := s.verify(key, []byte("abc"), make([]byte, 2*n)); !errors.Is(err, ErrAuthentication) {
			t.Errorf("method %d: r and s of zero: %v", v.method, err)
		}
	}
}

// Shows: IKE-2. A PSS signature with another salt, a short RSA key, and keys of other kinds are refused.
func TestSignatureKeys(t *testing.T) {
	key := testKeys()["RSA 2048"].(*rsa.PrivateKey)
	s := schemeOf(RSAPSS, crypto.SHA256)
	h := crypto.SHA256.New()
	h.Write([]byte("abc"))
	for salt, want := range map[int]error{32: nil, 20: ErrAuthentication, 1: ErrAuthentication, 64: ErrAuthentication} {
		sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, h.Sum(nil), &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.verify(key.Public(), []byte("abc"), sig); !errors.Is(err, want) {
			t.Errorf("salt of %d: %v", salt, err)
		}
	}
	short := &rsa.PublicKey{N: new(big.Int).Rsh(key.N, 1), E: key.E}
	for name, k := range map[string]crypto.PublicKey{"nil": nil, "no modulus": &rsa.PublicKey{}, "2047 bits": short, "a private key": key,
		"Ed25519": testKeys()["Ed25519"].Public(), "a short Ed25519": ed25519.PublicKey{1}} {
		if err := s.verify(k, []byte("abc"), make([]byte, 256)); !errors.Is(err, ErrSignatureScheme) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := schemeOf(Ed25519, 0).verify(ed25519.PublicKey{1}, []byte("abc"), make([]byte, 64)); !errors.Is(err, ErrSignatureScheme) {
		t.Errorf("a short Ed25519 key: %v", err)
	}
	if err := (SignatureScheme{}).verify(key.Public(), nil, nil); !errors.Is(err, ErrSignatureScheme) {
		t.Errorf("no scheme: %v", err)
	}
	for _, s := range []SignatureScheme{{}, schemeOf(ECDSA, 0), schemeOf(RSAPSS, crypto.SHA1), {Method: message.AuthECDSA256, Algorithm: ECDSA, Hash: crypto.SHA384},
		{Method: message.AuthRSASignature, Algorithm: RSAPKCS1, Hash: crypto.SHA256}} {
		if _, err := s.appendSignature([]byte{1}); !errors.Is(err, ErrSignatureScheme) {
			t.Errorf("%v is made: %v", s, err)
		}
		c := Certificates{Chain: [][]byte{{1}}, Schemes: []SignatureScheme{s}}
		if err := c.check(); !errors.Is(err, ErrSignatureScheme) {
			t.Errorf("%v in a configuration: %v", s, err)
		}
	}
}

// Shows: IKE-2. Which chain is used: the first with a scheme that the peer takes, rather one that leads to an authority that the
// peer asks for.
func TestChooseCertificates(t *testing.T) {
	rsaChain := &Certificates{Chain: [][]byte{[]byte("rsa")}, Schemes: []SignatureScheme{schemeOf(RSAPSS, crypto.SHA384)}, Authorities: [][20]byte{{1}}}
	ecChain := &Certificates{Chain: [][]byte{[]byte("ec")}, Authorities: [][20]byte{{2}},
		Schemes: []SignatureScheme{{message.AuthECDSA256, ECDSA, crypto.SHA256}, schemeOf(ECDSA, crypto.SHA256)}, Alternative: rsaChain}
	sha2 := []message.HashAlgorithm{message.HashSHA256, message.HashSHA384, message.HashSHA512, message.HashIdentity}
	for _, c := range []struct {
		name string
		said announced
		want *Certificates
		s    SignatureScheme
	}{
		{"no wish", announced{hashes: sha2}, ecChain, schemeOf(ECDSA, crypto.SHA256)},
		{"the first's authority", announced{hashes: sha2, authorities: [][20]byte{{2}, {1}}}, ecChain, schemeOf(ECDSA, crypto.SHA256)},
		{"the other's authority", announced{hashes: sha2, authorities: [][20]byte{{9}, {1}}}, rsaChain, schemeOf(RSAPSS, crypto.SHA384)},
		{"an unknown authority", announced{hashes: sha2, authorities: [][20]byte{{9}}}, ecChain, schemeOf(ECDSA, crypto.SHA256)},
		{"only SHA-384", announced{hashes: sha2[1:2], authorities: [][20]byte{{2}}}, rsaChain, schemeOf(RSAPSS, crypto.SHA384)},
		{"no RFC 7427", announced{authorities: [][20]byte{{1}}}, ecChain, SignatureScheme{message.AuthECDSA256, ECDSA, crypto.SHA256}},
		{"no hash in common", announced{hashes: []message.HashAlgorithm{}}, nil, SignatureScheme{}},
	} {
		got, s, ok := c.said.choose(ecChain)
		if got != c.want || s != c.s || ok != (c.want != nil) {
			t.Errorf("%s: %v with %v, want %v", c.name, got, s, c.s)
		}
	}
}

// Shows: IKE-2. What the ends ask for and send: authorities, OCSP (RFC 4806), hash algorithms.
func TestCertificateRequests(t *testing.T) {
	gate := certified(gatewayID, "P-256", ecdsa256)
	gate.Certificates.OCSP = []byte("a response")
	ask := Acceptance{Certificates: true, Authorities: [][20]byte{{1}, {2}}, OCSP: true}
	f := flow{own: gate, accept: ask, rounds: []Proof{certified(laptopID, "P-384", schemeOf(ECDSA, crypto.SHA384))}, required: []Acceptance{byCert}, proved: []Identity{laptopID}}
	p, d := f.pair(t)
	d.run()
	f.check(t, p)
	w, _ := find[TrustWanted](p.a.events)
	if w.ID != gatewayID || len(w.OCSP) != 1 || string(w.OCSP[0]) != "a response" || len(w.Chain) != 2 || string(w.Chain[0]) != "P-256" {
		t.Errorf("the client's driver was asked for %+v", w)
	}
	if w, _ := find[TrustWanted](p.b.events); w.ID != laptopID || len(w.OCSP) != 0 || string(w.Chain[0]) != "P-384" {
		t.Errorf("the gateway's driver was asked for %+v", w)
	}
	var hashes, requests int
	for _, f := range p.seen[:4] {
		m, err := p.open(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, pl := range m.Payloads {
			switch pl := pl.(type) {
			case message.Notify:
				if pl.Message == message.SignatureHashAlgorithms {
					hashes++
					if want := []byte{0, 2, 0, 3, 0, 4, 0, 5}; !bytes.Equal(pl.Data, want) || pl.Protocol != 0 || len(pl.SPI) != 0 {
						t.Errorf("%s: %+v, want %x", f.text, pl, want)
					}
				}
			case message.CertReq:
				requests++
				switch {
				case pl.Encoding == message.CertX509 && len(pl.Authority) == 40 && pl.Authority[0] == 1 && pl.Authority[20] == 2:
				case pl.Encoding == message.CertOCSP && len(pl.Authority) == 0 && f.from == p.a:
				default:
					t.Errorf("%s: %+v", f.text, pl)
				}
			}
		}
	}
	if hashes != 2 || requests != 3 {
		t.Errorf("%d SIGNATURE_HASH_ALGORITHMS, want 2; %d CERTREQ, want 3", hashes, requests)
	}
}

// FuzzAuthenticationPayloads gives any payloads, sealed with the right keys, to an end in each stage of authentication: nothing
// may panic, and nobody is authenticated by them.
func FuzzAuthenticationPayloads(f *testing.F) {
	all := flows()
	for i, fl := range all {
		p, d := fl.pair(&testing.T{})
		d.run()
		for n, seen := range p.seen {
			if m, err := p.open(seen.Payload); err == nil && m.Header.Exchange == message.IKEAuth {
				b, err := message.AppendPayloads(nil, m.Payloads)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(uint8(i), uint8(n), uint8(m.Payloads[0].Type()), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which, stage, first uint8, b []byte) {
		ps, err := message.ParsePayloads(message.PayloadType(first), b)
		if err != nil || len(b) > 60000 {
			return
		}
		fl := all[int(which)%len(all)]
		p, _ := fl.pair(t)
		p.lax = true
		p.start()
		for range 2 + stage%24 {
			if len(p.queue) == 0 {
				return
			}
			p.next()
		}
		if len(p.queue) == 0 {
			return
		}
		next := p.queue[0]
		if m, err := p.open(next.Payload); err != nil || m.Header.Exchange != message.IKEAuth {
			return
		}
		genuine, _ := p.open(next.Payload)
		if was, err := message.AppendPayloads(nil, genuine.Payloads); err != nil || bytes.Contains(b, authOf(genuine.Payloads)) || bytes.Equal(was, b) {
			return
		}
		to := p.other(next.from)
		up := count[Established](to.events)
		p.rewrite(&next, func([]message.Payload) []message.Payload { return ps })
		_ = p.deliver(next)
		if count[Established](to.events) != up && needsAUTH(genuine.Payloads) {
			t.Fatalf("%s is established by %v", to.name, ps)
		}
	})
}

// authOf returns the octets of the AUTH payload, which only who has the key can make; a value that occurs nowhere without one.
func authOf(ps []message.Payload) []byte {
	if a, ok := message.Find[message.Auth](ps); ok {
		return a.Data
	}
	return []byte("no AUTH, so that nothing is excluded")
}

// needsAUTH tells whether this message has to prove something.
func needsAUTH(ps []message.Payload) bool {
	_, ok := message.Find[message.Auth](ps)
	return ok
}

// FuzzParseSignature: any Authentication Data of any method is a scheme that is known or an error.
func FuzzParseSignature(f *testing.F) {
	for s, id := range preferred {
		f.Add(uint8(s.Method), append(append([]byte{byte(len(id))}, id...), "signature"...))
	}
	f.Add(uint8(message.AuthECDSA256), make([]byte, 64))
	f.Add(uint8(message.AuthRSASignature), make([]byte, 256))
	keys := testKeys()
	f.Fuzz(func(t *testing.T, method uint8, b []byte) {
		s, sig, err := parseSignature(message.Auth{Method: message.AuthMethod(method), Data: b})
		if err != nil {
			if !errors.Is(err, ErrSignatureScheme) && !errors.Is(err, ErrWeakSignature) {
				t.Fatal(err)
			}
			return
		}
		c := Certificates{Chain: [][]byte{{1}}, Schemes: []SignatureScheme{s}}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		for name, k := range keys {
			if s.verify(k.Public(), []byte("octets that nobody has signed"), sig) == nil {
				t.Fatalf("%v by %s verifies", s, name)
			}
		}
		_, _ = s.appendSignature(sig)
	})
}

// FuzzEAPMessage: a message that is taken has a right length and a code.
func FuzzEAPMessage(f *testing.F) {
	f.Add(eap(eapRequest, 1, "ping"))
	f.Add(eap(eapSuccess, 1, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		code, err := checkEAP(b)
		if err == nil && (code < 1 || code > 4 || int(b[2])<<8|int(b[3]) != len(b) || len(b) > maxEAP) {
			t.Fatalf("%x is taken as %d", b, code)
		}
	})
}

// FuzzAnnounced: what is kept of a peer's announcements, requests and certificates is bounded.
func FuzzAnnounced(f *testing.F) {
	seed, err := message.AppendPayloads(nil, []message.Payload{hashNotify(), message.CertReq{Encoding: message.CertX509, Authority: make([]byte, 61)},
		message.CertReq{Encoding: message.CertOCSP}, message.Cert{Encoding: message.CertX509, Data: []byte{1}}, message.Cert{Encoding: message.CertOCSP, Data: []byte{1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(message.TypeNotify), seed)
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		ps, err := message.ParsePayloads(message.PayloadType(first), b)
		if err != nil {
			return
		}
		var a announced
		if said := a.readHashes(ps); said != (a.hashes != nil) || len(a.hashes) > len(signatureHashes) {
			t.Fatalf("hashes %v, said %t", a.hashes, said)
		}
		if a.readRequests(ps); len(a.authorities) > maxAuthorities {
			t.Fatalf("%d authorities", len(a.authorities))
		}
		w, err := readCertificates(ps)
		if err != nil {
			if !errors.Is(err, ErrCertificates) {
				t.Fatal(err)
			}
			return
		}
		octets := 0
		for _, c := range slices.Concat(w.Chain, w.CRLs, w.OCSP) {
			octets += len(c)
			if len(c) == 0 {
				t.Fatal("an empty certificate")
			}
		}
		if len(w.Chain) > maxCertificates || len(w.CRLs)+len(w.OCSP) > maxRevocations || octets > maxCertificateOctets {
			t.Fatalf("%d certificates, %d CRLs, %d OCSP responses, %d octets", len(w.Chain), len(w.CRLs), len(w.OCSP), octets)
		}
	})
}
