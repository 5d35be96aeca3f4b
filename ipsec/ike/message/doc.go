// Package message is the codec of IKEv2 messages.
//
// Purpose: Parse turns the octets of a datagram (without a non-ESP marker) into a Message, a header and a list of typed
// payloads in the order of the wire; Message.Append does the reverse. The contents of an Encrypted payload go through
// ParsePayloads and AppendPayloads, and Open and AppendProtected do both under a suite.Cipher. Nothing here knows a
// state.
//
// Specification: RFC 7296 §3 (all payloads), §2.5 (unknown payloads and the critical flag), RFC 5282 §3 and §5.1
// (associated data of AEAD protection). Certificates, certificate requests and EAP messages are carried as opaque
// octets for the packages that will read them. RFC 7383 §2.5 (Encrypted Fragment payloads: OpenFragment, AppendFragments
// and Join; who keeps fragments and for how long is ipsec/ike's concern).
//
// All decoders are total: for any octets they return a value or a *ParseError, and what they allocate is bounded by a
// small multiple of the input's length. Fields marked RESERVED are sent as zero and ignored on receipt (§2.5).
//
// Concurrency: values without shared state; safe as any Go value is.
//
// Ownership: inputs are borrowed for the call. Everything returned owns its octets.
package message
