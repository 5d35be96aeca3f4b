package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// pingTime is how long an answer to a ping is waited for.
const pingTime = 3 * time.Second

// What a ping asks with.
const (
	methodEcho = "ICMP echo"
	methodIKE  = "IKE INFORMATIONAL"
)

// ping asks the far end of each layer once. The echo requests bear nothing but the addresses: those of the underlay and of x-MIP
// leave as signalling does, that of the home address by the pipeline, so through the gate where it is in the clear (DESIGN §2.4).
type ping struct {
	answer  control.Ping
	session *session
	id      uint16
	sent    []time.Duration // of answer.Layers
	vpn     int             // which of them is the VPN, -1 for none
	tunnel  *vpnLayer
	asked   int
	flows   []link.Flow
	cancel  func() // takes back the end for want of answers
	done    chan struct{}
	over    bool
}

// Ping implements control.Backend.
func (c *Client) Ping(ctx context.Context) (control.Ping, error) {
	var p *ping
	if err := c.ask(ctx, func() error {
		switch {
		case c.session == nil:
			return fmt.Errorf("%w: the client is down: run `mipvpn up`", control.ErrRefused)
		case c.pinging != nil:
			return fmt.Errorf("%w: another ping is under way: try again in a few seconds", control.ErrRefused)
		}
		var err error
		p, err = c.beginPing()
		return err
	}); err != nil {
		return control.Ping{}, err
	}
	select {
	case <-p.done:
		return p.answer, nil // nobody writes it any more
	case <-c.done:
		return control.Ping{}, ErrClosed
	case <-ctx.Done(): // it ends by itself
		return control.Ping{}, ctx.Err()
	}
}

// beginPing sends the questions.
func (c *Client) beginPing() (*ping, error) {
	var id [2]byte
	if _, err := io.ReadFull(c.rand, id[:]); err != nil {
		return nil, fmt.Errorf("client: a number for echo requests: %w", err)
	}
	p := &ping{session: c.session, id: binary.BigEndian.Uint16(id[:]), vpn: -1, done: make(chan struct{})}
	_, mode := c.roam.Using()
	p.answer = control.Ping{Schema: control.Schema, State: c.state(), Mode: string(mode), Layers: []control.PingLayer{}}
	c.pinging = p
	a := c.pingedAttempt()
	if a != nil {
		p.answer.Interface = a.iface.Name
		c.pingUnderlay(p, a, mode)
	} else {
		p.add(control.PingLayer{Kind: "underlay", Role: "router", Method: methodEcho, Outcome: "not asked: no interface can be used"})
	}
	comp, _ := mode.Composition()
	if comp.ExternalMIP || mode == stack.ModeNone && c.cfg.HasExternal() {
		c.pingExternal(p, a)
	}
	if comp.VPN || mode == stack.ModeNone && c.session.vpn != nil {
		c.pingGateway(p)
	}
	c.pingInternal(p, a, mode)
	p.cancel = c.after(pingTime, func() { c.endPing(p) })
	c.pingAnswered(p, -1, 0)
	return p, nil
}

// pingedAttempt returns the attempt whose layers are asked: that of the interface in use, else one that is going on.
func (c *Client) pingedAttempt() *attempt {
	if a := c.inUse(); a != nil {
		return a
	}
	for _, i := range c.sorted() {
		if i.attempt != nil {
			return i.attempt
		}
	}
	return nil
}

// add adds a question that is not sent yet, and returns its number.
func (p *ping) add(l control.PingLayer) int {
	p.answer.Layers = append(p.answer.Layers, l)
	p.sent = append(p.sent, 0)
	return len(p.sent) - 1
}

// pingUnderlay asks the router, and straight what the layer above goes to.
func (c *Client) pingUnderlay(p *ping, a *attempt, mode stack.Mode) {
	router := control.PingLayer{Kind: "underlay", Role: "router", Target: a.iface.Gateway, Method: methodEcho}
	switch {
	case a.agent != nil:
		router.Target, router.Outcome = a.agent.address, "not asked: the interface has no address of its own, and the foreign agent is the router"
	case !a.iface.Address.IsValid():
		router.Outcome = "not asked: the interface has no IPv4 address"
	case !router.Target.IsValid():
		router.Outcome = "not asked: the interface has no router"
	}
	if router.Outcome != "" {
		p.add(router)
		return
	}
	list := []control.PingLayer{router}
	switch comp, _ := mode.Composition(); {
	case mode != stack.ModeNone && mode.Plaintext():
	case comp.VPN && !comp.ExternalMIP:
		list = append(list, control.PingLayer{Kind: "underlay", Role: "gateway", Target: c.cfg.Gateway.Address, Method: methodEcho})
	case c.cfg.HasExternal():
		list = append(list, control.PingLayer{Kind: "underlay", Role: "x-HA", Target: c.cfg.External.Address, Method: methodEcho})
	}
	below, err := c.underlay(a.iface.Index, a.iface.Address.Addr())
	for _, l := range list {
		n := p.add(l)
		switch {
		case err != nil:
			p.answer.Layers[n].Outcome = "not asked: " + err.Error()
		case !l.Target.Is4():
			p.answer.Layers[n].Outcome = "not asked: its address is not known, or no IPv4 address"
		case c.guarded(l.Target) && !a.proven(c.now):
			p.answer.Layers[n].Outcome = "not asked: its address is one of the enterprise's, and there is no proof of being inside"
		default:
			c.pingFlow(p, n, below)
		}
	}
}

// guarded reports whether nothing goes to the address in the clear without proof.
func (c *Client) guarded(a netip.Addr) bool {
	_, enterprise := prefixOf(c.cfg.Enterprise.Prefixes, a)
	return enterprise && a != c.cfg.External.Address && a != c.cfg.Gateway.Address
}

// proven reports whether a live proof of inside belongs to the attempt.
func (a *attempt) proven(now link.Instant) bool {
	if a.det == nil {
		return false
	}
	proof, ok := a.det.Proof()
	return ok && proof.Live(now.Boot)
}

// pingExternal asks the x-HA through its tunnel.
func (c *Client) pingExternal(p *ping, a *attempt) {
	n := p.add(control.PingLayer{Kind: "x-mip", Role: "x-HA", Target: c.cfg.External.Address, Method: methodEcho + " through the tunnel"})
	if a == nil || a.external == nil || !a.external.bound {
		p.answer.Layers[n].Outcome = "not asked: the x-HA holds no registration"
		return
	}
	c.pingFlow(p, n, c.session.external.link)
}

// pingFlow sends question n as an ICMP echo request on a link.
func (c *Client) pingFlow(p *ping, n int, below link.Link) {
	l := &p.answer.Layers[n]
	seq := uint16(n)
	flow, err := below.Open(link.FlowSpec{Protocol: packet.ProtocolICMP, Remote: netip.AddrPortFrom(l.Target, 0)}, func(b *packet.Batch) {
		for _, q := range b.Bufs {
			if typ, id, s, ok := tunnel.ParseEchoMessage(q.Bytes()); ok && typ == tunnel.ICMPEchoReply && id == p.id && s == seq {
				at := c.host.Now().Boot
				c.post(func() { c.pingAnswered(p, n, at) })
			}
		}
		b.Release()
	})
	if err == nil {
		p.flows = append(p.flows, flow)
		request := tunnel.AppendEchoRequest(nil, l.Target, l.Target, p.id, seq)
		p.note(n, c.host.Now().Boot)
		err = flow.Send(netip.AddrPort{}, request[tunnel.DataHeaderLen+packet.IPv4Len:]) // the flow writes the header
	}
	if err != nil {
		p.fail(n, err)
	}
}

// note says that question n is sent at that boot time, fail that it could not be.
func (p *ping) note(n int, at time.Duration) {
	p.answer.Layers[n].Asked, p.sent[n] = true, at
	p.asked++
}

func (p *ping) fail(n int, err error) {
	if l := &p.answer.Layers[n]; l.Asked {
		l.Asked = false
		p.asked--
	}
	p.answer.Layers[n].Outcome = "not asked: " + err.Error()
}

// pingGateway asks the gateway through its IKE SA whether it lives (RFC 7296 §2.4).
func (c *Client) pingGateway(p *ping) {
	n := p.add(control.PingLayer{Kind: "vpn", Role: "gateway", Target: c.gatewayInUse(), Method: methodIKE})
	v := c.session.vpn
	if v == nil || !v.established {
		p.answer.Layers[n].Outcome = "not asked: the tunnel to the gateway is not set up"
		return
	}
	if v.parked || v.resting {
		p.answer.Layers[n].Outcome = "not asked: the tunnel rests, since no path is in use"
		return
	}
	p.vpn, p.tunnel = n, v
	p.note(n, c.host.Now().Boot)
	if err := v.tunnel.CheckLiveness(c.now); err != nil {
		p.fail(n, err)
	}
}

// pingInternal asks the i-HA by the path that user data takes.
func (c *Client) pingInternal(p *ping, a *attempt, mode stack.Mode) {
	n := p.add(control.PingLayer{Kind: "i-mip", Role: "i-HA", Target: c.cfg.Internal.Address, Method: methodEcho + " from the home address"})
	l, pipe := &p.answer.Layers[n], c.session.engine.Current()
	switch {
	case pipe == nil:
		l.Outcome = "not asked: user data does not flow"
		return
	case mode.Plaintext() && (a == nil || !a.proven(c.now)):
		l.Outcome = "not asked: there is no live proof of being inside, so nothing goes in the clear"
		return
	}
	p.session.engine.Ping(&stack.Measurement{Agent: l.Target, ID: p.id, Refused: func() {}, Answer: func(packet.IPv4) {
		at := c.host.Now().Boot
		c.post(func() { c.pingAnswered(p, n, at) })
	}})
	request := tunnel.AppendEchoRequest(nil, c.cfg.Internal.HomeAddress, l.Target, p.id, uint16(n))
	p.note(n, c.host.Now().Boot)
	if err := p.session.engine.Probe(pipe, request[tunnel.DataHeaderLen:]); err != nil {
		p.fail(n, err)
	}
}

// gatewayLives takes the gateway's answer to a ping.
func (c *Client) gatewayLives(v *vpnLayer) {
	if p := c.pinging; p != nil && p.vpn >= 0 && p.tunnel == v {
		c.pingAnswered(p, p.vpn, c.now.Boot)
	}
}

// pingAnswered takes the answer to question n that came at that boot time, -1 for none, and ends the ping once nothing is open.
func (c *Client) pingAnswered(p *ping, n int, at time.Duration) {
	if p.over {
		return
	}
	if n >= 0 && p.answer.Layers[n].Asked && !p.answer.Layers[n].Answered {
		l := &p.answer.Layers[n]
		l.Answered, l.RoundTrip = true, milliseconds(at-p.sent[n])
		p.asked--
	}
	if p.asked == 0 {
		c.endPing(p)
	}
}

// endPing ends a ping with what has been answered.
func (c *Client) endPing(p *ping) {
	if p.over {
		return
	}
	p.over, c.pinging = true, nil
	p.cancel()
	p.session.engine.Ping(nil)
	var errs []error
	for _, f := range p.flows {
		errs = append(errs, f.Close())
	}
	if err := errors.Join(errs...); err != nil {
		c.log.Debug("closing the flows of a ping", zap.Error(err))
	}
	close(p.done)
}
