package suite

import "crypto/fips140"

// Approved reports whether the method may be used: always, but in the standard library's FIPS 140-3 mode
// (GODEBUG=fips140=on), where Curve25519 is not approved and the MODP groups are not part of the validated module.
func (g Group) Approved() bool {
	switch g {
	case GroupCurve25519, GroupMODP2048, GroupMODP3072, GroupMODP4096:
		return !fips140.Enabled()
	}
	_, added := addedGroups[g]
	return !added || !fips140.Enabled()
}

// Approved reports whether the function may be used: always, but in the standard library's FIPS 140-3 mode when it was added.
func (p PRF) Approved() bool {
	_, added := addedPRFs[p]
	return !added || !fips140.Enabled()
}

// Approved reports whether the transform may be used: always, but in the standard library's FIPS 140-3 mode, where
// ChaCha20-Poly1305 is not approved. Where that mode is enforced (GODEBUG=fips140=only) the library refuses AES-GCM with nonces
// that it has not made itself too, and only AES-CBC is left.
func (e Encryption) Approved() bool {
	switch e.ID {
	case EncryptionChaCha20Poly1305:
		return !fips140.Enabled()
	case EncryptionAESGCM16:
		return !fips140.Enforced()
	}
	_, added := addedCiphers[e]
	return !added || !fips140.Enabled()
}
