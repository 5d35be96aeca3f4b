package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
)

// Shows: IKE-2
func TestAuthenticationErrors(t *testing.T) {
	for name, c := range map[string]struct{ lines, key, words string }{
		"unknown round":        {`rounds = ["pks"]`, "authentication.rounds", `did you mean "psk"`},
		"no round":             {`rounds = []`, "authentication.rounds", "an empty list"},
		"a round twice":        {`rounds = ["psk", "psk"]`, "authentication.rounds", "twice"},
		"no anchors":           {`rounds = ["eap-mschapv2"]`, "trust.anchors", "nothing says which certificates"},
		"no certificate":       {"rounds = [\"certificate\"]\ngateway = [\"psk\"]", "authentication.certificate", "needs a certificate"},
		"EAP alone, no EAP":    {`gateway = ["eap"]`, "authentication.gateway", "RFC 5998"},
		"password in the text": {`password = "hunter2"`, "authentication.password", "a text of 7 octets"},
		"empty command":        {`password = "command: "`, "authentication.password", ""},
		"empty file":           {`pin = "file:"`, "authentication.pin", ""},
		"inner":                {`inner = "chap"`, "authentication.inner", "pap"},
	} {
		_, err := parse(with("authentication", c.lines))
		errs, ok := errors.AsType[Errors](err)
		if !ok || len(errs) != 1 || errs[0].Key != c.key || !strings.Contains(errs[0].Error(), c.words) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parse(with("gateway", `dead = "20s"`)); err == nil || !strings.Contains(err.Error(), "liveness is 30s") {
		t.Errorf("gateway.dead below liveness: %v", err)
	}
	if _, err := parse(with("gateway", `ike_datagram = 300`)); err == nil {
		t.Error("datagrams of 300 octets were taken")
	}
	for _, lines := range []string{`ppk_id = "a"`, `ppk_file = "gateway.psk"`, "require_ppk = true", "ppk_id = \"a\"\nppk_file = \"short.key\"", `profile = "weak"`} {
		if _, err := parse(with("gateway", lines)); err == nil {
			t.Errorf("%s was taken", lines)
		}
	}
	if c, err := parse(with("gateway", "ike_datagram = 0\ndead = \"40s\"")); err != nil || c.Gateway.Datagram != 0 || c.Gateway.Dead != 40*time.Second {
		t.Errorf("%v", err)
	}
}

func TestAuthenticationWarnsOfWeakChoices(t *testing.T) {
	c, err := parse(with("authentication", "rounds = [\"eap-mschapv2\"]\ngateway = [\"eap\"]"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || c.Warnings[0].Key != "authentication.gateway" {
		t.Errorf("warnings %+v", c.Warnings)
	}
}

// Shows: IKE-2
func TestTrustFilesAreRead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.P256, []string{"gateway.example.com"})
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
	write("root.pem", pkitest.PEM(root.Certificate))
	write("leaf.pem", pkitest.PEM(leaf.Certificate))
	write("laptop.pem", pkitest.PEM(leaf.Certificate))
	write("root.crl", root.CRL(nil))
	load := func(lines string) (*Config, error) {
		write("mipvpn.toml", []byte(with("authentication", "rounds = [\"certificate\"]\ncertificate = \"laptop.pem\"\npassword = \"file:pw\"\n[trust]\n"+lines)))
		return Load(filepath.Join(dir, "mipvpn.toml"))
	}
	c, err := load("anchors = [\"root.pem\"]\ncrls = [\"root.crl\"]\nrevocation = \"hard\"")
	if err != nil {
		t.Fatal(err)
	}
	v := c.Trust.Verifier
	if v == nil || len(v.Anchors.Certificates()) != 1 || len(v.CRLs) != 1 || v.Revocation != pki.RevocationHard || v.Purpose != pki.Gateway {
		t.Errorf("verifier %+v", v)
	}
	if c.Authentication.Certificate != filepath.Join(dir, "laptop.pem") || c.Authentication.Password.Path() != filepath.Join(dir, "pw") {
		t.Errorf("paths %q and %q", c.Authentication.Certificate, c.Authentication.Password)
	}
	for lines, key := range map[string]string{
		`anchors = ["leaf.pem"]`:                                   "trust.anchors",
		`anchors = ["missing.pem"]`:                                "trust.anchors",
		"anchors = [\"root.pem\"]\nintermediates = [\"i-ha.key\"]": "trust.intermediates",
		"anchors = [\"root.pem\"]\ncrls = [\"root.pem\"]":          "trust.crls",
	} {
		_, err := load(lines)
		errs, ok := errors.AsType[Errors](err)
		if !ok || errs[0].Key != key || errs[0].Line == 0 {
			t.Errorf("%s: %v", lines, err)
		}
	}
}

func TestSecretSources(t *testing.T) {
	if got := SecretSource("command:/bin/x  a b").Words(); len(got) != 3 || got[0] != "/bin/x" || got[2] != "b" {
		t.Errorf("%q", got)
	}
	if SourceAsk.Words() != nil {
		t.Error("asking is no command")
	}
}
