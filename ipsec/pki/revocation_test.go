package pki

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"mipvpn/ipsec/pki/pkitest"
)

const (
	responderURL = "http://ocsp.corp.example/"
	listURL      = "http://crl.corp.example/inter.crl"
)

// books answers from what a test has put into it, and counts.
type books struct {
	lists     map[string][]byte
	responses map[string][]byte
	asked     int
}

var errNotThere = errors.New("not reachable from here")

func (b *books) CRL(ctx context.Context, url string) ([]byte, error) {
	b.asked++
	if l := b.lists[url]; l != nil {
		return l, ctx.Err()
	}
	return nil, errNotThere
}

func (b *books) OCSP(ctx context.Context, url string, request []byte) ([]byte, error) {
	b.asked++
	r, err := ocsp.ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if der := b.responses[url+r.SerialNumber.String()]; der != nil {
		return der, ctx.Err()
	}
	return nil, errNotThere
}

// revocationHouse has a gateway's certificate that names a responder and a list, below the root itself.
func revocationHouse(t *testing.T, mode Revocation, changes ...pkitest.Change) (*house, *books) {
	t.Helper()
	h := &house{root: pkitest.NewRoot("root", now, pkitest.P256)}
	h.inter = h.root
	h.leaf = h.root.Issue(pkitest.P256, []string{gatewayName}, append([]pkitest.Change{func(c *x509.Certificate) {
		c.OCSPServer, c.CRLDistributionPoints = []string{"ldap://x/", responderURL}, []string{listURL}
	}}, changes...)...)
	b := &books{lists: map[string][]byte{}, responses: map[string][]byte{}}
	h.verifier = &Verifier{Anchors: anchors(t, h.root), Revocation: mode, Fetcher: b, Cache: &Cache{}}
	return h, b
}

func (h *house) alone(t *testing.T) Presented {
	t.Helper()
	return Presented{ID: identity(t, gatewayName), Chain: [][]byte{h.leaf.Certificate.Raw}}
}

// Shows: IKE-2
func TestRevocationInBandByEachMeans(t *testing.T) {
	h, b := revocationHouse(t, RevocationHard)
	c := h.leaf.Certificate
	delegate := h.root.Issue(pkitest.P256, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	for name, x := range map[string]struct {
		ocsp, crl []byte
		want      *Failure
	}{
		"good response":              {h.root.OCSP(c, ocsp.Good, nil), nil, nil},
		"revoked response":           {h.root.OCSP(c, ocsp.Revoked, nil), nil, ErrRevoked},
		"unknown response":           {h.root.OCSP(c, ocsp.Unknown, nil), nil, ErrRevocationUnknown},
		"designated responder":       {h.root.OCSPBy(delegate, c, ocsp.Good, nil), nil, nil},
		"designated, revoked":        {h.root.OCSPBy(delegate, c, ocsp.Revoked, nil), nil, ErrRevoked},
		"good list":                  {nil, h.root.CRL(nil), nil},
		"revoked by list":            {nil, h.root.CRL(nil, c), ErrRevoked},
		"another one revoked":        {nil, h.root.CRL(nil, delegate.Certificate), nil},
		"good response, list not":    {h.root.OCSP(c, ocsp.Good, nil), h.root.CRL(nil, c), ErrRevoked},
		"response about another":     {h.root.OCSP(delegate.Certificate, ocsp.Good, nil), nil, ErrRevocationUnknown},
		"error response":             {ocsp.TryLaterErrorResponse, nil, ErrRevocationUnknown},
		"rubbish":                    {[]byte{0x30, 3, 2, 1, 1}, []byte("x"), ErrRevocationUnknown},
		"nothing":                    {nil, nil, ErrRevocationUnknown},
		"an empty and an empty list": {[]byte{}, []byte{}, ErrRevocationUnknown},
	} {
		p := h.alone(t)
		if x.ocsp != nil {
			p.OCSP = [][]byte{x.ocsp}
		}
		if x.crl != nil {
			p.CRLs = [][]byte{x.crl}
		}
		got, err := h.verify(t, p)
		switch {
		case x.want == nil && err != nil, x.want != nil && !errors.Is(err, x.want):
			t.Errorf("%s: error %v, want %v", name, err, x.want)
		case x.want == nil && got.Unrevoked != "OCSP response" && got.Unrevoked != "CRL":
			t.Errorf("%s: answered by %q", name, got.Unrevoked)
		}
	}
	if b.asked == 0 {
		t.Error("nobody was asked where in-band answers were not enough")
	}
}

// Shows: IKE-2
func TestAnswersThatAreNotTheAuthoritys(t *testing.T) {
	h, _ := revocationHouse(t, RevocationHard)
	c := h.leaf.Certificate
	stranger := pkitest.NewRoot("root", now, pkitest.P256) // of the same name
	ocspUse := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	undesignated := h.root.Issue(pkitest.P256, nil)
	foreign := stranger.Issue(pkitest.P256, nil, ocspUse)
	old := h.root.Issue(pkitest.P256, nil, ocspUse, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	weak := h.root.Issue(pkitest.P224, nil, ocspUse)
	// A responder of two authorities says for the other one that this serial number is good.
	shared := pkitest.NewKey(pkitest.P256)
	forUs := h.root.IssueFor(shared, nil, ocspUse)
	other := pkitest.NewRoot("other", now, pkitest.P256)
	moved := other.OCSPBy(forUs, c, ocsp.Good, nil)
	for name, der := range map[string][]byte{
		"another key":         stranger.OCSP(c, ocsp.Good, nil),
		"not designated":      h.root.OCSPBy(undesignated, c, ocsp.Good, nil),
		"the leaf itself":     h.root.OCSPBy(h.leaf, c, ocsp.Good, nil),
		"foreign responder":   h.root.OCSPBy(foreign, c, ocsp.Good, nil),
		"expired responder":   h.root.OCSPBy(old, c, ocsp.Good, nil),
		"weak responder":      h.root.OCSPBy(weak, c, ocsp.Good, nil),
		"other authority":     moved,
		"old response":        h.root.OCSP(c, ocsp.Good, func(r *ocsp.Response) { r.NextUpdate = now.Add(-time.Hour); r.ThisUpdate = now.Add(-2 * time.Hour) }),
		"response to come":    h.root.OCSP(c, ocsp.Good, func(r *ocsp.Response) { r.ThisUpdate = now.Add(time.Hour); r.NextUpdate = now.Add(2 * time.Hour) }),
		"old without an end":  h.root.OCSP(c, ocsp.Good, func(r *ocsp.Response) { r.ThisUpdate = now.AddDate(0, 0, -2); r.NextUpdate = time.Time{} }),
		"too long a response": make([]byte, maxOCSP+1),
	} {
		p := h.alone(t)
		p.OCSP = [][]byte{der}
		if _, err := h.verify(t, p); !errors.Is(err, ErrRevocationUnknown) {
			t.Errorf("%s: error %v, want %v", name, err, ErrRevocationUnknown)
		}
	}
	for name, der := range map[string][]byte{
		"another key":  stranger.CRL(nil),
		"another name": other.CRL(nil),
		"old list": h.root.CRL(func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = now.AddDate(0, 0, -2), now.AddDate(0, 0, -1)
		}),
		"list to come":  h.root.CRL(func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.AddDate(0, 0, 1), now.AddDate(0, 0, 2) }),
		"delta":         h.root.CRL(extension(asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1})),
		"indirect":      h.root.CRL(extension(oidIssuingDistributionPoint, []byte{0x30, 3, 0x84, 1, 0xff})),
		"authorities":   h.root.CRL(extension(oidIssuingDistributionPoint, []byte{0x30, 3, 0x82, 1, 0xff})),
		"some reasons":  h.root.CRL(extension(oidIssuingDistributionPoint, []byte{0x30, 4, 0x83, 2, 5, 0x60})),
		"another point": h.root.CRL(extension(oidIssuingDistributionPoint, point("http://elsewhere.example/"))),
		"broken point":  h.root.CRL(extension(oidIssuingDistributionPoint, []byte{0x30, 9})),
		"critical entry": h.root.CRL(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(99), RevocationTime: now,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}}}
		}),
	} {
		p := h.alone(t)
		p.CRLs = [][]byte{der}
		if _, err := h.verify(t, p); !errors.Is(err, ErrRevocationUnknown) {
			t.Errorf("%s: error %v, want %v", name, err, ErrRevocationUnknown)
		}
	}
	for name, der := range map[string][]byte{
		"user certificates": h.root.CRL(extension(oidIssuingDistributionPoint, []byte{0x30, 3, 0x81, 1, 0xff})),
		"the same point":    h.root.CRL(extension(oidIssuingDistributionPoint, point(listURL))),
	} {
		p := h.alone(t)
		p.CRLs = [][]byte{der}
		if _, err := h.verify(t, p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// extension adds a critical extension to a list.
func extension(id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: value}}
	}
}

// point is an issuing distribution point with a fullName.
func point(url string) []byte {
	name := append([]byte{0x86, byte(len(url))}, url...)
	full := append([]byte{0xa0, byte(len(name))}, name...)
	p := append([]byte{0xa0, byte(len(full))}, full...)
	return append([]byte{0x30, byte(len(p))}, p...)
}

// Shows: IKE-2
func TestRevocationModes(t *testing.T) {
	for _, mode := range []Revocation{RevocationOff, RevocationSoft, RevocationHard} {
		h, b := revocationHouse(t, mode)
		got, err := h.verify(t, h.alone(t))
		switch mode {
		case RevocationOff:
			if err != nil || got.Unrevoked != "not checked" || b.asked != 0 {
				t.Errorf("off: %q, %v, %d asked", got.Unrevoked, err, b.asked)
			}
		case RevocationSoft:
			if err != nil || !strings.HasPrefix(got.Unrevoked, "no answer") || b.asked != 2 {
				t.Errorf("soft: %q, %v, %d asked", got.Unrevoked, err, b.asked)
			}
		case RevocationHard:
			if !errors.Is(err, ErrRevocationUnknown) || !errors.Is(err, errNotThere) {
				t.Errorf("hard: %v", err)
			}
		}
		b.lists[listURL] = h.root.CRL(nil, h.leaf.Certificate)
		if _, err = h.verify(t, h.alone(t)); mode == RevocationOff != (err == nil) || mode != RevocationOff && !errors.Is(err, ErrRevoked) {
			t.Errorf("%v: error %v for a revoked certificate", mode, err)
		}
		h.verifier.Fetcher = nil
		h.verifier.Cache = nil
		if _, err = h.verify(t, h.alone(t)); (mode == RevocationHard) != errors.Is(err, ErrRevocationUnknown) {
			t.Errorf("%v: error %v without anybody to ask", mode, err)
		}
	}
}

func TestFetchedAnswersAreRemembered(t *testing.T) {
	h, b := revocationHouse(t, RevocationHard)
	b.responses[responderURL+h.leaf.Certificate.SerialNumber.String()] = h.root.OCSP(h.leaf.Certificate, ocsp.Good, nil)
	for range 3 {
		if _, err := h.verify(t, h.alone(t)); err != nil {
			t.Fatal(err)
		}
	}
	if b.asked != 1 {
		t.Errorf("%d fetches for three verifications, want 1", b.asked)
	}
	// After nextUpdate it is asked again; the responder has nothing newer, the list has.
	later := now.Add(2 * time.Hour)
	b.lists[listURL] = h.root.CRL(nil)
	if _, err := h.verifier.Verify(t.Context(), h.alone(t), later); err != nil {
		t.Fatal(err)
	}
	if b.asked != 3 {
		t.Errorf("%d fetches, want 3: the response's end was not heeded", b.asked)
	}
	// What does not verify is not remembered.
	h, b = revocationHouse(t, RevocationHard)
	b.lists[listURL] = pkitest.NewRoot("root", now, pkitest.P256).CRL(nil)
	for range 2 {
		if _, err := h.verify(t, h.alone(t)); !errors.Is(err, ErrRevocationUnknown) {
			t.Fatal(err)
		}
	}
	if b.asked != 4 {
		t.Errorf("%d fetches, want 4", b.asked)
	}
}

func TestRevokedIntermediate(t *testing.T) {
	h := newHouse(t)
	h.verifier.Revocation = RevocationSoft
	l, err := ParseCRL(h.root.CRL(nil, h.inter.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	h.verifier.CRLs = []*x509.RevocationList{l}
	_, err = h.verify(t, h.presented(t))
	wantFailure(t, err, ErrRevoked)
	// Hard wants an answer for each of the chain.
	h.verifier.Revocation = RevocationHard
	p := h.presented(t)
	p.CRLs = [][]byte{h.inter.CRL(nil)}
	if h.verifier.CRLs[0], err = ParseCRL(h.root.CRL(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.verify(t, p); err != nil {
		t.Error(err)
	}
	p.CRLs = nil
	_, err = h.verify(t, p)
	wantFailure(t, err, ErrRevocationUnknown)
}

func TestStrangersBringNoFetchAbout(t *testing.T) {
	h, b := revocationHouse(t, RevocationHard)
	h.verifier.Anchors = anchors(t, pkitest.NewRoot("root", now, pkitest.P256))
	if _, err := h.verify(t, h.alone(t)); !errors.Is(err, ErrUnknownAuthority) {
		t.Error(err)
	}
	p := h.alone(t)
	p.ID = identity(t, "other.corp.example")
	if _, err := h.verify(t, p); err == nil || b.asked != 0 {
		t.Errorf("error %v, %d fetches for certificates that prove nothing", err, b.asked)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := &Cache{}
	for i := range 2 * maxCached {
		c.put(big.NewInt(int64(i)).String(), []byte{1}, now.Add(time.Duration(i)*time.Minute), now)
	}
	if len(c.entries) != maxCached || c.octets != maxCached {
		t.Errorf("%d entries, %d octets, want %d", len(c.entries), c.octets, maxCached)
	}
	if c.get("0", now) != nil || c.get("127", now) == nil {
		t.Error("what ended first should have made room")
	}
	c.put("far", []byte{1}, now.AddDate(9, 0, 0), now)
	if c.get("far", now.AddDate(0, 0, 6)) == nil || c.get("far", now.AddDate(0, 0, 8)) != nil {
		t.Error("want a week at most")
	}
	c.put("back", []byte{1}, now.AddDate(0, 0, 7), now)
	if c.get("back", now.AddDate(-1, 0, 0)) != nil {
		t.Error("a clock that was set back keeps an answer")
	}
	var none *Cache
	none.put("x", nil, now, now)
	if none.get("x", now) != nil {
		t.Error("no cache remembers")
	}
}
