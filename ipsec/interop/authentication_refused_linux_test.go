package interop

import (
	"crypto"
	"errors"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki/pkitest"
)

// oldExtra makes charon a peer without RFC 7427.
const oldExtra = authExtra + `
charon {
	signature_authentication = no
}
`

// Shows: IKE-3. With a peer that does not know RFC 7427 ECDSA is done by the methods of RFC 4754; RSA would be with SHA-1, and
// is refused.
func TestOldSignaturesOfCharon(t *testing.T) {
	t.Run("to a gateway", func(t *testing.T) {
		on := authLab(t, initiator, oldExtra)
		for name, kind := range map[string]pkitest.Key{"P-256": pkitest.P256, "P-384": pkitest.P384, "P-521": pkitest.P521} {
			t.Run(name, func(t *testing.T) {
				g := on.begin(t, authCase{kind: kind, client: []string{"cert"}})
				ours, _ := g.ourClient()
				ours.start()
				wait[ike.Established](ours)
				wait[ike.ChildInstalled](ours)
				ours.data()
			})
		}
		t.Run("its RSA", func(t *testing.T) {
			g := on.begin(t, authCase{kind: pkitest.RSA2048, client: []string{"psk"}})
			g.fails(t, ike.ErrWeakSignature)
		})
		t.Run("our RSA", func(t *testing.T) {
			g := on.begin(t, authCase{kind: pkitest.RSA2048, client: []string{"cert"}})
			g.fails(t, ike.ErrSignatureScheme)
		})
	})
	t.Run("of a client", func(t *testing.T) {
		on := authLab(t, responder, oldExtra)
		for name, c := range map[string]struct {
			kind pkitest.Key
			want error
		}{"P-256": {pkitest.P256, nil}, "P-384": {pkitest.P384, nil}, "P-521": {pkitest.P521, nil}, "RSA": {pkitest.RSA2048, ike.ErrWeakSignature}} {
			t.Run(name, func(t *testing.T) {
				g := on.begin(t, authCase{kind: c.kind, client: []string{"cert"}})
				ours := g.ourGateway()
				done := g.initiate()
				if c.want == nil {
					wait[ike.Established](ours)
					if err := <-done; err != nil {
						t.Error(err)
					}
					return
				}
				if end := ours.end(); !errors.Is(end, c.want) {
					t.Errorf("%v, want %v", end, c.want)
				}
				if err := <-done; err == nil {
					t.Error("charon is content")
				}
			})
		}
	})
}

// end waits for the end of the machine.
func (c *endpoint) end() error {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-c.events:
			if e, ok := h.Event.(ike.Closed); ok {
				return e.Err
			}
		case <-timeout:
			c.t.Fatal("the machine did not close")
		}
	}
}

// fails starts our client, which must fail with want.
func (g *authGround) fails(t *testing.T, want error) {
	t.Helper()
	ours, _ := g.ourClient()
	ours.start()
	if end := ours.end(); !errors.Is(end, want) {
		t.Errorf("%v, want %v", end, want)
	}
}

// Shows: IKE-2, IKE-3, IKE-10. What a gateway or its certificate is not trusted for has a name at our end; what it refuses too.
func TestAuthenticationRefusedWithCharon(t *testing.T) {
	on := authLab(t, initiator, authExtra)
	cert := authCase{kind: pkitest.P256, client: []string{"cert"}}
	for _, c := range []struct {
		name string
		c    authCase
		// spoil changes what we have before our client is made.
		spoil func(g *authGround)
		want  error
	}{
		{"another authority", cert, func(g *authGround) { g.root = pkitest.NewRoot("another", time.Now(), pkitest.P256) }, ike.ErrTrust},
		{"our certificate is of another authority", cert, func(g *authGround) {
			g.client = pkitest.NewRoot("another", time.Now(), pkitest.P256).Issue(pkitest.P256, []string{clientName})
		}, &ike.NotifyError{Type: message.AuthenticationFailed}},
		{"our certificate is for another name", cert, func(g *authGround) {
			g.client = g.root.Issue(pkitest.P256, []string{"eve@corp.example"})
		}, &ike.NotifyError{Type: message.AuthenticationFailed}},
		{"our signature is by another key", cert, func(g *authGround) { g.client.Key = pkitest.NewKey(pkitest.P256) },
			&ike.NotifyError{Type: message.AuthenticationFailed}},
		{"a scheme that is not the key's", cert, func(g *authGround) {
			g.scheme = ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.RSAPSS, Hash: crypto.SHA256}
		}, &ike.NotifyError{Type: message.AuthenticationFailed}},
		{"no EAP where the gateway wants it", authCase{kind: pkitest.P256, client: []string{"eap-mschapv2"}}, func(g *authGround) {
			g.authCase.client = []string{"psk"}
		}, &ike.NotifyError{Type: message.AuthenticationFailed}},
		{"one round where the gateway wants two", authCase{kind: pkitest.P256, client: []string{"cert", "eap-mschapv2"}}, func(g *authGround) {
			g.authCase.client = []string{"cert"}
		}, &ike.NotifyError{Type: message.AuthenticationFailed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := on.begin(t, c.c)
			c.spoil(g)
			g.fails(t, c.want)
		})
	}
}
