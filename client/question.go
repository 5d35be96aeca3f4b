package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
	"mipvpn/tun/packet"
)

// questionTime is how long the i-HA is asked on each interface when a person wants to know whether it answers there.
const questionTime = 4 * time.Second

// question is a person's question whether the i-HA answers straight through an interface where it should not be reachable
// (DET-14). The registration that asks belongs to no detector: its answer is no proof, whatever it bears.
type question struct {
	answer     control.InterfaceProbe
	machine    *mobilenode.Machine
	attachment stack.Attachment
	remove     func()
	asked      time.Duration
	over       bool
}

// Probe implements control.Backend.
func (c *Client) Probe(ctx context.Context) (control.Probe, error) {
	p := control.Probe{Schema: control.Schema, Interfaces: []control.InterfaceProbe{}}
	var all []*question
	done := make(chan struct{})
	if err := c.ask(ctx, func() error {
		if c.session == nil {
			return fmt.Errorf("%w: the client is down: run `mipvpn up`", control.ErrRefused)
		}
		c.event(control.Event{Kind: "probe", Message: "asking the i-HA straight through every interface, whether or not that is suppressed (a person asked for it)"})
		for _, i := range c.sorted() {
			all = append(all, c.askInternal(i))
		}
		c.after(questionTime, func() { close(done) })
		return nil
	}); err != nil {
		return p, err
	}
	select {
	case <-done:
	case <-c.done:
		return p, ErrClosed
	case <-ctx.Done(): // the questions end by themselves
		return p, ctx.Err()
	}
	err := c.ask(ctx, func() error {
		for _, q := range all {
			if r := &q.answer.Internal; r.Asked {
				r.AskedAgo = c.now.Since(q.asked).Seconds()
				if r.Answered {
					r.AnsweredAgo = r.AskedAgo - r.RoundTrip/1000
				}
			}
			p.Interfaces = append(p.Interfaces, q.answer)
		}
		return nil
	})
	return p, err
}

// askInternal begins to ask the i-HA straight through an interface.
func (c *Client) askInternal(i *iface) *question {
	q := &question{answer: control.InterfaceProbe{Name: i.Name, Index: i.Index, Internal: control.Registration{Agent: c.cfg.Internal.Address}}}
	r := &q.answer.Internal
	a := &attempt{iface: i.Interface, epoch: i.epoch}
	switch {
	case !i.Up:
		r.Outcome = "not asked: the interface is down"
		return q
	case c.cfg.Internal.Address == c.cfg.External.Address:
		r.Outcome = "not asked: both home agents have the same address"
		return q
	case !i.Address.IsValid():
		c.askedThroughAgent(q, i)
		return q
	}
	if err := c.openQuestion(q, a); err != nil {
		r.Outcome = "not asked: " + err.Error()
		return q
	}
	q.remove = c.drive(&driven{timeout: q.machine.HandleTimeout, deadline: q.machine.Deadline, drain: func() bool { return c.drainQuestion(q) }})
	r.Asked, r.Outcome, q.asked = true, "no answer", c.now.Boot
	c.asking = append(c.asking, q)
	q.machine.Register(c.now)
	c.after(questionTime, func() { c.endQuestion(q) })
	return q
}

// askedThroughAgent answers a question with what detection knows, which asks anew: a foreign agent has one visitor of this home
// address, and a second registration beside that in use would take its packets away.
func (c *Client) askedThroughAgent(q *question, i *iface) {
	r := &q.answer.Internal
	a := i.attempt
	if a == nil || a.agent == nil || a.internal == nil {
		r.Outcome = "not asked: the interface has no address, and the i-HA is not asked through a foreign agent there"
		return
	}
	a.det.Restart(c.now, "a person asked for it")
	c.after(questionTime-time.Millisecond, func() {
		c.exchange(r, a.det.Report().Internal)
		q.asked, q.answer.Authentic = a.det.Report().Internal.AskedAt, r.Answered
	})
}

// openQuestion makes the machine and the attachment of a question. No tunnel is made of what it is granted.
func (c *Client) openQuestion(q *question, a *attempt) error {
	cfg := a.mobileNode(mobilenode.Origin{Interface: a.iface.Index, Epoch: a.epoch, Direct: true})
	c.identify(&cfg, nameInternal, c.cfg.Internal)
	cfg.Association, cfg.ReverseTunnel = c.associations.internal, true
	c.askFor(&cfg, nameInternal, c.cfg.Internal)
	if cfg.Lifetime == 0 || cfg.Lifetime > c.cfg.Internal.Lifetime {
		cfg.Lifetime = c.cfg.Internal.Lifetime
	}
	var err error
	if q.machine, err = mobilenode.NewMachine(cfg, c.rand); err != nil {
		return err
	}
	nothing := func(b *packet.Batch) { b.Drop(c.drops, packet.DropGateClosed) }
	q.attachment, err = c.attachment(a, cfg.HomeAddress, cfg.HomeAgent, nothing)(func(m []byte) {
		c.post(func() {
			if !q.over {
				_ = q.machine.HandleReply(c.now, m) // what is no answer is none
			}
		})
	})
	return err
}

// drainQuestion sends and handles what the machine of a question has to say.
func (c *Client) drainQuestion(q *question) bool {
	busy := false
	for !q.over {
		t, ok := q.machine.PollTransmit()
		if !ok {
			break
		}
		busy = true
		if err := q.attachment.Send(t.Payload); err != nil {
			q.answer.Internal.Outcome = "not asked: " + err.Error()
		}
	}
	for !q.over {
		e, ok := q.machine.PollEvent()
		if !ok {
			break
		}
		busy = true
		c.answered(q, e)
	}
	return busy
}

// answered takes account of an answer to a question.
func (c *Client) answered(q *question, e mobilenode.Event) {
	r := &q.answer.Internal
	heard := func(authentic bool, outcome string) {
		r.Answered, q.answer.Authentic, r.Outcome = true, authentic, outcome
		if r.RoundTrip == 0 {
			r.RoundTrip = milliseconds(c.now.Since(q.asked))
		}
		c.event(control.Event{Kind: "probe", Interface: q.answer.Name, Message: fmt.Sprintf("the i-HA %v answers straight through this interface: %s", r.Agent, outcome)})
	}
	switch e := e.(type) {
	case mobilenode.Accepted:
		r.TrustedNetwork, r.RoundTrip = e.Reply.TrustedNetwork(), milliseconds(e.Reply.ReceivedAt()-e.Reply.SentAt())
		heard(true, "it accepts the registration")
		c.endQuestion(q)
		c.repairBinding()
	case mobilenode.Refused:
		if !e.ByForeignAgent && !e.Retrying {
			heard(true, "it refuses: "+e.Err.Error())
		}
	case mobilenode.Unverified:
		heard(false, "an answer that is not authentic: "+e.Err.Error())
	}
}

// repairBinding makes the i-HA's binding that of the path in use again, behind a registration that was only a question.
func (c *Client) repairBinding() {
	c.innerReplaced()
	c.refreshInner("a question to the i-HA has replaced the binding")
	if a := c.inUse(); a != nil && a.internal != nil && !c.outside() {
		a.internal.start(c)
	}
}

// endQuestions ends all that are open.
func (c *Client) endQuestions() {
	for _, q := range slices.Clone(c.asking) {
		c.endQuestion(q)
	}
}

// endQuestion ends a question.
func (c *Client) endQuestion(q *question) {
	if q.over {
		return
	}
	q.over = true
	c.asking = slices.DeleteFunc(c.asking, func(o *question) bool { return o == q })
	q.remove()
	if err := q.attachment.Close(); err != nil {
		c.log.Debug("closing an attachment")
	}
}
