//go:debug tlsunsafeekm=1

package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/tun/link"
)

// The user of EAP.
const (
	userName     = "alice@corp.example"
	userPassword = "correct horse battery staple"
)

// authCase is a way of authenticating: what each end is told, in our words and in charon's.
type authCase struct {
	name string
	kind pkitest.Key // of both ends' certificates
	// scheme, when set, is the only one that we sign with; theirs is charon's auth for the client's and the gateway's signature.
	scheme ike.SignatureScheme
	theirs string
	// client are the rounds of the client: cert, psk, or an EAP method of charon's; eapOnly has EAP alone prove the gateway.
	client  []string
	eapOnly bool
	inner   eap.Inner // of EAP-TTLS
}

// authCases are played in both roles.
func authCases() []authCase {
	scheme := func(a ike.SignatureAlgorithm, h crypto.Hash) ike.SignatureScheme {
		return ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: a, Hash: h}
	}
	cert := []string{"cert"}
	return []authCase{
		{name: "RSA PSS SHA-256", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPSS, crypto.SHA256), theirs: "ike:rsa/pss-sha256"},
		{name: "RSA PSS SHA-384", kind: pkitest.RSA3072, client: cert, scheme: scheme(ike.RSAPSS, crypto.SHA384), theirs: "ike:rsa/pss-sha384"},
		{name: "RSA PSS SHA-512", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPSS, crypto.SHA512), theirs: "ike:rsa/pss-sha512"},
		{name: "RSA PKCS#1 SHA-256", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPKCS1, crypto.SHA256), theirs: "ike:rsa-sha256"},
		{name: "RSA PKCS#1 SHA-512", kind: pkitest.RSA2048, client: cert, scheme: scheme(ike.RSAPKCS1, crypto.SHA512), theirs: "ike:rsa-sha512"},
		{name: "ECDSA P-256", kind: pkitest.P256, client: cert}, {name: "ECDSA P-384", kind: pkitest.P384, client: cert},
		{name: "ECDSA P-521", kind: pkitest.P521, client: cert}, {name: "Ed25519", kind: pkitest.Ed25519, client: cert},
		{name: "EAP-MSCHAPv2", kind: pkitest.P256, client: []string{"eap-mschapv2"}},
		{name: "EAP-TLS", kind: pkitest.RSA2048, client: []string{"eap-tls"}},
		{name: "EAP-TTLS", kind: pkitest.P256, client: []string{"eap-ttls"}, inner: eap.InnerEAP},
		{name: "EAP-TLS alone", kind: pkitest.P256, client: []string{"eap-tls"}, eapOnly: true},
		{name: "certificate, then EAP-MSCHAPv2", kind: pkitest.P256, client: []string{"cert", "eap-mschapv2"}},
		{name: "pre-shared key, then EAP-TLS", kind: pkitest.P256, client: []string{"psk", "eap-tls"}},
	}
}

// authGround is a ground with a certification authority.
type authGround struct {
	*ground
	*recorder
	authCase
	root                  *pkitest.Authority
	gateway, client, user pkitest.Issued
	role                  role
}

func (g *authGround) issue() {
	now := time.Now()
	g.root = pkitest.NewRoot("interop", now, pkitest.P256)
	g.gateway = g.root.Issue(g.kind, []string{gatewayName})
	g.client = g.root.Issue(g.kind, []string{clientName})
	g.user = g.root.Issue(g.kind, []string{userName})
}

// tell gives charon credentials and connection.
func (g *authGround) tell() {
	g.Helper()
	der := func(k crypto.Signer) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			g.Fatal(err)
		}
		return b
	}
	g.call(g.recorder, "load-cert", charon.Section{"type": "X509", "flag": "CA", "data": g.root.Certificate.Raw})
	g.call(g.recorder, "load-shared", charon.Section{"id": "psk", "type": "IKE", "data": key, "owners": []string{clientName, gatewayName}})
	g.call(g.recorder, "load-shared", charon.Section{"id": "eap", "type": "EAP", "data": []byte(userPassword), "owners": []string{userName}})
	keys, own := []pkitest.Issued{g.gateway}, g.gateway
	if g.role == responder {
		keys, own = []pkitest.Issued{g.client, g.user}, g.client
	}
	for _, k := range keys {
		g.call(g.recorder, "load-key", charon.Section{"type": "any", "data": der(k.Key)})
		g.call(g.recorder, "load-cert", charon.Section{"type": "X509", "flag": "NONE", "data": k.Certificate.Raw})
	}
	auth := func(word string) string {
		switch {
		case word == "cert" && g.theirs != "":
			return g.theirs
		case word == "cert":
			return "pubkey"
		default:
			return word
		}
	}
	child := charon.Section{"esp_proposals": []string{"aes256gcm16"}, "start_action": "none", "dpd_action": "clear"}
	s := charon.Section{"version": "2", "proposals": []string{"aes256gcm16-prfsha256-x25519"}, "mobike": "no", "dpd_delay": "60s", "unique": "replace",
		"send_cert": "always", "children": charon.Section{childName: child}}
	gate := charon.Section{"auth": auth("cert"), "id": gatewayName}
	if g.eapOnly {
		gate["auth"] = g.authCase.client[0]
	}
	ours, theirs := "remote", "local"
	if g.role == initiator {
		g.call(g.recorder, "load-pool", charon.Section{"v4": charon.Section{"addrs": poolPrefix.String(), "dns": []string{"10.0.1.1"}}})
		s["local_addrs"], s["pools"] = []string{gatewayAddr.String()}, []string{"v4"}
		child["local_ts"] = []string{company.String()}
		gate["certs"] = [][]byte{g.gateway.Certificate.Raw}
	} else {
		s["local_addrs"], s["remote_addrs"], s["vips"] = []string{clientAddr.String()}, []string{gatewayAddr.String()}, []string{"0.0.0.0"}
		child["remote_ts"] = []string{company.String()}
		ours, theirs = "local", "remote"
	}
	s[theirs+"-0"] = gate
	for i, word := range g.authCase.client {
		round := charon.Section{"auth": auth(word), "id": clientName, "round": string(rune('1' + i))}
		if word != "cert" && word != "psk" {
			round["id"] = userName
			if g.role == responder {
				round["eap_id"] = userName
			}
		}
		if g.role == responder && word != "psk" && word != "eap-mschapv2" {
			round["certs"] = [][]byte{own.Certificate.Raw}
			if word != "cert" {
				round["certs"] = [][]byte{g.user.Certificate.Raw}
			}
		}
		s[ours+"-"+string(rune('1'+i))] = round
	}
	g.call(g.recorder, "load-conn", charon.Section{connection: s})
}

// schemesOf are what we sign with.
func (g *authGround) schemesOf(k crypto.Signer) []ike.SignatureScheme {
	if g.scheme.Method != 0 {
		return []ike.SignatureScheme{g.scheme}
	}
	return schemes(k)
}

// methods are the EAP machine's.
func (g *authGround) methods() ([]eap.Type, bool) {
	for _, word := range g.authCase.client {
		switch word {
		case "eap-mschapv2":
			return []eap.Type{eap.TypeMSCHAPv2}, true
		case "eap-tls":
			return []eap.Type{eap.TypeTLS}, true
		case "eap-ttls":
			return []eap.Type{eap.TypeTTLS}, true
		}
	}
	return nil, false
}

// ourClient is our end as initiator.
func (g *authGround) ourClient() (*client, *prover) {
	g.Helper()
	p := newProver(g.recorder, g.root, pki.Gateway)
	id := identity(g, clientName)
	var rounds []ike.Proof
	for _, word := range g.authCase.client {
		switch word {
		case "cert":
			rounds = append(rounds, p.proof(id, g.client, g.schemesOf(g.client.Key)...))
		case "psk":
			rounds = append(rounds, ike.Proof{ID: id, PSK: key})
		default:
			rounds = append(rounds, ike.Proof{ID: identity(g, userName), EAP: true})
		}
	}
	if methods, ok := g.methods(); ok {
		common := eap.Common{Methods: methods, Rand: rand.Reader}
		if g.inner != 0 {
			common.Inner = []eap.Inner{g.inner}
		}
		if methods[0] == eap.TypeTLS {
			p.eapKey = g.user.Key
			common.Certificate = &eap.Certificate{Chain: [][]byte{g.user.Certificate.Raw}, Public: g.user.Key.Public()}
		}
		p.password = userPassword
		p.newMethod = func(ike.Identity) (*eap.Machine, error) {
			return eap.NewPeer(eap.PeerConfig{Common: common, Identity: userName})
		}
	}
	cfg := ike.InitiatorConfig{
		Local: netip.AddrPortFrom(clientAddr, esp.PortIKE), Remote: netip.AddrPortFrom(gatewayAddr, esp.PortIKE),
		RemoteID: identity(g, gatewayName), Rounds: rounds,
		Accept:         ike.Acceptance{Certificates: !g.eapOnly, Authorities: p.verifier.Anchors.Hashes(), EAP: g.eapOnly},
		RequestAddress: true, RequestDNS: true,
	}
	c := newClient(g.recorder, g.ground.client, cfg)
	p.machine = c.machine
	c.command(func(link.Instant) error { c.ask = p.answer; return nil })
	return c, p
}

// Shows: IKE-1, IKE-2, IKE-3, GDL-1 (strongSwan as gateway). Each way of authenticating, with data both ways.
func TestAuthenticationToCharon(t *testing.T) {
	on := authLab(t, initiator, authExtra)
	for _, c := range authCases() {
		t.Run(c.name, func(t *testing.T) {
			g := on.begin(t, c)
			ours, _ := g.ourClient()
			ours.start()
			up := wait[ike.Established](ours)
			if up.RemoteID != identity(t, gatewayName) || len(up.Configuration.Addresses) != 1 {
				t.Fatalf("established with %+v", up)
			}
			wait[ike.ChildInstalled](ours)
			ours.data()
			ours.command(func(now link.Instant) error { ours.machine.Delete(now); return nil })
			wait[ike.Closed](ours)
			g.noSAs(g.recorder)
		})
	}
}

// authExtra has charon do EAP-MSCHAPv2 inside EAP-TTLS. Its TLS 1.2 is without Extended Master Secret, so that crypto/tls
// needs the directive at the top of this file; what strongSwan 5.9.8 does as TLS 1.3 differs from RFC 9427.
const authExtra = `
charon {
	plugins {
		eap-ttls {
			phase2_method = mschapv2
		}
	}
}
`

// ourGateway is our end as responder, for one IKE SA.
func (g *authGround) ourGateway() *endpoint {
	g.Helper()
	p := newProver(g.recorder, g.root, pki.Client)
	required := ike.Requirement{Own: p.proof(identity(g, gatewayName), g.gateway, g.schemesOf(g.gateway.Key)...)}
	required.Own.EAP = g.eapOnly
	for _, word := range g.authCase.client {
		switch word {
		case "cert":
			required.Rounds = append(required.Rounds, ike.Acceptance{Certificates: true})
		case "psk":
			required.Rounds = append(required.Rounds, ike.Acceptance{PSK: key})
		default:
			required.Rounds = append(required.Rounds, ike.Acceptance{EAP: true})
		}
	}
	if methods, ok := g.methods(); ok {
		common := eap.Common{Methods: methods, Rand: rand.Reader,
			Certificate: &eap.Certificate{Chain: [][]byte{g.gateway.Certificate.Raw}, Public: g.gateway.Key.Public()}}
		if g.inner != 0 {
			common.Inner = []eap.Inner{g.inner}
		}
		p.eapKey, p.password = g.gateway.Key, userPassword
		p.newMethod = func(id ike.Identity) (*eap.Machine, error) {
			return eap.NewServer(eap.ServerConfig{Common: common, Identity: id.String()})
		}
	}
	e := newEndpoint(g.recorder, g.gate, gatewayAddr)
	m, err := ike.NewResponder(ike.ResponderConfig{
		Config: ike.Config{LocalID: identity(g, gatewayName)}, Policy: authPolicy{required},
		Accept:   ike.Acceptance{Certificates: true, Authorities: p.verifier.Anchors.Hashes()},
		Multiple: len(required.Rounds) > 1,
	}, rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	p.machine, e.machine, e.ask = m, m, p.answer
	e.poll = func() (happening, bool) {
		ev, ok := m.PollEvent()
		return happening{0, ev}, ok
	}
	e.inner = e.echo
	go e.run()
	return e
}

// authPolicy requires the same of everybody.
type authPolicy struct{ required ike.Requirement }

func (p authPolicy) Authentication(ike.Identity, ike.Identity) (ike.Requirement, error) {
	return p.required, nil
}

func (authPolicy) Assign(ike.Identity, ike.Request) (ike.Configuration, error) {
	return ike.Configuration{Addresses: []netip.Addr{poolPrefix.Addr().Next()}, DNS: []netip.Addr{nameServer}}, nil
}

func (authPolicy) Selectors(_ ike.Identity, a []netip.Addr) (localSide, remoteSide []esp.Selector) {
	return []esp.Selector{esp.PrefixSelector(company)}, []esp.Selector{esp.AddrSelector(a[0])}
}

// Shows: IKE-1, IKE-2, IKE-3 (strongSwan as client). Each way of authenticating, with data both ways.
func TestAuthenticationOfCharon(t *testing.T) {
	on := authLab(t, responder, authExtra)
	for _, c := range authCases() {
		t.Run(c.name, func(t *testing.T) {
			g := on.begin(t, c)
			ours := g.ourGateway()
			done := g.initiate()
			up := wait[ike.Established](ours)
			want := clientName
			if last := c.client[len(c.client)-1]; last != "cert" {
				want = userName
			}
			if up.RemoteID != identity(t, want) || len(up.Proved) != len(c.client) {
				t.Errorf("established with %+v, want %s", up, want)
			}
			wait[ike.ChildInstalled](ours)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			newTraveller(g.recorder, g.ground.client, up.Configuration.Addresses[0]).data()
			g.call(g.recorder, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
			wait[ike.Closed](ours)
			g.noSAs(g.recorder)
		})
	}
}

// authLab lays the ground out.
func authLab(t *testing.T, r role, extra string) *authGround {
	t.Helper()
	daemon := charon.Start
	on, err := newGround(t, peer{"strongSwan 5.9", func(o charon.Options) (*charon.Daemon, error) {
		o.ExtraDaemon += extra
		return daemon(o)
	}}, r)
	if unavailable(err) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return &authGround{ground: on, role: r}
}

// begin begins a case.
func (g *authGround) begin(t *testing.T, c authCase) *authGround {
	t.Helper()
	next := &authGround{ground: g.ground, recorder: &recorder{TB: t}, authCase: c, role: g.role}
	mark := g.mark()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("charon:\n%s", g.logSince(mark))
		}
		next.call(next.recorder, "unload-conn", charon.Section{"name": connection})
		next.call(next.recorder, "clear-creds", nil)
		next.call(next.recorder, "flush-certs", nil)
	})
	next.issue()
	next.tell()
	return next
}
