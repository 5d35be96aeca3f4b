package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/client/control"
	"mipvpn/detect/location"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
)

var _ control.Backend = (*Client)(nil)

// Up implements control.Backend.
func (c *Client) Up(ctx context.Context) error {
	return c.ask(ctx, func() error {
		err := c.up()
		if err == nil {
			c.keepWish(wishUp)
		}
		return err
	})
}

// Down implements control.Backend.
func (c *Client) Down(ctx context.Context) error {
	return c.ask(ctx, func() error {
		c.keepWish(wishDown) // first: killed on the way, it is not to come back
		return c.down("a person took the client down")
	})
}

// Subscribe implements control.Backend.
func (c *Client) Subscribe() (<-chan control.Event, func()) { return c.feed.subscribe() }

// SubscribeAfter implements control.Backend.
func (c *Client) SubscribeAfter(cursor string) (<-chan control.Event, func()) {
	return c.feed.subscribeAfter(cursor)
}

// SetMode implements control.Backend. A mode in the clear is refused while the interface in use is known not to be inside;
// with nothing known yet it is taken, and nothing leaves before there is a proof.
func (c *Client) SetMode(ctx context.Context, policy string) error {
	return c.ask(ctx, func() error {
		mode := stack.ModeNone
		if policy != policyAuto {
			var err error
			if mode, err = stack.ParseMode(policy); err != nil {
				return fmt.Errorf("%w: access mode %q cannot be composed by this version; choose auto or one of %v", control.ErrRefused, policy, stack.Modes())
			}
			if err := c.forbids(mode); err != nil {
				return err
			}
			if a := c.inUse(); mode.Plaintext() && a != nil && a.det != nil && a.det.State().Verdict() == location.VerdictOutside {
				return fmt.Errorf("%w: mode %s sends in the clear and %s is not proven to be inside (%s)", control.ErrRefused, policy, a.iface.Name, a.det.Reason())
			}
		}
		c.policy = policy
		c.event(control.Event{Kind: "mode", Message: "mode policy is now " + policy})
		c.roam.HandlePin(c.now, mode)
		clear(c.agents.failed) // who asks anew wants it tried anew
		c.reconsiderAgent()
		return nil
	})
}

// Detect implements control.Backend.
func (c *Client) Detect(ctx context.Context, again bool) (control.Detection, error) {
	d := control.Detection{Schema: control.Schema, Interfaces: []control.InterfaceDetection{}}
	err := c.ask(ctx, func() error {
		_, mode := c.roam.Using()
		d.Mode, d.ModeReason = string(mode), c.roam.Choice().Why
		for _, i := range c.sorted() {
			if a := i.attempt; again && a != nil {
				a.det.Restart(c.now, "a person asked for it")
			}
		}
		for _, i := range c.sorted() {
			id := control.InterfaceDetection{Interface: c.interfaceStatus(i), Hint: i.hinted.String()}
			id.Internal.Agent, id.External.Agent = c.cfg.Internal.Address, c.cfg.External.Address
			id.Internal.ClockOffset = milliseconds(c.associations.internal.ClockOffset())
			if c.associations.external != nil {
				id.External.ClockOffset = milliseconds(c.associations.external.ClockOffset())
			}
			if a := i.attempt; a != nil {
				r := a.det.Report()
				c.exchange(&id.Internal, r.Internal)
				c.exchange(&id.External, r.External)
			}
			d.Interfaces = append(d.Interfaces, id)
		}
		return nil
	})
	return d, err
}

func (c *Client) exchange(r *control.Registration, e location.Exchange) {
	r.Asked, r.Answered, r.TrustedNetwork, r.Outcome = e.Asked, e.Answered, e.TrustedNetwork, e.Outcome
	if e.Asked {
		r.AskedAgo = c.now.Since(e.AskedAt).Seconds()
	}
	if e.Answered {
		r.AnsweredAgo = c.now.Since(e.AnsweredAt).Seconds()
	}
	r.RoundTrip = milliseconds(e.RoundTrip)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sorted returns the interfaces in the order of their indices.
func (c *Client) sorted() []*iface {
	list := make([]*iface, 0, len(c.ifaces))
	for _, i := range c.ifaces {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b *iface) int { return a.Index - b.Index })
	return list
}

// Status implements control.Backend.
func (c *Client) Status(ctx context.Context) (control.Status, error) {
	var s control.Status
	err := c.ask(ctx, func() error {
		s = c.status()
		return nil
	})
	return s, err
}

func (c *Client) status() control.Status {
	_, mode := c.roam.Using()
	_, exposure := c.gate.Exposure()
	s := control.Status{
		Schema: control.Schema, State: c.state(), Mode: string(mode), ModePolicy: c.policy, HomeAddress: c.cfg.Internal.HomeAddress,
		Since: c.story.since, Proof: control.Proof{Verdict: control.VerdictUnknown, Reason: c.whyUnknown()},
		Layers: []control.Layer{}, Interfaces: []control.Interface{}, Problems: slices.Clone(c.story.problems),
		Handoffs: slices.Clone(c.story.handoffs), Exposure: exposure.Milliseconds(),
	}
	s.ModeReason = c.roam.Choice().Why
	s.Monitor, s.TNCWaived = c.cfg.Detection.Monitor.Seconds(), c.cfg.Detection.WaiveTNC
	if s.Problems == nil {
		s.Problems = []control.Problem{}
	}
	if s.Handoffs == nil {
		s.Handoffs = []control.Handoff{}
	}
	s.Counters.Drops, s.DNS = c.drops.Snapshot(), c.dnsStatus()
	t := c.traffic()
	s.Counters.TxPackets, s.Counters.TxBytes, s.Counters.RxPackets, s.Counters.RxBytes = t.TxPackets, t.TxBytes, t.RxPackets, t.RxBytes
	if c.session == nil {
		return s
	}
	s.Device, s.VPN = c.session.device.Name(), c.vpnStatus()
	if p := c.power.now; p.Dear() {
		s.Power = &control.Power{Battery: p.Battery, Metered: p.Metered, Sparing: c.sparing()}
	}
	for _, q := range c.desk.Questions() {
		s.Questions = append(s.Questions, q.Name)
	}
	for _, i := range c.sorted() {
		s.Interfaces = append(s.Interfaces, c.interfaceStatus(i))
	}
	if a := c.inUse(); a != nil {
		s.Interface, s.Proof = a.iface.Name, c.proofStatus(a)
		if c.session.engine.Current() != nil {
			s.Layers = c.layers(a, mode)
			s.PathMTU = c.mtuStatus()
		}
	}
	if s.State == control.StateBlocked && c.story.blocked != "" {
		s.Problems = append(s.Problems, control.Problem{Message: c.whyBlockedHere(c.story.blocked), Since: c.story.since})
	}
	return s
}

func (c *Client) whyUnknown() string {
	switch {
	case c.session == nil:
		return "the client is down"
	case c.story.blocked != "":
		return c.whyBlockedHere(c.story.blocked)
	}
	for _, i := range c.sorted() {
		if i.attempt != nil && i.attempt.det != nil {
			return i.attempt.det.Reason()
		}
	}
	return "no interface is being tried"
}

func (c *Client) proofStatus(a *attempt) control.Proof {
	p := control.Proof{Verdict: control.Verdict(a.det.State().Verdict().String()), Reason: a.det.Reason()}
	if proof, ok := a.det.Proof(); ok && proof.Live(c.now.Boot) {
		age, left := c.now.Since(proof.SentAt()).Seconds(), (proof.Expires() - c.now.Boot).Seconds()
		p.Age, p.ExpiresIn = &age, &left
	}
	return p
}

func (c *Client) interfaceStatus(i *iface) control.Interface {
	using, _ := c.roam.Using()
	s := control.Interface{
		Name: i.Name, Index: i.Index, Up: i.Up, Address: i.Address, Epoch: i.epoch, InUse: using == i.Index,
		State: location.StateIdle.String(), Proof: control.Proof{Verdict: control.VerdictUnknown, Reason: c.roam.Standing(i.Index)},
	}
	if !i.Address.IsValid() {
		s.Address = i.Address6
	}
	if agent := i.choose(); agent != nil {
		s.ForeignAgent = agent.address
	}
	if i.attempt != nil && i.attempt.det != nil {
		s.State, s.Proof = i.attempt.det.State().String(), c.proofStatus(i.attempt)
	}
	s.Portal = c.portalStatus(i.Index)
	return s
}

// layers describes the composition in use, from the interface up.
func (c *Client) layers(a *attempt, mode stack.Mode) []control.Layer {
	underlay := control.Layer{Kind: "underlay", Local: a.iface.Address.Addr(), Encapsulation: "none"}
	if six, ok := c.over6(); ok {
		underlay.Local = six.Link.Addr()
	}
	if a.agent != nil {
		underlay.Remote = a.agent.address
	}
	if mode.Plaintext() {
		return []control.Layer{underlay, c.mipLayer("i-mip", c.cfg.Internal.HomeAddress, a.internal, a.agent != nil || a.home != nil)}
	}
	layers := []control.Layer{underlay}
	if comp, _ := mode.Composition(); comp.ExternalMIP {
		layers = append(layers, c.mipLayer("x-mip", c.cfg.External.HomeAddress, a.external, a.agent != nil))
	}
	v := c.session.vpn
	if v == nil {
		return layers
	}
	d := v.tunnel.Describe()
	vpn := control.Layer{Kind: "vpn", Local: v.address, Remote: c.gatewayInUse(), Encapsulation: d.Encapsulation, SPIs: d.SPIs}
	inner := c.mipLayer("i-mip", c.cfg.Internal.HomeAddress, v.inner, v.agent != nil)
	if v.agent != nil {
		inner.Remote, inner.Why = v.agent.Address, "packets cross the VPN as they are: the VPN gateway is the foreign agent"
	}
	return append(layers, vpn, inner)
}

func (c *Client) mipLayer(kind string, home netip.Addr, r *registration, foreignAgent bool) control.Layer {
	l := control.Layer{Kind: kind, Local: home, Encapsulation: "none"}
	if r == nil {
		return l
	}
	l.Remote, l.CareOf = r.agent, r.careOf
	if !foreignAgent { // behind a foreign agent the tunnel is not ours, and at home there is none
		if l.Encapsulation = tunnelName(r.granted); r.ways.switching != nil {
			l.Encapsulation = "switched"
		}
	}
	l.Why = r.why
	l.Lifetime = max(0, r.expires-c.now.Boot).Seconds()
	return l
}

func tunnelName(t mobilenode.Tunnel) string { return t.Encapsulation.String() }
