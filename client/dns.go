package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/dns"
	"mipvpn/detect/resolve/query"
	"mipvpn/tun/link"
)

const (
	// dnsLook is how often it is looked whether others have changed the host's resolver.
	dnsLook = 10 * time.Second
	// dnsPause is how long what another program has changed is left alone after it has been set again.
	dnsPause = 100 * time.Millisecond
	// ifaceKept is how long the interface that a question goes out of is remembered, so that not each question reads all.
	ifaceKept = time.Second
	// peerDNS is what problems with names are said to be of.
	peerDNS = "DNS"
)

// NamesHost is the host as the client changes how it resolves names.
type NamesHost struct {
	// Sockets are the host's ordinary ones.
	Sockets dns.Sockets
	// Settings returns how the resolver of the host is changed in that mode, nil for not at all. It is asked anew each time the client comes
	// up.
	Settings func(mode dns.Mode) (dns.Settings, error)
	// Left returns what takes back whatever an earlier process has left, in any way.
	Left []dns.Settings
}

// hostDNS is what the client does to the host's resolver. It lives from up to down, and beyond the session where that ends
// otherwise: the enterprise's names stay blocked as its traffic does.
type hostDNS struct {
	forwarder *dns.Forwarder
	settings  dns.Settings
	plan      atomic.Pointer[dns.Plan] // read by the worker too
	domains   query.Domains            // configured, or told of by the gateway
	told      []netip.Addr             // by the gateway
	named     []string                 // domains that it has told of
	look      func()                   // ends looking
	unwatch   func()                   // ends watching
	way       *way
	work      chan struct{} // has room for one; has the worker set the plan again
	worker    sync.WaitGroup
}

// dnsUp begins to resolve names as configured. What goes wrong is a problem, not a failure to come up: an enterprise name
// that is not resolved inside is no leak of the enterprise's traffic.
func (c *Client) dnsUp() {
	d := &c.dns
	if c.names.Host == nil || !c.cfg.DNS.Used() || d.forwarder != nil {
		c.dnsRoute()
		return
	}
	fail := func(err error, advice string) {
		c.problem(control.Problem{Peer: peerDNS, Message: "the enterprise's names may be asked anywhere: " + err.Error(), Advice: advice})
	}
	settings, err := c.names.Host.Settings(dns.Mode(c.cfg.DNS.Mode))
	if err != nil {
		fail(err, "set dns.mode, or dns.mode to \"off\" if that is meant")
		return
	}
	if settings == nil {
		return
	}
	for _, other := range c.names.Host.Left {
		if other != settings {
			c.dnsClear(other)
		}
	}
	d.way = &way{host: c.host, names: &c.names, enterprise: c.cfg.Enterprise.Prefixes, allows: c.cfg.Interfaces.Allows}
	forwarder, err := dns.Listen(c.names.Host.Sockets, c.host, c.cfg.DNS.Listen, d.way, rand.Reader, c.log)
	if err != nil {
		fail(err, "set dns.listen to a loopback address whose port 53 is free")
		return
	}
	d.forwarder, d.settings = forwarder, settings
	d.domains = canonical(c.cfg.DNS.Domains)
	d.plan.Store(&dns.Plan{
		Device: c.cfg.Device.Name, Server: c.cfg.DNS.Listen, Domains: d.domains, Reverse: dns.Reverse(nil, c.cfg.Enterprise.Prefixes),
		Search: c.cfg.DNS.Search, Full: c.cfg.DNS.Full,
	})
	d.work, d.unwatch = make(chan struct{}, 1), func() {}
	if w, ok := settings.(dns.Watcher); ok {
		if stop, err := w.Watch(giveWork(d.work)); err == nil {
			d.unwatch = stop
		} else {
			c.log.Warn("changes of the host's resolver are noticed late", zap.Duration("interval", dnsLook), zap.Error(err))
		}
	}
	c.dnsRoute()
	c.solved(peerDNS)
	c.dnsWorker(d)
	c.dnsAgain()
	c.dnsWatch()
}

// tryListen finds out whether the client's name server could listen where another configuration has it, if that is elsewhere.
func (c *Client) tryListen(next *config.Config) error {
	if c.dns.forwarder == nil || !next.DNS.Used() || next.DNS.Listen == c.cfg.DNS.Listen {
		return nil
	}
	f, err := dns.Listen(c.names.Host.Sockets, c.host, next.DNS.Listen, nil, rand.Reader, c.log)
	if err != nil {
		return fmt.Errorf("client: dns.listen: %w; nothing has been changed", err)
	}
	return f.Close()
}

// dnsClear takes back what an earlier process has left, if it has.
func (c *Client) dnsClear(s dns.Settings) {
	standing, err := s.Standing()
	if err == nil && standing {
		err = s.Clear()
	}
	if err != nil {
		c.log.Warn("what an earlier run did to the host's resolver cannot be taken back", zap.String("way", s.Name()), zap.Error(err))
	}
}

// dnsLeft goes on with what an earlier process has left, or takes it back where the configuration does not want it any more: the
// daemon's end lifts no block, but names that are not the enterprise's must be resolved all the same.
func (c *Client) dnsLeft() {
	if c.names.Host == nil {
		return
	}
	for _, s := range c.names.Host.Left {
		standing, err := s.Standing()
		switch {
		case err != nil:
			c.log.Warn("what an earlier run did to the host's resolver is not known", zap.String("way", s.Name()), zap.Error(err))
		case standing && c.cfg.DNS.Used():
			c.dnsUp()
			return
		case standing:
			c.dnsClear(s)
		}
	}
}

// canonical returns the configured domains as queries have them. The configuration has checked them.
func canonical(list []string) query.Domains {
	var out query.Domains
	for _, s := range list {
		if name, err := query.Canonical(s); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// dnsRoute tells the forwarder where questions go.
func (c *Client) dnsRoute() {
	d := &c.dns
	if d.forwarder == nil {
		return
	}
	d.forwarder.Set(dns.Routing{Domains: append(slices.Clone(d.domains), d.plan.Load().Reverse...), Inside: c.dnsInside(), Full: c.cfg.DNS.Full})
}

// dnsInside returns the enterprise's servers: those that the gateway has told of, and those configured.
func (c *Client) dnsInside() []netip.Addr {
	out := slices.Clone(c.dns.told)
	for _, a := range c.cfg.DNS.Servers {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// dnsTold takes the servers that the gateway has told of. One outside the enterprise's prefixes would be asked outside the
// tunnel, and is left out.
func (c *Client) dnsTold(servers []netip.Addr) {
	var told []netip.Addr
	for _, a := range servers {
		if within(c.cfg.Enterprise.Prefixes, a) {
			told = append(told, a)
		} else if c.dns.forwarder != nil {
			c.event(control.Event{Kind: "dns", Message: fmt.Sprintf("the gateway tells of the name server %v, which is in none of the enterprise's prefixes: it is not asked", a)})
		}
	}
	if len(told) > 0 && !slices.Equal(told, c.dns.told) {
		c.dns.told = told
		c.dnsRoute()
	}
}

// dnsNamed takes the internal domains that the gateway has told of: only its servers are asked about them from now on, until
// the client goes down (RFC 8598 §5). Top-level domains are not taken from it, which would take their names from everybody.
func (c *Client) dnsNamed(domains []string) {
	d := &c.dns
	if d.forwarder == nil || !c.cfg.DNS.GatewayDomains {
		return
	}
	var fresh []string
	for _, told := range domains {
		name, err := query.Canonical(told)
		switch {
		case err != nil || query.SingleLabel(name):
			c.event(control.Event{Kind: "dns", Message: fmt.Sprintf("the gateway tells of the domain %s: it is not taken from it; name it in dns.domains if it is the enterprise's", told)})
		case !d.domains.Contain(name):
			d.domains = append(slices.Clone(d.domains), name)
			fresh = append(fresh, told)
		}
	}
	if len(fresh) == 0 {
		return
	}
	d.named = append(d.named, fresh...)
	plan := *d.plan.Load()
	plan.Domains = d.domains
	d.plan.Store(&plan)
	c.dnsRoute()
	c.dnsAgain()
	c.event(control.Event{Kind: "dns", Message: "the gateway tells of the internal domains " + strings.Join(fresh, ", ") + ": only its name servers are asked about them"})
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// dnsWorker sets the plan when asked to, beside the actor: the host's services may take their time.
func (c *Client) dnsWorker(d *hostDNS) {
	settings, work := d.settings, d.work
	d.worker.Go(func() {
		first, failed := true, false
		var last *dns.Plan
		for range work {
			plan := d.plan.Load()
			changed, err := settings.Set(*plan)
			again := !first && plan == last
			last = plan
			mended := failed && err == nil
			first, failed = first && err != nil, err != nil
			if !changed && !mended && err == nil {
				continue
			}
			if changed && again { // it may be a program that always writes last
				time.Sleep(dnsPause)
			}
			c.post(func() {
				switch {
				case err != nil:
					c.problem(control.Problem{Peer: peerDNS, Message: "the enterprise's names may be asked anywhere: " + err.Error(),
						Advice: "it is tried again by itself; `mipvpn config check` and dns.mode say how names are resolved"})
				case again:
					c.event(control.Event{Kind: "dns", Message: settings.Name() + " was changed by another program, or the network's domains were: set again"})
					c.solved(peerDNS)
				default:
					c.event(control.Event{Kind: "dns", Message: fmt.Sprintf("%s now asks %v about the enterprise's names (%s)", settings.Name(), plan.Server, c.dnsNames())})
					c.solved(peerDNS)
				}
			})
		}
	})
}

// dnsUse notes the interface in use.
func (c *Client) dnsUse() {
	if c.dns.way != nil {
		index, _ := c.roam.Using()
		c.dns.way.use(index)
	}
}

// dnsNames names the enterprise's domains for people.
func (c *Client) dnsNames() string {
	list := strings.Join(c.cfg.DNS.Domains, ", ")
	if c.cfg.DNS.Full {
		return strings.TrimSuffix("all names, "+list, ", ")
	}
	return list
}

// dnsAgain has the plan set again, if something has changed it.
func (c *Client) dnsAgain() {
	if c.dns.forwarder != nil {
		giveWork(c.dns.work)()
	}
}

// giveWork returns what gives the worker work, unless it has some.
func giveWork(work chan<- struct{}) func() {
	return func() {
		select {
		case work <- struct{}{}:
		default:
		}
	}
}

// dnsWatch looks again and again.
func (c *Client) dnsWatch() {
	c.dns.look = c.after(dnsLook, func() {
		c.dnsAgain()
		c.dnsWatch()
	})
}

// dnsClose ends the forwarder. What was set stays: with nobody to answer, the enterprise's names are not resolved.
func (c *Client) dnsClose() {
	d := &c.dns
	if d.forwarder == nil {
		return
	}
	d.look()
	d.unwatch()
	close(d.work)
	d.worker.Wait()
	if err := d.forwarder.Close(); err != nil {
		c.log.Debug("closing the forwarder of names", zap.Error(err))
	}
	d.forwarder, d.settings, d.domains, d.told, d.named, d.look, d.unwatch, d.way, d.work = nil, nil, nil, nil, nil, nil, nil, nil, nil
	d.plan.Store(nil)
}

// dnsDown takes back what was done to the host's resolver, by this process or an earlier one.
func (c *Client) dnsDown() error {
	if c.names.Host == nil {
		return nil
	}
	settings := c.names.Host.Left
	c.dnsClose()
	c.solved(peerDNS)
	return ClearNames(settings)
}

// ClearNames takes back what a client has done to the host's resolver in any of the ways.
func ClearNames(ways []dns.Settings) error {
	var first error
	for _, s := range ways {
		if err := s.Clear(); err != nil && first == nil {
			first = fmt.Errorf("client: take back the host's resolver (%s): %w", s.Name(), err)
		}
	}
	return first
}

// dnsStatus describes how names are resolved, nil when the client leaves that alone.
func (c *Client) dnsStatus() *control.DNS {
	d := &c.dns
	if d.forwarder == nil {
		return nil
	}
	n := d.forwarder.Counts()
	s := &control.DNS{
		By: d.settings.Name(), Forwarder: c.cfg.DNS.Listen, Full: c.cfg.DNS.Full, Domains: append(slices.Clone(c.cfg.DNS.Domains), d.named...), Servers: c.dnsInside(),
		Inside: n.Inside, Outside: n.Outside, Refused: n.Refused, Failed: n.Failed, Checks: n.Checks,
	}
	if s.Domains == nil {
		s.Domains = []string{}
	}
	if s.Servers == nil {
		s.Servers = []netip.Addr{}
	}
	return s
}

// way is how the forwarder's questions go out of the tunnel: by the interface in use, or else one that could be.
type way struct {
	host       link.Host
	names      *names
	enterprise []netip.Prefix
	allows     func(name string) bool

	mu     sync.Mutex // never held while waiting
	using  int        // the index of the interface in use, 0 for none
	chosen link.Interface
	until  time.Duration
}

// use notes the interface in use.
func (w *way) use(index int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.using != index {
		w.using, w.until = index, 0
	}
}

// iface returns the interface to ask through.
func (w *way) iface() (link.Interface, error) {
	now := w.host.Now().Boot
	w.mu.Lock()
	chosen, using, until := w.chosen, w.using, w.until
	w.mu.Unlock()
	if now < until {
		return chosen, nil
	}
	all, err := w.host.Interfaces()
	if err != nil {
		return link.Interface{}, err
	}
	best, found := link.Interface{}, false
	rank := func(i link.Interface) int {
		switch {
		case i.Index == using:
			return 3
		case (i.Has4() || i.Has6()) && !i.Wireless:
			return 2
		case i.Has4() || i.Has6():
			return 1
		}
		return 0
	}
	for _, i := range all {
		if i.Up && (i.Address.IsValid() || i.Address6.IsValid()) && w.allows(i.Name) && (!found || rank(i) > rank(best)) {
			best, found = i, true
		}
	}
	if !found {
		return link.Interface{}, query.ErrNoServers
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.using == using {
		w.chosen, w.until = best, now+ifaceKept
	}
	return best, nil
}

// Exchange implements dns.Outside.
func (w *way) Exchange(ctx context.Context, message []byte) ([]byte, error) {
	i, err := w.iface()
	if err != nil {
		return nil, err
	}
	if w.names.resolver == nil {
		return nil, errNoNames
	}
	return w.names.resolver.Exchange(ctx, i, message)
}

// Servers implements dns.Outside. A server whose address is the enterprise's is not asked over TCP: the host's routes lead into
// the tunnel.
func (w *way) Servers(ctx context.Context) ([]netip.Addr, error) {
	i, err := w.iface()
	if err != nil {
		return nil, err
	}
	if w.names.Servers == nil {
		return nil, errNoNames
	}
	list, err := w.names.Servers.Servers(ctx, i)
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return within(w.enterprise, a) }), err
}

// ResolverSettings returns a chooser among the ways of changing the host's resolver, by a configuration's mode, and all of
// them. resolved is nil where there is no systemd-resolved.
func ResolverSettings(file *dns.ResolvConf, resolved dns.Settings) (choose func(dns.Mode) (dns.Settings, error), ways []dns.Settings) {
	ways = []dns.Settings{file}
	if resolved != nil {
		ways = append(ways, resolved)
	}
	return func(mode dns.Mode) (dns.Settings, error) { return dns.Choose(mode, file, resolved) }, ways
}
