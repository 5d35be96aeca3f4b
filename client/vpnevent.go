package client

import (
	"errors"
	"fmt"

	"mipvpn/client/control"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
)

func (c *Client) vpnEvent(v *vpnLayer, e ike.Event) {
	switch e := e.(type) {
	case ike.Established:
		if len(e.Configuration.Addresses) == 0 {
			c.problem(control.Problem{Peer: c.gatewayName(), Message: "assigned no address", Advice: "give the gateway an address pool for this identity"})
			v.machine.Delete(c.now)
			return
		}
		c.dnsTold(e.Configuration.DNS)
		c.dnsNamed(e.Configuration.Domains)
		c.ends.failed = false
		v.established, v.suite, v.udp = true, e.Suite, e.UDPEncapsulation
		v.address = e.Configuration.Addresses[0]
		how := "up"
		if e.Resumed {
			how = "resumed with its ticket"
		}
		c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("IKE SA with gateway %v %s (%s), address %v", e.RemoteID, how, e.Suite, v.address)})
		c.vpnUp(v)
	case ike.ChildInstalled:
		c.childInstalled(v, e)
	case ike.ChildActivated:
		c.useChild(v, e.ID)
	case ike.ChildRemoved:
		if ch := v.children[e.ID]; ch != nil {
			c.session.tunnel.Remove(ch.open.SPI())
			delete(v.children, e.ID)
			c.retireChild(v, e.ID)
			if len(v.children) == 0 {
				v.machine.Delete(c.now) // an IKE SA without a child SA carries nothing: begin anew
			}
		}
	case ike.ChildFailed:
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(e.Err), Message: "no child SA: " + e.Err.Error(), Advice: ikeAdvice(e.Err)})
	case ike.Refused:
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(e.Err), Message: "refuses: " + e.Err.Error(), Advice: ikeAdvice(e.Err)})
	case ike.Alive:
		c.confirmed(v)
	case ike.Closed:
		c.vpnClosed(v, e.Err)
	}
}

// vpnUp takes a layer into service that is established: at once where it is the session's, when its child SA is there where
// it is a rival.
func (c *Client) vpnUp(v *vpnLayer) {
	if v == c.session.rival {
		c.promote()
		return
	}
	v.link = c.session.tunnel.Link(v.address)
	c.retry.delay = 0
	c.solved(c.gatewayName())
	c.vpnLive(true)
	c.registerInner(v)
	c.restVPN()
}

// childInstalled takes a new child SA pair into the data path.
func (c *Client) childInstalled(v *vpnLayer, e ike.ChildInstalled) {
	inbound, err := esp.NewInbound(e.Inbound)
	if err == nil {
		var outbound *esp.Outbound
		if outbound, err = esp.NewOutbound(e.Outbound, c.drops); err == nil {
			v.children[e.ID] = &child{
				open: inbound, seal: outbound, overhead: esp.Overhead(e.Outbound.Encryption), udp: e.UDPEncapsulation,
			}
			c.session.tunnel.Install(inbound)
		}
	}
	e.Inbound.Wipe()
	e.Outbound.Wipe()
	if err != nil {
		c.problem(control.Problem{Peer: c.gatewayName(), Message: "the child SA cannot be used: " + err.Error()})
		return
	}
	if !e.Standby {
		c.useChild(v, e.ID)
	}
	if v == c.session.rival {
		c.promote()
		return
	}
	c.registerInner(v)
}

// useChild sends through the child SA from now on.
func (c *Client) useChild(v *vpnLayer, id ike.ChildID) {
	ch := v.children[id]
	if ch == nil {
		return
	}
	v.current = id
	moved := v.udp != ch.udp
	v.udp = ch.udp
	if v != c.session.vpn {
		return // packets leave through a rival when it has won
	}
	c.session.tunnel.Use(ch.seal, ch.overhead, ch.udp)
	if _, mode := c.roam.Using(); moved && !mode.Plaintext() {
		c.compose(mode, c.story.cause)
	}
}

// retireChild sends nothing through the child SA any more; another one takes its place if there is one.
func (c *Client) retireChild(v *vpnLayer, id ike.ChildID) {
	if v.current != id {
		return
	}
	if v == c.session.vpn {
		c.session.tunnel.Use(nil, 0, false)
	}
	v.current = 0
	for other := range v.children {
		if other != id && other > v.current {
			v.current = other
		}
	}
	if v.current != 0 {
		c.useChild(v, v.current)
	}
}

// vpnClosed tells people why an IKE SA has ended, and tries again if the VPN is in use.
func (c *Client) vpnClosed(v *vpnLayer, err error) {
	if v == c.session.rival {
		c.rivalClosed(err)
		return
	}
	if v.parked || v.resting {
		c.closeVPN(false)
		c.event(control.Event{Kind: "vpn", Message: "the IKE SA that was kept has ended" + because(err) + ": a new one is set up when it is needed"})
		return
	}
	if c.session.rival != nil {
		c.succeed(err)
		return
	}
	c.closeVPN(false)
	if err != nil && (c.outside() || !errors.Is(err, ike.ErrNoAnswer)) { // without a path nobody can answer
		c.problem(control.Problem{Peer: c.gatewayName(), Code: ikeCode(err), Message: err.Error(), Advice: ikeAdvice(err)})
	}
	if !c.outside() {
		return
	}
	c.session.engine.Hold()
	c.story.broke(c.now, "the VPN has ended")
	c.retryVPN()
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}
