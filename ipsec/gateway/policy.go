package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/eap/mschap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
)

// Policy is what clients get. The one without a name is made of the Config's own fields.
type Policy struct {
	// Name is how rules, users and RADIUS servers (Filter-Id) call it.
	Name string
	// Pool, Pool6, DNS, Domains and Networks are like those of Config.
	Pool, Pool6 netip.Prefix
	DNS         []netip.Addr
	Domains     []ike.Domain
	Networks    []netip.Prefix
	// Session is how long a session may last, 0 for any time; then the client is disconnected.
	Session time.Duration
}

// Round is what a client has to prove itself with in one round of authentication.
type Round uint8

// The rounds.
const (
	// ByCertificate asks for a signature by the key of a certificate that the driver trusts.
	ByCertificate Round = iota + 1
	// ByEAP asks for an EAP method of Config.EAP, here or at a RADIUS server.
	ByEAP
)

// Rule lets clients connect whose IDi fits. Peers with keys of their own come before all rules.
type Rule struct {
	// Identities are patterns: "*" for anybody, "*@domain" for users of a domain, "*.domain" for hosts in it, or an identity
	// as NewIdentity reads it. Empty fits anybody.
	Identities []string
	// Rounds are what the client has to prove, in this order: one, or a certificate (of the machine) and then EAP (of the
	// user), for which the client must support RFC 4739.
	Rounds []Round
	// EAPOnly lets the EAP method alone prove the gateway too, where the client offers that (RFC 5998): for clients that have
	// no trust anchor but a password. Not with EAP-TTLS with PAP, which would show the password to anybody.
	EAPOnly bool
	// Policy names what clients get, unless their user's entry or RADIUS says otherwise.
	Policy string
}

// User is a user of EAP.
type User struct {
	// Name is what the user logs in with, compared octet by octet.
	Name string
	// Password is the password in UTF-8, or Hash its NT hash. A user of EAP-TLS alone needs neither.
	Password []byte
	Hash     *mschap.Hash
	// Policy names what the user gets, empty for what the rule says. Address is a fixed inner address, the zero Addr for one
	// from the pool.
	Policy  string
	Address netip.Addr
}

// String returns the user's name; the password is hidden.
func (u User) String() string { return u.Name }

// GoString returns the user's name; the password is hidden.
func (u User) GoString() string { return u.Name }

// EAP is how users prove themselves here. It is not used with RADIUS.
type EAP struct {
	// Methods are offered in this order, empty for EAP-MSCHAPv2. EAP-TLS and EAP-TTLS use Certificate.
	Methods []eap.Type
	// Inner is what is taken inside EAP-TTLS, empty for MS-CHAP-V2.
	Inner []eap.Inner
	// Certificate proves the gateway inside TLS; its key is with the driver, like that of Config.Certificates.
	Certificate *eap.Certificate
	// AskIdentity asks for the user's name first, also where IDi is a name.
	AskIdentity bool
	// Retries is how often a wrong password may be given again in one IKE_AUTH.
	Retries int
}

// same reports whether two rules say the same, which they may do in two configurations.
func (r *Rule) same(other *Rule) bool { return reflect.DeepEqual(r, other) }

// matches reports whether the identity fits one of the rule's patterns.
func (r *Rule) matches(id ike.Identity) bool {
	if len(r.Identities) == 0 {
		return true
	}
	for _, p := range r.Identities {
		if matchPattern(p, id) {
			return true
		}
	}
	return false
}

func matchPattern(p string, id ike.Identity) bool {
	switch {
	case p == "*":
		return true
	case strings.HasPrefix(p, "*@"):
		return id.Type == message.IDRFC822Addr && hasSuffixFold(id.Data, p[1:])
	case strings.HasPrefix(p, "*."):
		return id.Type == message.IDFQDN && hasSuffixFold(id.Data, p[1:])
	default:
		want, err := message.NewIdentity(p)
		return err == nil && want == id
	}
}

// hasSuffixFold compares ends without regard to case, as domain names are, and wants something before.
func hasSuffixFold(s, suffix string) bool {
	return len(s) > len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// completeRules checks what concerns rules, users and policies.
func (c *Config) completeRules() error {
	policies := map[string]bool{"": true}
	for i := range c.Policies {
		p := &c.Policies[i]
		if p.Name == "" || policies[p.Name] {
			return fmt.Errorf("%w: policy %q: want a name that no other has", ErrConfig, p.Name)
		}
		policies[p.Name] = true
		if err := p.check(); err != nil {
			return fmt.Errorf("%w: policy %s: %w", ErrConfig, p.Name, err)
		}
		for _, other := range append([]Policy{c.standard()}, c.Policies[:i]...) {
			if p.Pool.IsValid() && other.Pool.IsValid() && p.Pool.Overlaps(other.Pool) || p.Pool6.IsValid() && other.Pool6.IsValid() && p.Pool6.Overlaps(other.Pool6) {
				return fmt.Errorf("%w: policy %s: its pool overlaps with that of %q", ErrConfig, p.Name, other.Name)
			}
		}
	}
	var byEAP, byCertificate bool
	for i, r := range c.Rules {
		fail := func(err error) error { return fmt.Errorf("%w: rule %d: %w", ErrConfig, i+1, err) }
		if !policies[r.Policy] {
			return fail(fmt.Errorf("there is no policy %q", r.Policy))
		}
		switch {
		case len(r.Rounds) == 1 && r.Rounds[0] == ByCertificate:
			byCertificate = true
		case len(r.Rounds) == 1 && r.Rounds[0] == ByEAP:
			byEAP = true
		case len(r.Rounds) == 2 && r.Rounds[0] == ByCertificate && r.Rounds[1] == ByEAP:
			byCertificate, byEAP = true, true
		default:
			return fail(errors.New("want a certificate, EAP, or first a certificate and then EAP"))
		}
		if r.EAPOnly && (len(r.Rounds) != 1 || r.Rounds[0] != ByEAP) {
			return fail(errors.New("EAP alone can prove the gateway only where EAP is the only round"))
		}
		if c.Certificates == nil && !r.EAPOnly {
			return fail(errors.New("the gateway needs a certificate"))
		}
		for _, p := range r.Identities {
			if rest, wild := strings.CutPrefix(p, "*"); wild && rest != "" && (rest[0] != '@' && rest[0] != '.' || len(rest) == 1 || strings.Contains(rest, "*")) {
				return fail(fmt.Errorf("identity %q: want \"*\", \"*@domain\", \"*.domain\" or an identity", p))
			} else if _, err := message.NewIdentity(p); !wild && err != nil {
				return fail(err)
			}
		}
	}
	if byCertificate && len(c.Authorities) == 0 {
		return fmt.Errorf("%w: rules with certificates need trust anchors", ErrConfig)
	}
	return c.completeUsers(policies, byEAP)
}

func (c *Config) completeUsers(policies map[string]bool, byEAP bool) error {
	names, addresses := make(map[string]bool), make(map[netip.Addr]bool)
	for _, p := range c.Peers {
		addresses[p.Address] = p.Address.IsValid()
	}
	for _, u := range c.Users {
		switch {
		case u.Name == "" || len(u.Name) > 256 || names[u.Name]:
			return fmt.Errorf("%w: user %q: want a name of 1 to 256 octets that no other has", ErrConfig, u.Name)
		case !policies[u.Policy]:
			return fmt.Errorf("%w: user %s: there is no policy %q", ErrConfig, u.Name, u.Policy)
		case u.Address.IsValid() && (!u.Address.Is4() || addresses[u.Address]):
			return fmt.Errorf("%w: user %s: want an IPv4 address that no other has, found %v", ErrConfig, u.Name, u.Address)
		}
		if _, err := message.NewIdentity(u.Name); err != nil {
			return fmt.Errorf("%w: user %s: %w", ErrConfig, u.Name, err)
		}
		names[u.Name], addresses[u.Address] = true, u.Address.IsValid()
	}
	switch {
	case !byEAP:
		return nil
	case c.RADIUS != nil && len(c.Users) > 0:
		return fmt.Errorf("%w: want users here or at RADIUS servers, found both", ErrConfig)
	case c.RADIUS == nil && len(c.Users) == 0:
		return fmt.Errorf("%w: rules with EAP need users, or RADIUS servers", ErrConfig)
	}
	if len(c.EAP.Methods) == 0 {
		c.EAP.Methods = []eap.Type{eap.TypeMSCHAPv2}
	}
	if c.RADIUS != nil {
		return nil
	}
	m, err := eap.NewServer(c.eapServer(nil))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m.Close()
	return nil
}

// check checks a policy's own values.
func (p *Policy) check() error {
	switch {
	case !p.Pool.IsValid() || !p.Pool.Addr().Is4():
		return fmt.Errorf("pool: want an IPv4 prefix, found %v", p.Pool)
	case p.Pool6 != (netip.Prefix{}) && (!p.Pool6.IsValid() || !p.Pool6.Addr().Is6() || p.Pool6.Addr().Is4In6()):
		return fmt.Errorf("pool6: want an IPv6 prefix, found %v", p.Pool6)
	case len(p.Networks) == 0:
		return errors.New("no networks are given, so that no traffic could pass")
	case p.Session < 0:
		return fmt.Errorf("session: want a positive time, found %v", p.Session)
	case len(p.Domains) > 0 && len(p.DNS) == 0:
		return errors.New("domains without name servers (RFC 8598 §3.2)")
	}
	for _, n := range p.Networks {
		if !n.IsValid() || !n.Addr().Is4() && !p.Pool6.IsValid() {
			return fmt.Errorf("networks: want IPv4 prefixes, found %v", n)
		}
	}
	return (&ike.Configuration{DNS: p.DNS, Domains: p.Domains}).Check()
}

// standard is the policy that the Config itself makes.
func (c *Config) standard() Policy {
	return Policy{Pool: c.Pool, Pool6: c.Pool6, DNS: c.DNS, Domains: c.Domains, Networks: c.Networks, Session: c.Session}
}

// ClientPrefixes returns where clients' inner IPv4 addresses come from: the pools, and fixed addresses outside of them.
func (c *Config) ClientPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range append([]Policy{c.standard()}, c.Policies...) {
		if p.Pool.IsValid() {
			out = append(out, p.Pool.Masked())
		}
	}
	pools := slices.Clone(out)
	fixed := func(a netip.Addr) {
		for _, p := range pools {
			if p.Contains(a) {
				return
			}
		}
		if a.IsValid() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, p := range c.Peers {
		fixed(p.Address)
	}
	for _, u := range c.Users {
		fixed(u.Address)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// provision is a policy with its pools.
type provision struct {
	Policy
	pool  *pool
	pool6 *pool // nil without Pool6
}

// provisions makes the pools of all policies, by name.
func (c *Config) provisions() map[string]*provision {
	out := make(map[string]*provision)
	for _, p := range append([]Policy{c.standard()}, c.Policies...) {
		v := &provision{Policy: p, pool: newPool(p.Pool, c.fixedAddresses(p.Name))}
		if p.Pool6.IsValid() {
			v.pool6 = newPool(p.Pool6, nil)
		}
		out[p.Name] = v
	}
	return out
}

// fixedAddresses returns the addresses that peers and users of a policy have for good. A user without a policy may come by
// any rule's.
func (c *Config) fixedAddresses(policy string) map[ike.Identity]netip.Addr {
	fixed := make(map[ike.Identity]netip.Addr)
	for _, p := range c.Peers {
		if p.Address.IsValid() && policy == "" {
			fixed[p.Identity] = p.Address
		}
	}
	for _, u := range c.Users {
		if id, err := message.NewIdentity(u.Name); err == nil && u.Address.IsValid() && (u.Policy == policy || u.Policy == "") {
			fixed[id] = u.Address
		}
	}
	return fixed
}

func (v *provision) release(id ike.Identity) {
	v.pool.release(id)
	if v.pool6 != nil {
		v.pool6.release(id)
	}
}

// selectors returns the networks as traffic selectors.
func (p *Policy) selectors() []esp.Selector {
	out := make([]esp.Selector, 0, len(p.Networks))
	for _, n := range p.Networks {
		out = append(out, esp.PrefixSelector(n))
	}
	return out
}
