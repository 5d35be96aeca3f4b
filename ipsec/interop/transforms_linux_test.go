package interop

import (
	"fmt"
	"strconv"
	"strings"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
)

// transforms are a choice of algorithms, for both ends.
type transforms struct {
	name string
	// ike and esp are strongSwan's words for it.
	ike, esp string
	ours     ike.Proposals
	// hybrid is set for additional key exchanges, mlkem when one is ML-KEM: not every peer has that.
	hybrid, mlkem bool
	// ikeSA and childSA are what charon must say of its SAs.
	ikeSA, childSA map[string]string
}

// word is what a transform is called in strongSwan's proposals, and in what it says of SAs.
type word struct{ proposal, said string }

var encryptionWords = map[suite.EncryptionID]word{
	suite.EncryptionAESCBC:           {"aes", "AES_CBC"},
	suite.EncryptionAESGCM16:         {"aes", "AES_GCM_16"},
	suite.EncryptionChaCha20Poly1305: {"chacha20poly1305", "CHACHA20_POLY1305"},
}

var integrityWords = map[suite.Integrity]word{
	suite.IntegrityHMACSHA256: {"sha256", "HMAC_SHA2_256_128"},
	suite.IntegrityHMACSHA384: {"sha384", "HMAC_SHA2_384_192"},
	suite.IntegrityHMACSHA512: {"sha512", "HMAC_SHA2_512_256"},
}

var prfWords = map[suite.PRF]word{
	suite.PRFHMACSHA256: {"prfsha256", "PRF_HMAC_SHA2_256"},
	suite.PRFHMACSHA384: {"prfsha384", "PRF_HMAC_SHA2_384"},
	suite.PRFHMACSHA512: {"prfsha512", "PRF_HMAC_SHA2_512"},
}

var groupWords = map[suite.Group]word{
	suite.GroupMODP2048:   {"modp2048", "MODP_2048"},
	suite.GroupMODP3072:   {"modp3072", "MODP_3072"},
	suite.GroupMODP4096:   {"modp4096", "MODP_4096"},
	suite.GroupP256:       {"ecp256", "ECP_256"},
	suite.GroupP384:       {"ecp384", "ECP_384"},
	suite.GroupP521:       {"ecp521", "ECP_521"},
	suite.GroupCurve25519: {"x25519", "CURVE_25519"},
	suite.GroupMLKEM768:   {"mlkem768", "ML_KEM_768"},
	suite.GroupMLKEM1024:  {"mlkem1024", "ML_KEM_1024"},
}

// encryptionWord returns an encryption transform, with its integrity transform, as a proposal names it.
func encryptionWord(e suite.Encryption) string {
	w := encryptionWords[e.ID].proposal
	if e.KeyBits != 0 {
		w += strconv.Itoa(int(e.KeyBits))
	}
	if e.ID == suite.EncryptionAESGCM16 {
		w += "gcm16"
	}
	if e.Integrity != suite.IntegrityNone {
		w += "-" + integrityWords[e.Integrity].proposal
	}
	return w
}

// said returns what charon says of an SA with the encryption transform.
func said(e suite.Encryption) map[string]string {
	bits := ""
	if e.KeyBits != 0 {
		bits = strconv.Itoa(int(e.KeyBits))
	}
	return map[string]string{"encr-alg": encryptionWords[e.ID].said, "encr-keysize": bits, "integ-alg": integrityWords[e.Integrity].said}
}

// choose makes a choice of algorithms. The child SAs' groups are those of the IKE SA.
func choose(e suite.Encryption, f suite.PRF, g suite.Group, child suite.Encryption) transforms {
	t := transforms{
		ike: encryptionWord(e) + "-" + prfWords[f].proposal + "-" + groupWords[g].proposal,
		esp: encryptionWord(child) + "-" + groupWords[g].proposal,
		ours: ike.Proposals{Encryption: []suite.Encryption{e}, PRFs: []suite.PRF{f}, Groups: []suite.Group{g},
			ChildEncryption: []suite.Encryption{child}, NoAdditional: true},
		ikeSA: said(e), childSA: said(child),
	}
	t.ikeSA["prf-alg"], t.ikeSA["dh-group"] = prfWords[f].said, groupWords[g].said
	t.name = strings.ReplaceAll(t.ike, "-prf", "-")
	if child != e {
		t.name += ", ESP " + encryptionWord(child)
	}
	return t
}

// hybrid is a choice with additional key exchanges for IKE and child SAs (RFC 9370).
func hybrid(e suite.Encryption, f suite.PRF, g suite.Group, more ...suite.Group) transforms {
	t := choose(e, f, g, e)
	t.ours.NoAdditional, t.ours.RequireAdditional = false, true
	for i, m := range more {
		word := fmt.Sprintf("-ke%d_%s", i+1, groupWords[m].proposal)
		t.ike, t.esp, t.name = t.ike+word, t.esp+word, t.name+word
		t.ours.Additional = append(t.ours.Additional, []suite.Group{m})
		t.mlkem = t.mlkem || m == suite.GroupMLKEM768 || m == suite.GroupMLKEM1024
		t.ikeSA[fmt.Sprintf("ake%d", i+1)] = groupWords[m].said
	}
	t.hybrid = true
	return t
}

// allTransforms returns the choices of algorithms.
func allTransforms() []transforms {
	return []transforms{
		choose(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.AESGCM256),
		choose(suite.AESGCM128, suite.PRFHMACSHA256, suite.GroupP256, suite.AESGCM128),
		choose(suite.AESGCM256, suite.PRFHMACSHA384, suite.GroupP384, suite.AESGCM256),
		choose(suite.AESGCM256, suite.PRFHMACSHA512, suite.GroupP521, suite.ChaCha20Poly1305),
		choose(suite.ChaCha20Poly1305, suite.PRFHMACSHA512, suite.GroupCurve25519, suite.ChaCha20Poly1305),
		choose(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupMODP2048, suite.AESGCM128),
		choose(suite.AESGCM128, suite.PRFHMACSHA256, suite.GroupMODP3072, suite.AESGCM128),
		choose(suite.ChaCha20Poly1305, suite.PRFHMACSHA256, suite.GroupMODP4096, suite.AESGCM256),
		choose(suite.AESCBC256SHA256, suite.PRFHMACSHA256, suite.GroupP256, suite.AESCBC256SHA256),
		choose(suite.AESCBC128SHA256, suite.PRFHMACSHA256, suite.GroupMODP2048, suite.AESCBC128SHA512),
		choose(suite.AESCBC256SHA384, suite.PRFHMACSHA384, suite.GroupP384, suite.AESCBC256SHA384),
		choose(suite.AESCBC256SHA512, suite.PRFHMACSHA512, suite.GroupCurve25519, suite.AESGCM256),
		hybrid(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.GroupP384),
		hybrid(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.GroupMLKEM768),
		hybrid(suite.AESGCM256, suite.PRFHMACSHA384, suite.GroupP384, suite.GroupMLKEM1024),
		hybrid(suite.AESCBC256SHA256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.GroupMLKEM768, suite.GroupMLKEM1024),
	}
}
