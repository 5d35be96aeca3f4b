package strongswan

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"mipvpn/ipsec/pki/pkitest"
)

// taken reads a client's connection with these local sections, further settings and secrets, and an authority and a certificate beside it.
func taken(t *testing.T, local, further, secrets string) *Result {
	t.Helper()
	ca := pkitest.NewRoot("corp", time.Now(), pkitest.P256)
	laptop := ca.Issue(pkitest.P256, []string{"laptop@corp.example"})
	text := "base { send_cert = never\nrekey_time = 2h\ndpd_delay = 10s\n}\nconnections { a : base {\nremote_addrs = gw.corp.example\n" + local + "\nremote { id = gw.corp.example\n }\n" + further + "\n} }\nsecrets {\n" + secrets + "\n}\n"
	r, err := ParseSwanctl(fstest.MapFS{"swanctl.conf": {Data: []byte(text)}, "x509/laptop.pem": {Data: pkitest.PEM(laptop.Certificate)}, "x509ca/ca.pem": {Data: pkitest.PEM(ca.Certificate)}}, "/etc/swanctl", "swanctl.conf", "")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r
}

// remarked is the message about a key, empty for none.
func remarked(r *Result, where string) string {
	for _, m := range r.Remarks {
		if m.Where == where {
			return m.Message
		}
	}
	return ""
}

// A key in a TPM is taken over; one in a token is named as mipvpn names it, for the library's file is not known.
func TestTokens(t *testing.T) {
	const local = "local { auth = pubkey\ncerts = laptop.pem\n}"
	r := taken(t, local, "", "token-tpm { handle = 81010001\npin = 1234\n }")
	if got := r.Draft.Text("authentication.key"); got != "tpm2:0x81010001" || r.Draft.Text("authentication.pin") != "file:"+pinFile || r.Draft.Text("authentication.certificate") != certificateFile {
		t.Errorf("the key is %q; %+v", got, r.Remarks)
	}
	r = taken(t, local, "", "token-card { handle = 0aff\nslot = 2\nmodule = opensc\n }")
	if got := remarked(r, "secrets.token-card"); r.Draft.Has("authentication.key") || !strings.Contains(got, `"pkcs11:id=%0A%FF;slot-id=2?module-path=..."`) || !strings.Contains(got, `"opensc"`) {
		t.Errorf("%q; %+v", got, r.Remarks)
	}
	for _, secrets := range []string{"token-a { handle = 01\n}\ntoken-b { handle = 02\n}", "token-a { handle = xyz\n}"} {
		if r = taken(t, local, "", secrets); r.Draft.Has("authentication.key") || !strings.Contains(remarked(r, "secrets.token-a"), "cannot be told") {
			t.Errorf("%s: %+v", secrets, r.Remarks)
		}
	}
	r = taken(t, "local { id = laptop@corp.example\ncert-1 { handle = 81010002\n } }", "", "token { handle = 0x81010001\n }")
	if r.Draft.Text("authentication.key") != "tpm2:0x81010001" || remarked(r, "connections.a.local.certs") == "" || remarked(r, "connections.a.local.cert-1.handle") == "" {
		t.Errorf("%+v", r.Remarks)
	}
}

// The identity of a round of EAP is its user's, its secret may be called one of XAuth's, and the hash of a password is none.
func TestEAP(t *testing.T) {
	const local = "local-1 { auth = ike:pubkey-sha384-sha256\ncerts = laptop.pem\nid = laptop@corp.example\n}\nlocal-2 { auth = eap-mschapv2\nid = alice\n}"
	r := taken(t, local, "", "xauth-alice { id = alice\nsecret = geheim\n }\ntoken { handle = 81010001\n }\nntlm-x { id = alice\nsecret = 0x00\n }")
	if r.Draft.Text("authentication.user") != "alice" || r.Draft.Text("authentication.password") != "file:"+passwordFile || r.Draft.Text("gateway.local_identity") != "laptop@corp.example" || remarked(r, "secrets.ntlm-x") == "" {
		t.Errorf("%q, %q, %+v", r.Draft.Text("authentication.user"), r.Draft.Text("authentication.password"), r.Remarks)
	}
}

// An empty value does away with an inherited one; a value with which nothing is lost is not named, another one is.
func TestInherited(t *testing.T) {
	const local = "local { auth = psk\nid = a.b\n}"
	r := taken(t, local, "", "ike { secret = x\n }")
	if r.Draft.Text("gateway.ike_lifetime") != "2h0m0s" || remarked(r, "connections.a.send_cert") == "" {
		t.Errorf("%q, %+v", r.Draft.Text("gateway.ike_lifetime"), r.Remarks)
	}
	r = taken(t, local, "rekey_time =\ndpd_delay =\nsend_cert = ifasked\nsend_certreq = yes\nchildren { c { copy_dscp = out\nreplay_window = 0\n } }", "ike { secret = x\n }")
	if r.Draft.Has("gateway.ike_lifetime") || r.Draft.Has("gateway.liveness") || r.Draft.Has("gateway.replay_window") {
		t.Error("an empty value, or 0, was taken")
	}
	if want := "connections.a.children.c.replay_window"; said(r) != want {
		t.Errorf("%s, want %s", said(r), want)
	}
}
