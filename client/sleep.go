package client

import (
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/detect/suspend"
)

const (
	// sameResume is how long after a resume was noticed another sign of it is taken for the same one.
	sameResume = 30 * time.Second
	// sleepless is how long after sleep was announced the client goes on by itself, when nothing says what has become of it.
	sleepless = time.Minute
)

// sleepState is what the client knows of the laptop's sleep.
type sleepState struct {
	source suspend.Source // nil: the clocks alone tell
	stop   func()         // ends the watch, nil without one
	asleep bool           // sleep was announced, and no resume since
	woken  bool           // a resume was noticed, at wokenAt
	// wokenAt is a boot time.
	wokenAt time.Duration
	give    func() // takes back giving up waiting for the resume
}

// WithSuspend has the client be told of sleep by s, so that the gate is closed before the laptop sleeps, and not only when
// the clocks show that it slept.
func WithSuspend(s suspend.Source) Option { return func(c *Client) { c.sleep.source = s } }

// watchSleep begins to listen for announcements of sleep.
func (c *Client) watchSleep() {
	if c.sleep.source == nil {
		c.log.Info("sleep is noticed by the clocks alone")
		return
	}
	c.sleep.stop = c.sleep.source.Watch(suspend.Handler{
		Prepare: func() { c.tell(c.fallAsleep) },
		Resumed: func() { c.tell(func() { c.wakeUp(false) }) },
		Clock:   func() { c.tell(func() {}) }, // every task compares the clocks first
		Available: func(err error) {
			c.tell(func() {
				if err != nil {
					c.log.Warn("sleep is not announced: it is noticed by the clocks alone", zap.Error(err))
					return
				}
				c.log.Info("the login manager announces sleep: the gate is closed before it")
			})
		},
	})
}

// unwatchSleep ends watchSleep.
func (c *Client) unwatchSleep() {
	if c.sleep.stop != nil {
		c.sleep.stop()
	}
}

// tell has f done on the actor, with what follows from it, and waits for that; it returns early when the client ends.
func (c *Client) tell(f func()) {
	done := make(chan struct{})
	select {
	case c.tasks <- func() {
		defer close(done)
		f()
		c.settle()
	}:
	case <-c.stop:
		return
	}
	select {
	case <-done:
	case <-c.stop:
	}
}

// fallAsleep closes the gate and holds every pipeline, so that nothing in the clear is on its way when the laptop sleeps. No
// attempt is made until it is awake: an answer that comes in the last moments must not open the gate again.
func (c *Client) fallAsleep() {
	s := &c.sleep
	if s.asleep {
		return
	}
	s.asleep = true
	s.give = c.after(sleepless, func() { c.wakeUp(false) })
	if c.session == nil {
		return
	}
	c.event(control.Event{Kind: "sleep", Message: "the laptop goes to sleep: nothing leaves until it is awake and knows where it is"})
	c.gate.CloseAll("the laptop goes to sleep")
	c.roam.Stop("the laptop goes to sleep")
}

// wakeUp begins everything anew after a resume. jumped says that the clocks show it; other signs may be of a resume that
// has been taken account of.
func (c *Client) wakeUp(jumped bool) {
	s := &c.sleep
	asleep := s.asleep
	if !jumped && !asleep && s.woken && c.now.Since(s.wokenAt) < sameResume {
		return
	}
	if s.give != nil {
		s.give()
		s.give = nil
	}
	s.asleep, s.woken, s.wokenAt = false, true, c.now.Boot
	if c.session == nil {
		return
	}
	c.event(control.Event{Kind: "resume", Message: "the laptop was asleep: every interface is judged anew"})
	c.gate.CloseAll("resumed from suspend")
	c.doubtVPN("the laptop was asleep")
	if asleep { // no attempt before the interfaces are known as they are now
		c.readInterfaces()
		c.roam.HandleResume(c.now)
		c.roam.Start(c.now)
		return
	}
	c.roam.HandleResume(c.now)
}
