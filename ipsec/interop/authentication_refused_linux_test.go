package interop

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/hostnet/netnstest"
)

// refusal is a case that must fail: what is wrong, the error at our end, and what charon says.
type refusal struct {
	name string
	role role
	auth string // of allAuthentications
	// spoil changes what either end has before they are told; charonOnly, when set, more of charon's connection; ours of our
	// configuration as initiator.
	spoil  func(g *game)
	charon func(s charon.Section)
	ours   func(c *ike.InitiatorConfig)
	want   error
	or     error  // what it may be too, with other releases of charon
	said   string // in charon's log, alternatives between bars
}

// notified is the peer's refusal.
func notified(n message.NotifyType) error { return &ike.NotifyError{Type: n} }

// other is an authority that nobody knows, and eve's certificate.
func other(kind pkitest.Key, name string) holder {
	return holder{Issued: pkitest.NewRoot("another", time.Now(), pkitest.P256).Issue(kind, []string{name})}
}

func fromRoot(name string, changes ...pkitest.Change) holder {
	return holder{Issued: rootCA().Issue(pkitest.P256, []string{name}, changes...)}
}

func expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute)
}

// revocation is a list of the test's authority.
func revocation(g *game, h holder) (der []byte, parsed *x509.RevocationList) {
	g.Helper()
	der = rootCA().CRL(nil, h.Certificate)
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		g.Fatal(err)
	}
	return der, parsed
}

// refusals are the cases.
func refusals() []refusal {
	const psk, cert, mschap, twice = "PSK", "ECDSA P-256", "EAP-MSCHAPv2", "ECDSA, then EAP-MSCHAPv2"
	failed, sawFailed := notified(message.AuthenticationFailed), "AUTH_FAILED"
	return []refusal{
		{name: "another PSK", role: initiator, auth: psk, spoil: func(g *game) { g.psk = []byte("another") }, want: failed, said: "MAC mismatched"},
		{name: "another PSK", role: responder, auth: psk, spoil: func(g *game) { g.psk = []byte("another") },
			want: ike.ErrAuthentication, said: "received AUTHENTICATION_FAILED"},
		{name: "a client that is not known", role: initiator, auth: psk,
			ours: func(c *ike.InitiatorConfig) { c.LocalID.Data = "laptop@elsewhere.example" }, want: failed, said: "no matching peer config found"},
		{name: "a client that is not known", role: responder, auth: psk,
			charon: func(s charon.Section) { s.Section("local-1")["id"] = "laptop@elsewhere.example" },
			want:   failed, said: "received AUTHENTICATION_FAILED"},
		{name: "another gateway is asked for", role: initiator, auth: psk,
			ours: func(c *ike.InitiatorConfig) { c.RemoteID.Data = "other.corp.example" }, want: failed, said: "no matching peer config found"},
		{name: "another gateway is asked for", role: responder, auth: psk,
			charon: func(s charon.Section) { s.Section("remote-0")["id"] = "other.corp.example" },
			want:   failed, said: "received AUTHENTICATION_FAILED"},
		{name: "no common IKE proposal", role: initiator, auth: psk,
			ours: func(c *ike.InitiatorConfig) { c.Proposals.Encryption = []suite.Encryption{suite.ChaCha20Poly1305} },
			want: notified(message.NoProposalChosen), said: "NO_PROP"},
		{name: "no common IKE proposal", role: responder, auth: psk,
			charon: func(s charon.Section) { s["proposals"] = []string{"chacha20poly1305-prfsha256-x25519"} },
			want:   notified(message.NoProposalChosen), said: "received NO_PROPOSAL_CHOSEN"},
		{name: "no common ESP proposal", role: initiator, auth: psk,
			ours: func(c *ike.InitiatorConfig) {
				c.Proposals.ChildEncryption = []suite.Encryption{suite.ChaCha20Poly1305}
			},
			want: notified(message.NoProposalChosen), said: "no acceptable proposal found"},
		{name: "no common ESP proposal", role: responder, auth: psk,
			charon: func(s charon.Section) {
				s.Section("children").Section(childName)["esp_proposals"] = []string{"chacha20poly1305"}
			},
			want: notified(message.NoProposalChosen), said: "received NO_PROPOSAL_CHOSEN"},
		{name: "no common traffic selectors", role: initiator, auth: psk,
			ours: func(c *ike.InitiatorConfig) {
				c.RemoteSelectors = []esp.Selector{esp.PrefixSelector(netip.MustParsePrefix("172.16.0.0/16"))}
			},
			want: notified(message.TSUnacceptable), said: "unacceptable"},
		{name: "no common traffic selectors", role: responder, auth: psk,
			charon: func(s charon.Section) {
				s.Section("children").Section(childName)["remote_ts"] = []string{"172.16.0.0/16"}
			},
			want: notified(message.TSUnacceptable), said: "received TS_UNACCEPTABLE"},
		{name: "no address to assign", role: initiator, auth: psk, charon: func(s charon.Section) { delete(s, "pools") },
			want: notified(message.InternalAddressFailure), said: "no virtual IP found"},

		{name: "the gateway's certificate is of another authority", role: initiator, auth: cert,
			spoil: func(g *game) { g.anchor = pkitest.NewRoot("another", time.Now(), pkitest.P256) }, want: pki.ErrUnknownAuthority, said: sawFailed},
		{name: "the gateway's certificate has another name", role: initiator, auth: cert,
			spoil: func(g *game) { g.theirs.gateway = fromRoot("other.corp.example") }, want: pki.ErrIdentity, said: sawFailed},
		{name: "the gateway's certificate has expired", role: initiator, auth: cert,
			spoil: func(g *game) { g.theirs.gateway = fromRoot(gatewayName, expired) }, want: pki.ErrExpired, said: sawFailed},
		{name: "the gateway's certificate is revoked", role: initiator, auth: cert,
			spoil: func(g *game) {
				_, list := revocation(g, g.theirs.gateway)
				g.revoked = []*x509.RevocationList{list}
			}, want: pki.ErrRevoked, said: sawFailed},
		{name: "our certificate is of another authority", role: initiator, auth: cert,
			spoil: func(g *game) { g.mine.client = other(pkitest.P256, clientName) }, want: failed, said: "no issuer certificate found"},
		{name: "our certificate has another name", role: initiator, auth: cert,
			spoil: func(g *game) { g.mine.client = fromRoot("eve@corp.example") }, want: failed, said: "no trusted ECDSA public key found"},
		{name: "our certificate has expired", role: initiator, auth: cert,
			spoil: func(g *game) { g.mine.client = fromRoot(clientName, expired) }, want: failed, said: "subject certificate invalid"},
		{name: "our certificate is revoked", role: initiator, auth: cert,
			spoil: func(g *game) {
				der, _ := revocation(g, g.mine.client)
				g.call(g.recorder, "load-cert", charon.Section{"type": "X509_CRL", "data": der})
			}, want: failed, said: "certificate was revoked"},
		{name: "our signature is by another key", role: initiator, auth: cert,
			spoil: func(g *game) { g.mine.client.Key = pkitest.NewKey(pkitest.P256) }, want: failed, said: "signature validation failed"},
		{name: "a scheme that is not the key's", role: initiator, auth: cert,
			spoil: func(g *game) {
				g.auth.scheme = ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.RSAPSS, Hash: crypto.SHA256}
			}, want: failed, said: sawFailed},
		{name: "the client's certificate is of another authority", role: responder, auth: cert,
			spoil: func(g *game) { g.theirs.client = other(pkitest.P256, clientName) },
			want:  pki.ErrUnknownAuthority, said: "received AUTHENTICATION_FAILED"},
		{name: "the client's certificate has expired", role: responder, auth: cert,
			spoil: func(g *game) { g.theirs.client = fromRoot(clientName, expired) }, want: pki.ErrExpired, said: "received AUTHENTICATION_FAILED"},
		{name: "the client's certificate is revoked", role: responder, auth: cert,
			spoil: func(g *game) {
				_, list := revocation(g, g.theirs.client)
				g.revoked = []*x509.RevocationList{list}
			}, want: pki.ErrRevoked, said: "received AUTHENTICATION_FAILED"},
		{name: "our certificate is of another authority", role: responder, auth: cert,
			spoil: func(g *game) { g.mine.gateway = other(pkitest.P256, gatewayName) },
			want:  failed, said: "no issuer certificate found"},
		{name: "our certificate has expired", role: responder, auth: cert,
			spoil: func(g *game) { g.mine.gateway = fromRoot(gatewayName, expired) }, want: failed, said: "subject certificate invalid"},
		{name: "our certificate is revoked", role: responder, auth: cert,
			spoil: func(g *game) {
				der, _ := revocation(g, g.mine.gateway)
				g.call(g.recorder, "load-cert", charon.Section{"type": "X509_CRL", "data": der})
			}, want: failed, said: "certificate was revoked"},

		{name: "a wrong password", role: initiator, auth: mschap, spoil: func(g *game) { g.password = "wrong" },
			want: eap.ErrPasswordWrong, or: eap.ErrRejected, said: "EAP-MS-CHAPv2 verification failed|EAP_MSCHAPV2 failed"},
		{name: "a wrong password", role: responder, auth: mschap, spoil: func(g *game) { g.password = "wrong" },
			want: failed, said: "EAP-MS-CHAPv2 failed with error"},
		{name: "a PSK where the gateway wants EAP", role: initiator, auth: mschap,
			ours: func(c *ike.InitiatorConfig) { c.Rounds = []ike.Proof{{ID: c.Rounds[0].ID, PSK: key}} }, want: failed, said: sawFailed},
		{name: "one round where the gateway wants two", role: initiator, auth: twice,
			ours: func(c *ike.InitiatorConfig) { c.Rounds = c.Rounds[:1] }, want: failed, said: sawFailed},
	}
}

// Shows: IKE-2, IKE-3, IKE-10. What fails has its name at our end, and charon has refused or was refused; nothing is left.
func TestMatrixRefusals(t *testing.T) {
	netnstest.New(t) // skips the test where there are none
	auths := map[string]authentication{}
	for _, a := range allAuthentications() {
		auths[a.name] = a
	}
	peers := []peer{strongSwan59, strongSwan60, strongSwan61}
	if !*all {
		peers = peers[1:2]
	}
	table := newTable([]dimension{{name: "peer"}, {name: "we are"}, {name: "authentication"}, {name: "what is wrong"}})
	t.Run("cases", func(t *testing.T) {
		for _, p := range peers {
			for _, side := range []role{initiator, responder} {
				t.Run(fmt.Sprintf("%s, we are %s", p.name, side), func(t *testing.T) {
					t.Parallel()
					var on *ground
					for _, c := range refusals() {
						if c.role != side {
							continue
						}
						ok := t.Run(c.name, func(tt *testing.T) {
							r := &recorder{TB: tt}
							defer table.note([]string{p.name, string(side), c.auth, c.name}, r)
							if on == nil {
								on = mustGround(r, t, p, side)
							}
							refuse(r, on, p, c, auths[c.auth])
						})
						if !ok {
							on = nil
						}
					}
				})
			}
		}
	})
	if *all {
		fmt.Println(table)
	}
}

// mustGround is newGround for a test that is skipped when the peer cannot be had.
func mustGround(r *recorder, whole testing.TB, p peer, side role) *ground {
	r.Helper()
	g, err := newGround(whole, p, side)
	switch {
	case unavailable(err):
		r.Skip(err)
	case err != nil:
		r.Fatal(err)
	}
	return g
}

// refuse plays a refusal.
func refuse(r *recorder, on *ground, p peer, c refusal, a authentication) {
	r.Helper()
	g := newGame(r, on, Case{name: c.name, peer: p, role: c.role, auth: a, suite: allTransforms()[0], nat: noNAT, sizes: usual, config: plain, ppk: noPPK, move: fixed})
	mark := on.mark()
	if c.spoil != nil {
		c.spoil(g)
	}
	g.change = c.charon
	g.load()
	if c.role == initiator {
		cfg := g.initiatorConfig()
		if c.auth == "PSK" {
			cfg.Retransmission = ike.Retransmission{Initial: 50 * time.Millisecond, RefusedTries: 3}
		}
		g.changeOurs = c.ours
		ours := g.ourClient(cfg)
		ours.start()
		if end := ours.end(); !errors.Is(end, c.want) && (c.or == nil || !errors.Is(end, c.or)) {
			r.Fatalf("closed with %v, want %v", end, c.want)
		}
	} else {
		ours := g.ourGateway()
		done := g.initiate()
		err := ours.end()
		if !errors.Is(err, c.want) {
			r.Fatalf("closed with %v, want %v", err, c.want)
		}
		if err := <-done; err == nil {
			r.Fatal("charon is content")
		}
	}
	eventually(r, "charon says it", func() (bool, string) {
		log := on.logSince(mark)
		return slices.ContainsFunc(strings.Split(c.said, "|"), func(s string) bool { return strings.Contains(log, s) }), fmt.Sprintf("want %q", c.said)
	})
	// An IKE SA is left where the child SA alone was refused, and a half-open one where we have ended without a word.
	for _, sa := range on.sas(r) {
		_, _, err := on.daemon.Call("terminate", "", charon.Section{"ike-id": sa.String("uniqueid"), "force": "yes", "timeout": "-1"})
		if err != nil && !errors.Is(err, charon.ErrRefused) {
			r.Fatal(err)
		}
	}
	on.noSAs(r)
}

// end waits for the end of the machine, or of what it was asked for.
func (c *endpoint) end() error {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-c.events:
			c.seen = append(c.seen, h.Event)
			switch e := h.Event.(type) {
			case ike.Closed:
				return e.Err
			case ike.ChildFailed:
				return e.Err
			}
		case <-timeout:
			c.t.Fatalf("the machine did not close; so far %+v", c.seen)
		}
	}
}

// oldExtra makes charon a peer without RFC 7427.
const oldExtra = `
charon {
	signature_authentication = no
}
`

// Shows: IKE-3. With a peer that does not know RFC 7427 ECDSA is done by the methods of RFC 4754; RSA would be with SHA-1, and
// is refused.
func TestOldSignaturesOfCharon(t *testing.T) {
	old := peer{strongSwan59.name, func(o charon.Options) (*charon.Daemon, error) {
		o.ExtraDaemon += oldExtra
		return strongSwan59.start(o)
	}}
	cert := []string{byCertificate}
	for _, side := range []role{initiator, responder} {
		t.Run("we are "+string(side), func(t *testing.T) {
			on := mustGround(&recorder{TB: t}, t, old, side)
			ways := []authentication{{name: "P-256", kind: pkitest.P256, client: cert}, {name: "P-384", kind: pkitest.P384, client: cert},
				{name: "P-521", kind: pkitest.P521, client: cert}}
			for _, a := range ways {
				t.Run(a.name, func(t *testing.T) {
					play(&recorder{TB: t}, on, Case{name: a.name, peer: old, role: side, auth: a, suite: allTransforms()[0], nat: noNAT,
						sizes: usual, config: plain, ppk: noPPK, move: fixed, deleter: "us"})
				})
			}
			rsa := authentication{name: "RSA", kind: pkitest.RSA2048, client: cert}
			want := map[role]error{initiator: ike.ErrSignatureScheme, responder: ike.ErrWeakSignature}[side]
			t.Run("RSA", func(t *testing.T) {
				refuse(&recorder{TB: t}, on, old, refusal{name: "RSA", role: side, auth: "RSA", want: want}, rsa)
			})
			if side == initiator {
				t.Run("RSA of the gateway", func(t *testing.T) {
					refuse(&recorder{TB: t}, on, old, refusal{name: "RSA", role: side, auth: "RSA", want: ike.ErrWeakSignature,
						ours:   func(c *ike.InitiatorConfig) { c.Rounds = []ike.Proof{{ID: c.LocalID, PSK: slices.Clone(key)}} },
						charon: func(s charon.Section) { s.Section("remote-1")["auth"] = byPSK }}, rsa)
				})
			}
		})
	}
}
