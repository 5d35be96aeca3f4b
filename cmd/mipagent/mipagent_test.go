package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// examples copies the example files and makes the keys that they name.
func examples(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := pkitest.NewRoot("company", time.Now(), pkitest.P256)
	own := ca.Issue(pkitest.P256, []string{"gateway.corp.example"})
	for name, text := range map[string][]byte{"company-ca.pem": pkitest.PEM(ca.Certificate), "etcd-ca.pem": pkitest.PEM(ca.Certificate),
		"agent.pem": pkitest.PEM(own.Certificate), "agent.key": pkitest.KeyPEM(own.Key), "etcd.password": []byte("secret\n"), "gateway.pem": pkitest.PEM(own.Certificate), "gateway.key": pkitest.KeyPEM(own.Key),
		"alice.password": []byte("secret\n"), "bob.hash": []byte("44ebba8d5312b8d611474411f56989ae\n"), "radius.secret": []byte("the shared secret\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, dir, 0o600, map[string]string{"nodes.d/more.toml": nodeText("10.0.8.109", 1009, "key = \""+aKey+"\"")})
	for _, name := range []string{"internal.key", "external.key", "foreign-agent.key", "visitor.key", "gateway.psk", "gateway.ppk", "gateway.crash"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("00112233445566778899aabb\nccddeeff\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mipagent runs the command line and returns what it printed.
func mipagent(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// The files in configs are right as they stand, and also with every line that is commented out as a default.
func TestExamples(t *testing.T) {
	for _, name := range []string{"internal-home-agent", "external-home-agent", "home-agent-cluster", "foreign-agent", "gateway", "gateway-agent", "gateway-users", "gateway-radius"} {
		dir := examples(t)
		path := filepath.Join(dir, name+".toml")
		if code, _, stderr := mipagent(t, "check", path); code != exitDone {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// "# key = value" and "# [table]" are settings; other comments have no such form.
		var all []string
		for _, line := range strings.Split(string(data), "\n") {
			if bare, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(bare, "[") || strings.Contains(strings.SplitN(bare, " ", 3)[min(1, strings.Count(bare, " "))], "=")) {
				line = bare
			}
			all = append(all, line)
		}
		if err := os.WriteFile(path, []byte("\ufeff"+strings.Join(all, "\r\n")), 0o600); err != nil { // as editors on Windows write it
			t.Fatal(err)
		}
		if code, _, stderr := mipagent(t, "check", path); code != exitDone {
			t.Errorf("%s with all its settings: exit code %d: %s", name, code, stderr)
		}
	}
}

// TestExamplesNameEveryKey holds the program to its word: an unknown key is answered with a hint to these files.
func TestExamplesNameEveryKey(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	words := make(map[string]bool)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range strings.FieldsFunc(string(data), func(r rune) bool { return strings.ContainsRune(" \n[].#", r) }) {
			words[w] = true
		}
	}
	known := 0
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := f.Tag.Get("toml")
			if key != "" {
				if known++; !words[key] {
					t.Errorf("no example has the key %s of %v", key, typ)
				}
			}
			if key != "" || f.Anonymous {
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[configuration]())
	if known < 100 {
		t.Errorf("%d keys were looked for, expected those of all tables", known)
	}
}

// Bad input ends in a message that names file, line and what would be right.
func TestBadConfiguration(t *testing.T) {
	for _, c := range []struct{ name, file, old, new, want string }{
		{"unknown key", "internal-home-agent", "spi = 1001", "spy = 1001", "unknown key home_agent.internal.mobile_node.spy"},
		{"unknown role", "foreign-agent", "[foreign_agent]", "[foreign_agents]", "unknown key foreign_agents"},
		{"bad address", "internal-home-agent", `"10.0.1.10"`, `"10.0.1.300"`, "internal-home-agent.toml:7: home_agent.internal.address"},
		{"bad duration", "internal-home-agent", "# max_lifetime = \"30m\" ", "max_lifetime = \"30\" ", `valid is a duration such as "30s"`},
		{"not TOML", "gateway", "[gateway]", "[gateway", "gateway.toml:5: "},
		{"schema", "gateway", "schema = 1", "schema = 2", "schema = 1"},
		{"weak key", "internal-home-agent", "hmac-md5\" ", "keyed-md5\"", "too weak for an internal home agent"},
		{"algorithm", "internal-home-agent", "\"hmac-md5\" ", "\"md5\"", "[hmac-md5 keyed-md5 hmac-sha1 hmac-sha256]"},
		{"reserved SPI", "internal-home-agent", "spi = 1001", "spi = 255", "SPI 255 is reserved"},
		{"no trust", "internal-home-agent", "trusted_networks =", "refused_networks =", "internal-home-agent.toml:5: [home_agent.internal]: trusted_networks is missing"},
		{"no etcd", "home-agent-cluster", "etcd = [", "# etcd = [", "home-agent-cluster.toml:6: [home_agent.internal]: cluster: etcdstore: unusable configuration: no endpoints"},
		{"etcd without a scheme", "home-agent-cluster", "\"https://10.0.1.31:2379\"", "\"10.0.1.31:2379\"", "expected a URL"},
		{"announced nowhere", "home-agent-cluster", "interface = \"eth0\"", "", "cluster: interface is missing"},
		{"impatient", "home-agent-cluster", "# ttl = \"5s\" ", "ttl = \"1s\"", "time to live 1s: expected 2s to 1m0s"},
		{"store and cluster", "home-agent-cluster", "trusted_networks", "store = \"a.db\"\ntrusted_networks", "store and cluster exclude each other"},
		{"home link and cluster", "home-agent-cluster", "trusted_networks", "home_link = \"eth0\"\ntrusted_networks", "cluster and home_link exclude each other"},
		{"certificate without key", "home-agent-cluster", "# certificate_file", "certificate_file", "certificate_file and key_file go together"},
		{"user without password", "home-agent-cluster", "# username", "username", "username and password_file go together"},
		{"authority", "home-agent-cluster", "# ca_file = \"etcd-ca.pem\"", "ca_file = \"etcd.password\"", "expected certificates in PEM"},
		{"no key file", "external-home-agent", "external.key", "other.key", "other.key"},
		{"home address elsewhere", "external-home-agent", "\"198.51.100.100\"", "\"203.0.113.1\"", "is in none of the home networks"},
		{"trust outside", "external-home-agent", "permitted_gateways = [\"192.0.2.10\"]", "trusted_networks = [\"10.0.0.0/8\"]", "trusted networks belong to an internal home agent"},
		{"switching inside", "internal-home-agent", "[home_agent.internal]", "[home_agent.internal]\nzero_overhead_vendor = 32473", "zero_overhead_vendor belongs to an external home agent"},
		{"switching without a gateway", "external-home-agent", "permitted_gateways = [\"192.0.2.10\"]", "zero_overhead_vendor = 32473", "needs both a vendor number, found 32473, and default destinations"},
		{"switching to another gateway", "external-home-agent", "# zero_overhead_vendor = 32473", "zero_overhead_vendor = 32473\nzero_overhead_gateways = [\"192.0.2.11\"]", "none of the permitted gateways"},
		{"switching to itself", "external-home-agent", "# zero_overhead_vendor = 32473", "zero_overhead_vendor = 32473\nzero_overhead_gateways = [\"192.0.2.20\"]", "not the home agent's own"},
		{"a vendor of 25 bits", "external-home-agent", "# zero_overhead_vendor = 32473", "zero_overhead_vendor = 16777216", "expected 1 to 16777215"},
		{"interface", "foreign-agent", "interface = \"visit0\"", "", "interface is missing"},
		{"interval", "foreign-agent", "# interval = \"1s\"", "interval = \"2s\"", "a third of the lifetime"},
		{"no way to move", "gateway", "# mobike = true ", "mobike = false\nrequire_mobike = true #", "require_mobike: clients could not move at all"},
		{"no peer", "gateway", "[[gateway.peer]]", "[[gateway.poor]]", "unknown key gateway.poor"},
		{"no networks", "gateway", "networks = [\"10.0.0.0/16\"]", "networks = []", "no networks are given"},
		{"agent without home agents", "gateway-agent", "permitted_home_agents = [\"10.0.1.10/32\"]", "", "want the home agents that are permitted"},
		{"agent at the outer address", "gateway-agent", "care_of_address = \"10.0.1.30\"", "care_of_address = \"192.0.2.10\"", "care-of address other than the outer ones"},
		{"agent without care-of address", "gateway-agent", "care_of_address = \"10.0.1.30\"", "", "expected a unicast IPv4 address"},
		{"agent with a home address of the pool", "gateway-agent", "10.0.8.100", "10.0.9.100", "no inner address of this gateway's"},
		{"agent for nobody", "gateway-agent", "identity = \"laptop@corp.example\"\nhome", "identity = \"\"\nhome", "want an address"},
		{"agent's extensions", "gateway-agent", "# extensions = \"\"", "extensions = \"c802\"", "type, length and data of each"},
		{"agent's extensions in letters", "gateway-agent", "# extensions = \"\"", "extensions = \"xx\"", "hexadecimal digits"},
		{"agent's key", "gateway-agent", "# spi = 4001", "spi = 4001", "key_file of SPI 4001"},
		{"no rule", "gateway", "[[gateway.peer]]\nidentity = \"laptop@corp.example\"\npsk_file = \"gateway.psk\"", "", "no [[gateway.rule]]"},
		{"proof", "gateway-users", "proofs = [\"eap\"]", "proofs = [\"pin\"]", `rule 2: proofs: found "pin", valid are ["certificate" "eap"]`},
		{"order of proofs", "gateway-users", "proofs = [\"eap\"]", "proofs = [\"eap\", \"certificate\"]", "first a certificate and then EAP"},
		{"policy", "gateway-users", "policy = \"staff\" ", "policy = \"stuff\" ", `there is no policy "stuff"`},
		{"password", "gateway-users", "alice.password", "carol.password", "user alice@corp.example: password_file"},
		{"hash", "gateway-users", "bob.hash", "alice.password", "32 hexadecimal digits"},
		{"method", "gateway-users", "methods = [\"mschapv2\"]", "methods = [\"md5\"]", "eap: methods: found \"md5\""},
		{"anchors", "gateway-users", "company-ca.pem", "alice.password", "trust: anchors"},
		{"revocation", "gateway-users", "# revocation = \"soft\"", "revocation = \"maybe\"", "trust: revocation: found \"maybe\""},
		{"key of another", "gateway-users", "file = \"gateway.pem\"", "file = \"company-ca.pem\"", "certificate: "},
		{"users here and there", "gateway-radius", "[gateway.radius]", "[[gateway.user]]\nname = \"bob\"\n[gateway.radius]", "want users here or at RADIUS servers"},
		{"secret", "gateway-radius", "radius.secret", "other.secret", "secret_file"},
		{"server twice", "gateway-radius", "10.0.0.21:1812", "10.0.0.20:1812", "is there twice"},
		{"identity", "gateway", "identity = \"gateway.corp.example\"", "identity = \"\"", "want an address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(examples(t), c.file+".toml")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), c.old) {
				t.Fatalf("the example has no %q", c.old)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), c.old, c.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := mipagent(t, "check", path)
			before, _, _ := strings.Cut(string(data), c.old)
			want := strings.Replace(c.want, "LINE", strconv.Itoa(1+strings.Count(before, "\n")), 1)
			if code != exitFailed || !strings.Contains(stderr, want) {
				t.Errorf("exit code %d, message\n%swant %q in it", code, stderr, want)
			}
			if _, _, other := mipagent(t, "run", "--config", path); other != stderr {
				t.Errorf("run says\n%scheck says\n%s", other, stderr)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	dir := examples(t)
	path := filepath.Join(dir, "internal-home-agent.toml")
	key := filepath.Join(dir, "internal.key")
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"0011223344556677 8899aabbccddeeff\n", 0o644, "open to others"},
		{"0011223344556677 8899aabbccddeef\n", 0o600, "hexadecimal"},
		{"secret-words-here", 0o600, "hexadecimal"},
		{"00112233", 0o600, "too weak"},
		{"", 0o600, "a key of 0 octets"},
	} {
		if err := errors.Join(os.Remove(key), os.WriteFile(key, []byte(c.text), c.mode)); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := mipagent(t, "check", path)
		if code != exitFailed || !strings.Contains(stderr, c.want) {
			t.Errorf("key %q: exit code %d, %s", c.text, code, stderr)
		}
		if len(c.text) > 0 && strings.Contains(stderr, strings.TrimSpace(c.text)) {
			t.Errorf("the message shows the key: %s", stderr)
		}
	}
}

func TestPresharedKey(t *testing.T) {
	dir := t.TempDir()
	c := &configuration{dir: dir}
	for text, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", "sec\nret\n\n": "sec\nret\n", "0x414243\n": "ABC",
	} {
		if err := os.WriteFile(filepath.Join(dir, "psk"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := c.presharedKey("psk"); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "0x123", "0xzz"} {
		if err := os.WriteFile(filepath.Join(dir, "psk"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.presharedKey("psk"); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, exitDone, "mipagent "},
		{[]string{"--help"}, exitDone, "[home_agent.internal]"},
		{[]string{"check"}, exitUsage, "expected `mipagent check FILE`"},
		{[]string{"start"}, exitUsage, "unknown command"},
		{[]string{"chekc"}, exitUsage, "did you mean `mipagent check`?"},
		{[]string{"--frob"}, exitUsage, "mipagent has no flag --frob"},
		{[]string{"--config", "/nowhere/mipagent.toml"}, exitFailed, "/nowhere/mipagent.toml: no such file or directory: --config names another file"},
		{[]string{"check", "/dev/zero"}, exitFailed, "/dev/zero is longer than the 1048576 octets that are read"},
		{[]string{"sessions", "--socket", "/nowhere/mipagent.sock"}, exitFailed, "no answer on /nowhere/mipagent.sock: dial unix /nowhere/mipagent.sock: connect: no such file or directory: is `mipagent run` running?"},
		{[]string{"sessions", "--socket", ""}, exitFailed, "--socket is empty"},
	} {
		code, stdout, stderr := mipagent(t, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit code %d, %s%s", c.args, code, stdout, stderr)
		}
	}
}

// lab returns a maker of hosts for the roles, in their order.
func lab(hosts ...link.Host) hostMaker {
	return func(place int) (link.Host, func() error, error) {
		return hosts[place], func() error { return nil }, nil
	}
}

// Shows: AGT-7 (several roles in one process; a role that cannot start takes the others back).
func TestRunRoles(t *testing.T) {
	dir := examples(t)
	var both strings.Builder
	both.WriteString("schema = 1\n[control]\nsocket = \"\"\n")
	for _, name := range []string{"internal-home-agent", "external-home-agent", "gateway"} {
		data, err := os.ReadFile(filepath.Join(dir, name+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		both.WriteString(strings.Replace(string(data), "schema = 1", "", 1))
	}
	path := filepath.Join(dir, "all.toml")
	if err := os.WriteFile(path, []byte(both.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.roles()) != 3 {
		t.Fatalf("%d roles, want 3", len(cfg.roles()))
	}
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(1)
		defer l.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- runRoles(ctx, cfg, lab(l.InternalHA, l.ExternalHA, l.Gateway), nil, zap.NewNop()) }()
		time.Sleep(time.Second)
		select {
		case err := <-ended:
			t.Fatalf("ended by itself: %v", err)
		default:
		}
		// Each has its port: nobody else can have it.
		for _, x := range []struct {
			host *simnet.Host
			at   netip.AddrPort
		}{
			{l.InternalHA, netip.AddrPortFrom(simnet.LabInternalHA, 434)},
			{l.ExternalHA, netip.AddrPortFrom(simnet.LabExternalHA, 434)},
			{l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 500)},
		} {
			if _, err := x.host.ListenUDP(x.at); err == nil {
				t.Errorf("%v is free", x.at)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if c, err := l.InternalHA.ListenUDP(netip.AddrPortFrom(simnet.LabInternalHA, 434)); err != nil {
			t.Errorf("after the end: %v", err)
		} else {
			c.Close()
		}

		err := runRoles(t.Context(), cfg, lab(l.InternalHA, l.Correspondent, l.Gateway), nil, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), "[home_agent.external]") {
			t.Errorf("error %v, want one of [home_agent.external], whose address is not there", err)
		}
		failing := func(int) (link.Host, func() error, error) { return nil, nil, fmt.Errorf("no kernel") }
		if err := runRoles(t.Context(), cfg, failing, nil, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "no kernel") {
			t.Errorf("error %v", err)
		}
	})
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	log, err := newLog(logTable{Level: "warn", Format: "json"}, &b)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud")
	if s := b.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"msg":"loud"`) {
		t.Errorf("log %q", s)
	}
	for _, bad := range []logTable{{Level: "noisy"}, {Format: "xml"}} {
		if _, err := newLog(bad, &b); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
