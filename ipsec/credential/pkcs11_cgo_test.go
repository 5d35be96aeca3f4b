//go:build cgo

package credential

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/pki/pkitest"
)

const pin = "123456"

// softHSM returns the library of SoftHSM with a fresh token named "laptop".
func softHSM(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		t.Skip("SoftHSM is not installed (Debian: softhsm2)")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed (Debian: openssl)")
	}
	var module string
	for _, pattern := range []string{"/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			module = found[0]
		}
	}
	if module == "" {
		t.Skip("libsofthsm2.so was not found")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	run(t, "softhsm2-util", "--init-token", "--free", "--label", "laptop", "--pin", pin, "--so-pin", "12345678")
	return module
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if b, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, b)
	}
}

// imported puts a key onto the token.
func imported(t *testing.T, key crypto.Signer, id byte, label string) {
	t.Helper()
	file := write(t, "key.pem", pkitest.KeyPEM(key))
	run(t, "softhsm2-util", "--import", file, "--token", "laptop", "--label", label, "--id", hex.EncodeToString([]byte{id}), "--pin", pin)
}

// Shows: IKE-2
func TestToken(t *testing.T) {
	module := softHSM(t)
	root := pkitest.NewRoot("root", now, pkitest.P256)
	kinds := map[string]pkitest.Key{"rsa": pkitest.RSA2048, "p256": pkitest.P256, "p384": pkitest.P384, "p521": pkitest.P521}
	leaves := map[string]pkitest.Issued{}
	id := byte(0)
	for name, kind := range kinds {
		id++
		leaves[name] = root.Issue(kind, []string{laptop})
		imported(t, leaves[name].Key, id, name)
	}
	for name, leaf := range leaves {
		t.Run(name, func(t *testing.T) {
			s := source(write(t, "cert.pem", pkitest.PEM(leaf.Certificate)), "pkcs11:token=laptop;object="+name+"?module-path="+module)
			if _, err := Load(s); !errors.Is(err, ErrNobodyToAsk) {
				t.Errorf("error %v, want %v", err, ErrNobodyToAsk)
			}
			s.Ask = func(string) ([]byte, error) { return []byte("000000"), nil }
			if _, err := Load(s); !errors.Is(err, ErrPassword) {
				t.Errorf("error %v, want %v", err, ErrPassword)
			}
			s.Ask = func(string) ([]byte, error) { return []byte(pin), nil }
			c, err := Load(s)
			if err != nil {
				t.Fatal(err)
			}
			exercise(t, c)
			second, err := Load(s) // the library is shared
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := second.Sign(second.Certificates().Schemes[0], nil); err != nil {
				t.Error(err)
			}
			if err := second.Close(); err != nil {
				t.Error(err)
			}
			if name != "rsa" {
				return
			}
			pss := false
			for _, x := range c.Certificates().Schemes {
				pss = pss || x.Algorithm == ike.RSAPSS
			}
			if !pss {
				t.Error("SoftHSM makes PSS, which is not among the schemes")
			}
			s.Certificate = write(t, "other.pem", pkitest.PEM(root.IssueFor(pkitest.NewKey(pkitest.RSA2048), nil).Certificate))
			if _, err := Load(s); !errors.Is(err, ErrMismatch) {
				t.Errorf("error %v, want %v", err, ErrMismatch)
			}
		})
	}
	ask := func(string) ([]byte, error) { return []byte(pin), nil }
	for name, uri := range map[string]string{
		"no such library": "pkcs11:token=laptop;object=rsa?module-path=/nowhere.so",
		"no such token":   "pkcs11:token=other;object=rsa?module-path=" + module,
		"no such key":     "pkcs11:token=laptop;object=dsa?module-path=" + module,
		"several keys":    "pkcs11:token=laptop?module-path=" + module,
		"no certificate":  "pkcs11:token=laptop;object=rsa?module-path=" + module,
	} {
		s := Source{Key: uri, Ask: ask, ReadPublic: os.ReadFile}
		if _, err := Load(s); !errors.Is(err, ErrKey) {
			t.Errorf("%s: error %v, want %v", name, err, ErrKey)
		}
	}
}

// TestCertificateOnToken shows that a card that has its certificate needs no file.
func TestCertificateOnToken(t *testing.T) {
	module := softHSM(t)
	if _, err := exec.LookPath("pkcs11-tool"); err != nil {
		t.Skip("pkcs11-tool is not installed (Debian: opensc)")
	}
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.P256, []string{laptop})
	imported(t, leaf.Key, 7, "vpn")
	der := write(t, "cert.der", leaf.Certificate.Raw)
	run(t, "pkcs11-tool", "--module", module, "--token-label", "laptop", "--login", "--pin", pin, "--write-object", der, "--type", "cert", "--id", "07", "--label", "vpn")
	c, err := Load(Source{Key: "pkcs11:token=laptop;id=%07?module-path=" + module, Ask: func(string) ([]byte, error) { return []byte(pin), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exercise(t, c)
	if !c.Leaf().Equal(leaf.Certificate) {
		t.Error("another certificate")
	}
}
