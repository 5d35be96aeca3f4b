// Package gateways says which of several VPN gateways is to be tried next.
//
// Purpose: a List holds the gateways of the configuration in their order, each an address or a name with the addresses that it
// leads to. It goes on to the next address when one leads to nothing, says when all of them have been tried, so that a pause is in
// place, and begins with the first again once it has been away from it for long enough.
//
// Specification: none; RFC 9329 §7.2 and RFC 5685 §3 where a gateway sends its client to another one: that address is tried
// next, before those of the configuration.
//
// Concurrency: a List belongs to one goroutine. It reads no clock.
//
// Ownership: slices are copied, in and out.
package gateways
