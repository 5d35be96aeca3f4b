package e2e

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ocsp"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/pki"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// With revocation = "hard" the OCSP responder that the gateway's certificate names is asked past the VPN, which is not there yet; one
// at an address of the enterprise's is not.
//
// Shows: IKE-2
func TestRevocationIsAskedPastTheVPN(t *testing.T) {
	t.Parallel()
	outside := netip.MustParseAddrPort("192.0.2.1:8080") // the Internet's router
	for name, c := range map[string]struct {
		status int
		at     string
		code   string
	}{
		"good":           {ocsp.Good, outside.String(), ""},
		"revoked":        {ocsp.Revoked, outside.String(), pki.ErrRevoked.Code()},
		"unknown":        {ocsp.Unknown, outside.String(), pki.ErrRevocationUnknown.Code()},
		"nobody there":   {ocsp.Good, "192.0.2.99:8080", pki.ErrRevocationUnknown.Code()},
		"the enterprise": {ocsp.Good, "10.0.1.20:8080", pki.ErrRevocationUnknown.Code()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				com := newCompany(t, func(x *x509.Certificate) { x.OCSPServer = []string{"http://" + c.at + "/ocsp"} })
				o := com.options(t, 93, []config.Round{config.RoundCertificate}, func(cfg *config.Config, _ *agent.GatewayConfig) {
					cfg.Trust.Fetch, cfg.Trust.Verifier = true, com.verifier(t, pki.Gateway, pki.RevocationHard)
				})
				var laptop *simnet.Host
				responder := &http.Server{Handler: answerOCSP(com, c.status)}
				ended := make(chan error, 1)
				o.Lab = func(l *simnet.Lab) {
					laptop = l.Laptop
					listener, err := l.InternetRouter.ListenTCP(outside)
					must(t, err)
					go func() { ended <- responder.Serve(listener) }()
				}
				o.Start = append(o.Start, func(c *client.Client) { client.WithPortals(laptop)(c) },
					client.WithNames(client.Names{Servers: NewResolver(func() *simnet.Host { return laptop })}))
				w := world(t, o)
				j := Watch(w.External()...)
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.Until(time.Minute, func(s control.Status) bool {
					if c.code == "" {
						return s.State == control.StateConnected
					}
					for _, p := range s.Problems {
						if p.Code == c.code {
							return true
						}
					}
					return false
				})
				must(t, err)
				if c.code == "" && (s.VPN == nil || !strings.Contains(s.VPN.GatewayProof, "OCSP response")) {
					t.Errorf("VPN %+v", s.VPN)
				}
				judge(t, j)
				must(t, responder.Close())
				if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}

// answerOCSP answers every request with that status of the gateway's certificate.
func answerOCSP(com *company, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = ocsp.ParseRequest(request)
		}
		if err != nil || r.URL.Path != "/ocsp" {
			http.Error(w, "no OCSP request", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(com.root.OCSP(com.gateway.Certificate, status, nil)) // a lost answer shows at the client
	}
}
