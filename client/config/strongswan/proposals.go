package strongswan

import (
	"slices"
	"strings"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
)

// Keywords of strongSwan's proposals ("IKEv2 Cipher Suites") for what mipvpn has.
var (
	combinedWords = map[string]suite.Encryption{
		"aes128gcm16": suite.AESGCM128, "aes128gcm128": suite.AESGCM128,
		"aes256gcm16": suite.AESGCM256, "aes256gcm128": suite.AESGCM256,
		"chacha20poly1305": suite.ChaCha20Poly1305,
	}
	// blockWords are ciphers that need an integrity algorithm, by the length of their keys in bits.
	blockWords     = map[string]uint16{"aes": 128, "aes128": 128, "aes256": 256}
	integrityWords = map[string]suite.Integrity{
		"sha256": suite.IntegrityHMACSHA256, "sha2_256": suite.IntegrityHMACSHA256, "sha384": suite.IntegrityHMACSHA384, "sha2_384": suite.IntegrityHMACSHA384,
		"sha512": suite.IntegrityHMACSHA512, "sha2_512": suite.IntegrityHMACSHA512,
	}
	prfWords = map[string]suite.PRF{"prfsha256": suite.PRFHMACSHA256, "prfsha384": suite.PRFHMACSHA384, "prfsha512": suite.PRFHMACSHA512}
	// prfsOf are the pseudo-random functions that integrity algorithms stand for where a proposal names none.
	prfsOf = map[suite.Integrity]suite.PRF{
		suite.IntegrityHMACSHA256: suite.PRFHMACSHA256, suite.IntegrityHMACSHA384: suite.PRFHMACSHA384, suite.IntegrityHMACSHA512: suite.PRFHMACSHA512,
	}
	groupWords = map[string]suite.Group{
		"modp2048": suite.GroupMODP2048, "modp3072": suite.GroupMODP3072, "modp4096": suite.GroupMODP4096, "ecp256": suite.GroupP256, "ecp384": suite.GroupP384,
		"ecp521": suite.GroupP521, "curve25519": suite.GroupCurve25519, "x25519": suite.GroupCurve25519, "mlkem768": suite.GroupMLKEM768, "mlkem1024": suite.GroupMLKEM1024,
	}
)

// proposal is one proposal of strongSwan's, as far as mipvpn has its algorithms.
type proposal struct {
	encryption []suite.Encryption
	prfs       []suite.PRF
	// groups are those of the first key exchange, none for no key exchange; additional those of the others, of which one may be nothing.
	groups     []suite.Group
	keyed      bool
	additional map[string][]suite.Group
}

// nothing is the group of an additional key exchange that may be left out.
const nothing = suite.Group(0)

// parseProposal reads a proposal, keywords with hyphens between. What mipvpn has not got is left out.
func parseProposal(text string) proposal {
	p := proposal{additional: map[string][]suite.Group{}}
	var blocks []uint16
	var integrities []suite.Integrity
	for word := range strings.SplitSeq(strings.ToLower(text), "-") {
		word = strings.TrimSpace(word)
		if place, method, ok := strings.Cut(word, "_"); ok && len(place) == 3 && strings.HasPrefix(place, "ke") {
			if g, ok := groupWords[method]; ok || method == "none" {
				p.additional[place] = append(p.additional[place], g)
			} else if p.additional[place] == nil {
				p.additional[place] = []suite.Group{}
			}
			continue
		}
		if e, ok := combinedWords[word]; ok {
			p.encryption = append(p.encryption, e)
		} else if bits, ok := blockWords[word]; ok {
			blocks = append(blocks, bits)
		} else if i, ok := integrityWords[word]; ok {
			integrities = append(integrities, i)
		} else if f, ok := prfWords[word]; ok {
			p.prfs = append(p.prfs, f)
		} else if g, ok := groupWords[word]; ok {
			p.groups = append(p.groups, g)
		}
		for _, kind := range []string{"modp", "ecp", "curve", "x", "mlkem"} {
			p.keyed = p.keyed || strings.HasPrefix(word, kind)
		}
	}
	for _, bits := range blocks {
		for _, i := range integrities {
			p.encryption = append(p.encryption, suite.Encryption{ID: suite.EncryptionAESCBC, KeyBits: bits, Integrity: i})
		}
	}
	if len(p.prfs) == 0 {
		for _, i := range integrities {
			p.prfs = append(p.prfs, prfsOf[i])
		}
	}
	return p
}

// common reports whether two lists have an element in common.
func common[T comparable](a, b []T) bool {
	return slices.ContainsFunc(a, func(v T) bool { return slices.Contains(b, v) })
}

// further reports whether the additional key exchanges can be had.
func (p proposal) further(offered ike.Proposals) bool {
	for _, groups := range p.additional {
		if !common(groups, append(slices.Concat(offered.Additional...), nothing)) {
			return false
		}
	}
	return len(p.additional) > 0 || !offered.RequireAdditional
}

// forIKE and forESP report whether an IKE SA, or a child SA, can be had by a proposal.
func (p proposal) forIKE(offered ike.Proposals) bool {
	return common(p.encryption, offered.Encryption) && common(p.prfs, offered.PRFs) && common(p.groups, offered.Groups) && p.further(offered)
}

func (p proposal) forESP(offered ike.Proposals) bool {
	return common(p.encryption, offered.ChildCiphers()) && (!p.keyed || common(p.groups, offered.Groups) && p.further(offered))
}

// wanted are the proposals of a connection or profile for IKE SAs or for child SAs, and where they stand.
type wanted struct {
	where, text string
	fits        func(proposal, ike.Proposals) bool
}

// none says that strongSwan's own choice is meant.
func (w wanted) none() bool { return w.text == "" || w.text == "default" }

// by reports whether an SA can be had with what is offered.
func (w wanted) by(offered ike.Proposals) bool {
	return w.none() || slices.ContainsFunc(fields(w.text), func(text string) bool { return text == "default" || w.fits(parseProposal(text), offered) })
}

// algorithms takes over which algorithms are used, as the first profile by which the gateway that takes these proposals can be reached: it
// has no narrower words.
func (r *Result) algorithms(all ...wanted) {
	if !slices.ContainsFunc(all, func(w wanted) bool { return !w.none() }) {
		return
	}
	const most = "compatible"
	for _, profile := range []string{"default", most} {
		offered, err := ike.ProposalsOf(profile)
		fit := err == nil && !slices.ContainsFunc(all, func(w wanted) bool { return !w.by(offered) })
		if !fit && profile != most {
			continue
		}
		if profile == most {
			r.set(all[0].where, "gateway.profile", profile)
		}
		for _, w := range all {
			switch {
			case w.none():
			case w.by(offered):
				r.remark(w.where, "taken as gateway.profile = %q, which offers that and more, the best first", profile)
			default:
				r.remark(w.where, "not carried over: no gateway.profile offers %s; the gateway must take one of the algorithms that docs/ipsec.md names", w.text)
			}
		}
		return
	}
}
