package e2e

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/stack/agent"
)

// The user of the lab.
const (
	userName     = "alice@corp.example"
	userPassword = "correct horse"
)

// company has the certification authority of the lab, and the certificates of the gateway and the laptop.
type company struct {
	root            *pkitest.Authority
	gateway, laptop pkitest.Issued
	dir             string
}

// newCompany issues certificates; changes are made to the gateway's.
func newCompany(t *testing.T, changes ...pkitest.Change) *company {
	t.Helper()
	c := &company{root: pkitest.NewRoot("Corp Root", time.Now(), pkitest.P256), dir: t.TempDir()}
	c.gateway = c.root.Issue(pkitest.P384, []string{GatewayIdentity}, changes...)
	c.laptop = c.root.Issue(pkitest.Ed25519, []string{LaptopIdentity, userName})
	c.write(t, "laptop.pem", append(pkitest.PEM(c.laptop.Certificate), pkitest.KeyPEM(c.laptop.Key)...))
	return c
}

func (c *company) write(t *testing.T, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(c.dir, name), data, 0o600))
}

// verifier trusts the company's authority.
func (c *company) verifier(t *testing.T, purpose pki.Purpose, mode pki.Revocation) *pki.Verifier {
	t.Helper()
	anchors, err := pki.NewAnchors(c.root.Certificate)
	must(t, err)
	return &pki.Verifier{Anchors: anchors, Purpose: purpose, Revocation: mode}
}

// options are a lab whose gateway lets in who proves these rounds.
func (c *company) options(t *testing.T, seed uint64, rounds []config.Round, change func(*config.Config, *agent.GatewayConfig)) Options {
	t.Helper()
	own, err := credential.New(c.gateway.Key, []*x509.Certificate{c.gateway.Certificate})
	must(t, err)
	rule := gateway.Rule{Policy: ""}
	for _, r := range rounds {
		if r.EAP() {
			rule.Rounds = append(rule.Rounds, gateway.ByEAP)
		} else {
			rule.Rounds = append(rule.Rounds, gateway.ByCertificate)
		}
	}
	server := agent.GatewayConfig{Credential: own, Verifier: c.verifier(t, pki.Client, pki.RevocationOff)}
	server.Rules, server.Users = []gateway.Rule{rule}, []gateway.User{{Name: userName, Password: []byte(userPassword)}}
	server.EAP.Methods = []eap.Type{eap.TypeMSCHAPv2}
	server.EAP.Certificate = &eap.Certificate{Chain: [][]byte{c.gateway.Certificate.Raw}, Public: c.gateway.Key.Public()}
	laptop := &config.Config{Authentication: config.Authentication{
		Rounds: rounds, Certificate: filepath.Join(c.dir, "laptop.pem"), User: userName, Password: config.SourceAsk, PIN: config.SourceAsk,
	}, Trust: config.Trust{Verifier: c.verifier(t, pki.Gateway, pki.RevocationOff)}}
	if change != nil {
		change(laptop, &server)
	}
	return Options{
		Seed: seed,
		Client: func(cfg *config.Config) {
			cfg.Authentication, cfg.Trust, cfg.Gateway.PSK = laptop.Authentication, laptop.Trust, nil
		},
		Gateway: func(g *agent.GatewayConfig) {
			g.Credential, g.Verifier, g.Peers = server.Credential, server.Verifier, nil
			g.Rules, g.Users, g.EAP = server.Rules, server.Users, server.EAP
		},
	}
}

// questioned waits until a person is asked, and returns the question.
func questioned(t *testing.T, w *World, limit time.Duration, fits func(control.Question) bool) control.Question {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	changes, stop := w.Client.WatchQuestions()
	defer stop()
	for {
		q, err := w.Client.Questions(ctx)
		must(t, err)
		for _, o := range q.Open {
			if fits(o) {
				return o
			}
		}
		select {
		case <-changes:
		case <-ctx.Done():
			t.Fatalf("nobody is asked within %v: %+v", limit, q)
		}
	}
}

func fresh(q control.Question) bool { return !q.Again }

// The laptop's certificate and its user's password, two rounds: the person is asked before IKE begins, the question stays open
// over a move and an hour's thought, and a wrong answer is asked for again.
//
// Shows: IKE-2
func TestLoginByCertificateAndPassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		w := world(t, c.options(t, 90, []config.Round{config.RoundCertificate, config.RoundMSCHAPv2}, nil))
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		q := questioned(t, w, 20*time.Second, fresh)
		if !strings.Contains(q.Prompt, userName) || !strings.Contains(q.Name, GatewayIdentity) {
			t.Errorf("question %+v", q)
		}
		s, err := w.Client.Status(t.Context())
		must(t, err)
		if len(s.Questions) != 1 || s.Questions[0] != q.Name || s.State == control.StateConnected {
			t.Errorf("state %s, questions %q", s.State, s.Questions)
		}
		w.Plug(w.Wlan0, w.Hotspot)
		time.Sleep(time.Hour)
		if again := questioned(t, w, time.Second, fresh); again.ID != q.ID {
			t.Errorf("question %d, want the one from before the move, %d", again.ID, q.ID)
		}
		must(t, w.Client.AnswerQuestion(q.ID, []byte("wrong")))
		q = questioned(t, w, time.Minute, func(q control.Question) bool { return q.Again })
		must(t, w.Client.AnswerQuestion(q.ID, []byte(userPassword)))
		s, err = w.UntilMode(time.Minute, "fvc")
		must(t, err)
		v := s.VPN
		if v == nil || !v.Established || v.GatewayIdentity != GatewayIdentity || !strings.HasPrefix(v.GatewayProof, "certificate of ") ||
			!strings.Contains(v.OwnProof, "certificate of ") || !strings.HasSuffix(v.OwnProof, ", then EAP-MSCHAPV2 as "+userName) {
			t.Errorf("VPN %+v", v)
		}
		use(t, w)
		// What was asked once is not asked again: a new SA after the gateway has lost the old one.
		must(t, w.RestartGateway(func(g *agent.GatewayConfig) {
			c.options(t, 0, []config.Round{config.RoundCertificate, config.RoundMSCHAPv2}, nil).Gateway(g)
		}))
		w.Plug(w.Wlan0, w.Cafe)
		time.Sleep(2 * time.Minute)
		_, err = w.Until(5*time.Minute, func(s control.Status) bool {
			return s.State == control.StateConnected && s.Mode == "cvc" && len(s.Questions) == 0 && len(s.Problems) == 0
		})
		must(t, err)
		use(t, w)
		judge(t, j)
		must(t, w.Client.Down(t.Context()))
		open, err := w.Client.Questions(t.Context())
		must(t, err)
		if len(open.Open) != 0 {
			t.Errorf("questions after down: %+v", open)
		}
	})
}

// Shows: IKE-2
func TestLoginByEachMethod(t *testing.T) {
	t.Parallel()
	pap := func(cfg *config.Config, g *agent.GatewayConfig) {
		cfg.Authentication.Inner = "pap"
		g.EAP.Methods, g.EAP.Inner = []eap.Type{eap.TypeTTLS}, []eap.Inner{eap.InnerPAP}
	}
	for name, c := range map[string]struct {
		rounds []config.Round
		change func(*config.Config, *agent.GatewayConfig)
		proof  string
	}{
		"certificate":  {[]config.Round{config.RoundCertificate}, nil, "certificate of "},
		"eap-mschapv2": {[]config.Round{config.RoundMSCHAPv2}, nil, "certificate of "},
		"eap-tls": {[]config.Round{config.RoundTLS}, func(_ *config.Config, g *agent.GatewayConfig) {
			g.EAP.Methods = []eap.Type{eap.TypeTLS}
		}, "certificate of "},
		"eap-ttls with pap": {[]config.Round{config.RoundTTLS}, pap, "certificate of "},
		"eap-ttls": {[]config.Round{config.RoundTTLS}, func(_ *config.Config, g *agent.GatewayConfig) {
			g.EAP.Methods = []eap.Type{eap.TypeTTLS}
		}, "certificate of "},
		"eap alone": {[]config.Round{config.RoundMSCHAPv2}, func(cfg *config.Config, g *agent.GatewayConfig) {
			cfg.Authentication.Gateway = []config.GatewayProof{config.GatewayEAP}
			g.Rules[0].EAPOnly = true
		}, "EAP alone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				com := newCompany(t)
				com.write(t, "password", []byte(userPassword+"\n"))
				w := world(t, com.options(t, 91, c.rounds, func(cfg *config.Config, g *agent.GatewayConfig) {
					cfg.Authentication.Password = config.SecretSource(config.SourceFile + filepath.Join(com.dir, "password"))
					if c.change != nil {
						c.change(cfg, g)
					}
				}))
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.UntilMode(30*time.Second, "cvc")
				must(t, err)
				if s.VPN == nil || !strings.HasPrefix(s.VPN.GatewayProof, c.proof) {
					t.Errorf("VPN %+v", s.VPN)
				}
				use(t, w)
			})
		})
	}
}

// Shows: IKE-2
func TestGatewaysThatAreNotTrusted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leaf   pkitest.Change
		change func(*testing.T, *company, *config.Config)
		code   string
	}{
		"another name": {func(c *x509.Certificate) { c.DNSNames = []string{"other.corp.example"} }, nil, pki.ErrIdentity.Code()},
		"expired":      {func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) }, nil, pki.ErrExpired.Code()},
		"a client's": {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, nil,
			pki.ErrExtendedKeyUsage.Code()},
		"another authority": {nil, func(t *testing.T, _ *company, cfg *config.Config) {
			cfg.Trust.Verifier = newCompany(t).verifier(t, pki.Gateway, pki.RevocationOff)
		}, pki.ErrUnknownAuthority.Code()},
		"revoked": {nil, func(t *testing.T, c *company, cfg *config.Config) {
			l, err := pki.ParseCRL(c.root.CRL(nil, c.gateway.Certificate))
			must(t, err)
			cfg.Trust.Verifier.CRLs, cfg.Trust.Verifier.Revocation = []*x509.RevocationList{l}, pki.RevocationSoft
		}, pki.ErrRevoked.Code()},
		"nobody says": {nil, func(_ *testing.T, _ *company, cfg *config.Config) {
			cfg.Trust.Verifier.Revocation = pki.RevocationHard
		}, pki.ErrRevocationUnknown.Code()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changes []pkitest.Change
				if c.leaf != nil {
					changes = append(changes, c.leaf)
				}
				com := newCompany(t, changes...)
				w := world(t, com.options(t, 92, []config.Round{config.RoundCertificate}, func(cfg *config.Config, _ *agent.GatewayConfig) {
					if c.change != nil {
						c.change(t, com, cfg)
					}
				}))
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.Until(30*time.Second, func(s control.Status) bool {
					for _, p := range s.Problems {
						if p.Code == c.code && p.Advice != "" {
							return true
						}
					}
					return false
				})
				must(t, err)
				time.Sleep(time.Minute)
				if s, err = w.Client.Status(t.Context()); err != nil || s.State == control.StateConnected {
					t.Errorf("state %s, %v", s.State, err)
				}
			})
		})
	}
}
