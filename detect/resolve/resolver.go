package resolve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"mipvpn/detect/resolve/query"
	"mipvpn/tun/link"
)

// Port is the port of name servers.
const Port = 53

// maxCached bounds the names kept for an interface; beyond it the interface's names are forgotten.
const maxCached = 256

// ErrNoAddress means that the interface has no address yet to ask from.
var ErrNoAddress = errors.New("resolve: the interface has no address")

// Network is what a Resolver asks of a link.Host: time, and flows bound to an interface.
type Network interface {
	link.Clock
	// Underlay is link.Host's.
	Underlay(index int, addr netip.Addr) (link.Link, error)
}

// Servers says which name servers an interface has.
type Servers interface {
	// Servers returns the addresses of the interface's name servers in the order to ask them, none without error when it has
	// none. A link-local one may have the interface as its zone. It may take as long as ctx lets it.
	Servers(ctx context.Context, i link.Interface) ([]netip.Addr, error)
}

// Resolver resolves names through interfaces.
type Resolver struct {
	network Network
	servers Servers
	rand    io.Reader

	mu    sync.Mutex // never held while waiting
	kept  map[int]map[subject]entry
	epoch map[int]uint64 // of Forget
}

// subject is a name and which addresses of it are meant.
type subject struct {
	name string
	six  bool
}

// entry is what is known of a subject.
type entry struct {
	addresses []netip.Addr
	err       error // of a name that has none
	until     time.Duration
}

// New returns a Resolver that draws IDs and spellings from rand, which must be good for keys.
func New(network Network, servers Servers, rand io.Reader) *Resolver {
	return &Resolver{
		network: network, servers: servers, rand: &locked{r: rand}, kept: make(map[int]map[subject]entry), epoch: make(map[int]uint64),
	}
}

// locked makes a reader safe for concurrent use.
type locked struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *locked) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// Forget forgets what is known through the interface: it may be in another network.
func (r *Resolver) Forget(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, index)
	r.epoch[index]++
}

// Addresses returns the IPv4 addresses of a name as the name servers of the interface have it, at least one, from what is
// kept where that is still good. A name that is an IPv4 address is returned as it is. Errors: ErrNoAddress, ctx's, those of
// the source of servers, query.ErrNoServers and query.Result's.
func (r *Resolver) Addresses(ctx context.Context, i link.Interface, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil && a.Is4() {
		return []netip.Addr{a}, nil
	}
	return r.addresses(ctx, i, name, false)
}

// Addresses6 is Addresses for IPv6 addresses, among them those that a DNS64 has made (RFC 6147). Errors: as there;
// query.ErrNoAddress where the name has none, or does not exist.
func (r *Resolver) Addresses6(ctx context.Context, i link.Interface, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil && a.Is6() {
		return []netip.Addr{a}, nil
	}
	return r.addresses(ctx, i, name, true)
}

func (r *Resolver) addresses(ctx context.Context, i link.Interface, name string, six bool) ([]netip.Addr, error) {
	name, err := query.Canonical(name)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	of := subject{name, six}
	r.mu.Lock()
	e, known := r.kept[i.Index][of]
	epoch := r.epoch[i.Index]
	r.mu.Unlock()
	if !known || r.network.Now().Boot >= e.until {
		look := r.lookup
		if six {
			look = r.lookup6
		}
		if e, err = look(ctx, i, name); err != nil {
			return nil, fmt.Errorf("resolve: %s through %s: %w", name, i.Name, err)
		}
		r.keep(i.Index, epoch, of, e)
	}
	if e.err != nil {
		return nil, fmt.Errorf("resolve: %s through %s: %w", name, i.Name, e.err)
	}
	return slices.Clone(e.addresses), nil
}

// keep keeps what has been found, unless the interface has been forgotten since.
func (r *Resolver) keep(index int, epoch uint64, of subject, e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch[index] != epoch {
		return
	}
	if r.kept[index] == nil || len(r.kept[index]) >= maxCached {
		r.kept[index] = make(map[subject]entry)
	}
	r.kept[index][of] = e
}

// lookup asks for a name. A name that is known not to be there is an entry, not an error.
func (r *Resolver) lookup(ctx context.Context, i link.Interface, name string) (entry, error) {
	servers, open, err := r.through(ctx, i)
	if err != nil {
		return entry{}, err
	}
	m, err := query.NewLookup(name, servers, r.rand)
	if err != nil {
		return entry{}, err
	}
	result, err := drive(ctx, r.network, m, open)
	switch {
	case err != nil:
		return entry{}, err
	case result.Err != nil && result.TTL == 0:
		return entry{}, result.Err
	}
	return entry{addresses: result.Addresses, err: result.Err, until: r.network.Now().Boot + result.TTL}, nil
}

// lookup6 asks for the IPv6 addresses of a name.
func (r *Resolver) lookup6(ctx context.Context, i link.Interface, name string) (entry, error) {
	m, err := query.NewAAAAQuery(name)
	if err != nil {
		return entry{}, err
	}
	answer, err := r.exchange(ctx, i, m)
	if err != nil {
		return entry{}, err
	}
	found, ttl, err := query.AAAA(answer)
	if err != nil {
		return entry{}, err
	}
	e := entry{until: r.network.Now().Boot + min(max(ttl, query.MinTTL), query.MaxTTL)}
	for _, a := range found {
		if a.IsGlobalUnicast() {
			e.addresses = append(e.addresses, a)
		}
	}
	if len(e.addresses) == 0 {
		e.err = query.ErrNoAddress
	}
	return e, nil
}

// Exchange gets a message answered by a name server of the interface. The answer has the query's ID and spelling. Errors:
// ErrNoAddress, ctx's, those of the source of servers, and query's.
func (r *Resolver) Exchange(ctx context.Context, i link.Interface, message []byte) ([]byte, error) {
	answer, err := r.exchange(ctx, i, message)
	if err != nil {
		return nil, fmt.Errorf("resolve: through %s: %w", i.Name, err)
	}
	return answer, nil
}

func (r *Resolver) exchange(ctx context.Context, i link.Interface, message []byte) ([]byte, error) {
	servers, open, err := r.through(ctx, i)
	if err != nil {
		return nil, err
	}
	return Exchange(ctx, r.network, message, servers, r.rand, open)
}

// through returns the servers of an interface that it reaches, those over IPv4 first, and how.
func (r *Resolver) through(ctx context.Context, i link.Interface) ([]netip.AddrPort, Open, error) {
	if !i.Address.IsValid() && !i.Address6.IsValid() {
		return nil, nil, ErrNoAddress
	}
	list, err := r.servers.Servers(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	var reached []netip.AddrPort
	var links [2]link.Link
	for family, from := range []netip.Prefix{i.Address, i.Address6} {
		if !from.IsValid() {
			continue
		}
		if links[family], err = r.network.Underlay(i.Index, from.Addr()); err != nil {
			return nil, nil, err
		}
		for _, e := range Endpoints(list) {
			if zone := e.Addr().Zone(); e.Addr().Is4() == from.Addr().Is4() && (zone == "" || zone == i.Name || zone == strconv.Itoa(i.Index)) {
				reached = append(reached, netip.AddrPortFrom(e.Addr().WithZone(""), e.Port()))
			}
		}
	}
	four, six := overFlows(links[0]), overFlows(links[1])
	return reached, func(server netip.AddrPort, receive func([]byte)) (func([]byte) error, func(), error) {
		if server.Addr().Is4() {
			return four(server, receive)
		}
		return six(server, receive)
	}, nil
}

// Endpoints returns the name servers' endpoints at Port. Addresses that are no host's on a network, and loopback addresses,
// are left out.
func Endpoints(list []netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range list {
		if a = a.Unmap(); a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() {
			out = append(out, netip.AddrPortFrom(a, Port))
		}
	}
	return out
}
