package company

import (
	"crypto/rand"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	// StrongSwan makes charon the VPN gateway instead of mipagent.
	StrongSwan bool
}

// Files of a company's directory that others name.
const (
	ClientConfig = "mipvpn.toml"
	Socket       = "mipvpn.sock"
	gatewayPSK   = "gateway.psk"
)

// secrets are the files of keys, shared by the two ends of each association.
var secrets = []string{"internal.key", "external.key", gatewayPSK}

// secretLen is the length of keys in octets.
const secretLen = 32

//go:embed templates
var templates embed.FS

// WriteFiles writes fresh keys and the configuration files into the directory.
func WriteFiles(dir string, o Options) error {
	for _, name := range secrets {
		key := make([]byte, secretLen)
		if _, err := rand.Read(key); err != nil {
			return fmt.Errorf("company: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
			return fmt.Errorf("company: %w", err)
		}
	}
	all, err := template.ParseFS(templates, "templates/*")
	if err != nil {
		return fmt.Errorf("company: %w", err)
	}
	for _, t := range all.Templates() {
		var out strings.Builder
		if err := t.Execute(&out, struct {
			Options
			Dir string
		}{o, dir}); err != nil {
			return fmt.Errorf("company: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, t.Name()), []byte(out.String()), 0o600); err != nil {
			return fmt.Errorf("company: %w", err)
		}
	}
	return nil
}
