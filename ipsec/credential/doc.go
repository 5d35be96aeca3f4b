// Package credential holds private keys with their certificates, and signs with them.
//
// Purpose: Load reads a certificate chain and a private key from where a configuration says that they are: files in PEM (PKCS#8,
// PKCS#1, SEC 1) or PKCS#12, a token that PKCS#11 reaches, or a TPM 2.0 (keys in files of the TSS2 PEM format, or persistent ones).
// Whatever it is, a Credential answers ike.SignatureWanted through crypto.Signer, so that a key need never leave its device.
//
// Specification: RFC 7427 with the schemes of RFC 8247 §3 that a key can make, RFC 8420, and RFC 4754 for ECDSA with peers without
// RFC 7427; RFC 5958, RFC 8017 appendix A.1, RFC 5915 and RFC 7292 through the libraries; RFC 7512 (URIs of PKCS#11: module-path,
// token, serial, manufacturer, model, slot-id, object, id); PKCS #11 v2.40, with CKM_EDDSA of v3.0; TPM 2.0 Library, and the ASN.1
// specification of TPM 2.0 key files. Left out on purpose: encrypted PKCS#8 and the older encrypted PEM, for which neither the
// standard library nor a well-kept one has what is needed (PKCS#12 does it); TPM keys with policies, or below a parent with a
// password; the AUTH method RSA Digital Signature (1), which signs with SHA-1.
//
// PKCS#11 modules are C libraries: a build without cgo answers with ErrNoPKCS11.
//
// Concurrency: a Credential may be used by several goroutines; keys on devices sign one after the other. Load and Sign may block,
// for devices are slow and some want a finger on them.
//
// Ownership: a Credential is closed by whoever loaded it, when no Sign is running. PINs and passwords that are asked for are wiped
// here.
package credential
