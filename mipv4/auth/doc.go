// Package auth computes and verifies the authenticators of Mobile IPv4 and holds mobility security associations.
//
// Purpose: a SecurityAssociation is an SPI, an algorithm and a key shared by two of mobile node, home agent and foreign
// agent. It appends and verifies authentication extensions, and is the one source of Identification values for every
// request made under it, on whatever interface or path: they increase strictly, as a home agent that checks timestamps
// asks for. With nonces it is where the home agent's nonces are kept, and at the home agent what makes them.
//
// Specification: RFC 5944 §3.5.1 (what is covered; HMAC-MD5, the default), §5.1, §5.7.1 (timestamps), §5.7.2 (nonces); RFC 2002 §3.5.1
// (keyed MD5 in prefix+suffix mode); RFC 2104 with MD5, SHA-1 and SHA-256, not truncated. SPIs 0 to 255 are reserved
// and refused (RFC 5944 §1.6). RFC 5944 §5.7.2 puts a new nonce into every reply: here a nonce that no request has used yet stands for
// a new one, so that replayed requests cannot make one that is under way stale.
// AAA is for the Mobile-AAA Authentication extension: RFC 4721 §6 and §8, whose SPI 2 (CHAP_SPI) is the one reserved SPI that is
// taken.
//
// Concurrency: a SecurityAssociation is safe for concurrent use: several machines share one.
//
// Ownership: New copies the key; Wipe clears the copy. Keys never appear in errors or in formatted output.
package auth
