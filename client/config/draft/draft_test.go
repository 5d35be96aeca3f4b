package draft

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mipvpn/client/config"
)

// full returns a draft that has all that is needed.
func full(t *testing.T) *Draft {
	t.Helper()
	d := &Draft{}
	for key, text := range map[string]string{
		"enterprise.prefixes": "10.0.0.0/16, 10.2.0.0/16", "internal_home_agent.address": "10.0.1.10", "internal_home_agent.home_address": "10.0.8.100",
		"internal_home_agent.spi": "1001", "internal_home_agent.key_file": "i-ha.key", "gateway.address": "gw.corp.example",
		"gateway.local_identity": `"quoted" \ laptop@corp.example`, "gateway.remote_identity": "gw.corp.example", "gateway.psk_file": "gateway.psk", "up_at_start": "yes",
	} {
		if err := d.SetText(key, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetTOML("detection.t_monitor", `"90s"`); err != nil {
		t.Fatal(err)
	}
	d.Add(File{Name: "i-ha.key", Data: []byte("000102030405060708090a0b0c0d0e0f\n"), Secret: true})
	d.Add(File{Name: "gateway.psk", Data: []byte("an older key"), Secret: true})
	d.Add(File{Name: "gateway.psk", Data: []byte("correct horse battery staple\n"), Secret: true})
	return d
}

// What is set is what config.Parse reads, with the comments of the reference around it.
func TestTOML(t *testing.T) {
	d := full(t)
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	text := d.TOML()
	c, err := config.Parse("f", text, func(string) ([]byte, error) { return []byte("000102030405060708090a0b0c0d0e0f"), nil })
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !c.UpAtStart || len(c.Enterprise.Prefixes) != 2 || c.Internal.SPI != 1001 || c.Gateway.Name != "gw.corp.example" ||
		c.Gateway.LocalIdentity != `"quoted" \ laptop@corp.example` || c.Detection.Monitor.String() != "1m30s" || c.HasExternal() {
		t.Errorf("%+v of\n%s", c, text)
	}
	if lines := strings.Split(string(text), "\n"); lines[0] != config.SchemaLine || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "# IKE identity of the laptop") }) {
		t.Errorf("%s", text)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") && len(line) > 150 {
			t.Errorf("%d octets in %q", len(line), line)
		}
	}
	if part := string(d.Part("gateway")); !strings.HasPrefix(part, "# The VPN gateway.\n[gateway]\n") || strings.Contains(part, "[enterprise]") {
		t.Errorf("%s", part)
	}
}

// The files of several configurations get names of their own, also where values name them.
func TestPrefix(t *testing.T) {
	d := full(t)
	for key, value := range map[string]any{"authentication.password": "file:eap.password", "authentication.pin": "file:elsewhere", "trust.anchors": []string{"ca.pem", "/etc/ssl/x.pem"}} {
		if err := d.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	d.Add(File{Name: "eap.password", Secret: true})
	d.Add(File{Name: "ca.pem"})
	d.Prefix(PrefixOf("/etc/mipvpn/profiles.d/home.toml"))
	for key, want := range map[string]string{"gateway.psk_file": "home.gateway.psk", "authentication.password": "file:home.eap.password", "authentication.pin": "file:elsewhere", "gateway.address": "gw.corp.example"} {
		if got := d.Text(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if got := d.Texts("trust.anchors"); !slices.Equal(got, []string{"home.ca.pem", "/etc/ssl/x.pem"}) || d.Files()[0].Name != "home.i-ha.key" {
		t.Errorf("%v", got)
	}
	if got := PrefixOf("x/mipvpn.toml"); got != "" {
		t.Error(got)
	}
}

// Values are refused at once, as a configuration with them would be.
func TestSet(t *testing.T) {
	d := &Draft{}
	for _, bad := range []struct{ key, text, want string }{
		{"gateway.adress", "192.0.2.1", `did you mean "gateway.address"`},
		{"internal_home_agent.spi", "12x", `found the text "12x"`},
		{"internal_home_agent.spi", "12", "found the number 12"},
		{"enterprise.prefixes", "10.0.0.1/8", "has bits behind its length"},
		{"enterprise.prefixes", "", "found an empty list"},
		{"up_at_start", "perhaps", "valid is true or false"},
	} {
		if err := d.SetText(bad.key, bad.text); err == nil || !strings.Contains(err.Error(), bad.want) || d.Has(bad.key) {
			t.Errorf("%s = %s: %v, want %q", bad.key, bad.text, err, bad.want)
		}
	}
	for _, bad := range []struct{ key, value string }{{"device.mtu", "x"}, {"device.mtu", "1280\n[gateway]"}, {"device.mtu", "1280\ny = 1"}, {"device.mtu", `"1280"`}, {"none", "1"}} {
		if err := d.SetTOML(bad.key, bad.value); err == nil || d.Has(bad.key) {
			t.Errorf("%s = %s: %v", bad.key, bad.value, err)
		}
	}
	if err := d.SetTOML("interfaces.use", `["eth0"]`); err != nil || !d.HasTable("interfaces") || !slices.Equal(d.Texts("interfaces.use"), []string{"eth0"}) {
		t.Errorf("%v, %+v", err, d)
	}
	o := &Draft{}
	o.Merge(d)
	if o.Unset("interfaces.use"); o.HasTable("interfaces") || !d.Has("interfaces.use") {
		t.Error("a merged draft is the same as the other")
	}
	if err := d.Check(); err == nil || !strings.Contains(err.Error(), "gateway.address: missing") {
		t.Errorf("%v", err)
	}
}

// What is installed has its modes and can be loaded; nothing that is there is overwritten, and a failure leaves nothing behind.
func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc", "mipvpn")
	path := filepath.Join(dir, "mipvpn.toml")
	install := func(d *Draft, force bool) error {
		t.Helper()
		s, err := NewStage(path, force)
		if err != nil {
			return err
		}
		_, err = s.Install(d, nil)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return err
	}
	names := func() string {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return strings.Join(all, " ")
	}
	bad := full(t)
	bad.Add(File{Name: "i-ha.key", Data: []byte("0011"), Secret: true})
	var errs config.Errors
	if err := install(bad, false); !errors.As(err, &errs) || errs[0].File != path || names() != "" {
		t.Errorf("%v, and there is %q", err, names())
	}
	for _, name := range []string{"../x", ".x", "mipvpn.toml", "a/b"} {
		bad := full(t)
		bad.Add(File{Name: name})
		if err := install(bad, false); err == nil || names() != "" {
			t.Errorf("%q: %v, and there is %q", name, err, names())
		}
	}
	if err := install(full(t), false); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Gateway.PSK) != "correct horse battery staple" {
		t.Error("another pre-shared key")
	}
	for name, want := range map[string]fs.FileMode{"mipvpn.toml": 0o644, "i-ha.key": 0o600, "gateway.psk": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := install(full(t), false); !errors.Is(err, ErrExists) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := install(full(t), false); !errors.Is(err, ErrExists) || names() != "gateway.psk i-ha.key" {
		t.Errorf("%v, and there is %q", err, names())
	}
	less := full(t) // with the keys that are there
	less.files = nil
	if err := install(less, false); err != nil {
		t.Error(err)
	}
	other := full(t)
	other.Add(File{Name: "gateway.psk", Data: []byte("another horse, another staple"), Secret: true})
	if err := install(other, true); err != nil || names() != "gateway.psk i-ha.key mipvpn.toml" {
		t.Errorf("%v, and there is %q", err, names())
	}
	if c, err := config.Load(path); err != nil || string(c.Gateway.PSK) != "another horse, another staple" {
		t.Errorf("%v", err)
	}
	other.Wipe()
	if strings.Contains(string(other.Files()[1].Data), "horse") {
		t.Error("a secret is still there")
	}
}

// What stands in the way of the folder shows before anything is asked.
func TestNewStageRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStage(filepath.Join(file, "mipvpn.toml"), false); err == nil {
		t.Error("a file is no folder")
	}
}

// FuzzSetText shows that what was accepted is written so that it is read again.
func FuzzSetText(f *testing.F) {
	f.Add("gateway.local_identity", "a\"\\\x7fb")
	f.Add("enterprise.prefixes", "10.0.0.0/8,10.0.0.0/9")
	f.Add("interfaces.use", "eth0 \u00e4")
	f.Fuzz(func(t *testing.T, key, text string) {
		d := &Draft{}
		if d.SetText(key, text) != nil {
			return
		}
		var errs config.Errors
		if err := d.Check(); errors.As(err, &errs) {
			for _, e := range errs {
				if e.Key == key && strings.HasPrefix(e.Message, "missing") || e.Key == "" {
					t.Errorf("%s set to %q: %v in\n%s", key, text, e, d.TOML())
				}
			}
		}
	})
}
