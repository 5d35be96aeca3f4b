// Package overhead counts the octets that each access mode adds to a packet between the laptop and its first router.
//
// Purpose: on paper by Composition, and on the wire by Run, which sends datagrams of known lengths one by one through each
// mode and mechanism in a lab, looks at the frame that each becomes on the laptop's wire, both ways, and lays the figures
// beside the draft's table.
//
// Specification: draft-ietf-mobileip-vpn-problem-solution-01 §6.2; RFC 2003 (20 octets), RFC 3519 §3 (12 more), RFC 4303 §2
// and RFC 4106 (ESP), RFC 3948 (8 more). Left out: GRE and minimal encapsulation, IPv6.
//
// Concurrency: Run is called once, from one goroutine.
//
// Ownership: Run closes the beds that it has had opened.
package overhead
