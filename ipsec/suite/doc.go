// Package suite holds the cryptographic transforms that IKE SAs and ESP SAs are negotiated from.
//
// Purpose: one place that knows, for each transform number of IKEv2, its key length and how it is computed: pseudorandom
// functions and prf+ (PRF), key exchange groups (Group, KeyExchange) and ciphers that protect the SK payload of IKE and
// the payload of ESP in the same way (Encryption, Cipher).
//
// Specification: RFC 7296 §2.13 (prf+) and §3.3.2 (transform numbers); RFC 4868 (HMAC-SHA-2 as PRF and for integrity);
// RFC 4106 and RFC 5282 (AES-GCM with a 16 octet ICV in ESP and IKE); RFC 7634 (ChaCha20-Poly1305 in both); RFC 3602
// (AES-CBC), always with an HMAC over the ciphertext that is checked before anything is decrypted; RFC 8031
// (Curve25519); RFC 5903 (P-256, P-384, P-521); RFC 3526 §3 to §5 (MODP with 2048, 3072 and 4096 bits); FIPS 203 (ML-KEM-768
// and -1024) by draft-ietf-ipsecme-ikev2-mlkem; RFC 6989 §2 (tests of the peer's public value).
// The choice follows RFC 8247 and RFC 8221. Left out on purpose: AES-CCM, which these ask for in the Internet of Things only,
// AES-CTR and GMAC, which nothing needs that is deployed; ML-KEM-512, XCBC and CMAC. Left out for good: everything that
// RFC 8247 and 8221 put below SHOULD.
//
// AddEncryption, AddPRF and AddGroup add transforms of one's own under numbers for private use: a national algorithm, or a module of
// hardware.
//
// In the standard library's FIPS 140-3 mode Approved tells which transforms are left: what the library's module does not
// implement or NIST does not approve is not offered then, and not accepted.
//
// Concurrency: PRF, Group, Encryption are values. A Cipher may be used by several goroutines at once. A KeyExchange
// and a Scratch belong to one goroutine.
//
// Ownership: inputs are borrowed for the call, outputs belong to the caller. Cipher works in the caller's octets, in place or
// from one place into another.
// Secrets are wiped by KeyExchange.Wipe and by their owners with clear; key schedules inside the standard library's
// ciphers cannot be.
package suite
