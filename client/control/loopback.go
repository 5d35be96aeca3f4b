package control

import (
	"net"
	"net/netip"
	"strings"
)

// NamesLoopback reports whether a Host header of HTTP (RFC 9110 §7.2) names this machine by localhost or by an address of the loopback
// interface, with a port or without. What is served on loopback answers to no other name: whoever owns one could have it lead here, and
// a page of theirs read the answers (DNS rebinding). It takes any string.
func NamesLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && a.IsLoopback()
}
