package ike

import (
	"bytes"
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
)

// flowNamed returns one of flows.
func flowNamed(t testing.TB, name string) flow {
	t.Helper()
	for _, f := range flows() {
		if f.name == name {
			return f
		}
	}
	t.Fatalf("no flow %q", name)
	return flow{}
}

// spoiled runs a flow in which the n-th IKE_AUTH message of an end (from 0, repetitions not counted) is changed on its way,
// sealed with the keys of the IKE SA, as an end could that does not keep to the rules.
func (f flow) spoiled(t *testing.T, from string, n int, change func([]message.Payload) []message.Payload) (*pair, *drivers) {
	t.Helper()
	p, d := f.pair(t)
	p.lax = true
	seen := map[uint32]bool{}
	p.lose = func(fl flight) bool {
		h, err := message.ParseHeader(fl.Payload)
		if err != nil || fl.from.name != from || h.Exchange != message.IKEAuth || seen[h.MessageID] {
			return false
		}
		seen[h.MessageID] = true
		if len(seen) != n+1 {
			return false
		}
		p.rewrite(&fl, change)
		_ = p.deliver(fl)
		return true
	}
	d.run()
	return p, d
}

func without2(types ...message.PayloadType) func([]message.Payload) []message.Payload {
	return func(ps []message.Payload) []message.Payload {
		return slices.DeleteFunc(slices.Clone(ps), func(p message.Payload) bool { return slices.Contains(types, p.Type()) })
	}
}

func adding(more ...message.Payload) func([]message.Payload) []message.Payload {
	return func(ps []message.Payload) []message.Payload { return append(slices.Clone(ps), more...) }
}

// changeAUTH changes the AUTH payload.
func changeAUTH(change func(a *message.Auth)) func([]message.Payload) []message.Payload {
	return func(ps []message.Payload) []message.Payload {
		out := slices.Clone(ps)
		for i, p := range out {
			if a, ok := p.(message.Auth); ok {
				a.Data = bytes.Clone(a.Data)
				change(&a)
				out[i] = a
			}
		}
		return out
	}
}

// identifier puts an AlgorithmIdentifier in front of the signature, in the place of the one that is there.
func identifier(id []byte) func(a *message.Auth) {
	return func(a *message.Auth) {
		a.Data = slices.Concat([]byte{byte(len(id))}, id, a.Data[1+a.Data[0]:])
	}
}

func manyCerts(n, size int) []message.Payload {
	var out []message.Payload
	for range n {
		out = append(out, message.Cert{Encoding: message.CertX509, Data: make([]byte, size)})
	}
	return out
}

// Shows: IKE-2, IKE-10. What a gateway, with the keys of IKE_SA_INIT, can do wrong in authentication: each has its error,
// and no child SA comes of it.
func TestHostileGatewayAuthentication(t *testing.T) {
	refused := &NotifyError{Type: message.AuthenticationFailed}
	for _, c := range []struct {
		name, flow string
		n          int
		change     func([]message.Payload) []message.Payload
		want       error
	}{
		{"pre-shared key where a certificate is wanted", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method = message.AuthSharedKeyMIC }), ErrMethod},
		{"certificate where a pre-shared key is wanted", "two certificates of the client", 0, changeAUTH(func(a *message.Auth) { a.Method = message.AuthDigitalSignature }), ErrMethod},
		{"method 1", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method = message.AuthRSASignature }), ErrWeakSignature},
		{"method 3", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method = 3 }), ErrSignatureScheme},
		{"method 9 where both know RFC 7427", "certificates", 0, changeAUTH(func(a *message.Auth) {
			a.Method, a.Data = message.AuthECDSA256, make([]byte, 64)
		}), ErrMethod},
		{"SHA-1", "certificates", 0, changeAUTH(identifier(der(0x30, oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01)))), ErrWeakSignature},
		{"another hash", "certificates", 0, changeAUTH(identifier(preferred[schemeOf(ECDSA, crypto.SHA384)])), ErrAuthentication},
		{"another algorithm", "certificates", 0, changeAUTH(identifier(preferred[schemeOf(RSAPSS, crypto.SHA256)])), ErrSignatureScheme},
		{"unknown algorithm", "certificates", 0, changeAUTH(identifier(der(0x30, oid(0x2b, 0x65, 0x71)))), ErrSignatureScheme},
		{"short AlgorithmIdentifier", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Data = a.Data[:5] }), ErrSignatureScheme},
		{"empty signature", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Data = a.Data[:1+a.Data[0]] }), ErrAuthentication},
		{"empty AUTH", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Data = nil }), ErrSignatureScheme},
		{"another signature", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Data[len(a.Data)-1] ^= 1 }), ErrAuthentication},
		{"no AUTH", "certificates", 0, without2(message.TypeAuth), ErrInvalidAnswer},
		{"no IDr", "certificates", 0, without2(message.TypeIDr), ErrInvalidAnswer},
		{"another IDr", "certificates", 0, replaced(message.IDr{Identity: mustID("evil.example.com")}), ErrIdentity},
		{"a chain too long", "certificates", 0, adding(manyCerts(maxCertificates, 100)...), ErrCertificates},
		{"a chain too large", "certificates", 0, adding(manyCerts(2, 30000)...), ErrCertificates},
		{"an empty certificate", "certificates", 0, adding(message.Cert{Encoding: message.CertX509}), ErrCertificates},
		{"too many CRLs", "certificates", 0, adding(slices.Repeat([]message.Payload{message.Cert{Encoding: message.CertCRL, Data: []byte{1}}}, maxRevocations+1)...), ErrCertificates},
		{"certificate by hash and URL", "certificates", 0, func(ps []message.Payload) []message.Payload {
			return append(without2(message.TypeCert)(ps), message.Cert{Encoding: message.CertHashURL, Data: []byte("http://evil.example/")})
		}, ErrCertificates},
		{"nothing", "certificates", 0, func([]message.Payload) []message.Payload { return nil }, ErrInvalidAnswer},

		{"EAP-Success at once", "EAP", 0, replaced(message.EAP{Message: eap(eapSuccess, 1, "")}), ErrEarlySuccess},
		{"EAP-Success at once, alone", "EAP alone", 0, replaced(message.EAP{Message: eap(eapSuccess, 1, "")}), ErrEarlySuccess},
		// This method agrees to anything; the key is another then.
		{"EAP-Success before the end", "EAP", 1, replaced(message.EAP{Message: eap(eapSuccess, 1, "")}), &NotifyError{Type: message.InvalidSyntax}},
		{"EAP-Failure", "EAP", 1, replaced(message.EAP{Message: eap(eapFailure, 1, "")}), ErrEAP},
		{"EAP-Response", "EAP", 1, replaced(message.EAP{Message: eap(eapResponse, 1, "?")}), ErrEAP},
		{"empty EAP", "EAP", 1, replaced(message.EAP{}), ErrEAP},
		{"EAP of a wrong length", "EAP", 1, replaced(message.EAP{Message: []byte{1, 1, 0, 9, 1}}), ErrEAP},
		{"EAP too long", "EAP", 1, replaced(message.EAP{Message: eap(eapRequest, 1, strings.Repeat("x", maxEAP))}), ErrEAP},
		{"EAP of an unknown code", "EAP", 1, replaced(message.EAP{Message: eap(5, 1, "x")}), ErrEAP},
		{"no EAP", "EAP", 0, without2(message.TypeEAP), ErrInvalidAnswer},
		{"no EAP amid EAP", "EAP", 2, without2(message.TypeEAP), ErrInvalidAnswer},
		{"no AUTH behind EAP", "EAP", 4, without2(message.TypeAuth), ErrInvalidAnswer},
		{"wrong AUTH behind EAP", "EAP", 4, changeAUTH(func(a *message.Auth) { a.Data[0] ^= 1 }), ErrAuthentication},
		{"signature behind EAP", "EAP", 4, changeAUTH(func(a *message.Auth) { a.Method = message.AuthDigitalSignature }), ErrMethod},
		{"another IDr behind EAP", "EAP", 4, adding(message.IDr{Identity: mustID("evil.example.com")}), ErrIdentity},
		{"no AUTH where EAP alone was not offered", "EAP", 0, without2(message.TypeAuth, message.TypeCert), ErrInvalidAnswer},
		{"no IDr with EAP alone", "EAP alone", 0, without2(message.TypeIDr), ErrInvalidAnswer},
		{"another IDr with EAP alone", "EAP alone", 0, replaced(message.IDr{Identity: mustID("evil.example.com")}), ErrIdentity},
		{"AUTH where EAP alone is accepted", "EAP alone", 0, adding(message.Auth{Method: message.AuthSharedKeyMIC, Data: make([]byte, 32)}), ErrMethod},
		{"AUTHENTICATION_FAILED amid EAP", "EAP", 2, func([]message.Payload) []message.Payload {
			return []message.Payload{message.Notify{Message: message.AuthenticationFailed}}
		}, refused},

		{"an error instead of the second round", "two certificates of the client", 0, adding(message.Notify{Message: message.TSUnacceptable}), &NotifyError{Type: message.TSUnacceptable}},
		{"the second round refused", "two certificates of the client", 1, func([]message.Payload) []message.Payload {
			return []message.Payload{message.Notify{Message: message.AuthenticationFailed}}
		}, refused},
		{"one more proof announced and not brought", "two certificates of the client", 0, adding(message.Notify{Message: message.AnotherAuthFollows}), ErrInvalidAnswer},
		{"a child SA instead of the second round's EAP", "machine certificate, then EAP of the user", 1, without2(message.TypeEAP), ErrInvalidAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := flowNamed(t, c.flow).spoiled(t, "B", c.n, c.change)
			if !errors.Is(p.a.m.Err(), c.want) {
				t.Errorf("%v, want %v\n%s", p.a.m.Err(), c.want, p.trace())
			}
			if count[ChildInstalled](p.a.events) != 0 || count[Established](p.a.events) != 0 {
				t.Error("the client took it")
			}
			if p.a.m.waiting != nil || p.a.m.answer != nil {
				t.Error("it still waits")
			}
		})
	}
}

// Shows: IKE-2, IKE-10. What a client can do wrong.
func TestHostileClientAuthentication(t *testing.T) {
	refused := &NotifyError{Type: message.AuthenticationFailed}
	syntax := &NotifyError{Type: message.InvalidSyntax}
	for _, c := range []struct {
		name, flow string
		n          int
		change     func([]message.Payload) []message.Payload
		want       error
		told       error // what the client hears
	}{
		{"no IDi", "certificates", 0, without2(message.TypeIDi), ErrUnexpected, syntax},
		{"no AUTH, which asks for EAP", "certificates", 0, without2(message.TypeAuth), ErrMethod, refused},
		{"pre-shared key", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method = message.AuthSharedKeyMIC }), ErrMethod, refused},
		{"method 1", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method = message.AuthRSASignature }), ErrWeakSignature, refused},
		{"method 9", "certificates", 0, changeAUTH(func(a *message.Auth) { a.Method, a.Data = message.AuthECDSA256, make([]byte, 64) }), ErrMethod, refused},
		{"SHA-1", "certificates", 0, changeAUTH(identifier(der(0x30, oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 5), der(0x05)))), ErrWeakSignature, refused},
		{"PKCS#1 in the place of Ed25519", "certificates", 0, changeAUTH(identifier(preferred[schemeOf(RSAPKCS1, crypto.SHA256)])), ErrAuthentication, refused},
		{"another identity", "certificates", 0, replaced(message.IDi{Identity: userID}), ErrAuthentication, refused},
		{"another gateway", "certificates", 0, replaced(message.IDr{Identity: mustID("other.example.com")}), ErrAuthentication, refused},
		{"a chain too long", "certificates", 0, adding(manyCerts(maxCertificates, 100)...), ErrCertificates, refused},
		{"one more round announced", "certificates", 0, adding(message.Notify{Message: message.AnotherAuthFollows}), ErrRounds, refused},
		{"malformed", "certificates", 0, replaced(message.Unknown{PayloadType: message.TypeCert}), message.ErrMalformed, syntax},

		{"AUTH amid EAP, no EAP", "EAP", 1, func([]message.Payload) []message.Payload {
			return []message.Payload{message.Auth{Method: message.AuthSharedKeyMIC, Data: make([]byte, 32)}}
		}, ErrUnexpected, syntax},
		{"EAP-Success of a client", "EAP", 1, replaced(message.EAP{Message: eap(eapSuccess, 1, "")}), ErrEAP, refused},
		{"EAP-Request of a client", "EAP", 1, replaced(message.EAP{Message: eap(eapRequest, 1, "?")}), ErrEAP, refused},
		{"EAP too long", "EAP", 1, replaced(message.EAP{Message: eap(eapResponse, 1, strings.Repeat("x", maxEAP))}), ErrEAP, refused},
		{"empty EAP", "EAP", 2, replaced(message.EAP{}), ErrEAP, refused},
		{"empty request amid EAP", "EAP", 2, func([]message.Payload) []message.Payload { return nil }, ErrUnexpected, syntax},
		{"another IDi amid EAP", "EAP", 2, adding(message.IDi{Identity: mustID("eve@example.com")}), ErrIdentity, refused},
		{"no AUTH behind EAP", "EAP", 4, without2(message.TypeAuth), ErrUnexpected, syntax},
		{"EAP again behind EAP-Success", "EAP", 4, func([]message.Payload) []message.Payload {
			return []message.Payload{message.EAP{Message: eap(eapResponse, 1, "?")}}
		}, ErrUnexpected, syntax},
		{"wrong AUTH behind EAP", "EAP", 4, changeAUTH(func(a *message.Auth) { a.Data[31] ^= 1 }), ErrAuthentication, refused},
		{"signature behind EAP", "EAP", 4, changeAUTH(func(a *message.Auth) { a.Method = message.AuthDigitalSignature }), ErrMethod, refused},
		{"EAP alone not offered", "EAP alone", 0, func(ps []message.Payload) []message.Payload {
			return slices.DeleteFunc(slices.Clone(ps), func(p message.Payload) bool {
				n, ok := p.(message.Notify)
				return ok && n.Message == message.EAPOnlyAuthentication
			})
		}, ErrMethod, refused},

		{"no second round", "two certificates of the client", 0, func(ps []message.Payload) []message.Payload {
			return slices.DeleteFunc(slices.Clone(ps), func(p message.Payload) bool {
				n, ok := p.(message.Notify)
				return ok && n.Message == message.AnotherAuthFollows
			})
		}, ErrRounds, refused},
		{"second round without IDi", "two certificates of the client", 1, without2(message.TypeIDi), ErrUnexpected, syntax},
		{"EAP where a certificate is wanted", "two certificates of the client", 1, without2(message.TypeAuth, message.TypeCert), ErrMethod, refused},
		{"third round announced", "two certificates of the client", 1, adding(message.Notify{Message: message.AnotherAuthFollows}), ErrRounds, refused},
		{"no second round behind EAP", "EAP twice", 4, without2(message.TypeNotify), ErrRounds, refused},
		{"an empty second round", "machine certificate, then EAP of the user", 1, func([]message.Payload) []message.Payload { return nil }, ErrUnexpected, syntax},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := flowNamed(t, c.flow).spoiled(t, "A", c.n, c.change)
			if !errors.Is(p.b.m.Err(), c.want) {
				t.Errorf("gateway: %v, want %v\n%s", p.b.m.Err(), c.want, p.trace())
			}
			if !errors.Is(p.a.m.Err(), c.told) {
				t.Errorf("client: %v, want %v\n%s", p.a.m.Err(), c.told, p.trace())
			}
			if count[ChildInstalled](p.b.events) != 0 || count[Established](p.b.events) != 0 {
				t.Error("the gateway took it")
			}
		})
	}
}

// Shows: IKE-2. The round's identity with a pre-shared key is that of the first: the key proves no other.
func TestIdentityChangedBetweenRounds(t *testing.T) {
	f := flow{own: Proof{PSK: testPSK}, accept: byPSK, required: []Acceptance{byCert, byPSK},
		rounds: []Proof{certified(laptopID, "P-256", ecdsa256), {ID: userID, PSK: testPSK}}}
	p, d := f.pair(t)
	d.run()
	if !errors.Is(p.b.m.Err(), ErrIdentity) || !errors.Is(p.a.m.Err(), &NotifyError{Type: message.AuthenticationFailed}) {
		t.Errorf("A %v, B %v", p.a.m.Err(), p.b.m.Err())
	}
	f.rounds[1].ID = laptopID
	f.proved = []Identity{laptopID, laptopID}
	p, d = f.pair(t)
	d.run()
	f.check(t, p)
}

// Shows: IKE-2, IKE-10. What the drivers say no to ends the attempt at both ends, and keeps its reason.
func TestDriversSayNo(t *testing.T) {
	cause := errors.New("the reason of the driver's")
	refused := &NotifyError{Type: message.AuthenticationFailed}
	deny := func(name string) func(*drivers) {
		return func(d *drivers) {
			d.trust = func(end string, w TrustWanted) (crypto.PublicKey, error) {
				if end == name {
					return nil, cause
				}
				return testKeys()[string(w.Chain[0])].Public(), nil
			}
		}
	}
	noSignature := func(name string) func(*drivers) {
		return func(d *drivers) {
			d.sign = func(end string, w SignatureWanted) ([]byte, error) {
				if end == name {
					return nil, cause
				}
				return signWith(d.p.t, testKeys()[string(w.Certificates.Chain[0])], w.Scheme, w.Octets), nil
			}
		}
	}
	spoil := func(name string, n int, with func(EAPAnswer) EAPAnswer) func(*drivers) {
		return func(d *drivers) {
			d.method.spoil = func(end string, i int, a EAPAnswer) EAPAnswer {
				if end == name && i == n {
					return with(a)
				}
				return a
			}
		}
	}
	fail := func(a EAPAnswer) EAPAnswer { return EAPAnswer{Err: cause} }
	for _, c := range []struct {
		name, flow string
		drivers    func(*drivers)
		a, b       error
	}{
		{"the gateway is not trusted", "certificates", deny("A"), cause, refused},
		{"the client is not trusted", "certificates", deny("B"), refused, cause},
		{"the client's key does not sign", "certificates", noSignature("A"), cause, ErrNoAnswer},
		{"the gateway's key does not sign", "certificates", noSignature("B"), refused, cause},
		{"the gateway is not trusted, EAP", "EAP", deny("A"), cause, refused},
		{"the user gives up", "EAP", spoil("A", 1, fail), cause, refused},
		{"the method of the gateway fails without a message", "EAP", spoil("B", 2, fail), refused, cause},
		{"the method of the gateway fails", "EAP", spoil("B", 2, func(EAPAnswer) EAPAnswer {
			return EAPAnswer{Err: cause, Message: eap(eapFailure, 2, "")}
		}), ErrEAP, cause},
		{"the first message of the gateway's method is EAP-Failure", "EAP", spoil("B", 0, func(EAPAnswer) EAPAnswer {
			return EAPAnswer{Err: cause, Message: eap(eapFailure, 2, "")}
		}), ErrEAP, cause},
		{"the method is content before it is done", "EAP", spoil("A", 1, func(a EAPAnswer) EAPAnswer { a.Done = true; return a }), ErrEAP, refused},
		{"the method does not agree with EAP-Success", "EAP", spoil("A", 3, func(EAPAnswer) EAPAnswer { return EAPAnswer{} }), ErrEarlySuccess, refused},
		{"the method says nothing", "EAP", spoil("A", 1, func(EAPAnswer) EAPAnswer { return EAPAnswer{} }), ErrEAP, refused},
		{"the method says something malformed", "EAP", spoil("A", 1, func(EAPAnswer) EAPAnswer { return EAPAnswer{Message: []byte{2}} }), ErrEAP, refused},
		{"the gateway's method is done at once", "EAP", spoil("B", 0, func(EAPAnswer) EAPAnswer {
			return EAPAnswer{Done: true, Message: eap(eapSuccess, 1, "")}
		}), refused, ErrEAP},
		{"the gateway's method makes no key, EAP alone", "EAP alone", spoil("B", 3, func(a EAPAnswer) EAPAnswer { a.MSK = nil; return a }), refused, ErrNoKey},
		{"the client's method makes no key, EAP alone", "EAP alone", spoil("A", 3, func(a EAPAnswer) EAPAnswer { a.MSK = nil; return a }), ErrNoKey, refused},
		{"the keys differ", "EAP", spoil("A", 3, func(a EAPAnswer) EAPAnswer { a.MSK = []byte("another key"); return a }), refused, ErrAuthentication},
		{"only one end has a key", "EAP", spoil("A", 3, func(a EAPAnswer) EAPAnswer { a.MSK = nil; return a }), refused, ErrAuthentication},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, d := flowNamed(t, c.flow).pair(t)
			p.lax = true
			c.drivers(d)
			d.run()
			p.driveFor(10 * time.Minute)
			if !errors.Is(p.a.m.Err(), c.a) || !errors.Is(p.b.m.Err(), c.b) {
				t.Errorf("A %v, want %v; B %v, want %v\n%s", p.a.m.Err(), c.a, p.b.m.Err(), c.b, p.trace())
			}
			if len(p.a.children)+len(p.b.children) != 0 {
				t.Error("a child SA is left")
			}
		})
	}
}

// Shows: IKE-10. A method that never comes to an end is ended.
func TestEndlessEAP(t *testing.T) {
	p, d := flowNamed(t, "EAP").pair(t)
	d.method.requests = 1000
	d.run()
	if !errors.Is(p.a.m.Err(), ErrEAP) || d.asked["A ike.EAPReceived"] != maxEAPMessages {
		t.Errorf("A %v after %v", p.a.m.Err(), d.asked)
	}
}

// Shows: IKE-2. A gateway that proves itself once more amid EAP (RFC 4739 §2.1): each proof is verified once, however long the
// drivers take.
func TestGatewayProvesItselfTwice(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, good := range []bool{true, false} {
			p, d := flowNamed(t, "EAP").pair(t)
			d.late, p.lax = late, true
			done := map[uint32]bool{}
			p.lose = func(f flight) bool {
				h, err := message.ParseHeader(f.Payload)
				if err != nil || f.from != p.b || h.Exchange != message.IKEAuth || h.MessageID > 2 || done[h.MessageID] {
					return false
				}
				done[h.MessageID] = true
				p.rewrite(&f, func(ps []message.Payload) []message.Payload {
					if h.MessageID == 1 {
						return append(ps, message.Notify{Message: message.AnotherAuthFollows})
					}
					id := mustID("second.example.com")
					p.b.m.localID = id // that AUTH behind EAP is about (RFC 4739 §2.1: the latest IDr)
					sig := signWith(t, testKeys()["P-384"], ecdsa256, p.b.m.first.signedOctets(p.b.m.current.keys, false, id))
					if !good {
						sig = signWith(t, testKeys()["P-384"], ecdsa256, []byte("something else"))
					}
					data, err := ecdsa256.appendSignature(sig)
					if err != nil {
						t.Fatal(err)
					}
					return append(ps, message.IDr{Identity: id}, message.Cert{Encoding: message.CertX509, Data: []byte("P-384")},
						message.Auth{Method: message.AuthDigitalSignature, Data: data})
				})
				_ = p.deliver(f)
				return true
			}
			d.run()
			if !good {
				if !errors.Is(p.a.m.Err(), ErrAuthentication) {
					t.Errorf("late %t: a wrong second proof: %v", late, p.a.m.Err())
				}
				continue
			}
			ev, _ := find[Established](p.a.events)
			if n := d.asked["A ike.TrustWanted"]; n != 2 || ev.RemoteID != gatewayID || !slices.Equal(ev.Proved, []Identity{gatewayID, mustID("second.example.com")}) {
				t.Errorf("late %t: asked for trust %d times, established %+v, %v\n%s", late, n, ev, p.a.m.Err(), p.trace())
			}
		}
	}
}
