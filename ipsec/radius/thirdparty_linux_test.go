package radius

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	codec "layeh.com/radius"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/interop/freeradius"
	"mipvpn/tun/hostnet/netnstest"
)

// eapolTest is the program of Debian's package eapoltest.
const eapolTest = "/usr/bin/eapol_test"

func need(t testing.TB, program string) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
}

// identityFile is a certificate with its key in PEM files.
type identityFile struct {
	cert eap.Certificate
	key  crypto.Signer
}

// newIdentity makes a certificate signed by an authority, itself when parent is nil, and writes NAME.pem and NAME.key.
func newIdentity(t testing.TB, dir, name string, parent *identityFile) identityFile {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	issuer, signer := template, crypto.Signer(key)
	if parent == nil {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign, nil
	} else {
		if issuer, err = x509.ParseCertificate(parent.cert.Chain[0]); err != nil {
			t.Fatal(err)
		}
		signer = parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return identityFile{cert: eap.Certificate{Chain: [][]byte{der}, Public: key.Public()}, key: key}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startFreeRADIUS starts the server in a namespace, and returns a user's certificate.
func startFreeRADIUS(t testing.TB, ns *os.File, version string) identityFile {
	t.Helper()
	dir := t.TempDir()
	ca := newIdentity(t, dir, "authority", nil)
	newIdentity(t, dir, "radius.example.org", &ca)
	freeradius.Start(t, freeradius.Options{Namespace: ns, Address: netip.MustParseAddr("127.0.0.1"), Client: netip.MustParseAddr("127.0.0.1"),
		Secret: string(secret), TLS: version, Authority: filepath.Join(dir, "authority.pem"),
		Certificate: filepath.Join(dir, "radius.example.org.pem"), Key: filepath.Join(dir, "radius.example.org.key")})
	return newIdentity(t, dir, "alice", &ca)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// listen opens a UDP socket in the namespace.
func listen(t testing.TB, ns *os.File, at string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	netnstest.Inside(t, ns, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// roundTrip sends what the client wants sent and brings it the answer.
func roundTrip(t testing.TB, c *Client, conn *net.UDPConn) Event {
	t.Helper()
	out := transmitted(t, c)
	if _, err := conn.WriteToUDPAddrPort(out.Payload, out.To); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b [4096]byte
	n, from, err := conn.ReadFromUDPAddrPort(b[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := c.HandleDatagram(at(0), from, b[:n]); err != nil {
		t.Fatal(err)
	}
	e, ok := c.PollEvent()
	if !ok {
		t.Fatal("no event")
	}
	return e
}

// talkThrough lets a peer of ours be authenticated through the client.
func talkThrough(t testing.TB, c *Client, conn *net.UDPConn, peer *eap.Machine, key crypto.Signer, password string) (Event, *eap.Finished) {
	t.Helper()
	defer peer.Close()
	id, err := c.Open("alice", "203.0.113.9")
	if err != nil {
		t.Fatal(err)
	}
	message := identity
	for range 60 {
		if err := c.Send(at(0), id, message); err != nil {
			t.Fatal(err)
		}
		e := roundTrip(t, c, conn)
		switch e := e.(type) {
		case Challenge:
			message = drivePeer(t, peer, key, e.Message, password).Message
		case Accepted:
			end := drivePeer(t, peer, key, e.Message, password)
			return e, &end
		case Failed:
			end := drivePeer(t, peer, key, e.Message, password)
			return e, &end
		}
		if message == nil {
			t.Fatal("the peer says nothing")
		}
	}
	t.Fatal("no end")
	return nil, nil
}

func drivePeer(t testing.TB, m *eap.Machine, key crypto.Signer, message []byte, password string) (end eap.Finished) {
	t.Helper()
	if err := m.HandleMessage(message); err != nil {
		t.Fatal(err)
	}
	for {
		e, ok := m.PollEvent()
		if !ok {
			return end
		}
		var err error
		switch e := e.(type) {
		case eap.Send:
			end.Message = e.Message
		case eap.Finished:
			end = e
			if e.Err != nil {
				t.Logf("peer: %v", e.Err)
			}
		case eap.PasswordWanted:
			err = m.AnswerPassword(eap.Secret{Password: []byte(password)}, nil)
		case eap.TrustWanted:
			err = m.AnswerTrust(nil)
		case eap.SignatureWanted:
			var sig []byte
			if sig, err = key.Sign(rand.Reader, e.Digest, e.Options); err == nil {
				err = m.AnswerSignature(sig, nil)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Shows: IKE-2 (our peer at FreeRADIUS through our client, with each method and both versions of TLS: the key that the
// server sends is the one that the peer has; a wrong password; records).
func TestFreeRADIUS(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		t.Run("TLS "+version, func(t *testing.T) {
			ns := netnstest.New(t)
			alice := startFreeRADIUS(t, ns, version)
			conn := listen(t, ns, "127.0.0.1:0")
			local := netip.MustParseAddr("127.0.0.1")
			c := newClient(t, Config{Servers: []Server{{Address: netip.AddrPortFrom(local, 1812), Accounting: netip.AddrPortFrom(local, 1813), Secret: secret}}, Address: local})
			for _, x := range []struct {
				name     string
				method   eap.Type
				inner    eap.Inner
				user     string
				password string
				want     error
			}{
				{"EAP-MSCHAPv2", eap.TypeMSCHAPv2, 0, "alice", "secret", nil},
				{"EAP-MSCHAPv2 with a domain", eap.TypeMSCHAPv2, 0, `BIGCO\alice`, "secret", nil},
				{"EAP-MSCHAPv2 with a wrong password", eap.TypeMSCHAPv2, 0, "alice", "wrong", ErrRejected},
				{"EAP-TLS", eap.TypeTLS, 0, "alice", "", nil},
				{"EAP-TTLS with MSCHAPv2", eap.TypeTTLS, eap.InnerMSCHAPv2, "alice", "secret", nil},
				{"EAP-TTLS with PAP", eap.TypeTTLS, eap.InnerPAP, "alice", "secret", nil},
				{"EAP-TTLS with EAP", eap.TypeTTLS, eap.InnerEAP, "alice", "secret", nil},
				{"EAP-TTLS with a wrong password", eap.TypeTTLS, eap.InnerPAP, "alice", "wrong", ErrRejected},
			} {
				t.Run(x.name, func(t *testing.T) {
					common := eap.Common{Methods: []eap.Type{x.method}, Rand: rand.Reader, FragmentSize: 600}
					if x.inner != 0 {
						common.Inner = []eap.Inner{x.inner}
					}
					if x.method == eap.TypeTLS {
						common.Certificate = &alice.cert
					}
					peer, err := eap.NewPeer(eap.PeerConfig{Common: common, Identity: "alice", User: x.user})
					if err != nil {
						t.Fatal(err)
					}
					e, end := talkThrough(t, c, conn, peer, alice.key, x.password)
					if x.want != nil {
						if f, ok := e.(Failed); !ok || !errors.Is(f.Err, x.want) || end.Err == nil {
							t.Errorf("want %v, found %+v, peer: %v", x.want, e, end.Err)
						}
						return
					}
					a, ok := e.(Accepted)
					if !ok || end.Err != nil {
						t.Fatalf("found %+v, peer: %v", e, end.Err)
					}
					if len(a.MSK) != 64 || !bytes.Equal(a.MSK, end.MSK) {
						t.Errorf("the keys differ:\n%x\n%x", a.MSK, end.MSK)
					}
					if a.User.Address != netip.MustParseAddr("10.0.0.7") || a.User.Filter != "staff" || len(a.User.Class) != 1 {
						t.Errorf("found user %+v", a.User)
					}
				})
			}
			id, err := c.Account(at(0), Record{Status: Start, Session: "s1", User: "alice", Class: [][]byte{{1, 2}}})
			if err != nil {
				t.Fatal(err)
			}
			if e := roundTrip(t, c, conn); e != (Accounted{ID: id}) {
				t.Errorf("the record: found %+v", e)
			}
		})
	}
}

// network is a configuration of eapol_test.
const network = `network={
	key_mgmt=IEEE8021X
	eap=%s
	identity="alice"
	password="secret"
	ca_cert="DIR/authority.pem"
	client_cert="DIR/alice.pem"
	private_key="DIR/alice.key"
	%s
}
`

// Shows: IKE-2 (the peer of hostapd and wpa_supplicant at our server: it compares the key with the one that it has).
func TestEapolTest(t *testing.T) {
	need(t, eapolTest)
	ns, dir := netnstest.New(t), t.TempDir()
	ca := newIdentity(t, dir, "authority", nil)
	own := newIdentity(t, dir, "radius.example.org", &ca)
	newIdentity(t, dir, "alice", &ca)
	conn := listen(t, ns, "127.0.0.1:1812")
	tls12, tls13 := `phase1="tls_disable_tlsv1_3=1"`, `phase1="tls_disable_tlsv1_3=0"`
	for _, x := range []struct {
		name, eap, more string
		method          eap.Type
	}{
		{"MSCHAPv2", "MSCHAPV2", "", eap.TypeMSCHAPv2},
		{"TLS 1.2", "TLS", tls12, eap.TypeTLS},
		{"TLS 1.3", "TLS", tls13, eap.TypeTLS},
		{"TTLS PAP 1.2", "TTLS", tls12 + "\nphase2=\"auth=PAP\"", eap.TypeTTLS},
		{"TTLS MSCHAPv2 1.2", "TTLS", tls12 + "\nphase2=\"auth=MSCHAPV2\"", eap.TypeTTLS},
		{"TTLS MSCHAPv2 1.3", "TTLS", tls13 + "\nphase2=\"auth=MSCHAPV2\"", eap.TypeTTLS},
		{"TTLS EAP 1.2", "TTLS", tls12 + "\nphase2=\"autheap=MSCHAPV2\"", eap.TypeTTLS},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := filepath.Join(dir, "peer.conf")
			write(t, path, strings.ReplaceAll(fmt.Sprintf(network, x.eap, x.more), "DIR", dir))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, eapolTest, "-c", path, "-a", "127.0.0.1", "-s", string(secret), "-t", "10")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := charon.In(ns)(cmd); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				done <- cmd.Wait()
				_ = conn.SetReadDeadline(time.Now())
			}()
			s := newServer(t, eap.ServerConfig{Common: eap.Common{Methods: []eap.Type{x.method}, Certificate: &own.cert, FragmentSize: 500,
				Inner: []eap.Inner{eap.InnerPAP, eap.InnerMSCHAPv2, eap.InnerEAP}}})
			s.key = own.key
			if err := conn.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			end := s.serve(t, conn)
			err := <-done
			if err != nil || end.Err != nil || !bytes.Contains(out.Bytes(), []byte("MPPE keys OK: 1")) {
				t.Errorf("eapol_test: %v, server: %v\n%s", err, end.Err, tail(out.String(), 5000))
			}
		})
	}
}

// serve answers requests until the peer has gone; it returns how the conversation ended.
func (s *server) serve(t testing.TB, conn *net.UDPConn) eap.Finished {
	t.Helper()
	s.foreign = true
	s.accept = codec.Attributes{{Type: attrFilterID, Attribute: []byte("staff")}}
	for {
		var b [4096]byte
		n, from, err := conn.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return s.end
		}
		if _, err := conn.WriteToUDPAddrPort(s.answer(t, b[:n]), from); err != nil {
			t.Fatal(err)
		}
	}
}
