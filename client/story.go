package client

import (
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/detect/location"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// policyAuto is the mode policy that lets the client choose.
const policyAuto = "auto"

// keptHandoffs is how many handoffs status shows.
const keptHandoffs = 16

// usedPath is what roam has taken into use last: other choices for it leave what is under way alone.
type usedPath struct {
	iface int
	epoch uint64
	plain bool
}

// story is what people are told: where the client stands, what has happened, what is wrong.
type story struct {
	state    control.State
	since    time.Time
	cause    string // of the mode in use
	path     usedPath
	at       string // mode and interface in use, empty for none
	last     string // mode and interface before
	brokeAt  time.Duration
	broken   bool
	blocked  string // why nothing can be used; empty when not blocked
	handoffs []control.Handoff
	problems []control.Problem
	silent   map[string]bool // peers of whom no more is known than that they do not answer
	slow     bool            // of the VPN gateway it is only known that it takes its time
}

func (s *story) begin(now link.Instant) { s.state, s.since = control.StateDown, now.Wall }

// clear forgets what belonged to the session.
func (s *story) clear() {
	s.at, s.last, s.blocked, s.broken, s.problems, s.silent = "", "", "", false, nil, nil
}

// broke notes that user data has stopped flowing.
func (s *story) broke(now link.Instant, cause string) {
	s.cause, s.path = cause, usedPath{}
	if s.at != "" {
		s.last, s.at = s.at, ""
	}
	if !s.broken && s.last != "" {
		s.broken, s.brokeAt = true, now.Boot
	}
}

// connected notes that user data flows in another way than before and returns the handoff; false when nothing changed.
func (s *story) connected(now link.Instant, to string) (control.Handoff, bool) {
	if s.at == to && !s.broken {
		return control.Handoff{}, false
	}
	h := control.Handoff{Time: now.Wall, From: s.at, To: to, Reason: s.cause}
	if h.From == "" {
		h.From = s.last
	}
	if s.broken {
		h.Outage = float64(now.Boot-s.brokeAt) / float64(time.Millisecond)
	}
	s.at, s.last, s.broken = to, "", false
	s.handoffs = append(s.handoffs, h)
	if len(s.handoffs) > keptHandoffs {
		s.handoffs = slices.Delete(s.handoffs, 0, len(s.handoffs)-keptHandoffs)
	}
	return h, true
}

func (s *story) block(reason string) { s.blocked = reason }
func (s *story) unblock()            { s.blocked = "" }

// problem tells people of something wrong; the same again is told once.
func (c *Client) problem(p control.Problem) {
	for i, old := range c.story.problems {
		if old.Peer == p.Peer && alarm(old) == alarm(p) {
			if old.Code == p.Code && old.Message == p.Message {
				return
			}
			c.story.problems = slices.Delete(c.story.problems, i, i+1)
			break
		}
	}
	delete(c.story.silent, p.Peer)
	if p.Peer == c.gatewayName() {
		c.story.slow = false
	}
	p.Since = c.now.Wall
	c.story.problems = append(c.story.problems, p)
	c.event(control.Event{Kind: "problem", Message: p.String(), Problem: &p})
}

// silence tells people of a peer that does not answer, unless something more exact is known of it: a refusal says more.
func (c *Client) silence(p control.Problem) {
	known := slices.ContainsFunc(c.story.problems, func(o control.Problem) bool { return o.Peer == p.Peer && !alarm(o) })
	if known && !c.story.silent[p.Peer] {
		return
	}
	c.problem(p)
	if c.story.silent == nil {
		c.story.silent = make(map[string]bool)
	}
	c.story.silent[p.Peer] = true
}

// silenceOver forgets that a peer did not answer, since it need not any more. A refusal stays.
func (c *Client) silenceOver(peer string) {
	if c.story.silent[peer] {
		c.solved(peer)
	}
}

// solved forgets the problem with a peer.
func (c *Client) solved(peer string) {
	delete(c.story.silent, peer)
	c.story.problems = slices.DeleteFunc(c.story.problems, func(p control.Problem) bool { return p.Peer == peer && !alarm(p) })
}

// alarmOver forgets an alarm: a proof shows that the i-HA and the firewall have been set right.
func (c *Client) alarmOver() {
	c.story.problems = slices.DeleteFunc(c.story.problems, alarm)
}

// alarm reports whether the problem is an alarm of detection (DET-14): no registration that succeeds settles it.
func alarm(p control.Problem) bool {
	for _, k := range []location.AlarmKind{location.AlarmNoTNC, location.AlarmReachableOutside, location.AlarmNAT} {
		if p.Code == k.String() {
			return true
		}
	}
	return false
}

// judge works out the state after all machines have come to rest and tells of a change.
func (c *Client) judge() {
	c.dnsUse()
	state := c.state()
	if state == c.story.state {
		return
	}
	c.story.state, c.story.since = state, c.now.Wall
	message := "state: " + string(state)
	if state == control.StateBlocked {
		message += ": " + c.whyBlocked()
	}
	c.event(control.Event{Kind: "state", Message: message})
}

func (c *Client) state() control.State {
	using, mode := c.roam.Using()
	switch {
	case c.session == nil:
		return control.StateDown
	case c.session.engine.Current() != nil || c.resting():
		return control.StateConnected
	case c.story.blocked != "":
		return control.StateBlocked
	case using != 0 && mode != stack.ModeNone && c.refused():
		return control.StateBlocked
	case using != 0:
		return control.StateConnecting
	}
	return control.StateDetecting
}

// refused reports whether a peer that the mode in use needs has refused or does not answer.
func (c *Client) refused() bool {
	_, mode := c.roam.Using()
	comp, _ := mode.Composition()
	a := c.inUse()
	cutOff := a != nil && (a.det == nil || a.det.State() == location.StateUnreachable) // nobody has answered there yet
	return slices.ContainsFunc(c.story.problems, func(p control.Problem) bool {
		return !alarm(p) && (p.Peer == c.gatewayName() && !c.story.slow || cutOff && p.Code == codePortal || strings.HasPrefix(p.Peer, nameInternal) || strings.HasPrefix(p.Peer, nameExternal) && (comp.ExternalMIP || !comp.VPN))
	})
}

func (c *Client) whyBlocked() string {
	if c.story.blocked != "" {
		return c.portalBlocks(c.story.blocked)
	}
	if n := len(c.story.problems); n > 0 {
		return c.story.problems[n-1].String()
	}
	return "no reason is known"
}

// event tells the subscribers and the log.
func (c *Client) event(e control.Event) {
	e.Schema, e.Time, e.State = control.Schema, c.now.Wall, c.story.state
	_, mode := c.roam.Using()
	e.Mode = string(mode)
	if e.Verdict == "" {
		e.Verdict = control.VerdictUnknown
		if a := c.inUse(); a != nil && a.det != nil {
			e.Verdict = control.Verdict(a.det.State().Verdict().String())
		}
	}
	c.counted.Event(e.Kind)
	c.feed.send(e)
	fields := []zap.Field{zap.String("kind", e.Kind), zap.String("state", string(e.State)), zap.String("mode", e.Mode)}
	if e.Interface != "" {
		fields = append(fields, zap.String("interface", e.Interface))
	}
	if e.Kind == "problem" || e.Kind == "blocked" {
		c.log.Warn(e.Message, fields...)
		return
	}
	c.log.Info(e.Message, fields...)
}
