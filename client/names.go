package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"
	"time"

	"mipvpn/detect/nat64"
	"mipvpn/detect/resolve"
	"mipvpn/tun/link"
)

// nameLimit is how long a name may take to be resolved. Two servers that do not answer take 14 s.
const nameLimit = 30 * time.Second

// errNoNames means that the client was started without a source of name servers.
var errNoNames = errors.New("client: there is no source of name servers (WithNames)")

// Names are what the client needs to resolve names, all of which come from outside so that nothing of the machine's is touched
// in simulations.
type Names struct {
	// Servers are the name servers of interfaces.
	Servers resolve.Servers
	// Host, when set, lets the client change how the host resolves names (client/dns).
	Host *NamesHost
	// Routers, when set, hears the prefixes of a NAT64 that the routers on an interface tell, such as nat64.Watch.
	Routers func(ctx context.Context, index int, f func([]nat64.Advertised)) error
}

// WithNames has the client resolve names through interfaces, and change how the host does.
func WithNames(n Names) Option { return func(c *Client) { c.names.Names = n } }

// names resolves names for the actor.
type names struct {
	Names
	resolver *resolve.Resolver
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// begin makes the resolver, if there is a source of servers.
func (n *names) begin(host link.Host) {
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if n.Servers != nil {
		n.resolver = resolve.New(host, n.Servers, rand.Reader)
	}
}

// end ends what is being resolved.
func (n *names) end() {
	n.cancel()
	n.running.Wait()
}

// forget forgets what is known through an interface: it is in another network.
func (n *names) forget(index int) {
	if n.resolver != nil {
		n.resolver.Forget(index)
	}
}

// resolve finds the addresses of a name through an interface and has f called with them, on the actor. Several addresses are to
// be tried in order. Whoever answers at them must prove who he is: the answer itself proves nothing (package resolve).
func (c *Client) resolve(i link.Interface, name string, f func(addresses []netip.Addr, err error)) {
	lookUp(c, func(ctx context.Context, r *resolve.Resolver) ([]netip.Addr, error) { return r.Addresses(ctx, i, name) }, f)
}

// resolve6 is resolve for IPv6 addresses.
func (c *Client) resolve6(i link.Interface, name string, f func(addresses []netip.Addr, err error)) {
	lookUp(c, func(ctx context.Context, r *resolve.Resolver) ([]netip.Addr, error) {
		return r.Addresses6(ctx, i, name)
	}, f)
}

// prefixes64 asks an interface's name servers for the prefixes of its network's NAT64.
func (c *Client) prefixes64(i link.Interface, f func(prefixes []netip.Prefix, err error)) {
	lookUp(c, func(ctx context.Context, r *resolve.Resolver) ([]netip.Prefix, error) {
		found, _, err := nat64.Learn(ctx, func(ctx context.Context, m []byte) ([]byte, error) { return r.Exchange(ctx, i, m) })
		return found, err
	}, f)
}

// lookUp has ask called beside the actor, and f on it with what came of that.
func lookUp[T any](c *Client, ask func(ctx context.Context, r *resolve.Resolver) (T, error), f func(T, error)) {
	n := &c.names
	if n.resolver == nil {
		var none T
		f(none, errNoNames)
		return
	}
	n.running.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, nameLimit)
		defer cancel()
		found, err := ask(ctx, n.resolver)
		select {
		case c.tasks <- func() { f(found, err) }:
		case <-n.ctx.Done():
		}
	})
}
