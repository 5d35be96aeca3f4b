package agent

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/interop/freeradius"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/ipsec/radius"
	"mipvpn/tun/link"
)

// usersGateway is the configuration of a gateway with a certificate: machines come by certificates, users by EAP.
func usersGateway(t *testing.T, ca *pkitest.Authority) GatewayConfig {
	t.Helper()
	i := ca.Issue(pkitest.P256, []string{"gateway.corp.example"})
	own, err := credential.New(i.Key, []*x509.Certificate{i.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := pki.NewAnchors(ca.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	c := gatewayConfig(t)
	c.Credential, c.Verifier = own, &pki.Verifier{Anchors: anchors, Purpose: pki.Client, Revocation: pki.RevocationOff}
	c.Policies = []gateway.Policy{{Name: "staff", Pool: netip.MustParsePrefix("10.0.0.0/28"), Networks: c.Networks}}
	c.Rules = []gateway.Rule{
		{Identities: []string{"*.pcs.example"}, Rounds: []gateway.Round{gateway.ByCertificate}},
		{Identities: []string{"*@both.example"}, Rounds: []gateway.Round{gateway.ByCertificate, gateway.ByEAP}},
		{Rounds: []gateway.Round{gateway.ByEAP}},
	}
	return c
}

// Shows: IKE-2, GDL-3. charon is the client of our gateway on the kernel, by a certificate, as a user by each EAP method, and by
// both one after the other; users are known to the gateway or to FreeRADIUS, which is told of each session.
func TestGatewayAuthenticatesCharon(t *testing.T) {
	if err := charon.Available(); err != nil {
		t.Skip(err)
	}
	for _, atRADIUS := range []bool{false, true} {
		t.Run(fmt.Sprintf("RADIUS %v", atRADIUS), func(t *testing.T) {
			n := newRealWires(t)
			ca := pkitest.NewRoot("company", time.Now(), pkitest.P256)
			cfg := usersGateway(t, ca)
			records := make(chan AccountingRecord, 100)
			cfg.Account = func(r AccountingRecord) { records <- r }
			if atRADIUS {
				dir := t.TempDir()
				server := ca.Issue(pkitest.P256, []string{"radius.example.org"})
				for name, text := range map[string][]byte{"ca.pem": pkitest.PEM(ca.Certificate), "server.pem": pkitest.PEM(server.Certificate), "server.key": pkitest.KeyPEM(server.Key)} {
					if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				at, source := netip.MustParseAddr("10.0.1.20"), netip.MustParseAddr("10.0.1.30")
				freeradius.Start(t, freeradius.Options{Namespace: n.inside, Address: at, Client: source, Secret: "the shared secret", TLS: "1.2",
					Authority: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")})
				cfg.RADIUSSource = source
				cfg.RADIUS = &radius.Config{Identifier: "gateway", Servers: []radius.Server{{Address: netip.AddrPortFrom(at, 1812), Accounting: netip.AddrPortFrom(at, 1813),
					Secret: []byte("the shared secret")}}}
			} else {
				cfg.Users = []gateway.User{{Name: "alice", Password: []byte("secret"), Policy: "staff", Address: netip.MustParseAddr("10.0.0.7")}}
				cfg.EAP = gateway.EAP{Methods: []eap.Type{eap.TypeTTLS, eap.TypeTLS, eap.TypeMSCHAPv2}, Inner: []eap.Inner{eap.InnerEAP}}
			}
			n.serve(t, cfg)
			d, err := charon.Start(charon.Options{Configuration: "testdata/charon-client", Dir: t.TempDir(), Launch: charon.In(n.outside), Bare: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.Stop(); err != nil {
					t.Error(err)
				}
				if t.Failed() {
					t.Logf("charon:\n%s", d.Tail(150))
				}
			})
			call := func(command string, s charon.Section) {
				t.Helper()
				if answer, _, err := d.Call(command, "", s); err != nil || answer.String("success") == "no" {
					t.Fatalf("%s: %v, %v", command, err, answer)
				}
			}
			call("load-cert", charon.Section{"type": "X509", "flag": "CA", "data": ca.Certificate.Raw})
			call("load-shared", charon.Section{"id": "eap", "type": "EAP", "data": []byte("secret"), "owners": []string{"alice"}})
			certs := map[string][][]byte{}
			for _, name := range []string{"pc7.pcs.example", "pc7@both.example", "alice"} {
				i := ca.Issue(pkitest.P256, []string{name})
				der, err := x509.MarshalPKCS8PrivateKey(i.Key)
				if err != nil {
					t.Fatal(err)
				}
				call("load-key", charon.Section{"type": "any", "data": der})
				call("load-cert", charon.Section{"type": "X509", "flag": "NONE", "data": i.Certificate.Raw})
				certs[name] = [][]byte{i.Certificate.Raw}
			}
			user := func(method string) charon.Section {
				s := charon.Section{"auth": method, "id": "alice", "eap_id": "alice", "certs": certs["alice"]}
				if atRADIUS {
					s["aaa_id"] = "radius.example.org"
				}
				return s
			}
			for _, x := range []struct {
				name   string
				rounds []charon.Section
				who    string
				staff  bool
			}{
				{"certificate", []charon.Section{{"auth": "pubkey", "id": "pc7.pcs.example", "certs": certs["pc7.pcs.example"]}}, "pc7.pcs.example", false},
				{"EAP-MSCHAPv2", []charon.Section{user("eap-mschapv2")}, "alice", true},
				{"EAP-TLS", []charon.Section{user("eap-tls")}, "alice", true},
				{"EAP-TTLS", []charon.Section{user("eap-ttls")}, "alice", true},
				{"certificate and EAP-MSCHAPv2", []charon.Section{{"auth": "pubkey", "id": "pc7@both.example", "certs": certs["pc7@both.example"]}, user("eap-mschapv2")}, "alice", true},
			} {
				t.Run(x.name, func(t *testing.T) {
					s := charon.Section{"version": "2", "remote_addrs": []string{"192.0.2.10"}, "vips": []string{"0.0.0.0"}, "send_cert": "always",
						"remote-1": charon.Section{"auth": "pubkey", "id": "gateway.corp.example"},
						"children": charon.Section{"enterprise": charon.Section{"remote_ts": []string{"10.0.1.0/24"}}}}
					for i, r := range x.rounds {
						r["round"] = fmt.Sprint(i + 1)
						s[fmt.Sprintf("local-%d", i+1)] = r
					}
					call("load-conn", charon.Section{"company": s})
					if _, err := d.Swanctl("--initiate", "--child", "enterprise", "--timeout", "20"); err != nil {
						t.Fatal(err)
					}
					all := n.gateway.Sessions()
					if len(all) != 1 || all[0].Identity != identity(t, x.who) || x.staff && all[0].Address != netip.MustParseAddr("10.0.0.7") {
						t.Fatalf("sessions %+v", all)
					}
					if r := <-records; r.Kind != AccountingStart || r.Identity != all[0].Identity {
						t.Errorf("found record %+v", r)
					}
					if _, err := d.Swanctl("--terminate", "--ike", "company"); err != nil {
						t.Fatal(err)
					}
					if r := <-records; r.Kind != AccountingStop || r.Lasted < 0 {
						t.Errorf("found record %+v", r)
					}
				})
			}
			if lost := ask(n.gateway, func(link.Instant) uint64 { return n.gateway.machine.LostRecords() }); lost != 0 {
				t.Errorf("%d records were lost", lost)
			}
		})
	}
}
