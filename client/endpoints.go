package client

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/gateways"
	"mipvpn/client/roam"
	"mipvpn/tun/link"
)

const (
	// nameWait is how long an attempt waits for the address of the x-HA. Then it begins without one: where the laptop is
	// inside, the i-HA's answer is enough.
	nameWait = 3 * time.Second
	// nameRetry is how long after a name could not be resolved, with no address of it known, it is asked for again.
	nameRetry = 10 * time.Second
	// nameSilence is how long none of several addresses is tried after all of them did not answer.
	nameSilence = 30 * time.Second
)

// endpoint is a peer that has a name: the addresses that the name led to when it was last resolved, through whatever
// interface, and the one in use. They are tried in order.
type endpoint struct {
	addresses []netip.Addr
	at        int
}

// set takes what a name leads to now. The address in use stays in use while it is among them.
func (p *endpoint) set(addresses []netip.Addr) {
	in := p.current()
	p.addresses = addresses
	p.at = max(0, slices.Index(addresses, in))
}

// current returns the address in use, the zero Addr while none is known.
func (p *endpoint) current() netip.Addr {
	if len(p.addresses) == 0 {
		return netip.Addr{}
	}
	return p.addresses[p.at%len(p.addresses)]
}

// next goes on to the next address and reports whether there is another one.
func (p *endpoint) next() bool {
	if len(p.addresses) > 1 {
		p.at = (p.at + 1) % len(p.addresses)
	}
	return len(p.addresses) > 1
}

// endpoints are the peers outside that may have names. The i-HA has none: its name would have to be asked for in every network.
type endpoints struct {
	config   config.Gateway // the first gateway
	external endpoint
	gateways *gateways.List
	waiting  map[int]*roam.Attempt // attempts that wait for a name, by interface
	seeking  *attempt              // whose only address of the x-HA does not answer
}

// named reports whether a peer is to be found by its name.
func (c *Client) named() bool { return c.cfg.External.Name != "" || len(c.ends.gateways.Names()) > 0 }

// begin makes the list of gateways.
func (p *endpoints) begin(g config.Gateway) {
	p.config, p.waiting = g, make(map[int]*roam.Attempt)
	peers := []gateways.Peer{{Address: g.Address, Name: g.Name}}
	for _, f := range g.Fallback {
		peers = append(peers, gateways.Peer(f))
	}
	p.gateways = gateways.New(peers, g.ReturnAfter)
}

// first reports whether an address is one of the first gateway of the configuration.
func (p *endpoints) first(gateway netip.Addr) bool {
	return gateway == p.config.Address || p.config.Name != "" && slices.Contains(p.gateways.NamesOf(gateway), p.config.Name)
}

// beginNamed begins an attempt once the names of the peers have been resolved through its interface, or nameWait has passed.
func (c *Client) beginNamed(e roam.Attempt) {
	i := c.ifaces[e.Interface.Index]
	six := i != nil && !e.ForeignAgent && i.Has6()
	alone := six && !i.Has4()                                                  // home agents are not reached there
	if six && (!alone || c.gatewayOver6(i, c.cfg.Gateway.Address).IsValid()) { // nothing has to wait for it
		c.learn6(i, func() {})
		alone = false
	}
	if i == nil || !c.named() && !alone || !i.Address.IsValid() && !alone { // through a foreign agent there is nobody to ask: what is known is used
		c.begin(e)
		return
	}
	c.abandon(i, e.Reason)
	wait := &e
	c.ends.waiting[i.Index] = wait
	goOn := func() {
		if c.ends.waiting[i.Index] == wait && c.session != nil && c.ifaces[i.Index] == i {
			delete(c.ends.waiting, i.Index)
			c.begin(e)
		}
	}
	left := 0
	answered := func() {
		if left--; left == 0 {
			goOn()
		}
	}
	external := c.cfg.External.Name != "" && !alone
	if external {
		left++
	}
	if alone {
		left++
	}
	names := c.ends.gateways.Names()
	left += len(names)
	c.after(nameWait, goOn)
	if external {
		c.findExternal(i, e, answered)
	}
	if alone {
		c.learn6(i, answered)
	}
	for _, name := range names {
		c.findGateway(i.Interface, name, answered)
	}
}

// findExternal resolves the name of the x-HA for an attempt, again and again while no address is known.
func (c *Client) findExternal(i *iface, e roam.Attempt, answered func()) {
	c.resolve(i.Interface, c.cfg.External.Name, func(addresses []netip.Addr, err error) {
		if c.session == nil || c.ifaces[i.Index] != i || i.epoch != e.Epoch {
			return
		}
		unknown := !c.ends.external.current().IsValid()
		if err == nil {
			c.ends.external.set(addresses)
			c.cfg.External.Address = c.ends.external.current()
			c.solved(nameExternal + " " + c.cfg.External.Name)
		} else {
			c.unnamed(nameExternal+" "+c.cfg.External.Name, err, unknown)
		}
		answered()
		switch a := i.attempt; {
		case err != nil && unknown:
			c.after(nameRetry, func() { c.findExternal(i, e, func() {}) })
		case err == nil && unknown && a != nil && !a.external.agent.IsValid() && !a.proof.Live(c.now.Boot):
			c.begin(e) // it began without the x-HA
		}
	})
}

// unnamed tells people that a name is not resolved.
func (c *Client) unnamed(peer string, err error, unknown bool) {
	p := control.Problem{Peer: peer, Message: "its name is not resolved: " + err.Error(),
		Advice: "check the name, and that this network has a name server that answers; an IPv4 address in the configuration needs none"}
	if !unknown {
		p.Message += "; the address that was found before is used"
	}
	c.problem(p)
}

// nextExternal goes on to the next address of the x-HA's name after one that did not answer, and has the interface tried again.
// Without another one the name is asked for anew: a captive portal may have answered with its own address.
func (c *Client) nextExternal(a *attempt) {
	p := &c.ends.external
	c.searchAgain(a)
	if c.cfg.External.Name == "" || a.external.agent != p.current() {
		return
	}
	if !p.next() {
		c.seekExternal(a)
		return
	}
	pause := time.Second
	if p.at == 0 { // none of them answers
		pause = nameSilence
	}
	c.after(pause, func() { c.tryExternal(a) })
}

// tryExternal has the interface tried again with the address that is now the x-HA's, unless something else has begun there.
func (c *Client) tryExternal(a *attempt) {
	if i := c.ifaces[a.iface.Index]; c.session == nil || i == nil || i.attempt != a {
		return
	}
	c.cfg.External.Address = c.ends.external.current()
	c.event(control.Event{Kind: "names", Interface: a.iface.Name, Message: fmt.Sprintf("trying %v, another address of %s", c.cfg.External.Address, c.cfg.External.Name)})
	c.roam.HandleRetry(c.now, a.iface.Index, a.epoch)
}

// seekExternal asks for the x-HA's name again and again while its only address does not answer, until there is another one.
func (c *Client) seekExternal(a *attempt) {
	if c.ends.seeking == a {
		return
	}
	c.ends.seeking = a
	c.after(nameRetry, func() {
		if c.ends.seeking == a {
			c.ends.seeking = nil
		}
		if i := c.ifaces[a.iface.Index]; c.session == nil || i == nil || i.attempt != a || a.external.bound || a.proof.Live(c.now.Boot) {
			return
		}
		c.names.forget(a.iface.Index)
		c.resolve(a.iface, c.cfg.External.Name, func(addresses []netip.Addr, err error) {
			if err == nil {
				c.ends.external.set(addresses)
			}
			if err == nil && c.ends.external.current() != a.external.agent {
				c.tryExternal(a)
			} else {
				c.seekExternal(a)
			}
		})
	})
}

// findGateway resolves the name of a gateway through an interface, and then calls answered.
func (c *Client) findGateway(i link.Interface, name string, answered func()) {
	c.resolve(i, name, func(addresses []netip.Addr, err error) {
		peer := "VPN gateway " + name
		if err != nil {
			c.unnamed(peer, err, !c.ends.gateways.Known(name))
		} else {
			c.solved(peer)
			c.ends.gateways.Resolved(name, addresses)
		}
		answered()
	})
}

// findGateways resolves the names of all gateways through the interface in use, for the next attempt.
func (c *Client) findGateways(forget bool) {
	a := c.inUse()
	if a == nil {
		return
	}
	if forget {
		c.names.forget(a.iface.Index)
	}
	for _, name := range c.ends.gateways.Names() {
		c.findGateway(a.iface, name, func() {})
	}
}

// pointGateway has the next IKE exchange go to the gateway whose turn it is. It returns false while no address is known; the
// names are then asked for, and the VPN tried again later.
func (c *Client) pointGateway() bool {
	list := c.ends.gateways
	failed := list.Failing()
	address, ok := list.Begin(c.now)
	if !ok {
		c.findGateways(false)
		c.retryVPN()
		return false
	}
	if failed {
		c.findGateways(true) // for the attempt after this one
	}
	if c.cfg.Gateway.Address != address {
		c.closeAccess()
		c.cfg.Gateway.Address = address
		c.groundLost() // and of the other one something else may be known
		c.askSwitching()
	}
	return true
}
