package homeagent

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/wire"
)

// Reasons for which a request is discarded without an answer.
var (
	// ErrUntrustedSource: the request came from outside the trusted networks of an internal home agent (RFC 5265 §4.3). It
	// is worth a look by the administrator: a firewall lets requests in.
	ErrUntrustedSource = errors.New("homeagent: registration request from an untrusted network")
	// ErrRefusedSource: the request came from a network whose requests are refused (RFC 5265 §3.7).
	ErrRefusedSource = errors.New("homeagent: registration request from a refused network")
	// ErrUnknownMobileNode: no security association with the mobile node (RFC 5944 §3.8.2.1 a).
	ErrUnknownMobileNode = errors.New("homeagent: unknown mobile node")
	// ErrNotAuthorized: no authorization-enabling extension (RFC 5944 §3.8.2.1 a).
	ErrNotAuthorized = errors.New("homeagent: no Mobile-Home Authentication extension")
	// ErrForeignHome: a Foreign-Home Authentication extension that is not valid, or of a foreign agent without a security
	// association (RFC 5944 §3.8.2.1 a and d).
	ErrForeignHome = errors.New("homeagent: Foreign-Home Authentication extension that cannot be verified")
	// ErrRateLimited: a request that failed authentication came within a second of another one for the same mobile node, or one of
	// a mobile node that sends more than it may (Limits.Requests), or while
	// the AAA infrastructure has not answered for several of its requests (Config.AAA).
	ErrRateLimited = errors.New("homeagent: too many requests of one mobile node")
	// ErrPending: the request repeats one that the AAA infrastructure has not answered for (Config.AAA).
	ErrPending = errors.New("homeagent: the same registration request waits for the AAA infrastructure")
	// ErrSource: the datagram's source is no address that can be answered.
	ErrSource = errors.New("homeagent: source address cannot be answered")
)

// Denied is the error for a request that was answered with a denial.
type Denied struct {
	// Code is the code of the reply.
	Code wire.Code
	// HomeAddress is the request's, Source where it came from.
	HomeAddress netip.Addr
	Source      netip.AddrPort
	// NAI is the one that the request gave, "" for none.
	NAI string
	// Err says more, and may be nil.
	Err error
}

// Error names the code, the mobile node and where the request came from.
func (d *Denied) Error() string {
	who := d.HomeAddress.String()
	if d.NAI != "" {
		who = fmt.Sprintf("%v (NAI %q)", d.HomeAddress, d.NAI)
	}
	s := fmt.Sprintf("homeagent: registration of %s from %v denied with code %v", who, d.Source, d.Code)
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (d *Denied) Unwrap() error { return d.Err }
