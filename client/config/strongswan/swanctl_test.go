package strongswan

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
	"mipvpn/ipsec/pki/pkitest"
)

// example is a client's connections as they are written for swanctl.
const example = `
connections {
	base {
		version = 2
		remote_addrs = gw.corp.example, 192.0.2.11, 2001:db8::10, %any
		proposals = aes256gcm16-prfsha256-x25519
		rekey_time = 3h
		dpd_delay = 20s
		encap = yes
		fragmentation = no
		mobike = yes
		vips = 0.0.0.0
		pools = none
	}
	home : connections.base {
		local {
			auth = psk
			id = @laptop.corp.example
		}
		remote {
			auth = psk
			id = gw.corp.example
		}
		children {
			net {
				remote_ts = 10.0.0.0/16, 10.2.0.1, 10.3.0.0/16[tcp/80], 2001:db8::/32, dynamic
				rekey_time = 40m
				rekey_bytes = 0x10000000
				updown = /usr/local/bin/script
				start_action = trap
			}
		}
	}
	road : connections.base {
		local-1 {
			auth = eap-mschapv2
			round = 2
			eap_id = alice
			aaa_id = radius.corp.example
		}
		local-0 {
			auth = pubkey
			certs = laptop.pem
			round = 1
		}
		remote {
			id = gw.corp.example
			revocation = strict
			cacerts = ca.pem
		}
		children { all { remote_ts = 0.0.0.0/0 } }
	}
}
secrets {
	ike-other {
		id = someone.else
		secret = "not this"
	}
	ike-home {
		id-1 = laptop.corp.example
		id-2 = gw.corp.example
		secret = 0sAAECAwQFBgcICQoLDA0ODw==
	}
	eap-alice {
		id = alice
		secret = "a password with # and }"
	}
	private-laptop {
		file = laptop.key
		secret = "pass phrase"
	}
}
pools { p { addrs = 10.9.0.0/24 } }
`

// said are the keys of a result's remarks.
func said(r *Result) string {
	var all []string
	for _, m := range r.Remarks {
		all = append(all, m.Where)
	}
	return strings.Join(all, " ")
}

// whole adds to a draft what no VPN profile has, installs it and loads it.
func whole(t *testing.T, d *draft.Draft) *config.Config {
	t.Helper()
	for key, text := range map[string]string{"enterprise.prefixes": "10.0.0.0/8", "internal_home_agent.address": "10.0.1.10", "internal_home_agent.home_address": "10.0.8.100", "internal_home_agent.spi": "300", "internal_home_agent.key_file": "i-ha.key"} {
		if err := d.SetText(key, text); err != nil {
			t.Fatal(err)
		}
	}
	d.Add(draft.File{Name: "i-ha.key", Data: []byte("000102030405060708090a0b0c0d0e0f"), Secret: true})
	path := filepath.Join(t.TempDir(), "mipvpn.toml")
	s, err := draft.NewStage(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(d, nil); err != nil {
		t.Fatalf("%v in\n%s", err, d.TOML())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A connection with a pre-shared key becomes a configuration; all that is not in it is named.
func TestPreSharedKey(t *testing.T) {
	r, err := ParseSwanctl(fstest.MapFS{"swanctl.conf": {Data: []byte(example)}}, "/etc/swanctl", "swanctl.conf", "home")
	if err != nil {
		t.Fatal(err)
	}
	c := whole(t, r.Draft)
	g := c.Gateway
	if g.Name != "gw.corp.example" || len(g.Fallback) != 1 || g.Fallback[0].Address.String() != "192.0.2.11" || g.Address6.String() != "2001:db8::10" || g.LocalIdentity != "laptop.corp.example" ||
		g.RemoteIdentity != "gw.corp.example" || g.IKELifetime != 3*time.Hour || g.ChildLifetime != 40*time.Minute || g.Liveness != 20*time.Second || !g.ForceUDPEncapsulation || g.Datagram != 0 || g.ChildOctets != 1<<28 {
		t.Errorf("%+v", g)
	}
	if string(g.PSK) != "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" {
		t.Error("another pre-shared key")
	}
	var subnets []string
	for _, p := range g.RemoteSubnets {
		subnets = append(subnets, p.String())
	}
	if !slices.Equal(subnets, []string{"10.0.0.0/16", "10.2.0.1/32", "10.3.0.0/16"}) {
		t.Errorf("%v", subnets)
	}
	const at = "connections.home."
	want := []string{at + "remote_addrs", at + "children.net.remote_ts", at + "children.net.remote_ts", at + "children.net.updown", at + "children.net.start_action", at + "proposals", at + "pools", "pools"}
	if got := said(r); got != strings.Join(want, " ") {
		t.Errorf("%s\nwant %s", got, strings.Join(want, " "))
	}
}

// A certificate and a password: the key that fits the certificate is found, and with it its password; the authority's file, and the user's.
func TestCertificateAndPassword(t *testing.T) {
	ca := pkitest.NewRoot("corp", time.Now(), pkitest.P256)
	laptop, other := ca.Issue(pkitest.P256, []string{"laptop@corp.example"}), ca.Issue(pkitest.P256, []string{"other"})
	der, err := x509.MarshalPKCS8PrivateKey(laptop.Key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseSwanctl(fstest.MapFS{
		"swanctl.conf": {Data: []byte(example)}, "x509/laptop.pem": {Data: pkitest.PEM(laptop.Certificate)}, "x509ca/ca.pem": {Data: pkitest.PEM(ca.Certificate)},
		"private/laptop.key": {Data: der}, "rsa/other.pem": {Data: pkitest.KeyPEM(other.Key)},
	}, "/etc/swanctl", "swanctl.conf", "road")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]draft.File{}
	for _, f := range r.Draft.Files() {
		files[f.Name] = f
	}
	if public, ok := publicOf(files["laptop.key"].Data); !ok || !public.Equal(laptop.Key.Public()) || !files["laptop.key"].Secret {
		t.Error("another key than the certificate's, or one for all to read")
	}
	if string(files["eap.password"].Data) != "a password with # and }" || string(files["laptop.pin"].Data) != "pass phrase" || files["laptop.pem"].Secret {
		t.Error("other secrets")
	}
	c := whole(t, r.Draft)
	a := c.Authentication
	if !slices.Equal(a.Rounds, []config.Round{config.RoundCertificate, config.RoundMSCHAPv2}) || a.User != "alice" || a.EAPServer != "radius.corp.example" || filepath.Base(a.Password.Path()) != "eap.password" ||
		filepath.Base(a.PIN.Path()) != "laptop.pin" || c.Trust.Revocation != "hard" || c.Gateway.LocalIdentity != "laptop@corp.example" || len(a.Gateway) != 0 || !c.Trust.Verifier.Anchors.Certificates()[0].Equal(ca.Certificate) {
		t.Errorf("%+v %+v", a, c.Trust)
	}
	if got := said(r); !strings.Contains(got, "connections.road.children.all.remote_ts") || len(c.Gateway.RemoteSubnets) != 1 || c.Gateway.RemoteSubnets[0].String() != "10.0.0.0/8" {
		t.Errorf("%s, %v", got, c.Gateway.RemoteSubnets)
	}
}

// Which connection is meant has to be said where there are several; what mipvpn has not got is refused by name.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		text, name, want string
		is               error
	}{
		{example, "", "base, home, road", ErrConnection},
		{example, "nobody", `as "nobody": there are base, home, road`, ErrConnection},
		{"secrets { }", "", "there is no connection", ErrConnection},
		{"connections { a { version = 1\nremote_addrs = 192.0.2.1 } }", "", "IKEv2 alone", ErrUnsupported},
		{"connections { a { } }", "", "remote_addrs is missing", ErrUnsupported},
		{"connections { a { remote_addrs = 192.0.2.1\nlocal { auth = xauth } } }", "", `local.auth is "xauth"`, ErrUnsupported},
		{"connections = 1\n}", "", "found '}'", ErrFormat},
	} {
		if r, err := ParseSwanctl(fstest.MapFS{"f": {Data: []byte(tc.text)}}, "/", "f", tc.name); !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, %+v, want %q", tc.text, err, r, tc.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, tc := range []struct {
		in, out string
		ok      bool
	}{
		{"gw.corp.example", "gw.corp.example", true}, {"@gw.corp.example", "gw.corp.example", true}, {"@@a@b.c", "a@b.c", true}, {"fqdn:gw", "gw", true}, {"email:a@b", "a@b", true},
		{"192.0.2.1", "192.0.2.1", true}, {"2001:db8::1", "", false}, {"C=DE, CN=x", "", false}, {"%any", "", false}, {"*@corp.example", "", false}, {"@#0102", "", false}, {"keyid:x", "", false}, {"", "", false},
	} {
		if out, ok := identity(tc.in); ok != tc.ok || ok && out != tc.out {
			t.Errorf("%q: %q, %v", tc.in, out, ok)
		}
	}
}
