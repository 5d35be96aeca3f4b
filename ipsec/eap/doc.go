// Package eap has both ends of the Extensible Authentication Protocol: the peer, which a VPN client is, and the server, which
// a gateway is when no RADIUS server does it in its place.
//
// Purpose: NewPeer and NewServer make a Machine: EAP messages in and out, questions to the driver (a password, a signature,
// whether a certificate is trusted), and at the end the result with its master session key (MSK). A Machine does no I/O and
// reads no clock. Methods: EAP-MSCHAPv2, EAP-TLS, EAP-TTLS version 0 with PAP, MS-CHAP-V2 or any EAP method inside.
//
// Specification: RFC 3748 (framing, Identity, Notification, Nak, Expanded Nak), draft-kamath-pppext-eap-mschapv2-02, RFC
// 5216 and RFC 9190 (EAP-TLS with TLS 1.2 and 1.3), RFC 5281 and RFC 9427 (EAP-TTLS), RFC 7296 §3.16 as the carrier. Left
// out on purpose: MD5-Challenge, One-Time Password and Generic Token Card as outer methods (they make no key and prove
// nothing of the server); resumption of TLS sessions (a tunnel is resumed by IKE's own tickets, RFC 5723); a change of
// password in MS-CHAP (it is refused, and the user told); the CHAP, MS-CHAP and channel-binding attributes of TTLS.
//
// Deployed servers speak TLS 1.2 without Extended Master Secret (RFC 7627), charon 5.9 among them. Go refuses to export keying
// material of such connections unless GODEBUG has tlsunsafeekm=1, which go.mod sets for the programs here; nothing else in them
// exports keying material. What RFC 7627 is against, one master secret in two connections, needs a key exchange whose result a
// man in the middle chooses: static RSA, or Diffie-Hellman in bad groups. crypto/tls does ECDHE alone and refuses invalid points.
// Beside that the key is bound to the IKE SA by AUTH.
//
// The carrier is IKE_AUTH, which is protected and repeats what is lost. So a Machine has no timers and sends nothing again
// (RFC 3748 §4.3), and ends the conversation where RFC 3748 has a message discarded silently: nobody but the other end can
// have sent it, and without an answer IKE would wait for ever. One more consequence: identifiers are checked by the server
// only.
//
// Concurrency: a Machine belongs to one goroutine. Inside, the conversation is one straight function that runs as a coroutine
// of its caller (iter.Pull): it runs only while a method of the Machine is called and stands still otherwise. It is gone once
// Finished has been said. A Machine that is given up before must be told by Close, from any state.
//
// Answers may take their time: signing in a smart card, a person who types a password, a revocation list from a far server.
// The driver does that in a goroutine of its own and brings the answer to the goroutine of the Machine.
//
// Ownership: messages handed in are borrowed for the call; what events hold belongs to the receiver. Passwords are copied and
// the copies wiped; the caller wipes its own.
package eap
