package ike

import (
	"fmt"
	"slices"

	"mipvpn/ipsec/suite"
)

// Proposals are the algorithms that this end offers and accepts, each list with the most preferred first. The zero value is
// DefaultProposals. An empty list means that of DefaultProposals. What suite says is not approved is left out of all lists, which
// matters in the FIPS 140-3 mode of the standard library.
type Proposals struct {
	// Encryption, PRFs and Groups are for the IKE SA. Groups are of the first key exchange; none is a KEM.
	Encryption []suite.Encryption
	PRFs       []suite.PRF
	Groups     []suite.Group
	// Additional are the methods of additional key exchanges, at most seven lists, one for each exchange (RFC 9370): a peer
	// that supports them gets a hybrid. As a responder any of them will do in any place. NoAdditional leaves them out.
	// RequireAdditional refuses IKE SAs without, and child SAs with a key exchange of their own without.
	Additional        [][]suite.Group
	NoAdditional      bool
	RequireAdditional bool
	// ChildEncryption is for child SAs.
	ChildEncryption []suite.Encryption
	// ChildGroups are for a fresh key exchange when child SAs are rekeyed, with the additional ones. It is offered first, and a
	// rekeying without it next, as the peer likes; NoChildGroups offers only the latter.
	ChildGroups   []suite.Group
	NoChildGroups bool
	// RequireESN refuses child SAs without extended sequence numbers; otherwise both are offered, the extended first.
	RequireESN bool
}

// DefaultProposals returns the choice for gateways of these years, out of RFC 8247 and RFC 8221: AES-256-GCM, AES-128-GCM,
// ChaCha20-Poly1305; PRF_HMAC_SHA2_256, _384, _512; groups 31, 19, 20 and 21; and with each of them ML-KEM-768 or ML-KEM-1024,
// where the peer can.
func DefaultProposals() Proposals {
	return Proposals{
		Encryption: suite.CombinedModes(), PRFs: suite.PRFs(),
		Groups:          []suite.Group{suite.GroupCurve25519, suite.GroupP256, suite.GroupP384, suite.GroupP521},
		Additional:      [][]suite.Group{{suite.GroupMLKEM768, suite.GroupMLKEM1024}},
		ChildEncryption: suite.CombinedModes(),
	}
}

// CompatibleProposals returns DefaultProposals with all else that RFC 8247 and RFC 8221 still allow, for older gateways: AES-CBC
// with HMAC-SHA-2, and the MODP groups 15, 16 and 14.
func CompatibleProposals() Proposals {
	p := DefaultProposals()
	p.Encryption, p.ChildEncryption = suite.Encryptions(), suite.Encryptions()
	p.Groups = append(p.Groups, suite.GroupMODP3072, suite.GroupMODP4096, suite.GroupMODP2048)
	return p
}

// CNSAProposals returns the algorithms of the Commercial National Security Algorithm Suite 2.0 as far as IKE has them, and
// nothing else (RFC 9206 with ML-KEM-1024): AES-256-GCM, PRF_HMAC_SHA2_384, and P-384 with ML-KEM-1024, which is required.
func CNSAProposals() Proposals {
	return Proposals{
		Encryption: []suite.Encryption{suite.AESGCM256}, PRFs: []suite.PRF{suite.PRFHMACSHA384},
		Groups: []suite.Group{suite.GroupP384}, Additional: [][]suite.Group{{suite.GroupMLKEM1024}}, RequireAdditional: true,
		ChildEncryption: []suite.Encryption{suite.AESGCM256},
	}
}

// ProposalsOf returns the proposals of a profile by its word: "default" (or ""), "cnsa" or "compatible". Errors wrap ErrConfig.
func ProposalsOf(profile string) (Proposals, error) {
	switch profile {
	case "", "default":
		return DefaultProposals(), nil
	case "cnsa":
		return CNSAProposals(), nil
	case "compatible":
		return CompatibleProposals(), nil
	}
	return Proposals{}, fmt.Errorf("%w: profile %q: want default, cnsa or compatible", ErrConfig, profile)
}

// ChildCiphers returns the transforms that child SAs may get, with the default filled in.
func (p Proposals) ChildCiphers() []suite.Encryption {
	return keep(listOr(p.ChildEncryption, DefaultProposals().ChildEncryption), suite.Encryption.Approved)
}

// keep returns the elements that ok says yes to.
func keep[T any](l []T, ok func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(l), func(v T) bool { return !ok(v) })
}

// complete fills in the defaults, leaves out what is not approved, and checks.
func (p *Proposals) complete() error {
	d := DefaultProposals()
	p.Encryption, p.PRFs, p.Groups = listOr(p.Encryption, d.Encryption), listOr(p.PRFs, d.PRFs), listOr(p.Groups, d.Groups)
	p.ChildEncryption, p.ChildGroups = listOr(p.ChildEncryption, d.ChildEncryption), listOr(p.ChildGroups, p.Groups)
	p.Additional = listOr(p.Additional, d.Additional)
	if p.NoChildGroups {
		p.ChildGroups = nil
	}
	if p.NoAdditional {
		p.Additional = nil
	}
	if err := p.check(); err != nil {
		return err
	}
	p.Encryption, p.ChildEncryption = keep(p.Encryption, suite.Encryption.Approved), keep(p.ChildEncryption, suite.Encryption.Approved)
	p.PRFs = keep(p.PRFs, suite.PRF.Approved)
	p.Groups, p.ChildGroups = keep(p.Groups, suite.Group.Approved), keep(p.ChildGroups, suite.Group.Approved)
	if len(p.Encryption) == 0 || len(p.ChildEncryption) == 0 || len(p.Groups) == 0 || len(p.PRFs) == 0 {
		return fmt.Errorf("%w: Proposals: nothing is left of Encryption, ChildEncryption, PRFs or Groups that is approved in FIPS 140-3 mode", ErrConfig)
	}
	return nil
}

func (p *Proposals) check() error {
	for _, e := range slices.Concat(p.Encryption, p.ChildEncryption) {
		if !e.Supported() {
			return fmt.Errorf("%w: Proposals: %w: %v", ErrConfig, suite.ErrUnsupported, e)
		}
	}
	for _, f := range p.PRFs {
		if !f.Supported() {
			return fmt.Errorf("%w: Proposals: %w: %v", ErrConfig, suite.ErrUnsupported, f)
		}
	}
	for _, g := range slices.Concat(p.Groups, p.ChildGroups) {
		if !g.Supported() || g.KEM() {
			return fmt.Errorf("%w: Proposals: %w as the first key exchange: %v", ErrConfig, suite.ErrUnsupported, g)
		}
	}
	if len(p.Additional) > maxAdditional || p.RequireAdditional && len(p.Additional) == 0 {
		return fmt.Errorf("%w: Proposals: want one to %d lists of additional key exchanges, found %d", ErrConfig, maxAdditional, len(p.Additional))
	}
	for _, l := range p.Additional {
		if len(l) == 0 {
			return fmt.Errorf("%w: Proposals: a list of additional key exchanges is empty", ErrConfig)
		}
		for _, g := range l {
			if !g.Supported() || !g.Approved() {
				return fmt.Errorf("%w: Proposals: %w as an additional key exchange: %v", ErrConfig, suite.ErrUnsupported, g)
			}
		}
	}
	return nil
}

// takes tells whether the suite is one of those that are offered.
func (p *Proposals) takes(s ikeSuite) bool {
	all := slices.Concat(p.Additional...)
	for _, g := range s.additional.list() {
		if !slices.Contains(all, g) {
			return false
		}
	}
	return slices.Contains(p.Encryption, s.encryption) && slices.Contains(p.PRFs, s.prf) && slices.Contains(p.Groups, s.group) &&
		(!p.RequireAdditional || s.additional.any())
}
