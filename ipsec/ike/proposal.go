package ike

import (
	"encoding/binary"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// ikeSuite is the choice of algorithms of an IKE SA.
type ikeSuite struct {
	encryption suite.Encryption
	prf        suite.PRF
	group      suite.Group
}

func (s ikeSuite) String() string { return fmt.Sprintf("%v/%v/%v", s.encryption, s.prf, s.group) }

// childSuite is the choice of algorithms of a child SA. group 0 means no key exchange of its own.
type childSuite struct {
	encryption suite.Encryption
	group      suite.Group
	esn        bool
}

func (s childSuite) String() string {
	out := s.encryption.String()
	if s.group != 0 {
		out += "/" + s.group.String()
	}
	if s.esn {
		out += "/ESN"
	}
	return out
}

// Values of the ESN transform, and NONE (RFC 7296 §3.3.2).
const (
	esnNo       uint16 = 0
	esnYes      uint16 = 1
	noTransform uint16 = 0
)

func (s ikeSuite) transforms() []message.Transform {
	return []message.Transform{
		message.NewTransform(message.TransformEncryption, uint16(s.encryption.ID), s.encryption.KeyBits),
		message.NewTransform(message.TransformPRF, uint16(s.prf), 0),
		message.NewTransform(message.TransformGroup, uint16(s.group), 0),
	}
}

func (s childSuite) transforms() []message.Transform {
	ts := []message.Transform{
		message.NewTransform(message.TransformEncryption, uint16(s.encryption.ID), s.encryption.KeyBits),
	}
	if s.group != 0 {
		ts = append(ts, message.NewTransform(message.TransformGroup, uint16(s.group), 0))
	}
	esn := esnNo
	if s.esn {
		esn = esnYes
	}
	return append(ts, message.NewTransform(message.TransformESN, esn, 0))
}

// offerIKE returns the offer for an IKE SA; spi is empty in IKE_SA_INIT. All transforms are combined-mode, so that one
// proposal without an integrity transform holds them (RFC 7296 §3.3).
func (p *Proposals) offerIKE(spi []byte) message.SA {
	var ts []message.Transform
	for _, e := range p.Encryption {
		ts = append(ts, message.NewTransform(message.TransformEncryption, uint16(e.ID), e.KeyBits))
	}
	for _, f := range p.PRFs {
		ts = append(ts, message.NewTransform(message.TransformPRF, uint16(f), 0))
	}
	for _, g := range p.Groups {
		ts = append(ts, message.NewTransform(message.TransformGroup, uint16(g), 0))
	}
	return message.SA{Proposals: []message.Proposal{{Number: 1, Protocol: message.ProtocolIKE, SPI: spi, Transforms: ts}}}
}

// offerChild returns the offer for a child SA with our inbound SPI. groups go into a first proposal; the second has none.
func (p *Proposals) offerChild(spi uint32, groups []suite.Group) message.SA {
	var sa message.SA
	choices := [][]suite.Group{nil}
	if len(groups) != 0 {
		choices = [][]suite.Group{groups, nil}
	}
	for _, gs := range choices {
		var ts []message.Transform
		for _, e := range p.ChildEncryption {
			ts = append(ts, message.NewTransform(message.TransformEncryption, uint16(e.ID), e.KeyBits))
		}
		for _, g := range gs {
			ts = append(ts, message.NewTransform(message.TransformGroup, uint16(g), 0))
		}
		ts = append(ts, message.NewTransform(message.TransformESN, esnYes, 0))
		if !p.RequireESN {
			ts = append(ts, message.NewTransform(message.TransformESN, esnNo, 0))
		}
		sa.Proposals = append(sa.Proposals, message.Proposal{
			Number: uint8(len(sa.Proposals) + 1), Protocol: message.ProtocolESP, SPI: binary.BigEndian.AppendUint32(nil, spi), Transforms: ts,
		})
	}
	return sa
}

// candidates are the understood transforms of a proposal, by type in the order of the wire.
type candidates struct {
	encryption []suite.Encryption
	prfs       []suite.PRF
	groups     []suite.Group // 0 is NONE
	esn        []uint16
	integrity  bool // an integrity transform was there, NONE among them or not
	integNone  bool
	grouped    bool // a group transform was there
}

// understand sorts the transforms of a proposal. ok is false when it has a transform type that is not understood, which
// makes the proposal unacceptable; a transform that is not understood is left out (RFC 7296 §3.3.6).
func understand(p message.Proposal) (c candidates, ok bool) {
	for _, t := range p.Transforms {
		bits, plain := t.KeyLength()
		if t.Type != message.TransformEncryption && bits != 0 {
			plain = false
		}
		switch t.Type {
		case message.TransformEncryption:
			if plain {
				c.encryption = append(c.encryption, suite.Encryption{ID: suite.EncryptionID(t.ID), KeyBits: bits})
			}
		case message.TransformPRF:
			if plain {
				c.prfs = append(c.prfs, suite.PRF(t.ID))
			}
		case message.TransformIntegrity:
			c.integrity = true
			c.integNone = c.integNone || plain && t.ID == noTransform
		case message.TransformGroup:
			c.grouped = true
			if plain {
				c.groups = append(c.groups, suite.Group(t.ID))
			}
		case message.TransformESN:
			if plain {
				c.esn = append(c.esn, t.ID)
			}
		default:
			return c, false
		}
	}
	return c, !c.integrity || c.integNone
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

// preferGroup is prefer, but takes the group of the KE payload when it will do: that spares a round trip.
func preferGroup(ours, theirs []suite.Group, ke suite.Group) (suite.Group, bool) {
	if ke != 0 && slices.Contains(ours, ke) && slices.Contains(theirs, ke) {
		return ke, true
	}
	return prefer(ours, theirs)
}

// answered adds the transforms that an answer repeats because a type of the offer must be in it (RFC 7296 §2.7).
func (c candidates) answered(ts []message.Transform) []message.Transform {
	if c.integrity {
		ts = append(ts, message.NewTransform(message.TransformIntegrity, noTransform, 0))
	}
	return ts
}

// selectIKE chooses from an offer for an IKE SA. ke is the group of the offer's KE payload. spiSize is 0 in IKE_SA_INIT
// and 8 in a rekeying. chosen is the answer's proposal without an SPI. ok is false when nothing fits.
func (p *Proposals) selectIKE(sa message.SA, ke suite.Group, spiSize int) (s ikeSuite, offer, chosen message.Proposal, ok bool) {
	for _, o := range sa.Proposals {
		c, understood := understand(o)
		if !understood || o.Protocol != message.ProtocolIKE || len(o.SPI) != spiSize || len(c.esn) != 0 {
			continue
		}
		var okE, okF, okG bool
		s.encryption, okE = prefer(p.Encryption, c.encryption)
		s.prf, okF = prefer(p.PRFs, c.prfs)
		s.group, okG = preferGroup(p.Groups, c.groups, ke)
		if okE && okF && okG {
			return s, o, message.Proposal{Number: o.Number, Protocol: o.Protocol, Transforms: c.answered(s.transforms())}, true
		}
	}
	return ikeSuite{}, offer, chosen, false
}

// selectChild chooses from an offer for a child SA. ke is the group of the KE payload, 0 without one; groups are those
// that may be chosen, empty in IKE_AUTH.
func (p *Proposals) selectChild(sa message.SA, ke suite.Group, groups []suite.Group) (s childSuite, offer, chosen message.Proposal, ok bool) {
	for _, o := range sa.Proposals {
		c, understood := understand(o)
		if !understood || o.Protocol != message.ProtocolESP || len(o.SPI) != 4 || len(c.prfs) != 0 {
			continue
		}
		var okE bool
		if s.encryption, okE = prefer(p.ChildEncryption, c.encryption); !okE {
			continue
		}
		switch {
		case slices.Contains(c.esn, esnYes):
			s.esn = true
		case slices.Contains(c.esn, esnNo) && !p.RequireESN:
			s.esn = false
		default:
			continue
		}
		s.group = 0
		none := slices.Contains(c.groups, suite.Group(noTransform))
		if c.grouped {
			g, found := preferGroup(groups, c.groups, ke)
			switch {
			case found && (g == ke || !none):
				s.group = g
			case !none:
				continue
			}
		}
		ts := s.transforms()
		if c.grouped && s.group == 0 {
			ts = append(ts, message.NewTransform(message.TransformGroup, noTransform, 0))
		}
		return s, o, message.Proposal{Number: o.Number, Protocol: o.Protocol, Transforms: c.answered(ts)}, true
	}
	return childSuite{}, offer, chosen, false
}

// acceptIKE checks the answer to offerIKE (RFC 7296 §3.3.6: it must be consistent with a proposal of ours).
func (p *Proposals) acceptIKE(sa message.SA, spiSize int) (ikeSuite, message.Proposal, error) {
	o, c, err := single(sa, message.ProtocolIKE, spiSize)
	if err != nil {
		return ikeSuite{}, o, err
	}
	if o.Number != 1 || len(c.encryption) != 1 || len(c.prfs) != 1 || len(c.groups) != 1 || len(c.esn) != 0 {
		return ikeSuite{}, o, fmt.Errorf("%w: the SA payload is no choice of one ENCR, PRF and D-H of proposal 1", ErrInvalidAnswer)
	}
	s := ikeSuite{c.encryption[0], c.prfs[0], c.groups[0]}
	if !slices.Contains(p.Encryption, s.encryption) || !slices.Contains(p.PRFs, s.prf) || !slices.Contains(p.Groups, s.group) {
		return ikeSuite{}, o, fmt.Errorf("%w: %v was not offered", ErrInvalidAnswer, s)
	}
	return s, o, nil
}

// acceptChild checks the answer to offerChild with these groups.
func (p *Proposals) acceptChild(sa message.SA, groups []suite.Group) (childSuite, message.Proposal, error) {
	o, c, err := single(sa, message.ProtocolESP, 4)
	if err != nil {
		return childSuite{}, o, err
	}
	if len(c.encryption) != 1 || len(c.esn) != 1 || len(c.groups) > 1 || len(c.prfs) != 0 {
		return childSuite{}, o, fmt.Errorf("%w: the SA payload is no choice of one ENCR and ESN", ErrInvalidAnswer)
	}
	s := childSuite{encryption: c.encryption[0], esn: c.esn[0] == esnYes}
	if len(c.groups) == 1 {
		s.group = c.groups[0]
	}
	// With groups, proposal 1 has them and proposal 2 has none.
	wantGroup, last := len(groups) != 0 && o.Number == 1, uint8(1)
	if len(groups) != 0 {
		last = 2
	}
	switch {
	case o.Number < 1 || o.Number > last,
		!slices.Contains(p.ChildEncryption, s.encryption),
		c.esn[0] > esnYes, p.RequireESN && !s.esn,
		wantGroup && !slices.Contains(groups, s.group),
		!wantGroup && s.group != 0:
		return childSuite{}, o, fmt.Errorf("%w: %v in proposal %d was not offered", ErrInvalidAnswer, s, o.Number)
	}
	return s, o, nil
}

func single(sa message.SA, protocol message.Protocol, spiSize int) (message.Proposal, candidates, error) {
	if len(sa.Proposals) != 1 {
		return message.Proposal{}, candidates{}, fmt.Errorf("%w: want one proposal, found %d", ErrInvalidAnswer, len(sa.Proposals))
	}
	o := sa.Proposals[0]
	c, ok := understand(o)
	if !ok || o.Protocol != protocol || len(o.SPI) != spiSize {
		return o, c, fmt.Errorf("%w: want a proposal for %v with an SPI of %d octets, found %v with %d",
			ErrInvalidAnswer, protocol, spiSize, o.Protocol, len(o.SPI))
	}
	return o, c, nil
}
