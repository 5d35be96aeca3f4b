//go:debug tlsunsafeekm=1

package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
)

// The user of EAP.
const (
	userName     = "alice@corp.example"
	userPassword = "correct horse battery staple"
)

// The post-quantum pre-shared key.
const ppkName = "quantum"

var ppkKey = []byte("of 256 bits, as RFC 8784 has it.")

// Words for rounds of the client's authentication; others are EAP methods of charon's.
const (
	byPSK         = "psk"
	byCertificate = "cert"
	byMSCHAPv2    = "eap-mschapv2"
	byTLS         = "eap-tls"
	byTTLS        = "eap-ttls"
)

// authentication is how the ends prove themselves: what each end is told, in our words and in charon's.
type authentication struct {
	name string
	kind pkitest.Key // of both ends' certificates
	// chain has an intermediate authority sign either certificate, which the other end is only told by CERT payloads.
	chain bool
	// scheme, when set, is the only one that we sign with; theirs is charon's auth for the client's and the gateway's signature.
	scheme ike.SignatureScheme
	theirs string
	// client are the rounds of the client; eapOnly has EAP alone prove the gateway.
	client  []string
	eapOnly bool
	inner   eap.Inner      // of EAP-TTLS
	tls     eap.TLSVersion // of EAP-TLS, 0 for any
}

// allAuthentications are the choices.
func allAuthentications() []authentication {
	scheme := func(a ike.SignatureAlgorithm, h crypto.Hash) ike.SignatureScheme {
		return ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: a, Hash: h}
	}
	cert := []string{byCertificate}
	return []authentication{
		{name: "PSK", client: []string{byPSK}},
		{name: "RSA PSS SHA-256", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPSS, crypto.SHA256), theirs: "ike:rsa/pss-sha256"},
		{name: "RSA PSS SHA-384", kind: pkitest.RSA3072, client: cert, scheme: scheme(ike.RSAPSS, crypto.SHA384), theirs: "ike:rsa/pss-sha384"},
		{name: "RSA PKCS#1 SHA-256", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPKCS1, crypto.SHA256), theirs: "ike:rsa-sha256"},
		{name: "RSA PKCS#1 SHA-512", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPKCS1, crypto.SHA512), theirs: "ike:rsa-sha512"},
		{name: "ECDSA P-256", kind: pkitest.P256, client: cert},
		{name: "ECDSA P-384", kind: pkitest.P384, client: cert},
		{name: "ECDSA P-521", kind: pkitest.P521, client: cert},
		{name: "Ed25519", kind: pkitest.Ed25519, client: cert},
		{name: "RSA, intermediate CA", kind: pkitest.RSA2048, chain: true, client: cert},
		{name: "EAP-MSCHAPv2", kind: pkitest.P256, client: []string{byMSCHAPv2}},
		{name: "EAP-TLS 1.2", kind: pkitest.RSA2048, client: []string{byTLS}, tls: eap.TLS12},
		{name: "EAP-TTLS, MSCHAPv2", kind: pkitest.P256, client: []string{byTTLS}, inner: eap.InnerEAP},
		{name: "EAP-TLS only", kind: pkitest.P256, client: []string{byTLS}, eapOnly: true},
		{name: "ECDSA, then EAP-MSCHAPv2", kind: pkitest.P256, client: []string{byCertificate, byMSCHAPv2}},
		{name: "PSK, then EAP-TLS", kind: pkitest.P256, client: []string{byPSK, byTLS}},
	}
}

// last is the identity that the gateway knows the client by in the end.
func (a authentication) last() string {
	if w := a.client[len(a.client)-1]; w != byPSK && w != byCertificate {
		return userName
	}
	return clientName
}

// pskOnly tells whether there is nothing but pre-shared keys.
func (a authentication) pskOnly() bool { return len(a.client) == 1 && a.client[0] == byPSK }

// eap tells whether a round is an EAP method.
func (a authentication) eap() bool {
	return slices.ContainsFunc(a.client, func(w string) bool { return w != byPSK && w != byCertificate })
}

// holder is a certificate with its key and the certificates of intermediate authorities.
type holder struct {
	pkitest.Issued
	between []*x509.Certificate
}

// chainDER returns the certificates, the leaf first.
func (h holder) chainDER() [][]byte {
	out := [][]byte{h.Certificate.Raw}
	for _, c := range h.between {
		out = append(out, c.Raw)
	}
	return out
}

// credentials are certificates of one kind of key.
type credentials struct {
	gateway, client, user holder
}

var (
	rootCA      = sync.OnceValue(func() *pkitest.Authority { return pkitest.NewRoot("interop", time.Now(), pkitest.P256) })
	issuedMutex sync.Mutex
	issuedOf    = map[string]*credentials{}
)

// issued returns the certificates of a way of authenticating, which are made once.
func (a authentication) issued() *credentials {
	issuedMutex.Lock()
	defer issuedMutex.Unlock()
	name := fmt.Sprint(a.kind, a.chain)
	if c := issuedOf[name]; c != nil {
		return c
	}
	issue := func(authority, name string) holder {
		if !a.chain {
			return holder{Issued: rootCA().Issue(a.kind, []string{name})}
		}
		between := rootCA().Intermediate(authority, a.kind)
		return holder{between.Issue(a.kind, []string{name}), []*x509.Certificate{between.Certificate}}
	}
	c := &credentials{issue("gateways", gatewayName), issue("clients", clientName), issue("users", userName)}
	issuedOf[name] = c
	return c
}

// tell gives charon its credentials and returns the sections of its connection that say how the ends prove themselves.
func (g *game) tell() charon.Section {
	g.Helper()
	r, a := g.recorder, g.auth
	g.call(r, "load-shared", charon.Section{"id": "psk", "type": "IKE", "data": key, "owners": []string{clientName, gatewayName}})
	g.call(r, "load-shared", charon.Section{"id": "eap", "type": "EAP", "data": []byte(userPassword), "owners": []string{userName}})
	s := charon.Section{}
	if g.ppk != noPPK {
		g.call(r, "load-shared", charon.Section{"id": "ppk", "type": "PPK", "data": ppkKey, "owners": []string{ppkName}})
		s["ppk_id"], s["ppk_required"] = ppkName, yes(g.ppk == requiredPPK)
	}
	gate := charon.Section{"auth": byPSK, "id": gatewayName}
	ours, theirs := "remote", "local"
	if g.role == responder {
		ours, theirs = "local", "remote"
	}
	if !a.pskOnly() {
		own := g.theirs
		s["send_cert"] = "always"
		g.call(r, "load-cert", charon.Section{"type": "X509", "flag": "CA", "data": rootCA().Certificate.Raw})
		holders := []holder{own.gateway}
		if g.role == responder {
			holders = []holder{own.client, own.user}
		}
		for _, h := range holders {
			der, err := x509.MarshalPKCS8PrivateKey(h.Key)
			if err != nil {
				g.Fatal(err)
			}
			g.call(r, "load-key", charon.Section{"type": "any", "data": der})
			for _, c := range h.chainDER() {
				g.call(r, "load-cert", charon.Section{"type": "X509", "flag": "NONE", "data": c})
			}
		}
		gate["auth"] = a.word(byCertificate)
		if a.eapOnly {
			gate["auth"] = a.client[0]
		}
		if g.role == initiator {
			gate["certs"] = [][]byte{own.gateway.Certificate.Raw}
		}
	}
	s[theirs+"-0"] = gate
	for i, word := range a.client {
		round := charon.Section{"auth": a.word(word), "id": clientName, "round": fmt.Sprint(i + 1)}
		eap := word != byCertificate && word != byPSK
		switch {
		case eap && g.role == responder:
			round["id"], round["eap_id"] = userName, userName
		case eap:
			round["id"] = userName
		}
		if g.role == responder && word == byCertificate {
			round["certs"] = [][]byte{g.theirs.client.Certificate.Raw}
		}
		if g.role == responder && (word == byTLS || word == byTTLS) {
			round["certs"] = [][]byte{g.theirs.user.Certificate.Raw}
		}
		s[fmt.Sprintf("%s-%d", ours, i+1)] = round
	}
	return s
}

// word is charon's for a round.
func (a authentication) word(w string) string {
	switch {
	case w == byCertificate && a.theirs != "":
		return a.theirs
	case w == byCertificate:
		return "pubkey"
	default:
		return w
	}
}

// schemesOf are what we sign with.
func (a authentication) schemesOf(k crypto.Signer) []ike.SignatureScheme {
	if a.scheme.Method != 0 {
		return []ike.SignatureScheme{a.scheme}
	}
	return schemes(k)
}

// common is the configuration of our EAP machine, false when there is none.
func (a authentication) common(own holder) (eap.Common, bool) {
	methods := map[string]eap.Type{byMSCHAPv2: eap.TypeMSCHAPv2, byTLS: eap.TypeTLS, byTTLS: eap.TypeTTLS}
	for _, word := range a.client {
		if method := methods[word]; method != 0 {
			c := eap.Common{Methods: []eap.Type{method}, Rand: rand.Reader, MinTLS: a.tls, MaxTLS: a.tls,
				Certificate: &eap.Certificate{Chain: own.chainDER(), Public: own.Key.Public()}}
			if a.inner != 0 {
				c.Inner = []eap.Inner{a.inner}
			}
			return c, true
		}
	}
	return eap.Common{}, false
}

// prove sets how our initiator proves itself, and what it accepts. It returns what answers the machine's questions, nil
// where there will be none.
func (g *game) prove(cfg *ike.InitiatorConfig) *prover {
	g.Helper()
	if g.auth.pskOnly() {
		cfg.PSK = g.psk
		return nil
	}
	p, own := g.newProver(pki.Gateway), g.mine
	id := cfg.LocalID
	for _, word := range g.auth.client {
		switch word {
		case byCertificate:
			cfg.Rounds = append(cfg.Rounds, p.proof(id, own.client, g.auth.schemesOf(own.client.Key)...))
		case byPSK:
			cfg.Rounds = append(cfg.Rounds, ike.Proof{ID: id, PSK: g.psk})
		default:
			cfg.Rounds = append(cfg.Rounds, ike.Proof{ID: identity(g, userName), EAP: true})
		}
	}
	cfg.Accept = ike.Acceptance{Certificates: !g.auth.eapOnly, Authorities: p.verifier.Anchors.Hashes(), EAP: g.auth.eapOnly}
	if !g.auth.eap() {
		return p
	}
	if common, ok := g.auth.common(own.user); ok {
		p.password, p.eapKey = g.password, own.user.Key
		p.newMethod = func(ike.Identity) (*eap.Machine, error) {
			return eap.NewPeer(eap.PeerConfig{Common: common, Identity: userName})
		}
	}
	return p
}

// newProver makes what answers for our end.
func (g *game) newProver(purpose pki.Purpose) *prover {
	p := newProver(g.recorder, g.anchor, purpose)
	p.verifier.CRLs = g.revoked
	return p
}

// requirement is what our responder proves and wants proved, with what answers its machine's questions.
func (g *game) requirement() (*prover, ike.Requirement) {
	g.Helper()
	p, own := g.newProver(pki.Client), g.mine
	required := ike.Requirement{Own: ike.Proof{ID: identity(g, gatewayName), PSK: g.psk}, RequirePPK: g.ppk == requiredPPK}
	if !g.auth.pskOnly() {
		required.Own = p.proof(identity(g, gatewayName), own.gateway, g.auth.schemesOf(own.gateway.Key)...)
	}
	if g.ppk != noPPK {
		required.PPKs = []ike.PPK{{ID: ppkName, Key: ppkKey}}
	}
	required.Own.EAP = g.auth.eapOnly
	for _, word := range g.auth.client {
		switch word {
		case byCertificate:
			required.Rounds = append(required.Rounds, ike.Acceptance{Certificates: true})
		case byPSK:
			required.Rounds = append(required.Rounds, ike.Acceptance{PSK: g.psk})
		default:
			required.Rounds = append(required.Rounds, ike.Acceptance{EAP: true})
		}
	}
	if !g.auth.eap() {
		return p, required
	}
	if common, ok := g.auth.common(own.gateway); ok {
		p.password, p.eapKey = g.password, own.gateway.Key
		p.newMethod = func(id ike.Identity) (*eap.Machine, error) {
			return eap.NewServer(eap.ServerConfig{Common: common, Identity: id.String()})
		}
	}
	return p, required
}

// rules has our gateway let clients in by certificates and EAP. It returns what answers the gateway's questions.
func (g *game) rules(cfg *gateway.Config) *prover {
	g.Helper()
	p, required := g.requirement()
	cfg.Peers, cfg.Certificates, cfg.Authorities = nil, required.Own.Certificates, p.verifier.Anchors.Hashes()
	rule := gateway.Rule{EAPOnly: g.auth.eapOnly}
	for _, r := range required.Rounds {
		round := gateway.ByCertificate
		if r.EAP {
			round = gateway.ByEAP
		}
		rule.Rounds = append(rule.Rounds, round)
	}
	cfg.Rules = []gateway.Rule{rule}
	if g.auth.eap() {
		common, _ := g.auth.common(g.mine.gateway)
		cfg.EAP = gateway.EAP{Methods: common.Methods, Inner: common.Inner, Certificate: common.Certificate}
		cfg.Users = []gateway.User{{Name: userName, Password: []byte(g.password)}}
	}
	return p
}

// serveOne makes our responder for one IKE SA, with an authentication that our gateway does not have.
func (g *game) serveOne() *endpoint {
	g.Helper()
	p, required := g.requirement()
	e := newEndpoint(g.recorder, g.gate, gatewayAddr)
	m, err := ike.NewResponder(ike.ResponderConfig{
		Config: g.common(gatewayName), Policy: onePolicy{g.config, required},
		Accept:   ike.Acceptance{Certificates: true, Authorities: p.verifier.Anchors.Hashes()},
		Multiple: len(required.Rounds) > 1, PPK: g.ppk != noPPK,
	}, rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	p.machine, e.machine, e.ask = m, m, p.answer
	e.poll = func() (happening, bool) {
		ev, ok := m.PollEvent()
		return happening{Event: ev}, ok
	}
	e.inner = e.echo
	g.machine = commands{m.RekeyChild, m.RekeyIKE, m.Delete, nil}
	go e.run()
	return e
}

// onePolicy requires the same of everybody, and gives everybody the same.
type onePolicy struct {
	config   configuration
	required ike.Requirement
}

func (p onePolicy) Authentication(ike.Identity, ike.Identity) (ike.Requirement, error) {
	return p.required, nil
}

func (p onePolicy) Assign(ike.Identity, ike.Request) (ike.Configuration, error) {
	c := ike.Configuration{Addresses: []netip.Addr{poolPrefix.Addr().Next()}, DNS: []netip.Addr{nameServer}}
	switch p.config {
	case both:
		c.Addresses = append(c.Addresses, poolPrefix6.Addr().Next())
	case splitDNS:
		c.Domains = []ike.Domain{{Name: domainName}}
	}
	return c, nil
}

func (p onePolicy) Selectors(_ ike.Identity, assigned []netip.Addr) (localSide, remoteSide []esp.Selector) {
	localSide = []esp.Selector{esp.PrefixSelector(company)}
	if p.config == both {
		localSide = append(localSide, esp.PrefixSelector(company6))
	}
	for _, a := range assigned {
		remoteSide = append(remoteSide, esp.AddrSelector(a))
	}
	return localSide, remoteSide
}
