package ike

import (
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// ikeSuite is the choice of algorithms of an IKE SA. It is comparable.
type ikeSuite struct {
	encryption suite.Encryption
	prf        suite.PRF
	group      suite.Group
	additional additional
}

func (s ikeSuite) String() string {
	return fmt.Sprintf("%v/%v/%v%v", s.encryption, s.prf, s.group, s.additional)
}

// exchanges returns the names of the key exchanges.
func (s ikeSuite) exchanges() []string {
	out := []string{s.group.String()}
	for _, g := range s.additional.list() {
		out = append(out, g.String())
	}
	return out
}

// downgraded tells whether additional key exchanges are wanted, and none of them took place.
func (p *Proposals) downgraded(a additional) bool { return len(p.Additional) != 0 && !a.any() }

// childSuite is the choice of algorithms of a child SA. group 0 means no key exchange of its own.
type childSuite struct {
	encryption suite.Encryption
	group      suite.Group
	additional additional
	esn        bool
}

func (s childSuite) String() string {
	out := s.encryption.String()
	if s.group != 0 {
		out += fmt.Sprintf("/%v%v", s.group, s.additional)
	}
	if s.esn {
		out += "/ESN"
	}
	return out
}

// additional are the additional key exchanges of an SA by the number of their transform type, Additional Key Exchange 1 to 7;
// 0 is NONE (RFC 9370 §2.2.1).
type additional [maxAdditional]suite.Group

const maxAdditional = int(message.TransformAdditional7-message.TransformAdditional1) + 1

// list returns those that take place, in their order.
func (a additional) list() []suite.Group {
	var out []suite.Group
	for _, g := range a {
		if g != 0 {
			out = append(out, g)
		}
	}
	return out
}

func (a additional) any() bool { return a != additional{} }

// String returns "+name" for each one.
func (a additional) String() string {
	var s string
	for _, g := range a.list() {
		s += "+" + g.String()
	}
	return s
}

// additionalOf puts key exchanges into the first types.
func additionalOf(groups []suite.Group) (a additional) {
	copy(a[:], groups)
	return a
}

// Values of the ESN transform, and NONE (RFC 7296 §3.3.2).
const (
	esnNo       uint16 = 0
	esnYes      uint16 = 1
	noTransform uint16 = 0
)

func groupTransform(t message.TransformType, g suite.Group) message.Transform {
	return message.NewTransform(t, uint16(g), 0)
}

func encryptionTransforms(e suite.Encryption) []message.Transform {
	ts := []message.Transform{message.NewTransform(message.TransformEncryption, uint16(e.ID), e.KeyBits)}
	if e.Integrity != suite.IntegrityNone {
		ts = append(ts, message.NewTransform(message.TransformIntegrity, uint16(e.Integrity), 0))
	}
	return ts
}

func (a additional) transforms() []message.Transform {
	var ts []message.Transform
	for i, g := range a {
		if g != 0 {
			ts = append(ts, groupTransform(message.TransformAdditional1+message.TransformType(i), g))
		}
	}
	return ts
}

func (s ikeSuite) transforms() []message.Transform {
	ts := append(encryptionTransforms(s.encryption),
		message.NewTransform(message.TransformPRF, uint16(s.prf), 0), groupTransform(message.TransformGroup, s.group))
	return append(ts, s.additional.transforms()...)
}

func (s childSuite) transforms() []message.Transform {
	ts := encryptionTransforms(s.encryption)
	if s.group != 0 {
		ts = append(ts, groupTransform(message.TransformGroup, s.group))
	}
	ts = append(ts, s.additional.transforms()...)
	esn := esnNo
	if s.esn {
		esn = esnYes
	}
	return append(ts, message.NewTransform(message.TransformESN, esn, 0))
}

// candidates are the understood transforms of a proposal, by type in the order of the wire.
type candidates struct {
	encryption []suite.Encryption // without integrity
	prfs       []suite.PRF
	integrity  []suite.Integrity // IntegrityNone is NONE
	groups     []suite.Group     // 0 is NONE
	additional [maxAdditional][]suite.Group
	esn        []uint16
	present    map[message.TransformType]bool
}

// understand sorts the transforms of a proposal. ok is false when it has a transform type that is not understood, which
// makes the proposal unacceptable; a transform that is not understood is left out (RFC 7296 §3.3.6).
func understand(p message.Proposal) (c candidates, ok bool) {
	c.present = make(map[message.TransformType]bool)
	for _, t := range p.Transforms {
		bits, plain := t.KeyLength()
		if t.Type != message.TransformEncryption && bits != 0 {
			plain = false
		}
		c.present[t.Type] = true
		switch {
		case t.Type < message.TransformEncryption || t.Type > message.TransformAdditional7:
			return c, false
		case !plain:
		case t.Type == message.TransformEncryption:
			c.encryption = append(c.encryption, suite.Encryption{ID: suite.EncryptionID(t.ID), KeyBits: bits})
		case t.Type == message.TransformPRF:
			c.prfs = append(c.prfs, suite.PRF(t.ID))
		case t.Type == message.TransformIntegrity:
			c.integrity = append(c.integrity, suite.Integrity(t.ID))
		case t.Type == message.TransformGroup:
			c.groups = append(c.groups, suite.Group(t.ID))
		case t.Type == message.TransformESN:
			c.esn = append(c.esn, t.ID)
		default:
			i := t.Type - message.TransformAdditional1
			c.additional[i] = append(c.additional[i], suite.Group(t.ID))
		}
	}
	return c, true
}

// has tells whether the transforms of e are there. A combined-mode cipher goes with no integrity transform or with NONE
// (RFC 7296 §3.3.3).
func (c *candidates) has(e suite.Encryption) bool {
	if !slices.Contains(c.encryption, suite.Encryption{ID: e.ID, KeyBits: e.KeyBits}) {
		return false
	}
	return slices.Contains(c.integrity, e.Integrity) || e.Integrity == suite.IntegrityNone && !c.present[message.TransformIntegrity]
}

// prefer returns the first of ours that is among theirs.
func prefer[T comparable](ours, theirs []T) (T, bool) {
	for _, v := range ours {
		if slices.Contains(theirs, v) {
			return v, true
		}
	}
	var zero T
	return zero, false
}

// preferEncryption is prefer for ciphers.
func (c *candidates) preferEncryption(ours []suite.Encryption) (suite.Encryption, bool) {
	for _, e := range ours {
		if c.has(e) {
			return e, true
		}
	}
	return suite.Encryption{}, false
}

// preferGroup is prefer, but takes the group of the KE payload when it will do: that spares a round trip.
func preferGroup(ours, theirs []suite.Group, ke suite.Group) (suite.Group, bool) {
	if ke != 0 && slices.Contains(ours, ke) && slices.Contains(theirs, ke) {
		return ke, true
	}
	return prefer(ours, theirs)
}

// preferAdditional chooses of each type of additional key exchange that is there: one of ours when want is set, no method
// twice (RFC 9370 §2.2.1), else NONE. It does not matter by which of the types the peer calls it. ok is false when a type
// has nothing that will do, or when want is set and nothing is chosen.
func (c *candidates) preferAdditional(p *Proposals, want bool) (a additional, ok bool) {
	for i, theirs := range c.additional {
		if !c.present[message.TransformAdditional1+message.TransformType(i)] {
			continue
		}
		for _, ours := range p.Additional {
			left := slices.DeleteFunc(slices.Clone(ours), func(g suite.Group) bool { return slices.Contains(a[:], g) })
			if g, found := prefer(left, theirs); found && want && a[i] == 0 {
				a[i] = g
			}
		}
		if a[i] == 0 && !slices.Contains(theirs, suite.Group(noTransform)) {
			return additional{}, false
		}
	}
	return a, a.any() == want
}

// answered adds NONE to an answer for each type that the offer has and the choice has not: a type of the offer must be in it
// (RFC 7296 §2.7).
func (c *candidates) answered(ts []message.Transform) []message.Transform {
	for t := message.TransformIntegrity; t <= message.TransformAdditional7; t++ {
		there := slices.ContainsFunc(ts, func(o message.Transform) bool { return o.Type == t })
		if c.present[t] && !there && t != message.TransformESN {
			ts = append(ts, message.NewTransform(t, noTransform, 0))
		}
	}
	return ts
}

// wishes are the answers to "with additional key exchanges?" in the order of preference. can is false when the peer has no way
// to do them.
func (p *Proposals) wishes(can bool) []bool {
	switch {
	case len(p.Additional) == 0:
		return []bool{false}
	case p.RequireAdditional && !can:
		return nil
	case p.RequireAdditional:
		return []bool{true}
	case !can:
		return []bool{false}
	}
	return []bool{true, false}
}

// selectIKE chooses from an offer for an IKE SA. ke is the group of the offer's KE payload. spiSize is 0 in IKE_SA_INIT
// and 8 in a rekeying. can tells whether the peer can do additional key exchanges. chosen is the answer's proposal without an
// SPI. ok is false when nothing fits.
func (p *Proposals) selectIKE(sa message.SA, ke suite.Group, spiSize int, can bool) (s ikeSuite, offer, chosen message.Proposal, ok bool) {
	for _, want := range p.wishes(can) {
		for _, o := range sa.Proposals {
			c, understood := understand(o)
			if !understood || o.Protocol != message.ProtocolIKE || len(o.SPI) != spiSize || c.present[message.TransformESN] {
				continue
			}
			var okE, okF, okG, okA bool
			s.encryption, okE = c.preferEncryption(p.Encryption)
			s.prf, okF = prefer(p.PRFs, c.prfs)
			s.group, okG = preferGroup(p.Groups, c.groups, ke)
			s.additional, okA = c.preferAdditional(p, want)
			if okE && okF && okG && okA {
				return s, o, message.Proposal{Number: o.Number, Protocol: o.Protocol, Transforms: c.answered(s.transforms())}, true
			}
		}
	}
	return ikeSuite{}, offer, chosen, false
}

// selectChild chooses from an offer for a child SA. ke is the group of the KE payload, 0 without one; groups are those
// that may be chosen, empty in IKE_AUTH.
func (p *Proposals) selectChild(sa message.SA, ke suite.Group, groups []suite.Group) (s childSuite, offer, chosen message.Proposal, ok bool) {
	wishes := p.wishes(len(groups) != 0)
	if p.RequireAdditional { // the IKE SA has them; a child SA may do without any key exchange
		wishes = []bool{len(groups) != 0, false}
	}
	for _, want := range wishes {
		for _, o := range sa.Proposals {
			c, understood := understand(o)
			if !understood || o.Protocol != message.ProtocolESP || len(o.SPI) != 4 || c.present[message.TransformPRF] {
				continue
			}
			if s, ok = p.selectChildOf(&c, ke, groups, want); ok {
				return s, o, message.Proposal{Number: o.Number, Protocol: o.Protocol, Transforms: c.answered(s.transforms())}, true
			}
		}
	}
	return childSuite{}, offer, chosen, false
}

// selectChildOf chooses from one proposal.
func (p *Proposals) selectChildOf(c *candidates, ke suite.Group, groups []suite.Group, want bool) (s childSuite, ok bool) {
	if s.encryption, ok = c.preferEncryption(p.ChildEncryption); !ok {
		return s, false
	}
	switch {
	case slices.Contains(c.esn, esnYes):
		s.esn = true
	case slices.Contains(c.esn, esnNo) && !p.RequireESN:
		s.esn = false
	default:
		return s, false
	}
	if none := slices.Contains(c.groups, suite.Group(noTransform)); c.present[message.TransformGroup] {
		g, found := preferGroup(groups, c.groups, ke)
		switch {
		case found && (g == ke || !none):
			s.group = g
		case !none:
			return s, false
		}
	}
	if s.additional, ok = c.preferAdditional(p, want && s.group != 0); !ok || want && s.group == 0 {
		return s, false
	}
	return s, !p.RequireAdditional || s.group == 0 || s.additional.any()
}
