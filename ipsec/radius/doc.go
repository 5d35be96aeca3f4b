// Package radius is a RADIUS client as a protocol machine: it has a gateway's users authenticated by EAP at a RADIUS server, and
// accounts for them.
//
// Purpose: Client passes EAP messages through between a gateway's peers and the servers, and at the end yields the master
// session key and what the server says of the user. It picks a server that answers, repeats requests, and bounds how many
// are under way. Requests to account go the same way.
//
// Specification: RFC 2865 (packets, §2.5 retransmission), RFC 2866 (accounting), RFC 2869 §5.13, §5.14 and RFC 3579
// (EAP-Message, Message-Authenticator), RFC 2548 §2.4 (MS-MPPE keys), RFC 5176 §2.1, §2.2 (Disconnect-Request and CoA-Request,
// of which the first is obeyed and the second refused). Packets are read and written by layeh.com/radius. Client.Authenticate checks an answer
// to a challenge (CHAP, RFC 2865 §5.3 and §5.40), as mobility agents need it; it wants a Message-Authenticator in the answer, which
// a server that guards against forgery sends. Left out: passwords outside EAP, RADIUS over TLS (RFC 6614), attributes of vendors but for the keys.
//
// Every answer to an Access-Request must carry a valid Message-Authenticator, and every request does, as its first attribute:
// the MD5 of RFC 2865 §3 alone can be forged within minutes (CVE-2024-3596). All the same RADIUS shows names to anybody on
// the way: it belongs into a network of its own, or into a tunnel.
//
// Concurrency: a Client belongs to one goroutine.
//
// Ownership: datagrams are borrowed for the call, transmits and events belong to the caller, secrets are kept until the Client
// is forgotten.
package radius
