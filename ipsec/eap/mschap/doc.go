// Package mschap is the arithmetic of MS-CHAP version 2: challenges, responses and keys made of a password.
//
// Purpose: EAP-MSCHAPv2 and the MS-CHAP-V2 of EAP-TTLS share it, in both roles.
//
// Specification: RFC 2759 §8 without the change of passwords; RFC 3079 §3 for the keys.
//
// MS-CHAP rests on MD4, DES and SHA-1, which protect nothing by themselves any more: whoever sees one exchange finds the
// password's hash by trying 2^56 DES keys. It is here since deployed gateways ask for it, and only where the exchange runs
// inside a channel that hides it from all but the authenticated gateway: IKE_AUTH is encrypted and the gateway proves itself
// by a certificate before EAP ends (RFC 7296 §2.16), TTLS puts TLS around it. Its key goes into AUTH only, never into a
// cipher. Where the Go Cryptographic Module enforces FIPS 140, Allowed says no.
//
// Concurrency: functions without state.
//
// Ownership: nothing is kept; what is returned belongs to the caller, who wipes it.
package mschap
