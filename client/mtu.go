package client

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/stack/pathmtu"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// hintApart is the least time between two ICMP messages that the actor is told of.
const hintApart = 50 * time.Millisecond

// pathMTU measures the path in use (HST-4) and tells its pipeline what it carries.
type pathMTU struct {
	session  *session
	machine  *pathmtu.Machine // nil before the first path, and where probing is switched off
	remove   func()
	of       measuredPath
	pipeline *stack.Pipeline
	icmp     link.Flow // "fragmentation needed" to the interface's address, nil without one
	said     int       // the MTU that people have been told of, 0 for none since the path began
	again    func()    // takes back telling the i-HA again, nil when that is not planned
}

// measuredPath is what a measurement holds for: another one begins when any of it changes.
type measuredPath struct {
	iface          int
	epoch          uint64
	mode           stack.Mode
	overhead, link int
}

// measure takes in the pipeline that is about to carry traffic through the attempt's interface: what has been measured of its
// path already limits it, and of another path nothing is known.
func (c *Client) measure(p *stack.Pipeline, a *attempt) {
	if c.cfg.MTU.NoProbes {
		return
	}
	m := &c.mtu
	of := measuredPath{a.iface.Index, a.epoch, p.Mode(), p.Overhead(), p.LinkMTU()}
	if m.session == c.session && m.of == of && m.machine.State() != pathmtu.Idle {
		m.pipeline = p
		p.Limit(m.machine.MTU())
		if m.machine.State() == pathmtu.Complete { // a binding that is new knows nothing of it
			c.tellHomeAgent(m.machine.MTU())
		}
		return
	}
	if err := c.beginMeasuring(m, p, a, of); err != nil {
		c.log.Warn("the path MTU is not measured", zap.String("interface", a.iface.Name), zap.Error(err))
	}
}

func (c *Client) beginMeasuring(m *pathMTU, p *stack.Pipeline, a *attempt, of measuredPath) error {
	if m.session != c.session {
		machine, err := pathmtu.NewMachine(c.cfg.MTU.Measurement(), c.rand)
		if err != nil {
			return err
		}
		s := c.session
		m.session, m.machine = s, machine
		m.remove = c.drive(&driven{timeout: c.measureOn, deadline: c.measureAt, drain: c.drainMTU})
	}
	if m.of.iface != of.iface || m.of.epoch != of.epoch {
		c.listenForHints(m, a)
	}
	c.tellHomeAgent(0) // of the path before
	m.of, m.pipeline, m.said = of, p, 0
	path := pathmtu.Path{Home: c.cfg.Internal.HomeAddress, Agent: c.cfg.Internal.Address,
		Max: min(p.LinkMTU(), c.cfg.Device.MTU), Overhead: of.overhead}
	if err := m.machine.Start(c.now, path); err != nil {
		c.session.engine.Measure(nil)
		return err
	}
	s := c.session
	c.session.engine.Measure(&stack.Measurement{
		Agent: path.Agent, ID: m.machine.ID(),
		Answer:  func(ip packet.IPv4) { c.post(func() { c.measured(s, ip) }) },
		Refused: func() { c.post(func() { c.hinted(s, p, 0) }) },
	})
	return nil
}

// endMeasuring ends what measure has begun.
func (c *Client) endMeasuring() {
	m := &c.mtu
	for _, stop := range []func(){m.remove, m.again} {
		if stop != nil {
			stop()
		}
	}
	if m.icmp != nil {
		if err := m.icmp.Close(); err != nil {
			c.log.Debug("closing the flow of ICMP messages", zap.Error(err))
		}
	}
	*m = pathMTU{}
}

// measuring reports whether the pipeline that is being measured carries the traffic.
func (c *Client) measuring() bool {
	return c.session != nil && c.session == c.mtu.session && c.session.engine.Current() == c.mtu.pipeline
}

// measureOn gives the machine a timeout.
func (c *Client) measureOn(now link.Instant) {
	t := c.session.engine.Traffic()
	c.mtu.machine.HandleTraffic(t.TxPackets, t.TxLong)
	c.mtu.machine.HandleTimeout(now)
}

// measureAt is the machine's deadline while there is something to measure.
func (c *Client) measureAt() (time.Duration, bool) {
	if !c.measuring() {
		return 0, false
	}
	return c.mtu.machine.Deadline()
}

// measured gives the machine an echo reply of the i-HA.
func (c *Client) measured(s *session, ip packet.IPv4) {
	if c.session == s && c.mtu.session == s {
		c.mtu.machine.HandleAnswer(c.now, ip)
	}
}

// hinted gives the machine a hint about the pipeline: the largest packet of the home address in octets, 0 where not known.
func (c *Client) hinted(s *session, p *stack.Pipeline, size int) {
	if c.session == s && c.measuring() && c.mtu.pipeline == p {
		c.mtu.machine.HandleHint(c.now, size)
	}
}

// drainMTU sends the machine's probes, through the gate where the mode is in the clear, and carries out what it has found.
func (c *Client) drainMTU() bool {
	if !c.measuring() {
		return false
	}
	m, busy := &c.mtu, false
	for {
		probe, ok := m.machine.PollTransmit()
		if !ok {
			break
		}
		busy = true
		if err := c.session.engine.Probe(m.pipeline, probe); errors.Is(err, link.ErrTooBig) {
			m.machine.HandleRefused(c.now, len(probe))
		}
	}
	for {
		e, ok := m.machine.PollEvent()
		if !ok {
			return busy
		}
		busy = true
		m.pipeline.Limit(e.MTU)
		if e.MTU != m.said && (m.said != 0 || e.MTU < c.cfg.Device.MTU) {
			m.said = e.MTU
			c.event(control.Event{Kind: "mtu", Message: fmt.Sprintf("packets of up to %d octets are sent (%s)", e.MTU, e.Reason)})
		}
		if e.State == pathmtu.Complete {
			c.tellHomeAgent(e.MTU)
		}
		c.log.Debug("path MTU", zap.Int("mtu", e.MTU), zap.Stringer("state", e.State), zap.String("reason", e.Reason))
	}
}

// tellAgain is how often the i-HA is told of a narrow path: before its soft state runs out.
const tellAgain = tunnel.PathMTUAge / 2

// tellHomeAgent tells the i-HA what the tunnel to the laptop carries, when that is less than what the device takes: what the
// correspondents send then fits too, also on connections that began on a wider path (RFC 2003 §5.1). Behind a foreign agent
// in the clear the tunnel is not the laptop's. An MTU of 0 stops that.
func (c *Client) tellHomeAgent(mtu int) {
	m := &c.mtu
	if m.again != nil {
		m.again()
		m.again = nil
	}
	r := c.inner()
	if a := c.inUse(); m.of.mode.Plaintext() && a != nil {
		r = a.internal
	}
	if mtu == 0 || mtu >= c.cfg.Device.MTU || r == nil || !r.bound {
		return
	}
	a, coLocated := r.attachment.(*stack.CoLocated)
	if !coLocated {
		return
	}
	if err := a.TellMTU(r.granted, mtu); err != nil {
		c.log.Debug("the i-HA is not told of the path MTU", zap.Error(err))
	}
	s := c.session
	m.again = c.after(tellAgain, func() {
		m.again = nil
		if c.session == s && c.measuring() && m.machine.MTU() == mtu {
			c.tellHomeAgent(mtu)
		}
	})
}

// listenForHints has the actor told of ICMP "fragmentation needed" to the interface's address. Anybody can forge it.
func (c *Client) listenForHints(m *pathMTU, a *attempt) {
	if m.icmp != nil {
		if err := m.icmp.Close(); err != nil {
			c.log.Debug("closing the flow of ICMP messages", zap.Error(err))
		}
		m.icmp = nil
	}
	if a.agent != nil {
		return // what comes for a home address comes through its own layer
	}
	below, err := c.underlay(a.iface.Index, a.iface.Address.Addr())
	if err == nil {
		s, local, last := c.session, a.iface.Address.Addr(), new(atomic.Int64)
		m.icmp, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolICMP}, func(b *packet.Batch) {
			for _, p := range b.Bufs {
				if h, ok := pathmtu.ParseHint(p.Bytes(), local); ok && c.spaced(last) {
					c.post(func() { c.outermostHint(s, h) })
				}
			}
			b.Release()
		})
	}
	if err != nil { // the probes find it out without
		c.log.Debug("no flow for ICMP messages", zap.String("interface", a.iface.Name), zap.Error(err))
	}
}

// spaced reports whether hintApart has passed since the last time that it did.
func (c *Client) spaced(last *atomic.Int64) bool {
	now, before := int64(c.host.Now().Boot), last.Load()
	return (before == 0 || now-before >= int64(hintApart)) && last.CompareAndSwap(before, now)
}

// outermostHint takes a hint about a packet with the outermost header, from the interface's own address.
func (c *Client) outermostHint(s *session, h pathmtu.Hint) {
	m := &c.mtu
	peer := c.cfg.External.Address
	switch comp, _ := m.of.mode.Composition(); {
	case !comp.VPN:
		peer = c.cfg.Internal.Address
	case !comp.ExternalMIP:
		peer = c.cfg.Gateway.Address
	}
	if m.session == s && h.Remote == peer {
		c.hinted(s, m.pipeline, hintedSize(h, m.of.overhead))
	}
}

// externalRest looks at what comes for the x-HoA and for none of its flows: a hint about what the x-HA forwards, or a foreign
// agent takes, to the VPN gateway. All of it is dropped.
func (c *Client) externalRest() link.Receiver {
	home, last := c.cfg.External.HomeAddress, new(atomic.Int64)
	return func(b *packet.Batch) {
		for _, p := range b.Bufs {
			ip := packet.IPv4(p.Bytes())
			if ip.Protocol() != packet.ProtocolICMP || ip.MoreFragments() || ip.FragmentOffset() != 0 {
				continue
			}
			if h, ok := pathmtu.ParseHint(ip.Payload(), home); ok && c.spaced(last) {
				c.post(func() { c.externalHint(h) })
			}
		}
		b.Drop(c.drops, packet.DropNoFlow)
	}
}

// externalHint takes a hint about a packet from the x-HoA.
func (c *Client) externalHint(h pathmtu.Hint) {
	if !c.measuring() || c.mtu.of.mode.Plaintext() || h.Remote != c.cfg.Gateway.Address {
		return
	}
	if below, up := c.session.external.link.Path(link.Protected); up {
		outer := below.Overhead
		if c.session.external.link.Switching() != nil { // the packet left as long as it is
			outer = 0
		}
		c.hinted(c.session, c.mtu.pipeline, hintedSize(h, c.mtu.of.overhead-outer))
	}
}

// hintedSize returns the size in octets that a hint stands for when overhead octets come in front, 0 for an unknown one.
func hintedSize(h pathmtu.Hint, overhead int) int {
	if h.MTU == 0 {
		return 0
	}
	return max(h.MTU-overhead, 1)
}

// mtuStatus says what is known of the path in use, nil without one.
func (c *Client) mtuStatus() *control.PathMTU {
	p := c.session.engine.Current()
	if p == nil {
		return nil
	}
	s := &control.PathMTU{MTU: min(p.MTU(), c.cfg.Device.MTU), Link: p.LinkMTU(), Overhead: p.Overhead(), State: "off"}
	if m := c.mtu.machine; m != nil && c.measuring() {
		n := m.Statistics()
		s.State, s.Measured = m.State().String(), m.Measured()
		s.Probes, s.Answers, s.BlackHoles, s.Hints = n.Probes, n.Answers, n.BlackHoles, n.Hints
	}
	return s
}
