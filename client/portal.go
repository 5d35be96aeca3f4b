package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/portal"
	"mipvpn/client/portal/probe"
	"mipvpn/tun/link"
)

var _ control.PortalBackend = (*Client)(nil)

// codePortal is the code of the problem that a captive portal is.
const codePortal = "captive_portal"

const (
	// portalLease is how long an address stays admitted to the way without being renewed: the time for which a way outlives
	// the daemon. portalRenewal is how often it is renewed.
	portalLease   = 20 * time.Second
	portalRenewal = 5 * time.Second
	// maxAdmitted is how many addresses a way leads to at most.
	maxAdmitted = 256
)

// portalPorts are the TCP ports that portals serve their pages on; that of the page's URL is added.
var portalPorts = []uint16{80, 443, 8080, 8443}

// WithPortals has the client look for captive portals, and open ways to them, by what the host can do for it. Without it
// portals are not looked for.
func WithPortals(host link.PortalHost) Option { return func(c *Client) { c.portals.host = host } }

// portals is what the actor knows of captive portals.
type portals struct {
	host    link.PortalHost
	watches map[int]*portalWatch // by index of the interface
	way     *portalWay           // nil while none is open
	running sync.WaitGroup
}

// portalWatch is the machine of one interface.
type portalWatch struct {
	machine *portal.Machine
	iface   link.Interface // as it was when neither home agent answered
	name    string
	ctx     context.Context // of its questions
	cancel  context.CancelFunc
	remove  func()
}

// portalWay is an open way to a portal.
type portalWay struct {
	iface  link.Interface
	user   uint32
	way    link.PortalWay
	url    string
	until  time.Duration // boot time
	cancel context.CancelFunc
	remove []func()               // timers
	closed chan control.PortalWay // has room for one

	mu       sync.Mutex // the forwarder admits addresses beside the actor
	admitted []netip.Addr
	deadline time.Duration // boot time: until
}

// portalForbidden is what no portal may name and no browser of one may reach.
func (c *Client) portalForbidden() portal.Forbidden {
	return portal.Forbidden{
		Prefixes: c.cfg.Enterprise.Prefixes,
		Addresses: append([]netip.Addr{c.cfg.Internal.Address, c.cfg.External.Address, c.cfg.Internal.HomeAddress, c.cfg.External.HomeAddress, c.cfg.Gateway.Address},
			c.ends.gateways.Addresses()...),
	}
}

// portalUnreachable looks for a portal: neither home agent answers through the interface (HST-5). On one without an address of
// its own there is nothing to ask from.
func (c *Client) portalUnreachable(i link.Interface) {
	p := &c.portals
	if p.host == nil || !c.cfg.Portal.Detect || c.cfg.Portal.ProbeURL == "" && !c.cfg.HasExternal() || !i.Address.IsValid() {
		return
	}
	w := p.watches[i.Index]
	if w == nil {
		q, err := c.cfg.Question()
		if err != nil {
			c.log.Error("captive portals cannot be looked for", zap.Error(err))
			return
		}
		m := portal.New(portal.Config{Question: q, Forbidden: c.portalForbidden()})
		w = &portalWatch{machine: m, iface: i, name: i.Name}
		w.ctx, w.cancel = context.WithCancel(context.Background())
		if p.watches == nil {
			p.watches = make(map[int]*portalWatch)
		}
		p.watches[i.Index] = w
		w.remove = c.drive(&driven{timeout: m.HandleTimeout, deadline: m.Deadline, drain: func() bool { return c.drainPortal(w) }})
	}
	w.machine.HandleUnreachable(c.now)
}

// portalReachable says that a home agent answers through the interface: a portal that was there has been passed.
func (c *Client) portalReachable(index int, reason string) {
	if w := c.portals.watches[index]; w != nil {
		w.machine.HandleReachable(reason)
	}
	c.closePortal(index, true, reason)
}

// portalChanged says that a new epoch of the interface has begun. Where its connection is what it was, so is the portal;
// else there may be none any more, or another.
func (c *Client) portalChanged(index int, reason string) {
	p := &c.portals
	w := p.watches[index]
	if w == nil {
		return
	}
	if i := c.ifaces[index]; i != nil && sameNetwork(w.iface, i.Interface) {
		return
	}
	c.closePortal(index, false, reason)
	w.machine.HandleChange(reason)
	c.drainPortal(w)
	w.cancel()
	w.remove()
	delete(p.watches, index)
}

// sameNetwork reports whether nothing about an interface says that it is in another network than before.
func sameNetwork(before, now link.Interface) bool {
	if before.GatewayHardware.IsZero() || now.GatewayHardware.IsZero() { // not known says nothing
		before.GatewayHardware = now.GatewayHardware
	}
	return before == now
}

// portalEnd forgets all portals and closes the way.
func (c *Client) portalEnd(reason string) {
	p := &c.portals
	if p.way != nil {
		c.closePortal(p.way.iface.Index, false, reason)
	}
	for index, w := range p.watches {
		w.cancel()
		w.remove()
		delete(p.watches, index)
		c.solved(portalPeer(w.name))
	}
	p.running.Wait()
}

// drainPortal carries out what the machine of an interface wants.
func (c *Client) drainPortal(w *portalWatch) bool {
	busy := false
	for {
		e, ok := w.machine.PollEvent()
		if !ok {
			return busy
		}
		busy = true
		switch e := e.(type) {
		case portal.Ask:
			c.askPortal(w, e)
		case portal.Suspected:
			c.problem(control.Problem{Peer: portalPeer(w.name), Code: codePortal, Message: portalText(e.Finding), Advice: "run `mipvpn portal`"})
			c.event(control.Event{Kind: "portal", Interface: w.name, Message: portalText(e.Finding) + ", run `mipvpn portal`: " + e.Finding.Reason})
		case portal.Cleared:
			c.solved(portalPeer(w.name))
			message := "no captive portal any more: " + e.Reason
			if e.Passed {
				message = "the captive portal is passed: " + e.Reason
			}
			c.event(control.Event{Kind: "portal", Interface: w.name, Message: message})
		case portal.Register:
			c.askHomeAgents(w.iface.Index)
		}
	}
}

// portalPeer is what the problem that a portal is is said to be of.
func portalPeer(name string) string { return "network on " + name }

// portalText names a portal for people.
func portalText(f portal.Finding) string {
	if f.Host == "" {
		return "captive portal"
	}
	return "captive portal at " + f.Host
}

// askPortal asks a question beside the actor.
func (c *Client) askPortal(w *portalWatch, e portal.Ask) {
	var resolver probe.Resolver
	if c.names.resolver != nil {
		resolver = c.names.resolver
	}
	p := probe.New(c.portals.host, resolver)
	c.portals.running.Go(func() {
		o := p.Ask(w.ctx, w.iface, e.Question)
		c.post(func() { w.machine.HandleObservation(c.now, e.Number, o) })
	})
}

// askHomeAgents registers through an interface anew while a person is logging in, so that nobody has to wait for a back-off.
func (c *Client) askHomeAgents(index int) {
	i := c.ifaces[index]
	if i == nil {
		return
	}
	a := i.attempt
	if a == nil {
		c.roam.HandleRetry(c.now, index, i.epoch)
		return
	}
	for _, r := range []*registration{a.internal, a.external} {
		if r != nil && !r.bound && c.now.Since(r.asked) >= time.Second { // RFC 5944 §3.6.3
			r.start(c)
		}
	}
}

// portalBlocks returns why nothing flows where that is a captive portal, else reason.
func (c *Client) portalBlocks(reason string) string {
	for _, w := range c.portals.watches {
		if f, suspected := w.machine.Finding(); suspected && (reason == "" || strings.HasPrefix(reason, w.name+":")) {
			return fmt.Sprintf("%s: %s, run `mipvpn portal`", w.name, portalText(f))
		}
	}
	return reason
}

// portalStatus describes the portal of an interface, nil without one.
func (c *Client) portalStatus(index int) *control.Portal {
	w := c.portals.watches[index]
	if w == nil {
		return nil
	}
	f, suspected := w.machine.Finding()
	if !suspected {
		return nil
	}
	open := c.portals.way != nil && c.portals.way.iface.Index == index
	return &control.Portal{Host: f.Host, URL: f.URL, Reason: f.Reason, Open: open}
}

// OpenPortal implements control.PortalBackend.
func (c *Client) OpenPortal(ctx context.Context, peer control.Peer, iface string, limit time.Duration) (way control.PortalWay, closed <-chan control.PortalWay, end func(), err error) {
	var w *portalWay
	err = c.ask(ctx, func() error {
		var err error
		if w, err = c.openPortal(peer, iface, limit); err == nil {
			way, closed = c.portalWayStatus(w), w.closed
		}
		return err
	})
	end = func() {
		select {
		case c.tasks <- func() {
			if w != nil && c.portals.way == w {
				c.closePortal(w.iface.Index, false, "the browser has ended")
			}
		}:
		case <-c.done:
		}
	}
	if err != nil {
		end() // the actor may open it after the peer has gone
		return control.PortalWay{}, nil, nil, err
	}
	return way, closed, end, nil
}

func (c *Client) openPortal(peer control.Peer, name string, limit time.Duration) (*portalWay, error) {
	p := &c.portals
	switch {
	case p.host == nil:
		return nil, fmt.Errorf("%w: this daemon opens no ways to captive portals", control.ErrRefused)
	case c.session == nil:
		return nil, fmt.Errorf("%w: the client is down, so that nothing is blocked: any browser will do", control.ErrRefused)
	case peer.UID == 0:
		return nil, fmt.Errorf("%w: no browser is started as root: run `mipvpn portal` as the user whose screen it is", control.ErrRefused)
	case p.way != nil:
		return nil, fmt.Errorf("%w: the way to the portal on %s is open already", control.ErrRefused, p.way.iface.Name)
	case c.names.resolver == nil:
		return nil, fmt.Errorf("%w: there is nobody to ask for names", control.ErrRefused)
	}
	i, f, err := c.choosePortal(name)
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > c.cfg.Portal.Timeout {
		limit = c.cfg.Portal.Timeout
	}
	address := f.URL
	if address == "" { // the next hop is what most portals are
		address = "http://" + i.Gateway.String() + "/"
	}
	local, err := p.host.ListenLocal()
	if err != nil {
		return nil, err
	}
	u, ok := local.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("client: the forwarder's address is a %T", local.LocalAddr()), local.Close())
	}
	forbidden := c.portalForbidden()
	way, err := p.host.OpenPortal(link.Portal{Interface: i, Forbidden: forbidden.Networks(), Ports: portPorts(address), Resolver: uint16(u.Port)})
	if err != nil {
		return nil, errors.Join(err, local.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &portalWay{
		iface: i, user: peer.UID, way: way, url: address, until: c.now.Boot + limit, deadline: c.now.Boot + limit, cancel: cancel,
		closed: make(chan control.PortalWay, 1),
	}
	p.way = w
	var first []netip.Addr
	for _, a := range []netip.Addr{i.Gateway, f.Address} {
		if forbidden.Admits(a) {
			first = append(first, a)
		}
	}
	if err := w.admit(c.host.Now(), first); err != nil {
		c.closePortal(i.Index, false, err.Error())
		return nil, errors.Join(err, local.Close())
	}
	forwarder := &probe.Forwarder{
		Interface: i, Names: portal.Names{Forbidden: forbidden, Domains: c.cfg.DNS.Domains}, Resolver: c.names.resolver, Log: c.log,
		Learn: func(a []netip.Addr) error { return w.admit(c.host.Now(), a) },
	}
	p.running.Go(func() {
		if err := forwarder.Serve(ctx, local); err != nil {
			c.post(func() {
				if p.way == w {
					c.closePortal(i.Index, false, "names cannot be forwarded: "+err.Error())
				}
			})
		}
	})
	w.remove = append(w.remove, c.after(limit, func() { c.closePortal(i.Index, false, "its time is up") }))
	c.renewPortal(w)
	if watch := p.watches[i.Index]; watch != nil {
		watch.machine.HandleWay(c.now, true)
	}
	c.event(control.Event{Kind: "portal", Interface: i.Name,
		Message: fmt.Sprintf("the way to %s is open for a browser of user %d, for %v at most (%s)", portalText(f), peer.UID, limit, way.Confinement())})
	return w, nil
}

// choosePortal returns the interface to open the way on and what is known of its portal. One that is named need not have been
// found to have a portal, but nothing else may work there: a portal may answer names only, and no connections.
func (c *Client) choosePortal(name string) (link.Interface, portal.Finding, error) {
	var found []*iface
	for _, i := range c.sorted() {
		w := c.portals.watches[i.Index]
		if w == nil {
			continue
		}
		if _, suspected := w.machine.Finding(); suspected && (name == "" || i.Name == name) {
			found = append(found, i)
		}
	}
	if len(found) == 0 && name != "" {
		for _, i := range c.sorted() {
			if i.Name == name && i.Address.IsValid() && i.Gateway.IsValid() && c.portals.watches[i.Index] != nil {
				found = append(found, i)
			}
		}
	}
	switch len(found) {
	case 0:
		return link.Interface{}, portal.Finding{}, fmt.Errorf("%w: no captive portal is known%s; `mipvpn status` says what keeps the client from connecting", control.ErrRefused, on(name))
	case 1:
	default:
		return link.Interface{}, portal.Finding{}, fmt.Errorf("%w: several interfaces have captive portals: name one with --interface", control.ErrRefused)
	}
	i := found[0]
	f, _ := c.portals.watches[i.Index].machine.Finding()
	if !i.Address.IsValid() || !i.Gateway.IsValid() {
		return link.Interface{}, portal.Finding{}, fmt.Errorf("%w: %s has no address or no default route now", control.ErrRefused, i.Name)
	}
	return i.Interface, f, nil
}

func on(name string) string {
	if name == "" {
		return ""
	}
	return " on " + name
}

// portPorts returns the ports of the way to the URL, which has been checked.
func portPorts(url string) []uint16 {
	ports := slices.Clone(portalPorts)
	_, rest, _ := strings.Cut(url, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if _, p, found := strings.Cut(authority, ":"); found {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n != 0 && !slices.Contains(ports, uint16(n)) {
			ports = append(ports, uint16(n))
		}
	}
	return ports
}

// errTooMany is returned when a portal's pages name more addresses than any portal needs.
var errTooMany = fmt.Errorf("client: the way to a portal leads to %d addresses already", maxAdmitted)

// admit has the way lead to the addresses, besides those that it leads to.
func (w *portalWay) admit(now link.Instant, addresses []netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addresses {
		if slices.Contains(w.admitted, a) {
			continue
		}
		if len(w.admitted) >= maxAdmitted {
			return errTooMany
		}
		w.admitted = append(w.admitted, a)
	}
	return w.way.Admit(addresses, min(portalLease, w.deadline-now.Boot))
}

// renew admits all addresses anew.
func (w *portalWay) renew(now link.Instant) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.way.Admit(w.admitted, min(portalLease, w.deadline-now.Boot))
}

// renewPortal keeps the way open.
func (c *Client) renewPortal(w *portalWay) {
	w.remove = append(w.remove[:min(len(w.remove), 1)], c.after(portalRenewal, func() {
		if c.portals.way != w {
			return
		}
		if err := w.renew(c.now); err != nil {
			c.closePortal(w.iface.Index, false, "it cannot be held open: "+err.Error())
			return
		}
		c.renewPortal(w)
	}))
}

// closePortal closes the way on an interface, if it is there.
func (c *Client) closePortal(index int, passed bool, reason string) {
	w := c.portals.way
	if w == nil || w.iface.Index != index {
		return
	}
	c.portals.way = nil
	w.cancel()
	for _, remove := range w.remove {
		remove()
	}
	if watch := c.portals.watches[index]; watch != nil {
		watch.machine.HandleWay(c.now, false)
	}
	if err := w.way.Close(); err != nil {
		c.log.Error("closing the way to a captive portal", zap.Error(err))
	}
	last := c.portalWayStatus(w)
	last.Closed, last.Passed, last.ExpiresIn = reason, passed, 0
	w.closed <- last
	close(w.closed)
	message := "the way to the captive portal is closed: " + reason
	if passed {
		message = "the captive portal is passed and the way to it is closed: " + reason
	}
	c.event(control.Event{Kind: "portal", Interface: w.iface.Name, Message: message})
}

func (c *Client) portalWayStatus(w *portalWay) control.PortalWay {
	return control.PortalWay{
		Schema: control.Schema, Interface: w.iface.Name, URL: w.url, Browser: c.cfg.Portal.Browser, Confinement: w.way.Confinement(),
		ExpiresIn: max(0, w.until-c.now.Boot).Seconds(),
	}
}

// JoinPortal implements control.PortalBackend.
func (c *Client) JoinPortal(ctx context.Context, peer control.Peer) error {
	return c.ask(ctx, func() error {
		w := c.portals.way
		switch {
		case w == nil:
			return fmt.Errorf("%w: no way to a captive portal is open", control.ErrRefused)
		case peer.UID != w.user || peer.UID == 0:
			return fmt.Errorf("%w: the way is open for user %d, not for user %d", control.ErrRefused, w.user, peer.UID)
		case peer.PID <= 1:
			return fmt.Errorf("%w: the system does not tell which process asks", control.ErrRefused)
		}
		return w.way.Join(int(peer.PID), peer.UID)
	})
}
