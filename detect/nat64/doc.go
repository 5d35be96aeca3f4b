// Package nat64 reaches IPv4 addresses from networks that have only IPv6.
//
// Purpose: such a network translates IPv6 packets to IPv4 ones (NAT64) whose address stands in the last part of a prefix that it
// chooses. Learn finds the prefixes by asking the network's name servers, Advertised in router advertisements, which Watch
// receives on Linux; Embed makes the address to send to.
//
// Specification: RFC 6052 §2.1 to §2.4 and §3.1; RFC 7050 §3 (heuristic discovery by ipv4only.arpa) with the validity checks of
// the address format; RFC 8781 §4 and §5 (PREF64 option). Left out on purpose: validation by DNSSEC (RFC 7050 §3.1.2) and a
// separate connectivity check (§3.2 allows simply to use the prefix): whoever answers behind it must prove who he is, so that a
// false prefix costs no more than a failed attempt. Translating packets (464XLAT, RFC 6877) is not wanted: the gateway speaks IPv6.
//
// Concurrency: functions without shared state.
//
// Ownership: inputs are borrowed for the call.
package nat64
