package company

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"text/template"
)

// Options say how the company is set up.
type Options struct {
	// InternalEncapsulation and ExternalEncapsulation are the client's `encapsulation` for each home agent; "auto" if empty.
	InternalEncapsulation, ExternalEncapsulation string
	// Period is the client's detection period as a Go duration; the client's own default if empty.
	Period string
	// ForceUDPEncapsulation puts ESP into UDP without a NAT.
	ForceUDPEncapsulation bool
	// Interfaces are those that the client uses; eth0 and eth1 if empty.
	Interfaces []string
	// Optional gives gateway and agents the optional mechanisms, and lets the client use them; without it the client keeps to the
	// mandatory modes.
	Optional bool
	// Straight lets the client use mode vc, without the other optional mechanisms.
	Straight bool
	// ZeroOverhead is the client's `mechanisms.zero_overhead` with Optional; "auto" if empty.
	ZeroOverhead string
	// StrongSwan makes charon the VPN gateway instead of mipagent.
	StrongSwan bool
	// WithoutClient leaves the laptop without mipvpn, for a person or a test to bring one.
	WithoutClient bool
}

// Files of a company's directory that others name.
const (
	ClientConfig = "mipvpn.toml"
	Socket       = "mipvpn.sock"
)

// IKE identities of the two ends of the VPN, and the SPIs of the mobility security associations, as in the templates.
const (
	LaptopIdentity  = "laptop@corp.example"
	GatewayIdentity = "gateway.corp.example"
	InternalSPI     = 1001
	ExternalSPI     = 2001
)

// Vendor is the private enterprise number that client and x-HA have for zero-overhead tunnelling: the one for documentation
// (RFC 5612).
const Vendor = 32473

// Names of the files of keys: of the mobility security associations with i-HA and x-HA, and the pre-shared key.
const (
	InternalKey = "internal.key"
	ExternalKey = "external.key"
	GatewayPSK  = "gateway.psk"
)

// secrets are the files of keys, shared by the two ends of each association.
var secrets = []string{InternalKey, ExternalKey, GatewayPSK}

// secretLen is the length of keys in octets.
const secretLen = 32

//go:embed templates
var templates embed.FS

// Secrets makes fresh keys, by file name.
func Secrets() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, name := range secrets {
		key := make([]byte, secretLen)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("company: %w", err)
		}
		all[name] = []byte(hex.EncodeToString(key) + "\n")
	}
	return all, nil
}

// Files renders the configuration files, by name, for a company whose directory is dir.
func Files(dir string, o Options) (map[string][]byte, error) {
	if len(o.Interfaces) == 0 {
		o.Interfaces = []string{"eth0", "eth1"}
	}
	parsed, err := template.ParseFS(templates, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("company: %w", err)
	}
	all := map[string][]byte{}
	for _, t := range parsed.Templates() {
		var out bytes.Buffer
		if err := t.Execute(&out, struct {
			Options
			Dir    string
			Vendor int
		}{o, dir, Vendor}); err != nil {
			return nil, fmt.Errorf("company: %w", err)
		}
		all[t.Name()] = out.Bytes()
	}
	return all, nil
}

// WriteFiles writes fresh keys and the configuration files into the directory.
func WriteFiles(dir string, o Options) error {
	keys, err := Secrets()
	if err != nil {
		return err
	}
	all, err := Files(dir, o)
	if err != nil {
		return err
	}
	maps.Copy(all, keys)
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("company: %w", err)
		}
	}
	return nil
}
