package client

import (
	"fmt"

	"mipvpn/client/control"
	"mipvpn/detect/location"
	"mipvpn/mipv4/mobilenode"
)

// detectedRarely carries out what the detector wants beyond inside and outside.
func (c *Client) detectedRarely(a *attempt, e location.Event) {
	switch e := e.(type) {
	case location.ProbeUnanswered:
		c.probeUnanswered(a)
	case location.BindingReplaced:
		c.refreshInner("the i-HA has taken a direct registration that proves nothing")
	case location.GiveUpInternal:
		if a.internal != nil {
			a.internal.stop(c)
		}
		c.disappear(a)
		c.learn(a, false)
	case location.Paused:
		c.rest(a, e)
	}
}

// probeUnanswered ends a probe of the i-HA. Its requests may have arrived although no answer came back, and may still: then
// the i-HA sends to this interface. What is asked through the VPN from now on bears a greater Identification, so that
// nothing of the probe that is still on its way can undo it (RFC 5944 §5.7.1).
func (c *Client) probeUnanswered(a *attempt) {
	if a.internal == nil {
		return
	}
	a.internal.stop(c)
	c.disappear(a)
	if r := c.inner(); r != nil && r.bound {
		if b, ok := r.machine.Binding(); ok && b.SentAt() > a.internal.asked {
			return // asked for and granted since
		}
	}
	c.refreshInner("a probe of the i-HA may have replaced the binding")
}

// denied tells the detector of a denial that the i-HA itself has sent and authenticated (DET-14).
func (c *Client) denied(a *attempt, e mobilenode.Refused) {
	if e.ByForeignAgent {
		return
	}
	if err := a.det.HandleInternalDenial(a.epoch, a.careOf()); err != nil {
		c.event(control.Event{Kind: "detection", Interface: a.iface.Name, Message: err.Error()})
	}
}

// whyBlockedHere adds to roam's reason why nothing is sent what only the interfaces tell: one that is up and has nothing
// neither Mobile IPv4 nor the VPN could use (DET-18).
func (c *Client) whyBlockedHere(reason string) string {
	reason = c.portalBlocks(reason)
	for _, i := range c.sorted() {
		if i.Up && !i.Address.IsValid() && !i.Has6() && i.choose() == nil {
			reason += fmt.Sprintf("; %s is up but has no address and no foreign agent is heard there", i.Name)
		}
	}
	return reason
}
