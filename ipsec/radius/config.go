package radius

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// ErrConfig is wrapped by the errors of New.
var ErrConfig = errors.New("radius: configuration")

// Server is a RADIUS server.
type Server struct {
	// Address is where Access-Requests go, port 1812 mostly; Accounting is where Accounting-Requests go, port 1813 mostly,
	// the zero AddrPort when this server takes none.
	Address, Accounting netip.AddrPort
	// Secret is the shared secret with this server.
	Secret []byte
}

// String returns the server's address.
func (s Server) String() string { return s.Address.String() }

// GoString returns the server's address; the secret is hidden.
func (s Server) GoString() string { return s.Address.String() }

// Config is the configuration of a Client.
type Config struct {
	// Servers are asked in this order: the first that is not known to be silent.
	Servers []Server
	// Identifier is the NAS-Identifier, the gateway's name; it must not be empty.
	Identifier string
	// Address is the NAS-IP-Address or NAS-IPv6-Address, the zero Addr to leave it out.
	Address netip.Addr
	// Initial is the time to the first repetition of a request (default 2 s); each next one takes twice as long.
	Initial time.Duration
	// Tries is how often a request is sent to one server (default 3).
	Tries int
	// Silent is how long a server that did not answer is passed over (default 1 min), unless all are silent.
	Silent time.Duration
	// Outstanding bounds the requests that are under way at one server's port (default 256, which is the most there are
	// identifiers for). Conversations bounds those that are open (default 4096).
	Outstanding, Conversations int
}

// minSecret is the least length of a secret in octets (RFC 2865 §3 says that 16 are a good one; deployed ones are shorter).
const minSecret = 8

func (c *Config) complete() error {
	if len(c.Servers) == 0 {
		return fmt.Errorf("%w: no server is given", ErrConfig)
	}
	for i, s := range c.Servers {
		if !s.Address.IsValid() || s.Address.Port() == 0 {
			return fmt.Errorf("%w: server %d: want an address and a port, found %v", ErrConfig, i+1, s.Address)
		}
		if s.Accounting != (netip.AddrPort{}) && (!s.Accounting.IsValid() || s.Accounting.Port() == 0 || s.Accounting == s.Address) {
			return fmt.Errorf("%w: server %v: want another address and port for accounting, found %v", ErrConfig, s.Address, s.Accounting)
		}
		if len(s.Secret) < minSecret {
			return fmt.Errorf("%w: server %v: want a secret of at least %d octets, found %d", ErrConfig, s.Address, minSecret, len(s.Secret))
		}
		for _, other := range c.Servers[:i] {
			for _, a := range []netip.AddrPort{s.Address, s.Accounting} {
				if a.IsValid() && (a == other.Address || a == other.Accounting) {
					return fmt.Errorf("%w: the server %v is there twice", ErrConfig, a)
				}
			}
		}
	}
	if c.Identifier == "" || len(c.Identifier) > maxValue {
		return fmt.Errorf("%w: want a NAS-Identifier of 1 to %d octets, found %d", ErrConfig, maxValue, len(c.Identifier))
	}
	standard := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Initial == 0 {
		c.Initial = 2 * time.Second
	}
	if c.Silent == 0 {
		c.Silent = time.Minute
	}
	standard(&c.Tries, 3)
	standard(&c.Outstanding, identifiers)
	standard(&c.Conversations, 4096)
	if c.Initial < 0 || c.Silent < 0 || c.Tries < 1 || c.Outstanding < 1 || c.Outstanding > identifiers || c.Conversations < 1 {
		return fmt.Errorf("%w: want a positive time, at least one try and conversation, and 1 to %d requests under way; found %v, %v, %d, %d, %d",
			ErrConfig, identifiers, c.Initial, c.Silent, c.Tries, c.Conversations, c.Outstanding)
	}
	return nil
}

const (
	identifiers = 256 // a request's identifier has one octet
	maxValue    = 253 // octets in an attribute (RFC 2865 §5)
)
