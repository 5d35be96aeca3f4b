// Package ipsec is the VPN protocol of mipvpn: IKEv2 and ESP.
//
// Purpose: Protocol makes ike.Machines from the client's configuration, sends and receives their messages and keeps the child SAs
// that they make in the data path (stack.VPN).
//
// Specification: RFC 7296 and RFC 4303 as ipsec/ike, ipsec/esp and stack implement them; REQUIREMENTS MOD-park.
//
// Concurrency: that of package vpn.
//
// Ownership: that of package vpn. The keys of child SAs are wiped when they have been given to ipsec/esp.
package ipsec
