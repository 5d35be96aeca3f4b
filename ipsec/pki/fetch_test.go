package pki

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/ocsp"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki/pkitest"
)

// Shows: IKE-2
func TestHTTPFetcher(t *testing.T) {
	h, _ := revocationHouse(t, RevocationHard)
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(h.root.CRL(nil)) })
	mux.HandleFunc("/ocsp", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/ocsp-request" {
			http.Error(w, "no request", http.StatusBadRequest)
			return
		}
		q, err := ocsp.ParseRequest(body)
		if err != nil || q.SerialNumber.Cmp(h.leaf.Certificate.SerialNumber) != 0 {
			_, _ = w.Write(ocsp.UnauthorizedErrorResponse)
			return
		}
		asked = append(asked, q.SerialNumber.String())
		_, _ = w.Write(h.root.OCSP(h.leaf.Certificate, ocsp.Good, nil))
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxOCSP+1)) })
	s := httptest.NewServer(mux)
	defer s.Close()
	f := NewHTTPFetcher(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, strings.TrimPrefix(s.URL, "http://"))
	})
	h.verifier.Fetcher = f
	got, err := h.verify(t, h.alone(t)) // the responder's address is /, which is not there, and so is the list's
	if err == nil {
		t.Fatalf("answered by %q", got.Unrevoked)
	}
	if der, err := f.CRL(t.Context(), "http://x.example/list"); err != nil {
		t.Error(err)
	} else if _, err := ParseCRL(der); err != nil {
		t.Error(err)
	}
	request, err := ocsp.CreateRequest(h.leaf.Certificate, h.root.Certificate, nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, err := f.OCSP(t.Context(), "http://x.example/ocsp", request); err != nil || len(asked) != 1 {
		t.Errorf("error %v, %d requests", err, len(asked))
	} else if _, err := ocsp.ParseResponse(der, h.root.Certificate); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"loop", "long", "missing"} {
		if _, err := f.OCSP(t.Context(), "http://x.example/"+path, request); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.CRL(ctx, "http://x.example/list"); err == nil {
		t.Error("a cancelled fetch had an answer")
	}
}

// FuzzVerify shows that nothing a peer sends makes Verify panic, and that nothing but the right chain is trusted.
func FuzzVerify(f *testing.F) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	leaf := root.Issue(pkitest.P256, []string{gatewayName})
	set, err := NewAnchors(root.Certificate)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf.Certificate.Raw, root.Certificate.Raw, root.CRL(nil), root.OCSP(leaf.Certificate, ocsp.Good, nil), gatewayName, uint8(2))
	f.Add(leaf.Certificate.Raw, []byte{}, root.CRL(extension(oidIssuingDistributionPoint, point(listURL))), []byte{0x30, 0}, "a", uint8(9))
	f.Add([]byte{0x30, 0x80}, []byte{}, []byte("-----BEGIN X509 CRL-----"), ocsp.TryLaterErrorResponse, "\xc0\x00\x02\x01", uint8(1))
	f.Fuzz(func(t *testing.T, first, second, crl, response []byte, id string, kind uint8) {
		v := &Verifier{Anchors: set, Revocation: RevocationHard, Wildcards: kind&0x80 != 0}
		p := Presented{Chain: [][]byte{first, second}, CRLs: [][]byte{crl}, OCSP: [][]byte{response}}
		p.ID.Type, p.ID.Data = identityType(kind), id
		got, err := v.Verify(t.Context(), p, now)
		if err == nil && (len(got.Chain) == 0 || !got.Chain[len(got.Chain)-1].Equal(root.Certificate)) {
			t.Fatal("trusted without a chain to the anchor")
		}
		// What is asked about a certificate that is good for the chain must be total, too.
		q := question{verifier: v, certificate: leaf.Certificate, issuer: root.Certificate, presented: p, now: now}
		_, _ = q.response(response)
		_, _ = q.encodedList(crl)
	})
}

// FuzzParseCertificates shows that reading trust anchors and lists from files is total.
func FuzzParseCertificates(f *testing.F) {
	root := pkitest.NewRoot("root", now, pkitest.P256)
	f.Add(root.Certificate.Raw)
	f.Add(pkitest.PEM(root.Certificate))
	f.Add(root.CRL(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := ParseCertificates(b)
		if (err == nil) != (len(certs) > 0) {
			t.Fatalf("%d certificates and error %v", len(certs), err)
		}
		if l, err := ParseCRL(b); err == nil && l == nil {
			t.Fatal("no list and no error")
		}
	})
}

func identityType(kind uint8) message.IDType { return message.IDType(kind & 0x0f) }
