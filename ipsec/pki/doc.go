// Package pki verifies the certificates that an IKE peer proves its identity with.
//
// Purpose: a Verifier answers ike.TrustWanted: it builds a chain from the peer's certificates to a trust anchor, checks that
// each certificate is valid, strong enough and made for this use, that the leaf names the identity which the peer claims, and
// that none of them is revoked, by lists and responses that came in-band, were configured, are remembered or are fetched.
// Anchors reads trust anchors and names them for CERTREQ. Every refusal is a Failure, with a sentence for people.
//
// Specification: RFC 5280 §6 (crypto/x509 underneath, with name constraints) and §6.3 for complete CRLs, divided ones
// (onlyContainsUserCerts, onlyContainsCACerts, distribution points) among them; RFC 6960 with responses of the issuer and of
// responders that it designates (§4.2.2.2), and RFC 4806; RFC 4945 §3.1 (identities), §5.1.3.2 (key usage), §5.1.3.12 (extended
// key usage: serverAuth and clientAuth are taken too, as deployed gateways have them); RFC 7296 §3.7 (authorities). Left out
// on purpose: delta CRLs and indirect CRLs, which are no answer here; LDAP; the responder's own revocation (§4.2.2.2.1 leaves it
// to local policy); certificate policies; identities in the subject's common name; MD5, SHA-1, DSA, RSA below 2048 bits and
// P-224, contrary to RFC 4945 §5.3, which is older than the attacks on them.
//
// Concurrency: a Verifier may be used by several goroutines at once; Verify may block in its Fetcher and belongs into a goroutine
// of its own. No clock is read: the time is given. Cache and HTTPFetcher may be shared by Verifiers.
//
// Ownership: inputs are borrowed for the call. Results are the caller's, who must not change them.
package pki
