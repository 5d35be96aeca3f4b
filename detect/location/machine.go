package location

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/tun/link"
)

// ErrStaleEpoch is returned for an input that belongs to an earlier epoch, or to one that never began.
var ErrStaleEpoch = errors.New("location: input of another epoch")

// State is where the detection of one interface stands.
type State uint8

// The states of a Machine.
const (
	// StateIdle: the interface is not usable, or no epoch has begun.
	StateIdle State = iota
	// StateDetecting: requests are out and nothing is known.
	StateDetecting
	// StateTentative: the x-HA has answered and the detection period still runs.
	StateTentative
	// StateOutside: the x-HA has answered and the i-HA has not.
	StateOutside
	// StateUnreachable: neither has answered within the detection period. The requests go on.
	StateUnreachable
	// StateInside: there is a live proof.
	StateInside
	// StatePaused: it was inside, no user data passes, and it asks no more until Wake (DET-13). There is no proof.
	StatePaused
)

// String returns a stable name of the state.
func (s State) String() string {
	names := [...]string{"idle", "detecting", "tentatively_outside", "outside", "unreachable", "inside", "inside_idle"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Verdict is what a state means for user data.
type Verdict uint8

// The verdicts.
const (
	// Unknown: nothing may be assumed; user data waits.
	Unknown Verdict = iota
	// VerdictInside: proven to be inside.
	VerdictInside
	// VerdictOutside: user data goes through the VPN.
	VerdictOutside
)

// String returns "unknown", "inside" or "outside".
func (v Verdict) String() string {
	switch v {
	case VerdictInside:
		return "inside"
	case VerdictOutside:
		return "outside"
	}
	return "unknown"
}

// Verdict returns what the state means for user data.
func (s State) Verdict() Verdict {
	switch s {
	case StateInside:
		return VerdictInside
	case StateTentative, StateOutside:
		return VerdictOutside
	}
	return Unknown
}

// Attachment describes an interface at the beginning of an epoch.
type Attachment struct {
	// Epoch is the number of the new epoch, greater than that of any before on this interface.
	Epoch uint64
	// Usable says that requests can be sent: the interface is up and has an address or a foreign agent. Why says, where it has
	// something else that is of use, why they cannot.
	Usable bool
	Why    string
	// Address is the interface's own address, zero while it has none; a care-of address of a foreign agent will do as
	// well. It is compared with the networks that are listed as outside.
	Address netip.Addr
}

// timer names the entries of a Machine's timer table.
type timer uint8

const (
	timerExpiry   timer = iota // the proof becomes void
	timerMonitor               // re-registration starts
	timerRetry                 // the i-HA is asked again after a reply that could not serve
	timerPeriod                // the detection period ends
	timerSilence               // neither agent has answered for so long that none will soon
	timerProbe                 // the i-HA is probed from outside
	timerProbeEnd              // such a probe has gone unanswered
	timerAgain                 // the home agents are asked again after a series that neither answered
	numTimers
)

// never is the entry of a timer that is not armed.
const never = time.Duration(-1)

// Machine tracks one interface. It sends nothing itself: its events ask the registration machines of that interface to
// do so. Inputs that do not belong to the present epoch are refused and change nothing.
type Machine struct {
	config   Config
	state    State
	epoch    uint64
	began    bool // an epoch has begun
	outside  bool // the attachment is in a network listed as outside
	proof    Proof
	bound    bool   // the x-HA holds a binding from this interface
	witness  string // who has said last that the interface is not cut off
	hint     Hint
	trying   bool          // outside, and the i-HA is still being asked because only a hint has shortened the period
	pause    time.Duration // behind the next series that neither home agent answers
	active   time.Duration // when user data was last seen to pass
	timers   [numTimers]time.Duration
	events   []Event
	reason   string
	internal Exchange
	external Exchange
}

// New returns a machine for the interface of c, in StateIdle. It refuses a configuration that cannot work with
// ErrMonitorTooShort or ErrConfig.
func New(c Config) (*Machine, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Machine{config: c, reason: "no connection seen yet"}
	m.disarm()
	return m, nil
}

// State returns where the detection stands.
func (m *Machine) State() State { return m.state }

// Epoch returns the present epoch's number.
func (m *Machine) Epoch() uint64 { return m.epoch }

// Proof returns the present proof, and false without one. It may have expired when the machine's Deadline has passed.
func (m *Machine) Proof() (Proof, bool) { return m.proof, !m.proof.IsZero() }

// Reason says in plain words why the machine is in its state.
func (m *Machine) Reason() string { return m.reason }

// HandleEpoch begins a new epoch: the connection status of the interface has changed (DET-2). What was known is void at
// once; when the interface is usable, detection begins. The error is ErrStaleEpoch when the number has not grown.
func (m *Machine) HandleEpoch(now link.Instant, a Attachment) error {
	if m.began && a.Epoch <= m.epoch {
		return fmt.Errorf("%w: epoch %d begins after epoch %d", ErrStaleEpoch, a.Epoch, m.epoch)
	}
	m.lose("the connection status of the interface changed")
	m.began, m.epoch, m.hint = true, a.Epoch, HintNone
	m.bound, m.outside = false, m.config.listedOutside(a.Address)
	m.internal, m.external = Exchange{}, Exchange{}
	m.disarm()
	if !a.Usable {
		why := a.Why
		if why == "" {
			why = "the interface is down or has neither address nor foreign agent"
		}
		m.enter(StateIdle, why)
		return nil
	}
	m.detect(now, "the connection status of the interface changed")
	return nil
}

// Restart begins detection again within the present epoch: a person asked for it, or the x-HA stopped answering. A live
// proof stays, and the i-HA is asked for a fresh one.
func (m *Machine) Restart(now link.Instant, reason string) {
	switch m.state {
	case StateIdle:
	case StateInside:
		m.emit(Reregister{m.epoch})
		m.internal.asked(now.Boot)
	default:
		m.detect(now, reason)
	}
}

// AskExternal ends Config.InternalOnly: the interface is taken into use, so that from the next detection on the x-HA is asked
// too.
func (m *Machine) AskExternal() { m.config.InternalOnly = false }

// HandleInternalRefusal tells that a request of this epoch to the i-HA was refused, by the agent or a foreign agent;
// cause says how, for people. A proof is void then (DET-12): the re-registration has failed.
func (m *Machine) HandleInternalRefusal(now link.Instant, epoch uint64, cause string) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	m.internal.answered(now.Boot, "refused: "+cause)
	m.endProbe()
	m.fail(now, "re-registration with the i-HA was refused: "+cause)
	return nil
}

// HandleInternalDenial tells that a denial of this epoch is the i-HA's own, which it has authenticated: it got a request
// straight through the interface. On a network that is listed as outside that is an alarm, as any reply of the i-HA is
// (DET-14). HandleInternalRefusal is to be called for what follows from the denial.
func (m *Machine) HandleInternalDenial(epoch uint64, careOf netip.Addr) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	if !m.config.Bypassed() && (m.outside || m.config.listedOutside(careOf)) {
		m.alarmOutside(m.config.InternalHomeAgent, careOf)
	}
	return nil
}

// HandleExternalRefusal tells that a request of this epoch to the x-HA was refused. It changes no verdict.
func (m *Machine) HandleExternalRefusal(now link.Instant, epoch uint64, cause string) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	m.external.answered(now.Boot, "refused: "+cause)
	return nil
}

// HandleInternalUnanswered tells that a series of requests of this epoch to the i-HA has ended without an answer. While
// an answer is still wanted, another series is asked for.
func (m *Machine) HandleInternalUnanswered(now link.Instant, epoch uint64) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	m.internal.Outcome = "no answer"
	switch m.state {
	case StateInside:
		m.internal.asked(now.Boot)
		m.emit(Reregister{m.epoch})
	case StateDetecting, StateTentative:
		if m.asksInternal() {
			m.internal.asked(now.Boot)
			m.emit(StartRegistrations{Epoch: m.epoch, Internal: true})
		}
	case StateUnreachable:
		m.askLater(now)
	case StatePaused:
		m.detect(now, "the binding could not be renewed")
	case StateOutside:
		switch {
		case m.trying:
			m.internal.asked(now.Boot)
			m.emit(StartRegistrations{Epoch: m.epoch, Internal: true})
		default: // a probe, or the renewal of a binding from before: each may have replaced the one through the VPN
			m.endProbe()
			m.emit(ProbeUnanswered{m.epoch})
		}
	}
	return nil
}

// HandleExternalUnanswered tells that a series of requests of this epoch to the x-HA has ended without an answer. While
// no agent has answered, another series is asked for.
func (m *Machine) HandleExternalUnanswered(now link.Instant, epoch uint64) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	m.external.Outcome = "no answer"
	switch {
	case m.state == StateUnreachable:
		m.askLater(now)
	case m.state == StateDetecting && m.asksExternal():
		m.external.asked(now.Boot)
		m.emit(StartRegistrations{Epoch: m.epoch, External: true})
	}
	return nil
}

// HandleGateway tells that the VPN gateway has answered straight through the interface in this epoch, authentically. That says what a
// reply of the x-HA says, where that is silent or there is none: tentatively outside, unless there is a proof (DET-7, DET-8,
// DET-18).
func (m *Machine) HandleGateway(now link.Instant, epoch uint64) error {
	if err := m.present(epoch); err != nil {
		return err
	}
	if m.state == StateDetecting || m.state == StateUnreachable {
		m.tentative(now, "the VPN gateway")
	}
	return nil
}

// HandleTimeout makes what was due by now happen. An expired proof goes first (DET-4).
func (m *Machine) HandleTimeout(now link.Instant) {
	if m.due(timerExpiry, now) {
		m.fail(now, fmt.Sprintf("the i-HA has proven nothing for T_MONITOR (%v)", m.config.Monitor))
		return
	}
	monitor, retry := m.due(timerMonitor, now), m.due(timerRetry, now)
	if monitor && m.idle(now) {
		m.rest()
		return
	}
	if monitor || retry {
		m.internal.asked(now.Boot)
		m.emit(Reregister{m.epoch})
	}
	if m.due(timerPeriod, now) {
		switch {
		case m.state == StateTentative:
			m.decideOutside(now)
		case m.state == StateOutside && m.trying:
			m.trying = false
			m.timers[timerRetry] = never
			m.emit(GiveUpInternal{m.epoch})
		}
	}
	if m.due(timerSilence, now) && m.state == StateDetecting {
		who := "neither home agent"
		if m.config.InternalOnly {
			who = "the i-HA, which alone was asked, has not"
		}
		m.enter(StateUnreachable, fmt.Sprintf("%s answered within %v", who, m.config.patience()))
		m.emit(Unreachable{m.epoch})
	}
	if m.due(timerProbe, now) {
		m.probe(now)
	}
	if m.due(timerProbeEnd, now) {
		m.endProbe()
		m.emit(ProbeUnanswered{m.epoch})
	}
	if m.due(timerAgain, now) && m.state == StateUnreachable {
		m.ask(now)
	}
}

// PollEvent returns the next event, in the order in which they happened.
func (m *Machine) PollEvent() (Event, bool) {
	if len(m.events) == 0 {
		return nil, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// Deadline returns the boot time of the earliest timer, and false when none is armed.
func (m *Machine) Deadline() (time.Duration, bool) {
	first := never
	for _, t := range m.timers {
		if t != never && (first == never || t < first) {
			first = t
		}
	}
	return first, first != never
}

// detect begins detection: both requests leave together (DET-6).
func (m *Machine) detect(now link.Instant, reason string) {
	m.disarm()
	m.enter(StateDetecting, reason)
	m.timers[timerPeriod] = now.Boot + m.config.Period
	m.timers[timerSilence] = now.Boot + m.config.patience()
	m.internal, m.external = Exchange{}, Exchange{}
	m.pause = min(firstPause, m.config.Pause)
	m.ask(now)
}

// ask asks for requests to both home agents.
func (m *Machine) ask(now link.Instant) {
	start := StartRegistrations{Epoch: m.epoch, Internal: m.asksInternal(), External: m.asksExternal()}
	if start.Internal {
		m.internal.asked(now.Boot)
	}
	if start.External {
		m.external.asked(now.Boot)
	}
	m.emit(start)
}

// decideOutside ends the detection period with the x-HA's reply alone.
func (m *Machine) decideOutside(now link.Instant) {
	m.timers[timerPeriod], m.timers[timerSilence] = never, never
	reason := fmt.Sprintf("%s answered and the i-HA did not prove inside within %v", m.witness, m.config.Period)
	if !m.asksInternal() {
		reason = m.witness + " answered and the i-HA is not asked on this network"
	}
	if m.config.Bypassed() {
		reason = "both home agents have the same address, so that detection is bypassed (RFC 5265 section 3.5)"
	}
	m.enter(StateOutside, reason)
	m.timers[timerAgain], m.timers[timerRetry] = never, never
	if m.config.Probe > 0 && m.asksInternal() {
		m.timers[timerProbe] = now.Boot + m.config.Probe
	}
	m.emit(Outside{Epoch: m.epoch})
}

// fail voids the proof and begins detection again (DET-12). Without a proof there is nothing that can fail.
func (m *Machine) fail(now link.Instant, reason string) {
	if m.state != StateInside && m.state != StatePaused {
		return
	}
	m.lose(reason)
	m.detect(now, reason)
}

// lose voids the proof, if there is one.
func (m *Machine) lose(reason string) {
	if m.proof.IsZero() {
		return
	}
	m.emit(ProofLost{Epoch: m.proof.epoch, Reason: reason})
	m.proof = Proof{}
}

// asksInternal reports whether the i-HA may be asked straight through the interface in this epoch.
func (m *Machine) asksInternal() bool {
	return !m.config.Bypassed() && !(m.outside && m.config.SuppressOutside)
}

func (m *Machine) asksExternal() bool {
	return m.config.ExternalHomeAgent.IsValid() && !m.config.InternalOnly
}

// present refuses what does not belong to the present epoch of a usable interface.
func (m *Machine) present(epoch uint64) error {
	if m.state == StateIdle || epoch != m.epoch {
		return fmt.Errorf("%w: epoch %d while the present one is %d (%v)", ErrStaleEpoch, epoch, m.epoch, m.state)
	}
	return nil
}

// due reports whether the timer has run out, and disarms it then.
func (m *Machine) due(t timer, now link.Instant) bool {
	if m.timers[t] == never || now.Boot < m.timers[t] {
		return false
	}
	m.timers[t] = never
	return true
}

func (m *Machine) disarm() {
	for t := range m.timers {
		m.timers[t] = never
	}
	m.trying = false
}

func (m *Machine) enter(s State, reason string) { m.state, m.reason = s, reason }

func (m *Machine) emit(e Event) { m.events = append(m.events, e) }
