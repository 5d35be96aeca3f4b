package config

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/pki/pkitest"
)

// Certificates are warned of before they end, and only then; each by its key and its file.
func TestCertificatesThatEnd(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range secrets {
		write(name, []byte(text))
	}
	write("mipvpn.toml", []byte(with("authentication", "rounds = [\"certificate\"]\ncertificate = \"laptop.pem\"\nkey = \"laptop.key\"\n[trust]\nanchors = [\"root.pem\"]")))
	write("laptop.key", []byte("not looked into"))
	for name, c := range map[string]struct {
		root, laptop time.Time // when they were issued, for ten years and for one
		keys, words  []string
	}{
		"both have time":        {now, now, nil, nil},
		"the laptop's ends":     {now, now.AddDate(-1, 0, 10), []string{"authentication.certificate"}, []string{"is valid until", "laptop.pem"}},
		"the laptop's has gone": {now, now.AddDate(-1, 0, -1), []string{"authentication.certificate"}, []string{"was valid until", "laptop.pem"}},
		"the anchor ends":       {now.AddDate(-10, 0, 20), now, []string{"trust.anchors"}, []string{`"corp"`, "root.pem"}},
	} {
		write("root.pem", pkitest.PEM(pkitest.NewRoot("corp", c.root, pkitest.P256).Certificate))
		write("laptop.pem", pkitest.PEM(pkitest.NewRoot("corp", c.laptop, pkitest.P256).Issue(pkitest.P256, []string{"laptop.corp.example"}).Certificate))
		cfg, err := Load(filepath.Join(dir, "mipvpn.toml"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var keys []string
		for _, w := range cfg.Warnings {
			keys = append(keys, w.Key)
			for _, word := range c.words {
				if !strings.Contains(w.Message, word) {
					t.Errorf("%s: %q does not say %q", name, w.Message, word)
				}
			}
		}
		if strings.Join(keys, " ") != strings.Join(c.keys, " ") {
			t.Errorf("%s: warnings of %q, want %q: %+v", name, keys, c.keys, cfg.Warnings)
		}
	}
}

// TestShortLivedCertificates holds that one whose whole time is short is not warned of before its last third.
func TestShortLivedCertificates(t *testing.T) {
	now := time.Now()
	for left, warnings := range map[time.Duration]int{5 * 24 * time.Hour: 0, 2 * 24 * time.Hour: 1} {
		r := &reader{config: &Config{}, lines: map[string]position{"authentication.certificate": {}}}
		r.ending("authentication.certificate", "laptop.pem", []*x509.Certificate{{NotBefore: now.Add(left - 9*24*time.Hour), NotAfter: now.Add(left)}}, now)
		if len(r.config.Warnings) != warnings {
			t.Errorf("%v of nine days left: %+v", left, r.config.Warnings)
		}
	}
}
