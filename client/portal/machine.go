package portal

import (
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Defaults of Config.
const (
	// DefaultInitial is how long after a question without a result the next one follows, at first.
	DefaultInitial = 5 * time.Second
	// DefaultMax is the longest such time, and how often a known portal is asked again.
	DefaultMax = time.Minute
	// DefaultRetry is how often the home agents are asked while a browser has the way to the portal. RFC 5944 §3.6.3 wants
	// at least one second between requests.
	DefaultRetry = 2 * time.Second
)

// lost is how long the observation of a question is waited for; asking takes much less.
const lost = time.Minute

// silences is how many questions without any answer take back the suspicion of a portal.
const silences = 3

// Config is what a Machine goes by. A zero time takes its default.
type Config struct {
	// Question is what is asked.
	Question Question
	// Forbidden is what no portal may name.
	Forbidden Forbidden
	// Initial and Max are the first and the longest time between questions; it doubles each time.
	Initial, Max time.Duration
	// Retry is how often the home agents are asked while a browser has the way.
	Retry time.Duration
}

// Event is one of the event types of this package.
type Event interface{ event() }

// Ask wants the question asked, and its observation handed in with the same number.
type Ask struct {
	// Number names this question among all of the machine's.
	Number uint64
	// Question is what is asked.
	Question Question
}

// Suspected says that a captive portal stands between this interface and the Internet. It is repeated when the portal's page
// is at another host than before.
type Suspected struct {
	// Finding is the foreign answer.
	Finding Finding
}

// Cleared says that there is no portal any more, or none that stands in the way.
type Cleared struct {
	// Passed says that a home agent has answered, so that the interface can be used.
	Passed bool
	// Reason says in plain words why.
	Reason string
}

// Register wants the home agents asked now: a person is logging in.
type Register struct{}

func (Ask) event()       {}
func (Suspected) event() {}
func (Cleared) event()   {}
func (Register) event()  {}

// timer names the entries of a Machine's timer table.
type timer uint8

const (
	timerAsk   timer = iota // the next question
	timerRetry              // the home agents are asked
	numTimers
)

// never is the entry of a timer that is not armed.
const never = time.Duration(-1)

// Machine looks for a captive portal on one interface.
type Machine struct {
	config      Config
	unreachable bool // neither home agent answers
	way         bool // a browser has the way
	number      uint64
	waiting     bool // for the observation of the last question
	back        time.Duration
	silent      int // questions without an answer in a row
	finding     Finding
	timers      [numTimers]time.Duration
	events      queue.FIFO[Event]
}

// New returns a machine that asks nothing yet.
func New(c Config) *Machine {
	if c.Initial <= 0 {
		c.Initial = DefaultInitial
	}
	if c.Max <= 0 {
		c.Max = DefaultMax
	}
	if c.Retry <= 0 {
		c.Retry = DefaultRetry
	}
	c.Max = max(c.Max, c.Initial)
	return &Machine{config: c, timers: [numTimers]time.Duration{never, never}}
}

// Finding returns the portal that is suspected; false for none.
func (m *Machine) Finding() (Finding, bool) { return m.finding, m.finding.Kind == Foreign }

// HandleUnreachable says that neither home agent answers on the interface, which has an address. Said again, it changes
// nothing.
func (m *Machine) HandleUnreachable(now link.Instant) {
	if m.unreachable {
		return
	}
	m.unreachable, m.back = true, m.config.Initial
	m.ask(now)
}

// HandleReachable says that a home agent has answered: whatever stood in the way has been passed.
func (m *Machine) HandleReachable(reason string) { m.end(true, reason) }

// HandleChange says that the interface's connection has changed: what was known of it is void.
func (m *Machine) HandleChange(reason string) { m.end(false, reason) }

// end forgets everything but whether a browser has the way.
func (m *Machine) end(passed bool, reason string) {
	m.unreachable, m.waiting, m.silent = false, false, 0
	m.timers[timerAsk] = never
	if passed {
		m.timers[timerRetry] = never
	}
	m.clear(passed, reason)
}

func (m *Machine) clear(passed bool, reason string) {
	if m.finding.Kind == Foreign {
		m.events.Push(Cleared{Passed: passed, Reason: reason})
	}
	m.finding = Finding{}
}

// HandleWay says whether a browser has the way to the portal.
func (m *Machine) HandleWay(now link.Instant, open bool) {
	m.way = open
	m.timers[timerRetry] = never
	if open {
		m.timers[timerRetry] = now.Boot + m.config.Retry
	}
}

// HandleObservation takes what came of the question with that number. One that is not waited for any more is ignored.
func (m *Machine) HandleObservation(now link.Instant, number uint64, o Observation) {
	if !m.waiting || number != m.number {
		return
	}
	m.waiting = false
	f := Judge(m.config.Question, o, m.config.Forbidden)
	next := m.back
	switch f.Kind {
	case Foreign:
		m.silent = 0
		told := m.finding.Kind == Foreign && m.finding.Host == f.Host
		m.finding = f
		if !told {
			m.events.Push(Suspected{Finding: f})
		}
		next = m.config.Max
	case Genuine:
		m.silent = 0
		m.clear(false, f.Reason)
	case Silent:
		if m.silent++; m.silent == silences {
			m.clear(false, "nothing foreign answers any more: "+f.Reason)
		}
	}
	if f.Kind != Foreign {
		m.back = min(2*m.back, m.config.Max)
	}
	m.timers[timerAsk] = now.Boot + next
}

// HandleTimeout does what is due.
func (m *Machine) HandleTimeout(now link.Instant) {
	if at := m.timers[timerAsk]; at != never && at <= now.Boot {
		m.timers[timerAsk] = never
		if m.unreachable {
			m.ask(now)
		}
	}
	if at := m.timers[timerRetry]; at != never && at <= now.Boot {
		m.timers[timerRetry] = never
		if m.way {
			m.events.Push(Register{})
			m.timers[timerRetry] = now.Boot + m.config.Retry
		}
	}
}

func (m *Machine) ask(now link.Instant) {
	m.number++
	m.waiting, m.timers[timerAsk] = true, now.Boot+lost
	m.events.Push(Ask{Number: m.number, Question: m.config.Question})
}

// Deadline returns the boot time at which HandleTimeout has something to do; false for never.
func (m *Machine) Deadline() (at time.Duration, armed bool) {
	for _, t := range m.timers {
		if t != never && (!armed || t < at) {
			at, armed = t, true
		}
	}
	return at, armed
}

// PollEvent returns the next event; drain it after every Handle.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }
