package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mipvpn/client/config"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/eap/mschap"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/radius"
	"mipvpn/stack/agent"
)

// The tables of [gateway] about clients that have no pre-shared key.

type gatewayCertificateTable struct {
	File string `toml:"file"`
	Key  string `toml:"key"`
}

type gatewayTrustTable struct {
	Anchors    []string `toml:"anchors"`
	CRLs       []string `toml:"crls"`
	Revocation string   `toml:"revocation"`
	Fetch      *bool    `toml:"fetch"`
}

type gatewayRuleTable struct {
	Identities []string `toml:"identities"`
	Proofs     []string `toml:"proofs"`
	EAPOnly    bool     `toml:"eap_only"`
	Policy     string   `toml:"policy"`
}

type gatewayPolicyTable struct {
	Name     string         `toml:"name"`
	Pool     netip.Prefix   `toml:"pool"`
	Networks []netip.Prefix `toml:"networks"`
	DNS      []netip.Addr   `toml:"dns"`
	Domains  []string       `toml:"domains"`
	Session  duration       `toml:"session"`
}

type gatewayUserTable struct {
	Name         string     `toml:"name"`
	PasswordFile string     `toml:"password_file"`
	HashFile     string     `toml:"nt_hash_file"`
	Policy       string     `toml:"policy"`
	Address      netip.Addr `toml:"address"`
}

type gatewayEAPTable struct {
	Methods     []string `toml:"methods"`
	Inner       []string `toml:"inner"`
	AskIdentity bool     `toml:"ask_identity"`
	Retries     int      `toml:"retries"`
}

type gatewayRADIUSTable struct {
	Identifier string               `toml:"identifier"`
	Source     netip.Addr           `toml:"source"`
	Timeout    duration             `toml:"timeout"`
	Tries      int                  `toml:"tries"`
	Interim    duration             `toml:"interim"`
	Servers    []gatewayServerTable `toml:"server"`
}

type gatewayServerTable struct {
	Address    netip.AddrPort `toml:"address"`
	Accounting netip.AddrPort `toml:"accounting"`
	SecretFile string         `toml:"secret_file"`
}

// users completes the configuration of a gateway with what lets clients in by certificates and by EAP.
func (c *configuration) users(t *gatewayTable, cfg *agent.GatewayConfig) error {
	cfg.Session, cfg.Domains = time.Duration(t.Session), domains(t.Domains)
	for _, p := range t.Policies {
		cfg.Policies = append(cfg.Policies, gateway.Policy{Name: p.Name, Pool: p.Pool, Networks: p.Networks, DNS: p.DNS, Domains: domains(p.Domains),
			Session: time.Duration(p.Session)})
	}
	for i, r := range t.Rules {
		rule := gateway.Rule{Identities: r.Identities, EAPOnly: r.EAPOnly, Policy: r.Policy}
		for _, p := range r.Proofs {
			round, err := oneOf("proofs", p, map[string]gateway.Round{"certificate": gateway.ByCertificate, "eap": gateway.ByEAP})
			if err != nil {
				return fmt.Errorf("rule %d: %w", i+1, err)
			}
			rule.Rounds = append(rule.Rounds, round)
		}
		cfg.Rules = append(cfg.Rules, rule)
	}
	for _, u := range t.Users {
		user, err := c.user(u)
		if err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
		cfg.Users = append(cfg.Users, user)
	}
	for _, step := range []func(*gatewayTable, *agent.GatewayConfig) error{c.certificate, c.trust, c.eap, c.radius} {
		if err := step(t, cfg); err != nil {
			return err
		}
	}
	return nil
}

func (c *configuration) user(t gatewayUserTable) (gateway.User, error) {
	u := gateway.User{Name: t.Name, Policy: t.Policy, Address: t.Address}
	switch {
	case t.PasswordFile != "" && t.HashFile != "":
		return u, errors.New("expected password_file or nt_hash_file, both were found")
	case t.PasswordFile != "":
		b, err := c.readSecret(t.PasswordFile)
		if err != nil {
			return u, fmt.Errorf("password_file: %w", err)
		}
		u.Password = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
		if len(u.Password) == 0 {
			return u, errors.New("password_file: the password is empty")
		}
	case t.HashFile != "":
		b, err := c.readSecret(t.HashFile)
		if err != nil {
			return u, fmt.Errorf("nt_hash_file: %w", err)
		}
		defer clear(b)
		h, err := mschap.ParseHash(string(b))
		if err != nil {
			return u, fmt.Errorf("nt_hash_file: %w", err)
		}
		u.Hash = &h
	}
	return u, nil
}

// certificate loads the gateway's own certificate. It stays loaded as long as the program runs.
func (c *configuration) certificate(t *gatewayTable, cfg *agent.GatewayConfig) error {
	if t.Certificate == nil {
		return nil
	}
	at := func(path string) string {
		if path == "" || filepath.IsAbs(path) || bytes.ContainsRune([]byte(path), ':') {
			return path
		}
		return filepath.Join(c.dir, path)
	}
	own, err := credential.Load(credential.Source{Certificate: at(t.Certificate.File), Key: at(t.Certificate.Key),
		ReadPrivate: config.ReadPrivateFile, ReadPublic: os.ReadFile})
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	cfg.Credential, cfg.Certificates = own, own.Certificates()
	return nil
}

// trust reads what clients' certificates are checked with.
func (c *configuration) trust(t *gatewayTable, cfg *agent.GatewayConfig) error {
	if t.Trust == nil {
		return nil
	}
	v := &pki.Verifier{Purpose: pki.Client, Cache: &pki.Cache{}}
	var certs []*x509.Certificate
	for _, file := range t.Trust.Anchors {
		data, err := c.readPublic(file)
		if err != nil {
			return fmt.Errorf("trust: anchors: %w", err)
		}
		more, err := pki.ParseCertificates(data)
		if err != nil {
			return fmt.Errorf("trust: anchors: %s: %w", file, err)
		}
		certs = append(certs, more...)
	}
	var err error
	if v.Anchors, err = pki.NewAnchors(certs...); err != nil {
		return fmt.Errorf("trust: anchors: %w", err)
	}
	for _, file := range t.Trust.CRLs {
		data, err := c.readPublic(file)
		if err != nil {
			return fmt.Errorf("trust: crls: %w", err)
		}
		list, err := pki.ParseCRL(data)
		if err != nil {
			return fmt.Errorf("trust: crls: %s: %w", file, err)
		}
		v.CRLs = append(v.CRLs, list)
	}
	if v.Revocation, err = oneOf("trust: revocation", orDefault(t.Trust.Revocation, "soft"), map[string]pki.Revocation{
		"soft": pki.RevocationSoft, "hard": pki.RevocationHard, "off": pki.RevocationOff}); err != nil {
		return err
	}
	if !isFalse(t.Trust.Fetch) {
		v.Fetcher = pki.NewHTTPFetcher(nil)
	}
	cfg.Verifier, cfg.Authorities, cfg.OCSP = v, v.Anchors.Hashes(), v.Revocation != pki.RevocationOff
	return nil
}

func (c *configuration) readPublic(path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
	}
	return os.ReadFile(path)
}

// eap reads how users prove themselves here.
func (c *configuration) eap(t *gatewayTable, cfg *agent.GatewayConfig) error {
	if t.EAP == nil {
		return nil
	}
	cfg.EAP = gateway.EAP{AskIdentity: t.EAP.AskIdentity, Retries: t.EAP.Retries}
	for _, name := range t.EAP.Methods {
		m, err := oneOf("eap: methods", name, map[string]eap.Type{"mschapv2": eap.TypeMSCHAPv2, "tls": eap.TypeTLS, "ttls": eap.TypeTTLS})
		if err != nil {
			return err
		}
		cfg.EAP.Methods = append(cfg.EAP.Methods, m)
	}
	for _, name := range t.EAP.Inner {
		i, err := oneOf("eap: inner", name, map[string]eap.Inner{"mschapv2": eap.InnerMSCHAPv2, "pap": eap.InnerPAP, "eap": eap.InnerEAP})
		if err != nil {
			return err
		}
		cfg.EAP.Inner = append(cfg.EAP.Inner, i)
	}
	if cfg.Credential != nil {
		cfg.EAP.Certificate = &eap.Certificate{Chain: cfg.Certificates.Chain, Public: cfg.Credential.Leaf().PublicKey}
	}
	return nil
}

// radius reads the RADIUS servers.
func (c *configuration) radius(t *gatewayTable, cfg *agent.GatewayConfig) error {
	if t.RADIUS == nil {
		return nil
	}
	r := &radius.Config{Identifier: orDefault(t.RADIUS.Identifier, t.Identity), Address: t.RADIUS.Source, Initial: time.Duration(t.RADIUS.Timeout), Tries: t.RADIUS.Tries}
	if !r.Address.IsValid() {
		r.Address = t.Address
	}
	var err error
	if r.Servers, err = c.radiusServers(t.RADIUS.Servers); err != nil {
		return err
	}
	cfg.RADIUS, cfg.RADIUSSource, cfg.AccountInterval = r, t.RADIUS.Source, time.Duration(t.RADIUS.Interim)
	return nil
}

// radiusServers reads the servers of a table, with their secrets.
func (c *configuration) radiusServers(tables []gatewayServerTable) (servers []radius.Server, err error) {
	for _, s := range tables {
		secret, err := c.readSecret(s.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("radius: server %v: secret_file: %w", s.Address, err)
		}
		servers = append(servers, radius.Server{Address: s.Address, Accounting: s.Accounting,
			Secret: bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))})
	}
	return servers, nil
}

// agentRADIUS reads the RADIUS servers that an agent has Mobile-AAA authentications checked by from its address, nil for none.
func (c *configuration) agentRADIUS(t *agentRADIUSTable, address netip.Addr) (*radius.Config, error) {
	if t == nil {
		return nil, nil
	}
	r := &radius.Config{Identifier: orDefault(t.Identifier, "mipagent"), Address: address, Initial: time.Duration(t.Timeout), Tries: t.Tries}
	var err error
	if r.Servers, err = c.radiusServers(t.Servers); err != nil {
		return nil, err
	}
	if _, err := radius.New(*r, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// domains are the names as RFC 8598 has them: in lower case without a last dot.
func domains(names []string) (out []ike.Domain) {
	for _, n := range names {
		out = append(out, ike.Domain{Name: strings.ToLower(strings.TrimSuffix(n, "."))})
	}
	return out
}

// oneOf returns what a word of the configuration stands for.
func oneOf[T any](key, word string, words map[string]T) (T, error) {
	v, ok := words[word]
	if !ok {
		var all []string
		for w := range words {
			all = append(all, w)
		}
		slices.Sort(all)
		return v, fmt.Errorf("%s: found %q, valid are %q", key, word, all)
	}
	return v, nil
}
