package strongswan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// shown writes a section on one line.
func shown(s *section) string {
	var parts []string
	for _, t := range s.settings {
		parts = append(parts, fmt.Sprintf("%s=%q", t.key, t.value))
	}
	for _, c := range s.sections {
		parts = append(parts, c.name+"{"+shown(c)+"}")
	}
	return strings.Join(parts, " ")
}

// loaded reads a text, and the other files of a file system.
func loaded(text string, others fstest.MapFS) (*loader, *section, error) {
	system := fstest.MapFS{"main.conf": {Data: []byte(text)}}
	for name, f := range others {
		system[name] = f
	}
	l, root := &loader{system: system, dir: "/etc/swanctl"}, &section{}
	return l, root, l.load("main.conf", root, 0)
}

func TestSettings(t *testing.T) {
	others := fstest.MapFS{
		"conf.d/a.conf": {Data: []byte("s { from_a = 1\ninclude more/*.conf\n}")}, "conf.d/b.conf": {Data: []byte("s {\n y = b\n}")}, "conf.d/more/c.conf": {Data: []byte("c = 1")},
	}
	for _, tc := range []struct{ name, text, want string }{
		{"values", "a = b c   d # comment\nb=\nc = x", `a="b c d" b="" c="x"`},
		{"quotes", "a = \"x # \\\"y\\\" }\\n\\\\\" z \"two\nlines\"\nb = \"joi\\\nned\"", `a="x # \"y\" }\n\\ z two\nlines" b="joined"`},
		{"base64", "secret = 0sAa/+==\n", `secret="0sAa/+=="`},
		{"on one line", "s { a = 1 } t{b=2}", `s{a="1"} t{b="2"}`},
		{"brace on the next line", "s\n{\n}\n", `s{}`},
		{"joined", "s {\na=1\nt {\nx=1\n}\n}\ns {\na=2\nb=3\nt {\ny=1\n}\n}", `s{a="2" b="3" t{x="1" y="1"}}`},
		{"includes", "s {\ny = a\n}\ninclude conf.d/*.conf\ninclude /etc/swanctl/conf.d/more/c.conf\ninclude nothing.conf", `c="1" s{y="b" from_a="1" c="1"}`},
		{"an include that is a key", "include = 1", `include="1"`},
		{"CR LF", "a = 1\r\nb = 2\r\n", `a="1" b="2"`},
	} {
		_, root, err := loaded(tc.text, others)
		if err != nil || shown(root) != tc.want {
			t.Errorf("%s: %v, %s", tc.name, err, shown(root))
		}
	}
	for _, tc := range []struct{ text, want string }{
		{"a = 1\ns {\n", "main.conf:3: the section s has no end"}, {"}", "main.conf:1: found '}'"}, {"a", "a is followed by neither = nor {"}, {"\n\na = \"x", "main.conf:3: a quoted text has no end"},
		{"s : {}", "s refers to nothing"}, {"s : t = 3", "s is followed by no {"}, {"include main.conf", "is included too often or too deep"}, {strings.Repeat("s {", maxDepth+1), "too many sections, or too deep"},
		{"a = \x00", "octet 0"}, {strings.Repeat("a", 5000), strings.Repeat("a", maxShown) + "… is followed by neither"},
	} {
		if _, _, err := loaded(tc.text, nil); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
}

// A section has what the sections have that it refers to, its own settings first.
func TestReferences(t *testing.T) {
	l, root, err := loaded("base {\na = 1\nb = 1\nt { x = 1 }\n}\nother { b = 2\nc = 2 }\ns : base, other {\na = 3\nt { y = 3 }\n}\nloop : loop { }\nlost : nowhere { }\ndeep : other.none { }", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.resolve(root, root.child("s"), 0)
	if want := `a="3" b="1" c="2" t{y="3" x="1"}`; err != nil || shown(s) != want {
		t.Errorf("%v, %s, want %s", err, shown(s), want)
	}
	for _, bad := range []string{"loop", "lost", "deep"} {
		if _, err := l.resolve(root, root.child(bad), 0); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	var many strings.Builder // each refers to the one before twice: 2^40 copies, were they all made
	many.WriteString("s0 { }\n")
	for i := range 40 {
		fmt.Fprintf(&many, "s%d { a : s%d { }\nb : s%d { } }\n", i+1, i, i)
	}
	l, root, err = loaded(many.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.resolve(root, root.child("s40"), 0); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
}

// What an include or a link names outside the folder is not read.
func TestNothingOutsideIsRead(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.conf")
	if err := os.WriteFile(outside, []byte("connections { stolen { } }"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	main := filepath.Join(dir, "swanctl.conf")
	connection := "connections { home { remote_addrs = 192.0.2.10\nlocal { auth = psk\nid = a@b.c }\nremote { auth = psk\nid = gw.b.c }\n} }\nsecrets { ike { secret = abc } }\n"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, include := range []string{outside, "../*.conf", "../../*/*/outside.conf"} {
		write(connection + "include " + include + "\n")
		r, err := Read(main, "")
		if err != nil || r.Name != "home" || len(r.Remarks) == 0 || !strings.Contains(r.Remarks[0].Message, "not followed") {
			t.Errorf("include %s: %v, %+v", include, err, r)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.conf")); err != nil {
		t.Skip(err)
	}
	write(connection + "include link.conf\n")
	if r, err := Read(main, ""); err != nil || !strings.Contains(said(r), "include link.conf") {
		t.Errorf("%v, %+v", err, r)
	}
	write(connection + "include link.c*\n")
	if r, err := Read(main, ""); err == nil {
		t.Errorf("a link out of the folder was followed: %+v", r)
	}
}

func FuzzSwanctl(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("connections { a : b { }\nb { } }"))
	f.Add([]byte("include *\nsecrets { private { file = x } }"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseSwanctl(fstest.MapFS{"f": {Data: data}, "x509ca/x": {Data: data}, "private/x": {Data: data}, "pkcs12/x": {Data: data}}, "/", "f", "")
		check(t, r, err)
	})
}

func FuzzProfile(f *testing.F) {
	f.Add([]byte(`{"name":"x","type":"ikev2-cert-eap","remote":{"addr":"gw.corp.example","cert":"AAAA","port":500},"local":{"p12":"AAAA"},"split-tunneling":{"subnets":["10.0.0.0/8"]}}`))
	f.Add([]byte(`{"type":"ikev2-eap","remote":{"addr":"2001:db8::1","revocation":{"strict":true,"crl":1}},"nat-keepalive":20,"dns-servers":"1.1.1.1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseProfile(data)
		check(t, r, err)
	})
}

// check has a result whole, or an error of this package.
func check(t *testing.T, r *Result, err error) {
	t.Helper()
	if (r == nil) == (err == nil) {
		t.Fatalf("%v, %v", r, err)
	}
	if err != nil {
		if !strings.HasPrefix(err.Error(), "strongswan: ") {
			t.Error(err)
		}
		return
	}
	for _, m := range r.Remarks {
		if m.Message == "" { // Where is empty for a key with an empty name
			t.Errorf("%+v", m)
		}
	}
	if len(r.Draft.Part("gateway", "authentication", "trust")) == 0 {
		t.Error("nothing was taken over")
	}
}
