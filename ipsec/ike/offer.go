package ike

import (
	"encoding/binary"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// cipherSets sorts ciphers into what one proposal can hold: combined-mode ciphers, which have no integrity transform, and
// others apart (RFC 7296 §3.3), of these again only what may be paired at will. Each set is the transforms for it.
func cipherSets(es []suite.Encryption) [][]message.Transform {
	type set struct{ encryption, integrity []suite.Encryption }
	var sets []set
	for _, e := range es {
		bare := suite.Encryption{ID: e.ID, KeyBits: e.KeyBits}
		at := slices.IndexFunc(sets, func(s set) bool { return s.integrity[0].Integrity == e.Integrity })
		if at < 0 {
			sets = append(sets, set{integrity: []suite.Encryption{{Integrity: e.Integrity}}})
			at = len(sets) - 1
		}
		sets[at].encryption = append(sets[at].encryption, bare)
	}
	var merged []set
	for _, s := range sets {
		combined := s.integrity[0].Integrity == suite.IntegrityNone
		at := slices.IndexFunc(merged, func(o set) bool {
			return !combined && o.integrity[0].Integrity != suite.IntegrityNone && slices.Equal(o.encryption, s.encryption)
		})
		if at < 0 {
			merged = append(merged, s)
		} else {
			merged[at].integrity = append(merged[at].integrity, s.integrity...)
		}
	}
	var out [][]message.Transform
	for _, s := range merged {
		var ts []message.Transform
		for _, e := range s.encryption {
			ts = append(ts, message.NewTransform(message.TransformEncryption, uint16(e.ID), e.KeyBits))
		}
		for _, i := range s.integrity {
			if i.Integrity != suite.IntegrityNone {
				ts = append(ts, message.NewTransform(message.TransformIntegrity, uint16(i.Integrity), 0))
			}
		}
		out = append(out, ts)
	}
	return out
}

// groupTransforms are those of the key exchanges of a proposal, with the additional ones when with is set.
func (p *Proposals) groupTransforms(groups []suite.Group, with bool) []message.Transform {
	var ts []message.Transform
	for _, g := range groups {
		ts = append(ts, groupTransform(message.TransformGroup, g))
	}
	if with {
		for i, list := range p.Additional {
			for _, g := range list {
				ts = append(ts, groupTransform(message.TransformAdditional1+message.TransformType(i), g))
			}
		}
	}
	return ts
}

// offerIKE returns the offer for an IKE SA; spi is empty in IKE_SA_INIT. Proposals with additional key exchanges come first:
// a peer that does not know the transform types must refuse those (RFC 7296 §3.3.6) and takes one of the others.
func (p *Proposals) offerIKE(spi []byte) message.SA {
	var sa message.SA
	for _, with := range p.wishes(true) {
		for _, ts := range cipherSets(p.Encryption) {
			for _, f := range p.PRFs {
				ts = append(ts, message.NewTransform(message.TransformPRF, uint16(f), 0))
			}
			ts = append(ts, p.groupTransforms(p.Groups, with)...)
			sa.Proposals = append(sa.Proposals, message.Proposal{
				Number: uint8(len(sa.Proposals) + 1), Protocol: message.ProtocolIKE, SPI: spi, Transforms: ts,
			})
		}
	}
	return sa
}

// offerChild returns the offer for a child SA with our inbound SPI. groups go into the first proposals, with the additional key
// exchanges and then without; the last ones have none.
func (p *Proposals) offerChild(spi uint32, groups []suite.Group) message.SA {
	var sa message.SA
	var exchanges [][]message.Transform
	if len(groups) != 0 {
		for _, with := range p.wishes(true) {
			exchanges = append(exchanges, p.groupTransforms(groups, with))
		}
	}
	for _, gs := range append(exchanges, nil) {
		for _, ts := range cipherSets(p.ChildEncryption) {
			ts = append(append(ts, gs...), message.NewTransform(message.TransformESN, esnYes, 0))
			if !p.RequireESN {
				ts = append(ts, message.NewTransform(message.TransformESN, esnNo, 0))
			}
			sa.Proposals = append(sa.Proposals, message.Proposal{
				Number: uint8(len(sa.Proposals) + 1), Protocol: message.ProtocolESP, SPI: binary.BigEndian.AppendUint32(nil, spi), Transforms: ts,
			})
		}
	}
	return sa
}

// chosenFrom checks that an answer is one choice from the offer (RFC 7296 §2.7, §3.3.6): one proposal with the number of one of
// ours, of each of its transform types one of the transforms, of other types at most NONE.
func chosenFrom(offer, answer message.SA, protocol message.Protocol, spiSize int) (message.Proposal, candidates, error) {
	if len(answer.Proposals) != 1 {
		return message.Proposal{}, candidates{}, fmt.Errorf("%w: want one proposal, found %d", ErrInvalidAnswer, len(answer.Proposals))
	}
	a := answer.Proposals[0]
	c, ok := understand(a)
	if !ok || a.Protocol != protocol || len(a.SPI) != spiSize {
		return a, c, fmt.Errorf("%w: want a proposal for %v with an SPI of %d octets, found %v with %d",
			ErrInvalidAnswer, protocol, spiSize, a.Protocol, len(a.SPI))
	}
	if a.Number < 1 || int(a.Number) > len(offer.Proposals) {
		return a, c, fmt.Errorf("%w: proposal %d was not offered", ErrInvalidAnswer, a.Number)
	}
	offered := make(map[message.TransformType][]message.Transform)
	for _, t := range offer.Proposals[a.Number-1].Transforms {
		offered[t.Type] = append(offered[t.Type], t)
	}
	seen := make(map[message.TransformType]bool)
	for _, t := range a.Transforms {
		bits, plain := t.KeyLength()
		same := slices.ContainsFunc(offered[t.Type], func(o message.Transform) bool {
			want, _ := o.KeyLength()
			return plain && o.ID == t.ID && want == bits
		})
		none := len(offered[t.Type]) == 0 && t.ID == noTransform && len(t.Attributes) == 0 && t.Type != message.TransformESN
		if seen[t.Type] || !same && !none {
			return a, c, fmt.Errorf("%w: %v transform %d was not offered in proposal %d, or is one too many", ErrInvalidAnswer, t.Type, t.ID, a.Number)
		}
		seen[t.Type] = true
	}
	for t := range offered {
		if !seen[t] {
			return a, c, fmt.Errorf("%w: no %v transform is chosen from proposal %d", ErrInvalidAnswer, t, a.Number)
		}
	}
	return a, c, nil
}

// first returns the only element of a list that chosenFrom has checked, or zero.
func first[T any](l []T) T {
	var zero T
	if len(l) == 0 {
		return zero
	}
	return l[0]
}

// exchanges returns the choice of additional key exchanges. No method may be there twice (RFC 9370 §2.2.1).
func (c *candidates) exchanges() (a additional, err error) {
	for i, l := range c.additional {
		g := first(l)
		if g != 0 && (slices.Contains(a[:], g) || slices.Contains(c.groups, g)) {
			return a, fmt.Errorf("%w: %v is chosen twice", ErrInvalidAnswer, g)
		}
		a[i] = g
	}
	return a, nil
}

func (c *candidates) cipher() suite.Encryption {
	e := first(c.encryption)
	e.Integrity = first(c.integrity)
	return e
}

// acceptIKE checks the answer to offerIKE.
func (p *Proposals) acceptIKE(sa message.SA, spiSize int) (ikeSuite, message.Proposal, error) {
	o, c, err := chosenFrom(p.offerIKE(nil), sa, message.ProtocolIKE, spiSize)
	if err != nil {
		return ikeSuite{}, o, err
	}
	s := ikeSuite{encryption: c.cipher(), prf: first(c.prfs), group: first(c.groups)}
	s.additional, err = c.exchanges()
	return s, o, err
}

// acceptChild checks the answer to offerChild with these groups.
func (p *Proposals) acceptChild(sa message.SA, groups []suite.Group) (childSuite, message.Proposal, error) {
	o, c, err := chosenFrom(p.offerChild(0, groups), sa, message.ProtocolESP, 4)
	if err != nil {
		return childSuite{}, o, err
	}
	s := childSuite{encryption: c.cipher(), group: first(c.groups), esn: first(c.esn) == esnYes}
	s.additional, err = c.exchanges()
	return s, o, err
}
