package client

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack"
	"mipvpn/tun/packet"
)

// The names of the two home agents, for people.
const (
	nameInternal = "i-HA"
	nameExternal = "x-HA"
)

// registration is one mobilenode machine with the attachment that its messages and, once registered, its packets take.
type registration struct {
	name       string // nameInternal or nameExternal
	agent      netip.Addr
	careOf     netip.Addr
	coLocated  bool // the tunnel ends here and not at a foreign agent
	machine    *mobilenode.Machine
	attachment stack.Attachment
	remove     func()
	asked      time.Duration // boot time of the last request
	// simultaneous has the home agent keep other bindings.
	simultaneous bool
	// lenient keeps a foreign agent's denial from being a problem: outside, no foreign agent reaches the i-HA or has to.
	lenient bool
	// instead is set when another way takes its place where it is refused, so that this is no problem.
	instead bool

	bound   bool          // the home agent has accepted and nothing has replaced it since
	carrier stack.Carrier // set with bound
	granted mobilenode.Tunnel
	why     string        // the tunnel is what it is
	expires time.Duration // boot time

	ways switchedWays

	keepalive       *tunnel.Keepalive // while bound in a 3519 tunnel
	trial           trial             // of that tunnel
	removeKeepalive func()
}

// attach opens the attachment of a registration: replies is to be called with each message that arrives.
type attach func(replies func([]byte)) (stack.Attachment, error)

// register makes a registration. handle is called on the actor with each of the machine's events, after the registration
// has taken account of it.
func (c *Client) register(name string, ha config.HomeAgent, mn mobilenode.Config, open attach, handle func(mobilenode.Event)) (*registration, error) {
	r := &registration{name: name, agent: ha.Address, careOf: mn.CareOfAddress, coLocated: (!mn.ForeignAgent.IsValid() || mn.CoLocated) && !mn.AtHome}
	c.identify(&mn, name, ha)
	if mn.Lifetime == 0 || mn.Lifetime > ha.Lifetime { // a foreign agent may allow less
		mn.Lifetime = ha.Lifetime
	}
	mn.Association, mn.ReverseTunnel, mn.Revocation = c.association(name), true, true
	if c.cfg.ForeignAgent.Shares(mn.ForeignAgent) {
		mn.ForeignAssociation = c.associations.foreign
	}
	mn.AAA, mn.Broadcasts = c.aaa(name), ha.Broadcasts
	c.askFor(&mn, name, ha)
	tries := c.cfg.Detection.RetransmitCount
	if n := mn.Retransmission.Count; n > 0 {
		tries = min(n, tries)
	}
	mn.Retransmission = mobilenode.Retransmission{
		Initial: c.cfg.Detection.RetransmitInitial, Factor: float64(c.cfg.Detection.RetransmitFactor), Max: c.cfg.Detection.RetransmitMax, Count: tries,
	}
	var err error
	if r.machine, err = mobilenode.NewMachine(mn, c.rand); err != nil {
		return nil, err
	}
	if r.attachment, err = open(func(m []byte) { c.post(func() { c.reply(r, m) }) }); err != nil {
		return nil, err
	}
	c.takeBroadcasts(ha, r.attachment)
	r.remove = c.drive(&driven{
		timeout: r.machine.HandleTimeout, deadline: r.machine.Deadline,
		drain: func() bool { return c.drainRegistration(r, handle) },
	})
	return r, nil
}

func (c *Client) association(name string) *auth.SecurityAssociation {
	if name == nameInternal {
		return c.associations.internal
	}
	return c.associations.external
}

// aaa returns what authenticates to the AAA infrastructure that the home agent or a foreign agent asks, nil for nothing.
func (c *Client) aaa(name string) *auth.AAA {
	if name == nameInternal {
		return c.associations.internalAAA
	}
	return c.associations.externalAAA
}

// reply gives the machine a message that arrived.
func (c *Client) reply(r *registration, message []byte) {
	if r.machine == nil {
		return
	}
	if err := r.machine.HandleReply(c.now, message); err != nil {
		c.log.Debug("registration reply rejected", zap.String("agent", r.name), zap.Error(err))
	}
}

// drainRegistration sends and handles what the machine has to say.
func (c *Client) drainRegistration(r *registration, handle func(mobilenode.Event)) bool {
	busy := false
	for r.machine != nil {
		t, ok := r.machine.PollTransmit()
		if !ok {
			break
		}
		busy = true
		r.asked = c.now.Boot
		if err := r.attachment.Send(t.Payload); err != nil {
			c.log.Debug("registration request not sent", zap.String("agent", r.name), zap.Error(err))
		}
	}
	for r.machine != nil {
		e, ok := r.machine.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.countRegistration(r, e)
		if c.redirected(r.name, e) {
			continue
		}
		if accepted, ok := e.(mobilenode.Accepted); ok && c.learnHome(r.name, accepted.Reply.HomeAddress()) {
			continue
		}
		c.noteRegistration(r, e)
		handle(e)
	}
	return busy
}

func (c *Client) internalName() string {
	return fmt.Sprintf("%s %v", nameInternal, c.cfg.Internal.Address)
}
func (c *Client) externalName() string {
	if x := c.cfg.External; x.Network.IsValid() && !x.Address.IsValid() {
		return fmt.Sprintf("%s of %v", nameExternal, x.Network)
	}
	return fmt.Sprintf("%s %v", nameExternal, c.cfg.External.Address)
}

// noteRegistration keeps the registration's own state and tells people of refusals.
func (c *Client) noteRegistration(r *registration, e mobilenode.Event) {
	peer := fmt.Sprintf("%s %v", r.name, r.agent)
	switch e := e.(type) {
	case mobilenode.Accepted:
		carrier, err := r.attachment.Carrier(e.Reply.Tunnel())
		if err != nil {
			c.problem(control.Problem{Peer: peer, Message: "the tunnel that it granted cannot be made: " + err.Error(),
				Advice: "set `encapsulation` of this home agent to \"udp\""})
			return
		}
		r.bound, r.carrier, r.granted, r.why = true, carrier, e.Reply.Tunnel(), e.Reply.TunnelReason()
		r.expires = e.Reply.SentAt() + e.Reply.Lifetime()
		if r.machine.Config().AtHome {
			r.why = "at home on the home link, where no tunnel is needed"
		}
		c.noteSwitching(r, e.Reply)
		c.keepAlive(r, e.Reply)
		c.solved(peer)
		c.tellTunnel(r)
	case mobilenode.Refused:
		if !e.Retrying {
			r.bound = false
		}
		if e.Retrying || e.Code == wire.CodeIdentificationMismatch || e.ByForeignAgent && r.lenient || r.instead {
			// Mended and tried again, or not asked for any more: after a denial for the clock the next request is right.
			c.log.Info("registration refused", zap.String("peer", peer), zap.Bool("retrying", e.Retrying), zap.Error(e.Err))
			return
		}
		c.problem(control.Problem{Peer: peer, Code: e.Code.String(), Message: e.Err.Error(), Advice: registrationAdvice(e.Err)})
	case mobilenode.Unverified:
		if agent := r.machine.Config().ForeignAgent; e.Code.ByForeignAgent() {
			c.problem(control.Problem{Peer: peer, Code: e.Code.String(), Message: fmt.Sprintf("foreign agent %v refuses the registration, and does not prove that it has the key of [foreign_agent]: %v", agent, e.Err),
				Advice: "compare key, SPI and algorithm of [foreign_agent] with those that this foreign agent has for this home address, or take its address out of networks"})
			return
		}
		c.problem(control.Problem{Peer: peer, Code: e.Code.String(), Message: "it refuses the registration and its reply is not authentic: " + e.Err.Error(),
			Advice: "compare key, SPI and algorithm of this home agent with those that the agent has for this home address"})
	case mobilenode.Revoked:
		r.bound = false
		r.stopKeepalive()
		c.event(control.Event{Kind: "registration", Message: peer + " has revoked the registration: registering again (RFC 3543)"})
	case mobilenode.Deregistered, mobilenode.Expired:
		r.bound = false
		r.stopKeepalive()
	case mobilenode.Unanswered:
		c.log.Info("registration unanswered", zap.String("peer", peer), zap.Int("transmissions", e.Transmissions))
	}
}

// close ends the registration; what still arrives for its attachment is dropped.
func (r *registration) close(log *zap.Logger) {
	if r == nil || r.machine == nil {
		return
	}
	r.quiet()
	if err := r.attachment.Close(); err != nil {
		log.Debug("closing an attachment", zap.Error(err))
	}
}

// quiet ends the machine but lets packets of the old path arrive until close: a path that drains.
func (r *registration) quiet() {
	if r == nil || r.machine == nil {
		return
	}
	r.remove()
	r.stopKeepalive()
	r.ways.endTrial()
	r.machine, r.bound = nil, false
}

// keepAlive keeps the NAT's mapping for a 3519 tunnel, and registers again when it seems lost (RFC 3519 §4.9, §4.10).
func (c *Client) keepAlive(r *registration, reply mobilenode.VerifiedReply) {
	r.stopKeepalive()
	a, coLocated := r.attachment.(*stack.CoLocated)
	if !coLocated || !r.granted.UDP() {
		return
	}
	var id [2]byte
	if _, err := io.ReadFull(c.rand, id[:]); err != nil {
		c.log.Error("no random numbers", zap.Error(err))
		return
	}
	k := tunnel.NewKeepalive(reply.HomeAddress(), reply.HomeAgent(), r.granted.KeepAlive, reply.SentAt(), binary.BigEndian.Uint16(id[:]))
	a.HandleAnswers(binary.BigEndian.Uint16(id[:]), func(ip packet.IPv4) {
		c.post(func() {
			if r.keepalive == k {
				k.HandleInner(c.now, ip)
			}
		})
	})
	c.tryTunnel(r, k)
	if r.granted.HalfBound {
		k.Check(c.now.Boot) // the x-HA learns from it where the tunnel ends (RFC 3519 §4.4)
	}
	r.keepalive = k
	r.removeKeepalive = c.drive(&driven{timeout: k.HandleTimeout, deadline: k.Deadline, drain: func() bool { return c.drainKeepalive(r, k) }})
}

func (c *Client) drainKeepalive(r *registration, k *tunnel.Keepalive) bool {
	busy := false
	for r.keepalive == k {
		payload, ok := k.PollTransmit()
		if !ok {
			break
		}
		busy = true
		if err := r.attachment.Send(payload); err != nil {
			c.log.Debug("keepalive not sent", zap.String("agent", r.name), zap.Error(err))
		}
	}
	for r.keepalive == k {
		e, ok := k.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.tunnelTried(r, e)
		if e == tunnel.KeepaliveLost {
			c.event(control.Event{Kind: "keepalive", Message: fmt.Sprintf("%s %v answers no keepalive: registering again", r.name, r.agent)})
			if !c.asideLost(r) {
				r.start(c)
			}
		}
	}
	return busy
}

func (r *registration) stopKeepalive() {
	if r.removeKeepalive != nil {
		r.removeKeepalive()
	}
	r.keepalive, r.removeKeepalive = nil, nil
}
