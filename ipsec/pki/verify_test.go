package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki/pkitest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const gatewayName = "gateway.corp.example"

// house is a root, an intermediate below it, and a gateway's certificate of that.
type house struct {
	root, inter *pkitest.Authority
	leaf        pkitest.Issued
	verifier    *Verifier
}

func newHouse(t *testing.T, changes ...pkitest.Change) *house {
	t.Helper()
	h := &house{root: pkitest.NewRoot("root", now, pkitest.P256)}
	h.inter = h.root.Intermediate("intermediate", pkitest.P384)
	h.leaf = h.inter.Issue(pkitest.P256, []string{gatewayName, "admin@corp.example", "192.0.2.1", "2001:db8::1"}, changes...)
	h.verifier = &Verifier{Anchors: anchors(t, h.root), Revocation: RevocationOff}
	return h
}

func anchors(t *testing.T, of ...*pkitest.Authority) *Anchors {
	t.Helper()
	var certs []*x509.Certificate
	for _, a := range of {
		certs = append(certs, a.Certificate)
	}
	set, err := NewAnchors(certs...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func identity(t *testing.T, s string) message.Identity {
	t.Helper()
	id, err := message.NewIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// presented is what a gateway sends.
func (h *house) presented(t *testing.T) Presented {
	t.Helper()
	return Presented{ID: identity(t, gatewayName), Chain: [][]byte{h.leaf.Certificate.Raw, h.inter.Certificate.Raw}}
}

func (h *house) verify(t *testing.T, p Presented) (Trusted, error) {
	t.Helper()
	return h.verifier.Verify(t.Context(), p, now)
}

// wantFailure checks that err is the failure and reads as a sentence.
func wantFailure(t *testing.T, err error, want *Failure) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// Shows: IKE-2
func TestVerifyTakesEachIdentityOfTheCertificate(t *testing.T) {
	h := newHouse(t)
	dn := message.Identity{Type: message.IDDERASN1DN, Data: string(h.leaf.Certificate.RawSubject)}
	ids := []message.Identity{dn}
	for _, s := range []string{gatewayName, "GATEWAY.corp.EXAMPLE", "Admin@corp.example", "192.0.2.1", "2001:db8::1"} {
		ids = append(ids, identity(t, s))
	}
	h.verifier.KeyIDs = map[string]Fingerprint{"gw-7": FingerprintOf(h.leaf.Certificate)}
	ids = append(ids, message.Identity{Type: message.IDKeyID, Data: "gw-7"})
	for _, id := range ids {
		p := h.presented(t)
		p.ID = id
		got, err := h.verify(t, p)
		if err != nil {
			t.Errorf("%v: %v", id, err)
			continue
		}
		if key, ok := got.Key.(*ecdsa.PublicKey); !ok || !key.Equal(h.leaf.Key.Public()) {
			t.Errorf("%v: another key", id)
		}
		if len(got.Chain) != 3 || got.Unrevoked != "not checked" {
			t.Errorf("%v: chain of %d, %s", id, len(got.Chain), got.Unrevoked)
		}
	}
}

// Shows: IKE-2
func TestVerifyRefusesOtherIdentities(t *testing.T) {
	h := newHouse(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "common.corp.example"}
		c.DNSNames = append(c.DNSNames, "*.wild.example")
	})
	for _, c := range []struct {
		id   message.Identity
		want *Failure
	}{
		{identity(t, "other.corp.example"), ErrIdentity},
		{identity(t, "common.corp.example"), ErrIdentity}, // the common name does not count
		{identity(t, "x"+gatewayName), ErrIdentity},
		{identity(t, gatewayName+"."), ErrIdentity},
		{identity(t, gatewayName+"\x00.evil.example"), ErrIdentity},
		{identity(t, "a.wild.example"), ErrIdentity}, // wildcards are off
		{identity(t, "192.0.2.2"), ErrIdentity},
		{message.Identity{Type: message.IDFQDN, Data: "192.0.2.1"}, ErrIdentity}, // another type
		{message.Identity{Type: message.IDRFC822Addr, Data: gatewayName}, ErrIdentity},
		{message.Identity{Type: message.IDIPv4Addr, Data: "192"}, ErrIdentity},
		{message.Identity{Type: message.IDDERASN1DN, Data: "\x30\x00"}, ErrIdentity},
		{message.Identity{Type: message.IDKeyID, Data: "gw-7"}, ErrIdentityType},
		{message.Identity{Type: message.IDDERASN1GN, Data: "x"}, ErrIdentityType},
		{message.Identity{}, ErrIdentityType},
	} {
		p := h.presented(t)
		p.ID = c.id
		_, err := h.verify(t, p)
		wantFailure(t, err, c.want)
	}
	h.verifier.KeyIDs = map[string]Fingerprint{"gw-7": FingerprintOf(h.root.Certificate)}
	p := h.presented(t)
	p.ID = message.Identity{Type: message.IDKeyID, Data: "gw-7"}
	_, err := h.verify(t, p)
	wantFailure(t, err, ErrIdentity)
}

func TestEmptySubjectNamesNobody(t *testing.T) {
	h := newHouse(t, func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	p := h.presented(t)
	p.ID = message.Identity{Type: message.IDDERASN1DN, Data: "\x30\x00"}
	_, err := h.verify(t, p)
	wantFailure(t, err, ErrIdentity)
}

func TestWildcardsCoverOneLabelWhereAllowed(t *testing.T) {
	h := newHouse(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.corp.example", "*.com"} })
	h.verifier.Wildcards = true
	for name, want := range map[string]bool{
		gatewayName: true, "GW.CORP.example": true, "a.b.corp.example": false, "corp.example": false, ".corp.example": false,
		"*.corp.example": true, "evil.com": false, "gateway.corp.example.": false,
	} {
		p := h.presented(t)
		p.ID = message.Identity{Type: message.IDFQDN, Data: name}
		if _, err := h.verify(t, p); (err == nil) != want {
			t.Errorf("%s: error %v, want accepted %v", name, err, want)
		}
	}
}

func TestChainsAreBuiltInAnyOrder(t *testing.T) {
	h := newHouse(t)
	second := h.inter.Intermediate("second", pkitest.Ed25519)
	leaf := second.Issue(pkitest.RSA2048, []string{gatewayName})
	stranger := pkitest.NewRoot("stranger", now, pkitest.P256)
	orders := [][]*x509.Certificate{
		{h.inter.Certificate, second.Certificate},
		{second.Certificate, h.inter.Certificate},
		{second.Certificate, stranger.Certificate, h.root.Certificate, leaf.Certificate, h.inter.Certificate, second.Certificate},
	}
	for _, order := range orders {
		p := Presented{ID: identity(t, gatewayName), Chain: [][]byte{leaf.Certificate.Raw}}
		for _, c := range order {
			p.Chain = append(p.Chain, c.Raw)
		}
		got, err := h.verify(t, p)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Chain) != 4 {
			t.Errorf("chain of %d, want 4", len(got.Chain))
		}
	}
	// An intermediate that the peer does not send may be configured.
	p := Presented{ID: identity(t, gatewayName), Chain: [][]byte{leaf.Certificate.Raw, {0x30, 0x01}}}
	_, err := h.verify(t, p)
	wantFailure(t, err, ErrUnknownAuthority)
	h.verifier.Intermediates = []*x509.Certificate{h.inter.Certificate, second.Certificate}
	if _, err := h.verify(t, p); err != nil {
		t.Error(err)
	}
}

// change returns a change of a template.
func usage(ku x509.KeyUsage, eku ...x509.ExtKeyUsage) pkitest.Change {
	return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = ku, eku }
}

func ipsecIKE(c *x509.Certificate) {
	c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{oidIPsecIKE}
}

// Shows: IKE-2
func TestUsages(t *testing.T) {
	sign := x509.KeyUsageDigitalSignature
	for _, c := range []struct {
		name    string
		change  pkitest.Change
		usage   ExtendedKeyUsage
		purpose Purpose
		want    *Failure
	}{
		{"as issued", usage(sign, x509.ExtKeyUsageServerAuth), UsageChecked, Gateway, nil},
		{"a client's for a gateway", usage(sign, x509.ExtKeyUsageClientAuth), UsageChecked, Gateway, ErrExtendedKeyUsage},
		{"a gateway's for a client", usage(sign, x509.ExtKeyUsageServerAuth), UsageChecked, Client, ErrExtendedKeyUsage},
		{"a client's", usage(sign, x509.ExtKeyUsageClientAuth), UsageRequired, Client, nil},
		{"for code", usage(sign, x509.ExtKeyUsageCodeSigning), UsageChecked, Gateway, ErrExtendedKeyUsage},
		{"for code, ignored", usage(sign, x509.ExtKeyUsageCodeSigning), UsageIgnored, Gateway, nil},
		{"none", usage(sign), UsageChecked, Gateway, nil},
		{"none, required", usage(sign), UsageRequired, Gateway, ErrExtendedKeyUsage},
		{"any", usage(sign, x509.ExtKeyUsageAny), UsageChecked, Gateway, nil},
		{"any, required", usage(sign, x509.ExtKeyUsageAny), UsageRequired, Gateway, ErrExtendedKeyUsage},
		{"ipsecIKE", ipsecIKE, UsageRequired, Gateway, nil},
		{"ipsecIKE, client", ipsecIKE, UsageChecked, Client, nil},
		{"no key usage", usage(0, x509.ExtKeyUsageServerAuth), UsageChecked, Gateway, nil},
		{"nonRepudiation", usage(x509.KeyUsageContentCommitment, x509.ExtKeyUsageServerAuth), UsageChecked, Gateway, nil},
		{"for encryption", usage(x509.KeyUsageKeyEncipherment, x509.ExtKeyUsageServerAuth), UsageIgnored, Gateway, ErrKeyUsage},
	} {
		h := newHouse(t, c.change)
		h.verifier.Usage, h.verifier.Purpose = c.usage, c.purpose
		_, err := h.verify(t, h.presented(t))
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// An intermediate that is for something else makes leaves for that only.
	h := newHouse(t)
	other := h.root.Intermediate("mail", pkitest.P256, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })
	leaf := other.Issue(pkitest.P256, []string{gatewayName})
	_, err := h.verify(t, Presented{ID: identity(t, gatewayName), Chain: [][]byte{leaf.Certificate.Raw, other.Certificate.Raw}})
	wantFailure(t, err, ErrExtendedKeyUsage)
}

// Shows: IKE-2
func TestVerifyRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, h *house, p *Presented)
		want   *Failure
	}{
		{"nothing", func(_ *testing.T, _ *house, p *Presented) { p.Chain = nil }, ErrNoCertificate},
		{"no anchor", func(_ *testing.T, h *house, _ *Presented) { h.verifier.Anchors = nil }, ErrUnknownAuthority},
		{"another root", func(t *testing.T, h *house, _ *Presented) {
			h.verifier.Anchors = anchors(t, pkitest.NewRoot("root", now, pkitest.P256))
		}, ErrUnknownAuthority},
		{"malformed", func(_ *testing.T, _ *house, p *Presented) { p.Chain[0] = p.Chain[0][:100] }, ErrMalformed},
		{"expired", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.Issue(pkitest.P256, []string{gatewayName}, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }).Certificate.Raw
		}, ErrExpired},
		{"not yet valid", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.Issue(pkitest.P256, []string{gatewayName}, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }).Certificate.Raw
		}, ErrNotYetValid},
		{"expired intermediate", func(_ *testing.T, h *house, p *Presented) {
			i := h.root.Intermediate("old", pkitest.P256, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })
			p.Chain = [][]byte{i.Issue(pkitest.P256, []string{gatewayName}).Certificate.Raw, i.Certificate.Raw}
		}, ErrExpired},
		{"weak RSA key", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.IssueFor(weakRSA(), []string{gatewayName}).Certificate.Raw
		}, ErrWeakKey},
		{"weak curve", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.Issue(pkitest.P224, []string{gatewayName}).Certificate.Raw
		}, ErrWeakKey},
		{"weak intermediate", func(_ *testing.T, h *house, p *Presented) {
			i := h.root.Intermediate("weak", pkitest.P224)
			p.Chain = [][]byte{i.Issue(pkitest.P256, []string{gatewayName}).Certificate.Raw, i.Certificate.Raw}
		}, ErrWeakKey},
		{"SHA-1", func(_ *testing.T, h *house, p *Presented) { p.Chain[0] = sha1Signed(h.leaf.Certificate, h.inter) }, ErrWeakSignature},
		{"leaf as authority", func(_ *testing.T, h *house, p *Presented) {
			fake := &pkitest.Authority{Certificate: h.leaf.Certificate, Key: h.leaf.Key}
			leaf := fake.Issue(pkitest.P256, []string{gatewayName}, valid)
			p.Chain = [][]byte{leaf.Certificate.Raw, h.leaf.Certificate.Raw, h.inter.Certificate.Raw}
		}, ErrUnknownAuthority},
		{"path too long", func(_ *testing.T, h *house, p *Presented) {
			i := h.root.Intermediate("last", pkitest.P256, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
			j := i.Intermediate("one more", pkitest.P256)
			p.Chain = [][]byte{j.Issue(pkitest.P256, []string{gatewayName}).Certificate.Raw, j.Certificate.Raw, i.Certificate.Raw}
		}, ErrConstraint},
		{"name constraint", func(_ *testing.T, h *house, p *Presented) {
			i := h.root.Intermediate("constrained", pkitest.P256, func(c *x509.Certificate) {
				c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"branch.example"}, true
			})
			p.Chain = [][]byte{i.Issue(pkitest.P256, []string{gatewayName}).Certificate.Raw, i.Certificate.Raw}
		}, ErrConstraint},
		{"address constraint", func(_ *testing.T, h *house, p *Presented) {
			i := h.root.Intermediate("constrained", pkitest.P256, func(c *x509.Certificate) {
				c.ExcludedIPRanges = []*net.IPNet{{IP: net.IP{192, 0, 2, 0}, Mask: net.CIDRMask(24, 32)}}
			})
			p.Chain = [][]byte{i.Issue(pkitest.P256, []string{gatewayName, "192.0.2.1"}).Certificate.Raw, i.Certificate.Raw}
		}, ErrConstraint},
		{"critical extension", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.Issue(pkitest.P256, []string{gatewayName}, func(c *x509.Certificate) {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
			}).Certificate.Raw
		}, ErrCriticalExtension},
		{"too many", func(_ *testing.T, _ *house, p *Presented) {
			p.Chain = append(p.Chain, slices.Repeat([][]byte{p.Chain[1]}, MaxCertificates)...)
		}, ErrLimits},
		{"too large", func(_ *testing.T, h *house, p *Presented) {
			p.Chain[0] = h.inter.Issue(pkitest.P256, []string{gatewayName}, func(c *x509.Certificate) {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, MaxCertificate)}}
			}).Certificate.Raw
		}, ErrLimits},
		{"too many CRLs", func(_ *testing.T, _ *house, p *Presented) { p.CRLs = make([][]byte, MaxResponses+1) }, ErrLimits},
		{"too long a chain", func(_ *testing.T, h *house, p *Presented) {
			a := h.root
			p.Chain = [][]byte{nil}
			for range MaxChain - 1 {
				a = a.Intermediate("step "+big.NewInt(int64(len(p.Chain))).String(), pkitest.P256)
				p.Chain = append(p.Chain, a.Certificate.Raw)
			}
			p.Chain[0] = a.Issue(pkitest.P256, []string{gatewayName}).Certificate.Raw
		}, ErrLimits},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			p := h.presented(t)
			c.change(t, h, &p)
			_, err := h.verify(t, p)
			wantFailure(t, err, c.want)
			if !strings.Contains(err.Error(), c.want.Error()) || c.want.Advice() == "" || c.want.Code() == "" {
				t.Errorf("%v: no sentence for people", err)
			}
		})
	}
}

func valid(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour) }

// A wrong path to an anchor does not hide a right one.
func TestVerifyTakesTheChainThatHolds(t *testing.T) {
	h := newHouse(t)
	// The same authority has a second certificate, by a root that constrains it to mail.
	second := pkitest.NewRoot("second", now, pkitest.P256)
	twin := twinOf(second, h.inter)
	h.verifier.Anchors = anchors(t, second, h.root)
	p := h.presented(t)
	p.Chain = [][]byte{p.Chain[0], twin.Raw, h.inter.Certificate.Raw}
	got, err := h.verify(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if got.Chain[2] != h.root.Certificate && !got.Chain[2].Equal(h.root.Certificate) {
		t.Errorf("chain ends at %v", got.Chain[2].Subject)
	}
}

// twinOf certifies a's key and name by root, for mail alone.
func twinOf(root, a *pkitest.Authority) *x509.Certificate {
	t := root.IssueFor(a.Key, nil, func(c *x509.Certificate) {
		c.RawSubject, c.IsCA, c.KeyUsage = a.Certificate.RawSubject, true, x509.KeyUsageCertSign
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	})
	return t.Certificate
}

func TestVerifyHeedsItsContext(t *testing.T) {
	h := newHouse(t)
	h.verifier.Revocation = RevocationSoft
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.verifier.Verify(ctx, h.presented(t), now); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}
