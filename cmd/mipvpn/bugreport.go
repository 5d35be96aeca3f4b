package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/control"
)

const (
	// reportTime bounds how long one part of a report may take.
	reportTime = 30 * time.Second
	// reportPart is the greatest length of one part in octets; of a longer one the end is kept.
	reportPart = 4 << 20
)

// reportPrograms are the programs of the system whose output goes into a report, by the part's name.
var reportPrograms = []struct {
	name string
	args []string
}{
	{"log.txt", []string{"journalctl", "--unit=mipvpn.service", "--unit=mipvpn-firewall.service", "--no-hostname", "--no-pager", "--output=short-iso", "--lines=5000"}},
	{"addresses.txt", []string{"ip", "-details", "address"}},
	{"routes.txt", []string{"ip", "route", "show", "table", "all"}},
	{"routes6.txt", []string{"ip", "-6", "route", "show", "table", "all"}},
	{"rules.txt", []string{"ip", "rule"}},
	{"system.txt", []string{"uname", "-srvm"}},
	{"distribution.txt", []string{"cat", "/etc/os-release"}},
}

func (a *app) bugreport() *cobra.Command {
	c := &cobra.Command{
		Use: "bugreport [FILE]", Short: "Write an archive for a bug report, without secrets and addresses", Args: cobra.MaximumNArgs(1),
		Long: "Write what helps to find a fault into an archive (.tar.gz): version, state, detection, the doctor's findings, the\nkill switch, the configuration, the end of the log, and the system's addresses, routes and rules. Secrets are\nnot in it. Addresses, names and identities are replaced, each by the same word everywhere; look at it before you send\nit all the same. FILE is mipvpn-bugreport-TIME.tar.gz unless given; - is standard output. Run it as root for all of it.",
	}
	file := c.Flags().String("config", config.DefaultPath, "configuration file")
	plain := c.Flags().Bool("show-addresses", false, "leave addresses, names and identities as they are")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		parts := a.reportParts(cmd.Context(), *file)
		if !*plain {
			blank(parts)
		}
		archive, err := pack(parts, time.Now())
		if err != nil {
			return failed(err)
		}
		name := "mipvpn-bugreport-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
		if len(args) == 1 {
			name = args[0]
		}
		if name == "-" {
			_, err := a.out.Write(archive)
			return failed(err)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return failed(fmt.Errorf("%s is there already: give another name", name))
		}
		if err != nil {
			return failed(err)
		}
		if _, err := f.Write(archive); err != nil {
			return failed(errors.Join(err, f.Close()))
		}
		if err := f.Close(); err != nil {
			return failed(err)
		}
		_, err = fmt.Fprintf(a.out, "%s has been written: look at it before you send it\n", name)
		return failed(err)
	}
	return c
}

// part is one file of a report.
type part struct {
	name string
	data []byte
}

// reportParts asks everybody. What cannot be had is in the report as that.
func (a *app) reportParts(ctx context.Context, file string) []part {
	base := file
	var parts []part
	if path, err := a.chosen(file); err == nil {
		file = path
	}
	for _, p := range []struct {
		name string
		args []string
	}{
		{"version.json", []string{"version", "--json"}},
		{"status.json", []string{"status", "--json"}},
		{"detect.json", []string{"detect", "--json"}},
		{"doctor.json", []string{"doctor", "--json", "--config", base}},
		{"config-check.txt", []string{"config", "check", file}},
	} {
		parts = append(parts, part{p.name, a.own(ctx, p.args)})
	}
	if a.line != nil {
		parts = append(parts, part{"firewall.txt", a.own(ctx, []string{"firewall", "show"})})
	}
	for _, p := range reportPrograms {
		parts = append(parts, part{p.name, other(ctx, p.args)})
	}
	data, err := os.ReadFile(file)
	text := configurationText(data)
	if err != nil {
		text = []byte("not to be had: " + err.Error() + "\n")
	}
	return append(parts, part{"mipvpn.toml", text})
}

// own runs one of this program's commands and returns what it writes, errors behind.
func (a *app) own(ctx context.Context, args []string) []byte {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	var out, complaint bytes.Buffer
	t := a.terminal
	t.out, t.err, t.prompt = &out, &complaint, nil
	if code := run(ctx, append([]string{"--socket", a.socket}, args...), t); code != exitDone {
		fmt.Fprintf(&complaint, "exit code %d\n", code)
	}
	return append(out.Bytes(), complaint.Bytes()...)
}

// other runs a program of the system.
func other(ctx context.Context, args []string) []byte {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = fmt.Appendf(out, "%s: %v\n", strings.Join(args, " "), err)
	}
	return out
}

// kept are the ends of keys whose values a report must not have, whatever a person has written there.
var kept = []string{"psk", "key", "secret", "password", "pin", "passphrase", "command"}

// configurationText returns the configuration without comments and without what might be a secret.
func configurationText(data []byte) []byte {
	var doc map[string]any
	if err := toml.Unmarshal(data, &doc); err != nil {
		return []byte("it is no TOML and is kept back: " + strings.SplitN(err.Error(), "\n", 2)[0] + "\n")
	}
	keepBack(doc)
	out, err := toml.Marshal(doc)
	if err != nil {
		return []byte("it cannot be written: " + err.Error() + "\n")
	}
	return out
}

func keepBack(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if secretKey(k) {
				v[k] = "(kept back)"
				continue
			}
			keepBack(inner)
		}
	case []any:
		for _, inner := range v {
			keepBack(inner)
		}
	}
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	for _, k := range kept {
		if strings.HasSuffix(key, k) {
			return true
		}
	}
	return false
}

// blank replaces addresses, names and identities in all parts.
func blank(parts []part) {
	b := newBlanker()
	if host, err := os.Hostname(); err == nil {
		b.learn(host)
	}
	for _, p := range parts {
		switch p.name {
		case "mipvpn.toml":
			var doc map[string]any
			if toml.Unmarshal(p.data, &doc) == nil {
				learnNames(b, "", doc)
			}
		case "status.json":
			var s control.Status
			if json.Unmarshal(p.data, &s) == nil {
				learnStatus(b, s)
			}
		}
	}
	for i, p := range parts {
		if p.name != "version.json" { // a revision looks like a key
			parts[i].data = []byte(b.text(string(tail(p.data))))
		}
	}
}

// nameKeys are the keys of the configuration, without their tables, whose values name somebody or something of the company's.
var nameKeys = []string{"address", "fallback", "local_identity", "remote_identity", "identity", "domains", "nai", "ppk_id", "user", "users", "groups", "name", "probe_url", "eap_identity",
	"eap_server", "inside_domains", "inside_nais"}

func learnNames(b *blanker, key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if k != "device" {
				learnNames(b, k, inner)
			}
		}
	case []any:
		for _, inner := range v {
			learnNames(b, key, inner)
		}
	case string:
		for _, k := range nameKeys {
			if k == key {
				b.learn(v)
			}
		}
	}
}

func learnStatus(b *blanker, s control.Status) {
	if v := s.VPN; v != nil {
		b.learn(v.GatewayIdentity)
		for _, d := range v.Domains {
			b.learn(d)
		}
	}
	if s.DNS != nil {
		for _, d := range s.DNS.Domains {
			b.learn(d)
		}
	}
}

// tail returns the end of what is too long, from a line's beginning.
func tail(data []byte) []byte {
	if len(data) <= reportPart {
		return data
	}
	data = data[len(data)-reportPart:]
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[i+1:]
	}
	return append([]byte("(the beginning was left out)\n"), data...)
}

// pack makes the archive, all files in one folder.
func pack(parts []part, now time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, p := range parts {
		h := &tar.Header{Name: path.Join("mipvpn-bugreport", p.name), Mode: 0o600, Size: int64(len(p.data)), ModTime: now.Truncate(time.Second), Typeflag: tar.TypeReg}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(t, bytes.NewReader(p.data)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
