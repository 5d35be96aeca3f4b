package query

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// NewAAAAQuery returns a query for the IPv6 addresses of a name. Errors: ErrName.
func NewAAAAQuery(name string) ([]byte, error) {
	name, err := Canonical(name)
	if err != nil {
		return nil, err
	}
	return NewQuery(name, dns.TypeAAAA)
}

// AAAA returns the IPv6 addresses of the answer to such a query, in the order of the message and MaxAddresses at most, whatever
// aliases led to them, and how long they hold. A name that has none, or does not exist, gives none, and for how long that
// holds. Errors: ErrMalformed, and a *ServerError for an answer that says that the server failed.
func AAAA(answer []byte) (addresses []netip.Addr, ttl time.Duration, err error) {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, 0, &ServerError{Rcode: m.Rcode}
	}
	ttl = MaxTTL
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
		if a, ok := rr.(*dns.AAAA); ok && len(addresses) < MaxAddresses {
			if six, ok := netip.AddrFromSlice(a.AAAA.To16()); ok && !six.Is4In6() {
				addresses = append(addresses, six)
			}
		}
	}
	if len(addresses) == 0 {
		return nil, min(ttl, negativeTTL(m.Ns)), nil
	}
	return addresses, ttl, nil
}
