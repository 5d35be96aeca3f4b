package portal

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

var forbidden = Forbidden{
	Prefixes:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
	Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.20"), netip.MustParseAddr("192.0.2.10")},
}

var atAgent = AskHomeAgent(netip.MustParseAddr("192.0.2.20"))

func redirect(to string) Observation { return Observation{Connected: true, Status: 302, Location: to} }

// Shows: HST-5
func TestJudge(t *testing.T) {
	server, err := AskServer("http://probe.example/generate_204", 204, "")
	if err != nil {
		t.Fatal(err)
	}
	body, err := AskServer("http://probe.example:8080/ok?x=1", 200, "success")
	if err != nil {
		t.Fatal(err)
	}
	page := func(content string) Observation {
		return Observation{Connected: true, Status: 200, Body: []byte("<!doctype html><html><head>" + content + "</head><body>hello")}
	}
	for _, c := range []struct {
		name string
		q    Question
		o    Observation
		kind Kind
		url  string
	}{
		{"refused", atAgent, Observation{Failure: "the connection is refused"}, Silent, ""},
		{"accepted, and nothing more", atAgent, Observation{Connected: true}, Foreign, ""},
		{"a page without a redirect", atAgent, page(""), Foreign, ""},
		{"redirect", atAgent, redirect("http://portal.example/login?mac=1"), Foreign, "http://portal.example/login?mac=1"},
		{"redirect to https", atAgent, redirect("https://portal.example:8443/"), Foreign, "https://portal.example:8443/"},
		{"redirect to an address", atAgent, redirect("http://172.20.0.1/login"), Foreign, "http://172.20.0.1/login"},
		{"refresh", atAgent, page(`<META HTTP-EQUIV="Refresh" CONTENT="0; URL='http://portal.example/x'">`), Foreign, "http://portal.example/x"},
		{"refresh, oddly written", atAgent, page(`<meta content="5,url = http://portal.example/" http-equiv=refresh>`), Foreign, "http://portal.example/"},
		{"511", atAgent, Observation{Connected: true, Status: 511, Body: []byte(`<meta http-equiv="refresh" content="0;url=http://p.example/">`)}, Foreign, "http://p.example/"},
		{"a name before the host", atAgent, redirect("http://corp.example@evil.example/"), Foreign, "http://evil.example/"},
		{"a fragment", atAgent, redirect("http://portal.example/#x"), Foreign, "http://portal.example/"},

		{"to the x-HA itself", atAgent, redirect("/login"), Foreign, ""},
		{"to the enterprise", atAgent, redirect("http://10.0.1.20/"), Foreign, ""},
		{"to the enterprise, as one number", atAgent, redirect("http://167772436/"), Foreign, ""},
		{"to the enterprise, in hexadecimal", atAgent, redirect("http://0x0a000114/"), Foreign, ""},
		{"to the enterprise, in three parts", atAgent, redirect("http://10.0.276/"), Foreign, ""},
		{"to the enterprise, in IPv6", atAgent, redirect("http://[::ffff:10.0.1.20]/"), Foreign, ""},
		{"to this host", atAgent, redirect("http://127.0.0.1/"), Foreign, ""},
		{"to a cloud's own", atAgent, redirect("http://169.254.169.254/"), Foreign, ""},
		{"a file", atAgent, redirect("file:///etc/passwd"), Foreign, ""},
		{"a script", atAgent, redirect("javascript:alert(1)"), Foreign, ""},
		{"an option of the browser", atAgent, redirect("--proxy-server=evil"), Foreign, ""},
		{"an escape of the terminal", atAgent, redirect("http://portal.example/\x1b[2J"), Foreign, ""},
		{"a name with an escape", atAgent, redirect("http://po\x1brtal.example/"), Foreign, ""},
		{"another alphabet", atAgent, redirect("http://pörtal.example/"), Foreign, ""},
		{"too long", atAgent, redirect("http://portal.example/" + strings.Repeat("a", maxURL)), Foreign, ""},
		{"no host", atAgent, redirect("http:///"), Foreign, ""},
		{"a backslash", atAgent, redirect(`http://portal.example\@10.0.1.20/`), Foreign, ""},

		{"the real server", server, Observation{Connected: true, Status: 204}, Genuine, ""},
		{"no answer in its name", server, Observation{Connected: true}, Silent, ""},
		{"another status in its name", server, Observation{Connected: true, Status: 200, Body: []byte("log in")}, Foreign, ""},
		{"redirect in its name", server, redirect("/login"), Foreign, "http://probe.example/login"},
		{"the real body", body, Observation{Connected: true, Status: 200, Body: []byte("success\n")}, Genuine, ""},
		{"another body", body, Observation{Connected: true, Status: 200, Body: []byte("log in")}, Foreign, ""},
		{"redirect with a port", body, redirect("login"), Foreign, "http://probe.example:8080/login"},
	} {
		f := Judge(c.q, c.o, forbidden)
		if f.Kind != c.kind || f.URL != c.url {
			t.Errorf("%s: %v %q (%s), expected %v %q", c.name, f.Kind, f.URL, f.Reason, c.kind, c.url)
		}
		checkFinding(t, f)
	}
}

// checkFinding checks what holds whatever a portal says.
func checkFinding(t *testing.T, f Finding) {
	t.Helper()
	for what, text := range map[string]string{"URL": f.URL, "host": f.Host, "reason": f.Reason} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s %q is not fit for a terminal", what, text)
		}
	}
	if f.Kind != Foreign && f.URL != "" || f.Reason == "" {
		t.Errorf("finding %+v", f)
	}
	if f.URL == "" {
		return
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() != f.Host || len(f.URL) > maxURL {
		t.Errorf("URL %q, host %q: %v", f.URL, f.Host, err)
	}
	if a, err := netip.ParseAddr(f.Host); err == nil && (!forbidden.Admits(a) || f.Address != a) {
		t.Errorf("URL %q leads to %v", f.URL, a)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(302, "http://portal.example/", []byte(nil))
	f.Add(200, "", []byte(`<meta http-equiv="refresh" content="0;url=http://10.0.1.20/">`))
	f.Add(511, "//x", []byte("<meta http-equiv=refresh content='0;url=//[::1]/'"))
	f.Fuzz(func(t *testing.T, status int, location string, body []byte) {
		for _, q := range []Question{atAgent, {Host: "probe.example", Port: 80, Path: "/", Status: 204}} {
			checkFinding(t, Judge(q, Observation{Connected: true, Status: status, Location: location, Body: body}, forbidden))
		}
	})
}

func TestAskServer(t *testing.T) {
	for _, c := range []struct {
		url    string
		status int
	}{
		{"https://probe.example/", 204}, {"http:///x", 204}, {"http://user@probe.example/", 204}, {"probe.example", 204}, {"http://p.example/", 0},
		{"http://p.example:0/", 204}, {"http://p.example:70000/", 204}, {"http://[::1]/", 204}, {"http://a b/", 204}, {"http://%zz/", 204},
	} {
		if q, err := AskServer(c.url, c.status, ""); err == nil {
			t.Errorf("%s, status %d: %+v", c.url, c.status, q)
		}
	}
	q, err := AskServer("http://probe.example/a?b=c#d", 204, "")
	if err != nil || q.Path != "/a?b=c" || q.URL() != "http://probe.example/a?b=c" {
		t.Errorf("%+v, %v", q, err)
	}
}
