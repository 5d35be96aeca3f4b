package query

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"mipvpn/tun/link"
)

// The bounds of a lookup.
const (
	// MaxAddresses is how many addresses a Lookup yields; the rest is left out.
	MaxAddresses = 16
	// maxAliases bounds a chain of CNAME records over all exchanges.
	maxAliases = 8
	// MinTTL and MaxTTL bound how long addresses are kept, MaxNegativeTTL how long that there are none. A record of no TTL
	// is kept for MinTTL, so that an attempt that follows at once asks nothing.
	MinTTL         = 5 * time.Second
	MaxTTL         = time.Hour
	MaxNegativeTTL = time.Minute
)

// Errors of lookups.
var (
	// ErrNoName means that the servers know no such name (NXDOMAIN).
	ErrNoName = errors.New("query: no such name")
	// ErrNoAddress means that the name has no IPv4 address that a host can have.
	ErrNoAddress = errors.New("query: the name has no usable IPv4 address")
	// ErrAliases means that the chain of CNAME records is too long, or goes round.
	ErrAliases = errors.New("query: too many aliases")
)

// Result is the event that ends a Lookup.
type Result struct {
	// Addresses are those of the name, in the server's order; nil with an Err.
	Addresses []netip.Addr
	// TTL is how long the result holds, also that of ErrNoName and ErrNoAddress; 0 for not at all.
	TTL time.Duration
	// Err is ErrNoName, ErrNoAddress, ErrAliases, a *ServerError, or what ends an Exchange.
	Err error
}

// Lookup finds the IPv4 addresses of a name. It follows the machine contract.
type Lookup struct {
	servers  []netip.AddrPort
	rand     io.Reader
	name     string // asked for now
	aliases  int
	ttl      time.Duration
	exchange *Exchange
	base     int // Number of the exchange's first transmission
	event    *Result
	done     bool
}

// NewLookup returns the machine for a name, in any spelling. Errors: ErrName, ErrNoServers.
func NewLookup(name string, servers []netip.AddrPort, rand io.Reader) (*Lookup, error) {
	name, err := Canonical(name)
	if err != nil {
		return nil, err
	}
	l := &Lookup{servers: servers, rand: rand, name: name, ttl: MaxTTL}
	return l, l.ask()
}

func (l *Lookup) ask() error {
	message, err := NewQuery(l.name, dns.TypeA)
	if err != nil {
		return err
	}
	if l.exchange != nil {
		l.base += len(l.exchange.sent)
	}
	l.exchange, err = NewExchange(ExchangeConfig{Query: message, Servers: l.servers}, l.rand)
	return err
}

// HandleTimeout implements the machine contract; its first call starts the lookup.
func (l *Lookup) HandleTimeout(now link.Instant) {
	if !l.done {
		l.exchange.HandleTimeout(now)
		l.progress(now)
	}
}

// HandleAnswer takes what came back for the transmission of that number.
func (l *Lookup) HandleAnswer(now link.Instant, number int, message []byte) error {
	if l.done {
		return nil
	}
	err := l.exchange.HandleAnswer(now, number-l.base, message)
	l.progress(now)
	return err
}

// progress sees what has become of the exchange.
func (l *Lookup) progress(now link.Instant) {
	a, ok := l.exchange.PollEvent()
	if !ok {
		return
	}
	if a.Err != nil {
		l.end(Result{Err: a.Err})
		return
	}
	var m dns.Msg
	if err := m.Unpack(a.Message); err != nil {
		l.end(Result{Err: fmt.Errorf("%w: %w", ErrMalformed, err)})
		return
	}
	if a.Rcode != RcodeSuccess && a.Rcode != RcodeNameError {
		l.end(Result{Err: &ServerError{a.Rcode}})
		return
	}
	addresses := l.follow(m.Answer)
	switch {
	case l.aliases > maxAliases:
		l.end(Result{Err: ErrAliases})
	case len(addresses) > 0:
		l.end(Result{Addresses: addresses, TTL: max(MinTTL, min(l.ttl, MaxTTL))})
	case a.Rcode == RcodeNameError:
		l.end(Result{Err: ErrNoName, TTL: negativeTTL(m.Ns)})
	case len(m.Question) == 1 && lower(m.Question[0].Name) == l.name:
		l.end(Result{Err: ErrNoAddress, TTL: negativeTTL(m.Ns)})
	default: // an alias whose target the server did not add
		if err := l.ask(); err != nil {
			l.end(Result{Err: err})
			return
		}
		l.exchange.HandleTimeout(now)
	}
}

// follow goes along the aliases among the records and returns the addresses at their end, if they are there. l.name is
// then the name at the end.
func (l *Lookup) follow(records []dns.RR) []netip.Addr {
	for l.aliases <= maxAliases {
		var addresses []netip.Addr
		var alias *dns.CNAME
		for _, rr := range records {
			h := rr.Header()
			if lower(h.Name) != l.name || h.Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.A:
				l.ttl = min(l.ttl, time.Duration(h.Ttl)*time.Second)
				if a, ok := netip.AddrFromSlice(rr.A); ok && usable(a.Unmap()) && len(addresses) < MaxAddresses && !slices.Contains(addresses, a.Unmap()) {
					addresses = append(addresses, a.Unmap())
				}
			case *dns.CNAME:
				alias = rr
			}
		}
		if len(addresses) > 0 || alias == nil {
			return addresses
		}
		l.ttl = min(l.ttl, time.Duration(alias.Hdr.Ttl)*time.Second)
		l.name = lower(alias.Target)
		l.aliases++
	}
	return nil
}

// usable reports whether a host on another network can have the address.
func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// negativeTTL returns how long it holds that there is nothing (RFC 2308 §5); without a SOA record not at all.
func negativeTTL(authority []dns.RR) time.Duration {
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(MaxNegativeTTL, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}

func (l *Lookup) end(r Result) { l.done, l.event = true, &r }

// PollTransmit returns the next message to send.
func (l *Lookup) PollTransmit() (Transmit, bool) {
	if l.done {
		return Transmit{}, false
	}
	t, ok := l.exchange.PollTransmit()
	t.Number += l.base
	return t, ok
}

// PollEvent returns the result once there is one.
func (l *Lookup) PollEvent() (Result, bool) {
	if l.event == nil {
		return Result{}, false
	}
	r := *l.event
	l.event = nil
	return r, true
}

// Deadline returns when HandleTimeout is to be called.
func (l *Lookup) Deadline() (time.Duration, bool) {
	at, armed := l.exchange.Deadline()
	return at, armed && !l.done
}

// Err returns what has broken the machine: no random numbers.
func (l *Lookup) Err() error { return l.exchange.Err() }
