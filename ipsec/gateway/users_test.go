package gateway

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/eap/mschap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
)

// company is a gateway with a certificate, and what its clients have.
type company struct {
	t       *testing.T
	net     *net
	ca      *pkitest.Authority
	own     *credential.Credential
	anchors *pki.Anchors
}

// newCompany makes a gateway with two policies; change completes its configuration.
func newCompany(t *testing.T, change func(*company, *Config)) *company {
	t.Helper()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	c := &company{t: t, ca: pkitest.NewRoot("company", now, pkitest.P256)}
	c.own = c.issue("gateway.corp.example")
	var err error
	if c.anchors, err = pki.NewAnchors(c.ca.Certificate); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, 2)
	cfg.Certificates, cfg.Authorities = c.own.Certificates(), c.anchors.Hashes()
	cfg.Policies = []Policy{{Name: "staff", Pool: netip.MustParsePrefix("10.0.10.0/24"), Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		DNS: []netip.Addr{netip.MustParseAddr("10.1.0.53")}, Domains: nil}}
	change(c, &cfg)
	c.net = newNet(t, cfg)
	c.net.answer = c.answer
	return c
}

func (c *company) issue(name string) *credential.Credential {
	c.t.Helper()
	i := c.ca.Issue(pkitest.P256, []string{name})
	out, err := credential.New(i.Key, []*x509.Certificate{i.Certificate})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// answer is the gateway's driver.
func (c *company) answer(e Event) {
	g, now := c.net.g, c.net.now
	verify := func(id ike.Identity, chain [][]byte) (crypto.PublicKey, error) {
		v := pki.Verifier{Anchors: c.anchors, Purpose: pki.Client}
		got, err := v.Verify(context.Background(), pki.Presented{ID: id, Chain: chain}, now.Wall)
		return got.Key, err
	}
	switch q := e.Event.(type) {
	case ike.SignatureWanted:
		sig, err := c.own.Sign(q.Scheme, q.Octets)
		_ = g.Signed(now, e.Session, sig, err)
	case ike.TrustWanted:
		key, err := verify(q.ID, q.Chain)
		_ = g.Trusted(now, e.Session, key, err)
	}
	switch q := e.EAP.(type) {
	case eap.SignatureWanted:
		sig, err := c.own.Signer().Sign(rand.Reader, q.Digest, q.Options)
		_ = g.EAPSigned(now, e.Session, sig, err)
	case eap.TrustWanted:
		_, err := verify(identity(c.t, q.Identity), q.Chain)
		_ = g.EAPTrusted(now, e.Session, err)
	}
}

// caller is a client that connects.
type caller struct {
	idi, user, password string
	cert                *credential.Credential // for a certificate round
	eap                 []eap.Type
	inner               []eap.Inner
	only                bool
	change              func(*ike.InitiatorConfig)
	end                 eap.Finished
}

// call adds a client and starts it.
func (c *company) call(x *caller) *client {
	c.t.Helper()
	id := identity(c.t, x.idi)
	var m *eap.Machine
	k := c.net.client(0, func(cfg *ike.InitiatorConfig) {
		cfg.PSK, cfg.LocalID, cfg.Accept = nil, id, ike.Acceptance{Certificates: !x.only, EAP: x.only, Authorities: c.anchors.Hashes()}
		if x.cert != nil {
			cfg.Rounds = append(cfg.Rounds, ike.Proof{ID: id, Certificates: x.cert.Certificates()})
		}
		if x.eap != nil {
			user := id
			if x.cert != nil {
				user = identity(c.t, x.user)
			}
			cfg.Rounds = append(cfg.Rounds, ike.Proof{ID: user, EAP: true})
		}
		if x.change != nil {
			x.change(cfg)
		}
	})
	if x.eap != nil {
		common := eap.Common{Methods: x.eap, Inner: x.inner, Rand: rand.Reader}
		if x.cert != nil {
			common.Certificate = &eap.Certificate{Chain: x.cert.Certificates().Chain, Public: x.cert.Leaf().PublicKey}
		}
		var err error
		if m, err = eap.NewPeer(eap.PeerConfig{Common: common, Identity: x.user}); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(m.Close)
	}
	k.answer = func(e ike.Event) {
		now := c.net.now
		switch e := e.(type) {
		case ike.SignatureWanted:
			sig, err := x.cert.Sign(e.Scheme, e.Octets)
			_ = k.m.Signed(now, sig, err)
		case ike.TrustWanted:
			v := pki.Verifier{Anchors: c.anchors}
			got, err := v.Verify(context.Background(), pki.Presented{ID: e.ID, Chain: e.Chain}, now.Wall)
			_ = k.m.Trusted(now, got.Key, err)
		case ike.EAPReceived:
			if err := m.HandleMessage(e.Message); err != nil {
				c.t.Error(err)
			}
			for ev, ok := m.PollEvent(); ok; ev, ok = m.PollEvent() {
				switch ev := ev.(type) {
				case eap.PasswordWanted:
					_ = m.AnswerPassword(eap.Secret{Password: []byte(x.password)}, nil)
				case eap.TrustWanted:
					_ = m.AnswerTrust(nil)
				case eap.SignatureWanted:
					sig, err := x.cert.Signer().Sign(rand.Reader, ev.Digest, ev.Options)
					_ = m.AnswerSignature(sig, err)
				case eap.Finished:
					x.end = ev
				}
				if a, ok := eap.Answer(ev); ok {
					_ = k.m.AnswerEAP(now, a)
				}
			}
		}
	}
	k.start()
	return k
}

// assigned is what the client has got, false when it is not connected.
func (k *client) assigned() (ike.Configuration, bool) {
	for _, e := range k.events {
		if e, ok := e.(ike.Established); ok {
			return e.Configuration, k.m.Err() == nil
		}
	}
	return ike.Configuration{}, false
}

func staffed(_ *company, c *Config) {
	h, err := mschap.HashPassword([]byte("hashed"))
	if err != nil {
		panic(err)
	}
	c.Rules = []Rule{
		{Identities: []string{"*@machines.example"}, Rounds: []Round{ByCertificate, ByEAP}},
		{Identities: []string{"*.hosts.example"}, Rounds: []Round{ByCertificate}, Policy: "staff"},
		{Identities: []string{"*"}, Rounds: []Round{ByEAP}},
	}
	c.Users = []User{
		{Name: "alice@corp.example", Password: []byte("secret"), Policy: "staff"},
		{Name: "bob", Hash: &h, Address: netip.MustParseAddr("10.0.9.77")},
		{Name: "carol@machines.example", Password: []byte("secret")},
		{Name: "laptop0@corp.example", Password: []byte("secret")},
	}
}

// Shows: IKE-2 (users and machines at the gateway: EAP with a password and with a stored hash, behind an IDi that is an address
// as some clients send it; a certificate; both one after the other. Each gets what its policy says.)
func TestUsers(t *testing.T) {
	password := []eap.Type{eap.TypeMSCHAPv2}
	for _, x := range []struct {
		name     string
		caller   caller
		identity string
		address  string
		dns      string
	}{
		{"a user of a policy", caller{idi: "alice@corp.example", user: "alice@corp.example", password: "secret", eap: password}, "alice@corp.example", "10.0.10.1", "10.1.0.53"},
		{"a user whose IDi is an address", caller{idi: "192.168.7.7", user: "alice@corp.example", password: "secret", eap: password}, "alice@corp.example", "10.0.10.1", "10.1.0.53"},
		{"a user with an address", caller{idi: "bob", user: "bob", password: "hashed", eap: password}, "bob", "10.0.9.77", "10.0.1.1"},
		{"a machine", caller{idi: "pc7.hosts.example"}, "pc7.hosts.example", "10.0.10.1", "10.1.0.53"},
		{"a machine, then its user", caller{idi: "pc7@machines.example", user: "alice@corp.example", password: "secret", eap: password}, "alice@corp.example", "10.0.10.1", "10.1.0.53"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCompany(t, staffed)
			if x.caller.eap == nil || x.caller.idi == "pc7@machines.example" {
				x.caller.cert = c.issue(x.caller.idi)
			}
			k := c.call(&x.caller)
			c.net.settle()
			got, ok := k.assigned()
			if !ok || len(got.Addresses) != 1 || got.Addresses[0].String() != x.address || len(got.DNS) != 1 || got.DNS[0].String() != x.dns {
				t.Fatalf("found %+v, %v (%v; EAP: %v)", got, ok, k.m.Err(), x.caller.end.Err)
			}
			all := c.net.g.Sessions()
			if len(all) != 1 || all[0].Identity != identity(t, x.identity) || all[0].Address.String() != x.address {
				t.Errorf("found sessions %+v", all)
			}
			k.m.Delete(c.net.now)
			k.pump()
			c.net.settle()
			for _, v := range c.net.g.provisions {
				if len(v.pool.owner) != 0 {
					t.Errorf("policy %q: addresses are still taken: %v", v.Name, v.pool.owner)
				}
			}
		})
	}
}

// Shows: IKE-2, IKE-8 (who is refused: a wrong password, an unknown user, one whose rule wants more than it proves, a user with
// the name of a peer that has a key of its own, a certificate of another name.)
func TestUsersRefused(t *testing.T) {
	password := []eap.Type{eap.TypeMSCHAPv2}
	for _, x := range []struct {
		name   string
		caller caller
		cert   string
		want   error
	}{
		{"a wrong password", caller{idi: "alice@corp.example", user: "alice@corp.example", password: "wrong", eap: password}, "", eap.ErrPasswordWrong},
		{"an unknown user", caller{idi: "mallory", user: "mallory", password: "secret", eap: password}, "", ErrUnknownUser},
		{"a user who must come with a machine", caller{idi: "somebody@corp.example", user: "carol@machines.example", password: "secret", eap: password}, "", ErrRule},
		{"a user with the name of a peer with a key", caller{idi: "10.7.7.7", user: "laptop0@corp.example", password: "secret", eap: password}, "", ErrRule},
		{"a certificate of another", caller{idi: "pc7.hosts.example"}, "pc8.hosts.example", pki.ErrIdentity},
		{"EAP where a certificate is wanted", caller{idi: "pc7.hosts.example", user: "bob", password: "hashed", eap: password}, "", ike.ErrMethod},
		{"another method", caller{idi: "bob", user: "bob", password: "hashed", eap: []eap.Type{eap.TypeTTLS}}, "", eap.ErrMethod},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCompany(t, staffed)
			if x.cert != "" {
				x.caller.cert = c.issue(x.cert)
			}
			var reason error
			c.net.answer = func(e Event) {
				if closed, ok := e.Event.(ike.Closed); ok {
					reason = closed.Err
				}
				c.answer(e)
			}
			k := c.call(&x.caller)
			c.net.settle()
			if _, ok := k.assigned(); ok || len(c.net.g.Sessions()) != 0 {
				t.Fatal("the client is connected")
			}
			if !errors.Is(reason, x.want) {
				t.Errorf("want %v, found %v", x.want, reason)
			}
			c.net.advance(3 * time.Minute)
			if len(c.net.g.sessions) != 0 || c.net.g.HalfOpen() != 0 {
				t.Errorf("%d sessions are left", len(c.net.g.sessions))
			}
		})
	}
}

// Shows: IKE-2 (EAP-TLS and EAP-TTLS at the gateway, whose questions go to its driver; EAP alone proving the gateway, RFC 5998.)
func TestUsersTLS(t *testing.T) {
	for _, x := range []struct {
		name string
		eap  []eap.Type
		only bool
	}{
		{"EAP-TLS", []eap.Type{eap.TypeTLS}, false}, {"EAP-TLS alone", []eap.Type{eap.TypeTLS}, true},
		{"EAP-TTLS", []eap.Type{eap.TypeTTLS}, false}, {"EAP-MSCHAPv2 alone", []eap.Type{eap.TypeMSCHAPv2}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCompany(t, func(c *company, cfg *Config) {
				staffed(c, cfg)
				cfg.Rules = []Rule{{Rounds: []Round{ByEAP}, EAPOnly: x.only}}
				cfg.EAP = EAP{Methods: []eap.Type{eap.TypeTLS, eap.TypeTTLS, eap.TypeMSCHAPv2},
					Certificate: &eap.Certificate{Chain: c.own.Certificates().Chain, Public: c.own.Leaf().PublicKey}}
			})
			who := &caller{idi: "alice@corp.example", user: "alice@corp.example", password: "secret", eap: x.eap, only: x.only}
			if x.eap[0] == eap.TypeTLS {
				who.cert = c.issue("alice@corp.example")
			}
			who.change = func(cfg *ike.InitiatorConfig) { cfg.Rounds = cfg.Rounds[len(cfg.Rounds)-1:] } // the certificate is for TLS
			k := c.call(who)
			c.net.settle()
			if _, ok := k.assigned(); !ok || who.end.Method != x.eap[0] {
				t.Fatalf("not connected: %v, EAP %v: %v", k.m.Err(), who.end.Method, who.end.Err)
			}
		})
	}
}

// Shows: IKE-2 (a session that may last for some time only; a client that comes again replaces its session.)
func TestSessionEnds(t *testing.T) {
	c := newCompany(t, func(c *company, cfg *Config) {
		staffed(c, cfg)
		cfg.Policies[0].Session = time.Hour
	})
	who := caller{idi: "alice@corp.example", user: "alice@corp.example", password: "secret", eap: []eap.Type{eap.TypeMSCHAPv2}}
	first, second := who, who
	k := c.call(&first)
	c.net.settle()
	c.net.advance(30 * time.Minute)
	again := c.call(&second)
	c.net.settle()
	c.net.advance(replaceAfter + time.Second)
	if k.m.Err() == nil || again.m.Err() != nil || len(c.net.g.Sessions()) != 1 {
		t.Fatalf("want the second session in the place of the first: %v, %v", k.m.Err(), again.m.Err())
	}
	c.net.advance(59 * time.Minute)
	if len(c.net.g.Sessions()) != 1 {
		t.Fatal("the session ended too early")
	}
	c.net.advance(2 * time.Minute)
	if len(c.net.g.Sessions()) != 0 || !errors.Is(again.m.Err(), ike.ErrDeletedByPeer) {
		t.Errorf("the session goes on: %v", again.m.Err())
	}
}

// Shows: IKE-2 (a user who comes with a ticket gets its policy again; one who has been struck off is not let in.)
func TestUsersResume(t *testing.T) {
	for _, struck := range []bool{false, true} {
		c := newCompany(t, staffed)
		who := caller{idi: "alice@corp.example", user: "alice@corp.example", password: "secret", eap: []eap.Type{eap.TypeMSCHAPv2},
			change: func(cfg *ike.InitiatorConfig) { cfg.RequestTicket = true }}
		k := c.call(&who)
		c.net.settle()
		ticket := k.m.Suspend(c.net.now)
		if ticket == nil {
			t.Fatal("no ticket")
		}
		if struck {
			delete(c.net.g.users, "alice@corp.example")
			delete(c.net.g.byName, identity(t, "alice@corp.example"))
		}
		again := who
		again.end = eap.Finished{}
		again.change = func(cfg *ike.InitiatorConfig) { cfg.Ticket = ticket }
		k = c.call(&again)
		c.net.settle()
		got, ok := k.assigned()
		if struck == ok || ok && (again.end.Method != 0 || got.Addresses[0].String() != "10.0.10.1" || !bytes.Equal(got.DNS[0].AsSlice(), []byte{10, 1, 0, 53})) {
			t.Errorf("struck off %v: connected %v, %+v, EAP %v", struck, ok, got, again.end.Method)
		}
	}
}

// TestPatterns has the patterns of rules.
func TestPatterns(t *testing.T) {
	for _, x := range []struct {
		pattern, id string
		want        bool
	}{
		{"*", "a@b", true}, {"*@b.example", "a@b.example", true}, {"*@b.example", "a@B.EXAMPLE", true}, {"*@b.example", "a@xb.example", false},
		{"*@b.example", "a@b.example.org", false}, {"*.b.example", "x.b.example", true}, {"*.b.example", "b.example", false},
		{"*.b.example", "a@x.b.example", false}, {"a@b", "a@b", true}, {"a@b", "A@b", false},
		{"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.2", false}, {"x.b", "x.b", true},
	} {
		if got := matchPattern(x.pattern, identity(t, x.id)); got != x.want {
			t.Errorf("%s for %s: found %v", x.pattern, x.id, got)
		}
	}
}

// TestUsersConfiguration has configurations that are refused.
func TestUsersConfiguration(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no round":                  func(c *Config) { c.Rules[0].Rounds = nil },
		"EAP before a certificate":  func(c *Config) { c.Rules[0].Rounds = []Round{ByEAP, ByCertificate} },
		"EAP alone in two rounds":   func(c *Config) { c.Rules[0].EAPOnly = true },
		"an unknown policy":         func(c *Config) { c.Rules[0].Policy = "nobody" },
		"a user's unknown policy":   func(c *Config) { c.Users[0].Policy = "nobody" },
		"a bad pattern":             func(c *Config) { c.Rules[0].Identities = []string{"*x"} },
		"a user twice":              func(c *Config) { c.Users[1].Name = c.Users[0].Name },
		"an address twice":          func(c *Config) { c.Users[0].Address = c.Users[1].Address },
		"no certificate":            func(c *Config) { c.Certificates = nil },
		"no trust anchors":          func(c *Config) { c.Authorities = nil },
		"no users":                  func(c *Config) { c.Users = nil },
		"pools that overlap":        func(c *Config) { c.Policies[0].Pool = c.Pool },
		"a policy without networks": func(c *Config) { c.Policies[0].Networks = nil },
		"a policy without a name":   func(c *Config) { c.Policies[0].Name = "" },
		"TLS without certificate":   func(c *Config) { c.EAP.Methods = []eap.Type{eap.TypeTLS} },
		"a negative session":        func(c *Config) { c.Session = -1 },
	} {
		c := newCompany(t, staffed)
		cfg := c.net.g.cfg
		cfg.Policies, cfg.Rules, cfg.Users = append([]Policy(nil), cfg.Policies...), append([]Rule(nil), cfg.Rules...), append([]User(nil), cfg.Users...)
		change(&cfg)
		if _, err := New(cfg, rand.Reader); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: want ErrConfig, found %v", name, err)
		}
	}
}
