package strongswan

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/client/config/draft"
	"mipvpn/ipsec/pki/pkitest"
)

// A profile of the app becomes a configuration, too.
func TestProfile(t *testing.T) {
	ca := pkitest.NewRoot("corp", time.Now(), pkitest.P256)
	doc := map[string]any{
		"uuid": "7b1ad1b8-3e15-4c5b-8a77-000000000000", "name": "Corp", "type": "ikev2-cert-eap", "ike-proposal": "aes256gcm16-prfsha256-ecp256", "nat-keepalive": "45", "mtu": 1400,
		"remote":          map[string]any{"addr": "gw.corp.example", "id": "vpn.corp.example", "cert": base64.StdEncoding.EncodeToString(ca.Certificate.Raw), "revocation": map[string]any{"crl": true, "strict": "true"}, "port": 500, "certreq": true},
		"local":           map[string]any{"id": "laptop@corp.example", "eap_id": "alice", "p12": base64.StdEncoding.EncodeToString([]byte("a bundle")), "rsa-pss": "true", "shared_secret": "the password"},
		"split-tunneling": map[string]any{"subnets": []string{"10.0.0.0/16", "2001:db8::/32", "10.2.0.4 - 10.2.0.10", "0.0.0.0/0"}, "block-ipv4": false, "block-ipv6": true},
		"new-thing":       1,
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseProfile(data)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := r.Draft.Texts("enterprise.prefixes")
	c := whole(t, r.Draft)
	if r.Name != "Corp" || c.Gateway.Name != "gw.corp.example" || c.Gateway.RemoteIdentity != "vpn.corp.example" || c.Gateway.LocalIdentity != "laptop@corp.example" || c.Authentication.User != "alice" ||
		filepath.Base(c.Authentication.Certificate) != "laptop.p12" || c.Trust.Revocation != "hard" || c.Gateway.KeepAlive != 45*time.Second || c.Gateway.Profile != "default" ||
		!slices.Equal(prefixes, []string{"10.0.0.0/16", "10.2.0.4/30", "10.2.0.8/31", "10.2.0.10/32"}) {
		t.Errorf("%+v %+v %+v", c.Gateway, c.Authentication, c.Trust)
	}
	if i := slices.IndexFunc(r.Draft.Files(), func(f draft.File) bool { return f.Name == passwordFile }); i < 0 || string(r.Draft.Files()[i].Data) != "the password" || !r.Draft.Files()[i].Secret {
		t.Error("another password, or one for all to read")
	}
	if want := "type local.p12 split-tunneling.subnets split-tunneling.subnets split-tunneling.subnets ike-proposal mtu new-thing split-tunneling.block-ipv6"; said(r) != want {
		t.Errorf("%s, want %s", said(r), want)
	}
	for _, bad := range []struct {
		text string
		is   error
	}{{"{", ErrFormat}, {"{} {}", ErrFormat}, {`{"type":"ikev2-byod-eap","remote":{"addr":"x.y"}}`, ErrUnsupported}, {`{"type":"ikev2-eap"}`, ErrFormat}} {
		if _, err := ParseProfile([]byte(bad.text)); !errors.Is(err, bad.is) {
			t.Errorf("%s: %v", bad.text, err)
		}
	}
	small, err := ParseProfile([]byte(`{"name":"x","type":"ikev2-cert","remote":{"addr":"192.0.2.1"}}`))
	if err != nil || said(small) != "local.id remote.cert local.p12" || small.Draft.Text("gateway.remote_identity") != "192.0.2.1" {
		t.Errorf("%v, %+v", err, small)
	}
}

// The examples of strongSwan's documentation, and what it says of keys that do not stand there.
func TestProfileKeys(t *testing.T) {
	for _, tc := range []struct{ text, keys, said string }{
		{`{"type":"ikev2-eap","remote":{"addr":"10.0.2.2","id":"vpn.strongswan.org"},"local":{"eap_id":"android"}}`, "gateway.remote_identity=vpn.strongswan.org authentication.user=android gateway.local_identity=android", "type remote.cert"},
		{`{"type":"ikev2-eap-tls","remote":{"addr":"a.b","certreq":false},"local":{"id":"a@b.c","shared_secret":"x"},"ipv6-transport":true}`, "gateway.local_identity=a@b.c", "remote.cert local.p12 local.shared_secret ipv6-transport remote.certreq"},
		{`{"type":"ikev2-eap","remote":{"addr":"a.b","revocation":{"crl":false,"ocsp":"false","strict":false}},"local":{"eap_id":"u","id":"laptop@b.c"},"esp-proposal":"aes256-sha256"}`, "gateway.local_identity=laptop@b.c gateway.profile=compatible authentication.user=u", "type remote.cert remote.revocation.crl esp-proposal"},
		{`{"type":"ikev2-eap","remote":{"addr":"a.b","port":"4501"},"local":{"eap_id":"u"},"ike-proposal":"aes128-sha1-modp1024","dns-servers":["192.0.2.1"],"split-tunneling":{"subnets":"10.0.0.0/8 10.1.0.1"}}`, "gateway.profile=compatible", "remote.port type remote.cert dns-servers split-tunneling.subnets ike-proposal"},
	} {
		r, err := ParseProfile([]byte(tc.text))
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		for _, k := range strings.Fields(tc.keys) {
			if key, value, _ := strings.Cut(k, "="); r.Draft.Text(key) != value {
				t.Errorf("%s: %s is %q, want %q", tc.text, key, r.Draft.Text(key), value)
			}
		}
		if a, b := strings.Fields(said(r)), strings.Fields(tc.said); !slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
			t.Errorf("%s: %v, want %v", tc.text, a, b)
		}
	}
}

func TestPrefixesOf(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3/8": "[10.0.0.0/8]", "10.1.2.3": "[10.1.2.3/32]", "0.0.0.0-255.255.255.255": "[0.0.0.0/0]", "10.0.0.1-10.0.0.2": "[10.0.0.1/32 10.0.0.2/32]",
		"255.255.255.254-255.255.255.255": "[255.255.255.254/31]", "10.0.0.2-10.0.0.1": "[]", "2001:db8::1": "[]", "2001:db8::/32": "[]", "x": "[]", "10.0.0.1-": "[]", "": "[]",
	} {
		if got := prefixesOf(text); fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
	// A range is covered once and nothing beside it.
	first, last := netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.1.9")
	next := first
	for _, p := range prefixesOf("10.0.0.3-10.0.1.9") {
		if p.Addr() != next || p.Masked() != p {
			t.Fatalf("%v where %v belongs", p, next)
		}
		next = end(p).Next()
	}
	if next != last.Next() {
		t.Errorf("the prefixes end before %v, want %v", next, last.Next())
	}
}
