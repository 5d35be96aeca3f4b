package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/permission"
	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/detect/location"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

const (
	errorsDocument = "../../docs/errors.md"
	adviceSource   = "../../client/vpn/ipsec/advice.go"
)

// TestErrorsDocument keeps the tables of docs/errors.md as the code has them.
func TestErrorsDocument(t *testing.T) {
	text, err := os.ReadFile(errorsDocument)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for name, table := range map[string]string{
		"config": configTable(t), "registration": registrationTable(t), "notify": notifyTable(t), "ike": ikeTable(t), "certificates": certificateTable(), "exit": exitTable(),
	} {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		i, j := strings.Index(doc, begin), strings.Index(doc, end)
		if i < 0 || j < i {
			t.Fatalf("%s: no markers for %q", errorsDocument, name)
		}
		i += len(begin)
		if *update {
			doc = doc[:i] + table + doc[j:]
		} else if doc[i:j] != table {
			t.Errorf("%s: the table %q has\n%s\nand the code\n%s", errorsDocument, name, doc[i:j], table)
		}
	}
	if *update {
		if err := os.WriteFile(errorsDocument, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	glance := doc[strings.Index(doc, "## At a glance"):strings.Index(doc, "## Configuration")]
	for _, code := range []string{wire.CodeMobileNodeAuthentication.String(), wire.CodeIdentificationMismatch.String(),
		location.AlarmNoTNC.String(), location.AlarmReachableOutside.String(), message.AuthenticationFailed.String(), message.NoProposalChosen.String()} {
		if !strings.Contains(glance, "| "+code+" |") {
			t.Errorf("%s: no line of the first table has the code %s", errorsDocument, code)
		}
	}
}

// configTable has a message for each kind of error in a configuration, as the loader gives it.
func configTable(t *testing.T) string {
	t.Helper()
	cases := []struct{ what, from, to string }{
		{"unknown key", "spi = 256", "spi = 256\nhome_addres = \"10.0.8.1\""},
		{"unknown table", "[gateway]", "[gatewy]\n[gateway]"},
		{"missing key", "spi = 256\n", ""},
		{"value of the wrong type", "spi = 256", `spi = "256"`},
		{"value out of range", "spi = 256", "spi = 255"},
		{"not an address", `"10.0.1.10"`, `"i-ha.example.com"`},
		{"bits behind the prefix", `"10.0.0.0/16"`, `"10.0.1.0/16"`},
		{"duration without unit", "[gateway]", "[detection]\nt_monitor = 60\n[gateway]"},
		{"T_MONITOR too short", "[gateway]", "[detection]\nt_monitor = \"4s\"\n[gateway]"},
		{"secret open to others", `"psk"`, `"open"`},
		{"i-HA key too short", `"key"`, `"short"`},
		{"not TOML", "[gateway]", "[gateway"},
		{"version of the file", "schema = 1", "schema = 2"},
	}
	var b strings.Builder
	b.WriteString("| what is wrong | message |\n| --- | --- |\n")
	for _, c := range cases {
		text := strings.Replace(configuration, c.from, c.to, 1)
		if text == configuration {
			t.Fatalf("%s: %q is not in the configuration", c.what, c.from)
		}
		_, err := config.Parse("mipvpn.toml", []byte(text), func(path string) ([]byte, error) {
			switch path {
			case "short":
				return []byte("0011223344"), nil
			case "open":
				return nil, fmt.Errorf("%w: open has mode 0644 (chmod 600 open mends it)", permission.ErrOthers)
			}
			return []byte("000102030405060708090a0b0c0d0e0f"), nil
		})
		if err == nil {
			t.Fatalf("%s was accepted", c.what)
		}
		fmt.Fprintf(&b, "| %s | `%s` |\n", c.what, strings.ReplaceAll(err.Error(), "\n", "`<br>`"))
	}
	return b.String()
}

// registrationTable has, for each code that denies, what a registration machine says and does.
func registrationTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| code | by | then | what it means or what to do |\n| --- | --- | --- | --- |\n")
	for n := 64; n < 256; n++ {
		code := wire.Code(n)
		if strings.Contains(code.String(), "not assigned") {
			continue
		}
		refused := deny(t, code)
		reason, then, by := refused.Err.(*mobilenode.RegistrationError).Advice, "gives up", "home agent"
		if refused.Retrying {
			then = "asks again"
		}
		if refused.ByForeignAgent {
			by = "foreign agent"
		}
		if reason == "" {
			reason = "see the agent's log"
		}
		fmt.Fprintf(&b, "| %v | %s | %s | %s |\n", code, by, then, reason)
	}
	return b.String()
}

// deny has a registration machine denied with the code and returns what it says.
func deny(t *testing.T, code wire.Code) mobilenode.Refused {
	t.Helper()
	key, err := auth.New(auth.Parameters{SPI: 256, Key: bytes.Repeat([]byte{1}, 16)})
	if err != nil {
		t.Fatal(err)
	}
	home := netip.MustParseAddr("10.0.1.10")
	c := mobilenode.Config{HomeAgent: home, HomeAddress: netip.MustParseAddr("10.0.8.100"), CareOfAddress: netip.MustParseAddr("10.0.3.1"),
		Association: key, ReverseTunnel: code != wire.CodeReverseTunnelMandatory && code != wire.CodeFAReverseTunnelMandatory}
	if code.ByForeignAgent() || code == wire.CodeInvalidHomeAgentAddress {
		c.ForeignAgent = netip.MustParseAddr("10.0.3.1")
	}
	m, err := mobilenode.NewMachine(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := link.Instant{Boot: time.Hour, Wall: time.Unix(1_700_000_000, 0)}
	m.Register(now)
	out, ok := m.PollTransmit()
	if !ok {
		t.Fatal("no request")
	}
	request, err := wire.ParseRegistrationRequest(out.Payload)
	if err != nil {
		t.Fatal(err)
	}
	reply := request.Reply(code, 600)
	if code == wire.CodeUnknownHomeAgent {
		reply.HomeAgent = netip.MustParseAddr("10.0.1.11")
	}
	payload, err := reply.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.ForeignAgent.IsValid() {
		payload = key.AppendExtension(payload, wire.ExtMobileHomeAuthentication)
	}
	if err := m.HandleReply(now, payload); err != nil {
		t.Fatalf("code %v: %v", code, err)
	}
	e, _ := m.PollEvent()
	refused, ok := e.(mobilenode.Refused)
	if !ok || refused.Code != code {
		t.Fatalf("code %v: %T %+v", code, e, e)
	}
	return refused
}

// notifyTable has the client's advice for each notify.
func notifyTable(t *testing.T) string {
	t.Helper()
	advice := literals(t, "notifyAdvice")
	var b strings.Builder
	b.WriteString("| notify | what to do |\n| --- | --- |\n")
	found := 0
	for n := range message.NotifyType(16384) {
		name := strings.ToLower(strings.ReplaceAll(n.String(), "_", ""))
		for key, text := range advice {
			if strings.ToLower(strings.TrimPrefix(key, "message.")) == name {
				fmt.Fprintf(&b, "| %d %v | %s |\n", n, n, text)
				found++
			}
		}
	}
	if found != len(advice) || found == 0 {
		t.Errorf("%d of the %d notifies in %s are known by name", found, len(advice), adviceSource)
	}
	return b.String()
}

// certificateTable has each reason for which a gateway's certificate is refused.
func certificateTable() string {
	var b strings.Builder
	b.WriteString("| code | what is wrong | what to do |\n| --- | --- | --- |\n")
	for _, f := range pki.Failures() {
		fmt.Fprintf(&b, "| %s | %v | %s |\n", f.Code(), f, f.Advice())
	}
	return b.String()
}

// ikeTable has the client's advice for each other failure.
func ikeTable(t *testing.T) string {
	t.Helper()
	causes := []struct {
		name string
		err  error
	}{
		{"ike.ErrNoAnswer", ike.ErrNoAnswer}, {"ike.ErrAuthentication", ike.ErrAuthentication}, {"ike.ErrIdentity", ike.ErrIdentity},
		{"ike.ErrConfiguration", ike.ErrConfiguration}, {"ike.ErrDeletedByPeer", ike.ErrDeletedByPeer}, {"ike.ErrExpired", ike.ErrExpired},
		{"ike.ErrOutOfSync", ike.ErrOutOfSync}, {"ike.ErrInvalidAnswer", ike.ErrInvalidAnswer},
		{"ike.ErrPPK", ike.ErrPPK}, {"ike.ErrOwnKey", ike.ErrOwnKey}, {"ike.ErrTrust", ike.ErrTrust}, {"ike.ErrWeakSignature", ike.ErrWeakSignature},
		{"ike.ErrSignatureScheme", ike.ErrSignatureScheme}, {"ike.ErrCertificates", ike.ErrCertificates}, {"ike.ErrTooManyFragments", ike.ErrTooManyFragments}, {"ike.ErrMethod", ike.ErrMethod},
		{"ike.ErrEarlySuccess", ike.ErrEarlySuccess}, {"ike.ErrNoKey", ike.ErrNoKey}, {"ike.ErrEAP", ike.ErrEAP}, {"ike.ErrRounds", ike.ErrRounds},
		{"eap.ErrPasswordWrong", eap.ErrPasswordWrong}, {"eap.ErrPasswordExpired", eap.ErrPasswordExpired}, {"eap.ErrAccount", eap.ErrAccount},
		{"eap.ErrServer", eap.ErrServer}, {"eap.ErrMethod", eap.ErrMethod}, {"eap.ErrTLS", eap.ErrTLS}, {"eap.ErrRejected", eap.ErrRejected},
		{"credential.ErrPassword", credential.ErrPassword}, {"credential.ErrNoPKCS11", credential.ErrNoPKCS11},
		{"credential.ErrMismatch", credential.ErrMismatch}, {"credential.ErrKey", credential.ErrKey},
		{"secret.ErrDeclined", secret.ErrDeclined}, {"secret.ErrSame", secret.ErrSame}, {"secret.ErrEmpty", secret.ErrEmpty},
		{"vpn.ErrBearerGone", vpn.ErrBearerGone},
	}
	advice := literals(t, "failureAdvice")
	var b strings.Builder
	b.WriteString("| message | what to do |\n| --- | --- |\n")
	found := 0
	for _, c := range causes {
		if text, ok := advice[c.name]; ok {
			fmt.Fprintf(&b, "| %v | %s |\n", c.err, text)
			found++
		}
	}
	if found != len(advice) || found == 0 {
		t.Errorf("%d of the %d failures in %s are known by name", found, len(advice), adviceSource)
	}
	return b.String()
}

// literals returns the expression and the text of each entry of a literal in the client's advice, which is not exported.
func literals(t *testing.T, variable string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(adviceSource), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	add := func(key, value ast.Expr) {
		selector, is := key.(*ast.SelectorExpr)
		text, isText := value.(*ast.BasicLit)
		if !is || !isText {
			t.Fatalf("%s: an entry of %s is written otherwise", adviceSource, variable)
		}
		s, err := strconv.Unquote(text.Value)
		if err != nil {
			t.Fatal(err)
		}
		entries[fmt.Sprintf("%s.%s", selector.X, selector.Sel)] = s
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || spec.Names[0].Name != variable {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			switch e := e.(type) {
			case *ast.KeyValueExpr:
				add(e.Key, e.Value)
			case *ast.CompositeLit:
				add(e.Elts[0], e.Elts[1])
			}
		}
		return false
	})
	if len(entries) == 0 {
		t.Fatalf("%s: no %s", adviceSource, variable)
	}
	return entries
}

func exitTable() string {
	var b strings.Builder
	b.WriteString("| exit code | meaning |\n| --- | --- |\n")
	for _, e := range []struct {
		code    int
		meaning string
	}{
		{exitDone, "done"}, {exitFailed, "failed; the message says why"}, {exitUsage, "the command line is wrong"},
		{exitNotConnected, "not connected (`status --check`, and `wait` while the client is down)"},
		{exitPermission, "no permission: root may, whom `control.users` and `control.groups` name, and others what polkit's rules allow"},
		{exitUnreachable, "the daemon is not reachable: is `mipvpn daemon` running?"}, {exitTimeout, "timed out (`wait --timeout`)"},
	} {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	return b.String()
}
