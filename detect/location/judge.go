package location

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/tun/link"
)

// Reasons why a verified reply is no proof of inside, or is not looked at at all.
var (
	// ErrOtherInterface: the request went out through another interface (DET-1).
	ErrOtherInterface = errors.New("location: reply through another interface")
	// ErrNotDirect: the request did not go straight through the interface, but through the VPN (DET-3).
	ErrNotDirect = errors.New("location: reply not straight through the interface")
	// ErrOtherAgent: the reply is not of the home agent that was asked.
	ErrOtherAgent = errors.New("location: reply of another home agent")
	// ErrBypassed: both home agents have the same address, so that no reply proves anything (DET-10).
	ErrBypassed = errors.New("location: detection is bypassed")
	// ErrNotAccepted: the code is neither 0 nor 1 (RFC 5944 §3.4).
	ErrNotAccepted = errors.New("location: registration not accepted")
	// ErrWeakKey: the key has less than 128 bits or the algorithm is keyed MD5 (DET-17).
	ErrWeakKey = errors.New("location: reply authenticated too weakly for a proof")
	// ErrListedOutside: the interface is in a network that is listed as outside (DET-14).
	ErrListedOutside = errors.New("location: reply of the i-HA on a network listed as outside")
	// ErrNoTNC: the Trusted Networks Configured extension is missing or not authenticated (DET-3, RFC 5265 §3.4).
	ErrNoTNC = errors.New("location: reply without Trusted Networks Configured extension")
	// ErrNAT: the request reached the i-HA through a NAT, or somebody who relays, where that is refused.
	ErrNAT = errors.New("location: request reached the i-HA through a NAT or a relay")
	// ErrLate: more than ReplyLimit after its request (DET-4).
	ErrLate = errors.New("location: reply too late for a proof")
)

// evidence is what a verified reply says, taken out of it. It exists so that HandleInternalReply and HandleExternalReply
// alone touch the verified reply; outside this package no evidence can be made.
type evidence struct {
	iface          int
	epoch          uint64
	direct         bool
	agent          netip.Addr
	careOf         netip.Addr
	code           uint8
	sentAt         time.Duration
	receivedAt     time.Duration
	trustedNetwork bool
	strongKey      bool
	nat            bool
	lifetime       time.Duration
}

// accepted reports whether the code accepts the registration: 0, or 1 without simultaneous bindings (RFC 5944 §3.4).
func (e evidence) accepted() bool { return e.code == 0 || e.code == 1 }

// mine refuses evidence that is not about this interface in its present epoch, straight through it, from agent.
func (m *Machine) mine(e evidence, agent netip.Addr) error {
	if e.iface != m.config.Interface {
		return fmt.Errorf("%w: interface %d, expected %d", ErrOtherInterface, e.iface, m.config.Interface)
	}
	if err := m.present(e.epoch); err != nil {
		return err
	}
	if !e.direct {
		return ErrNotDirect
	}
	if e.agent != agent {
		return fmt.Errorf("%w: %v, expected %v", ErrOtherAgent, e.agent, agent)
	}
	return nil
}

// weigh says why evidence of the i-HA, about this interface and epoch, is no proof; nil when it is one (DET-3, DET-4).
func (m *Machine) weigh(now link.Instant, e evidence) error {
	age := max(e.receivedAt, now.Boot) - e.sentAt
	switch {
	case m.config.Bypassed():
		return ErrBypassed
	case m.outside || m.config.listedOutside(e.careOf):
		return fmt.Errorf("%w: care-of address %v", ErrListedOutside, e.careOf)
	case !e.accepted():
		return fmt.Errorf("%w: code %d", ErrNotAccepted, e.code)
	case !e.strongKey:
		return ErrWeakKey
	case !e.trustedNetwork && !m.config.WaiveTNC:
		return ErrNoTNC
	case e.nat && m.config.RefuseNAT:
		return ErrNAT
	case age < 0 || age > ReplyLimit:
		return fmt.Errorf("%w: %v after its request, at most %v", ErrLate, age, ReplyLimit)
	}
	return nil
}

// internalEvidence takes what a reply of the i-HA says.
func (m *Machine) internalEvidence(now link.Instant, e evidence) error {
	if err := m.mine(e, m.config.InternalHomeAgent); err != nil {
		return err
	}
	m.endProbe()
	err := m.weigh(now, e)
	m.internal.RoundTrip, m.internal.TrustedNetwork = e.receivedAt-e.sentAt, e.trustedNetwork
	if err != nil {
		m.internal.answered(now.Boot, "no proof: "+err.Error())
		m.noProof(now, e, err)
		return err
	}
	m.internal.answered(now.Boot, "proof of inside")
	if e.sentAt <= m.proof.sentAt && !m.proof.IsZero() {
		return nil // an older request's reply, overtaken: what it proves is known
	}
	m.prove(e)
	return nil
}

// noProof draws the consequences of a reply that is none.
func (m *Machine) noProof(now link.Instant, e evidence, err error) {
	alarm := errors.Is(err, ErrListedOutside) || errors.Is(err, ErrNoTNC) || errors.Is(err, ErrNAT)
	if e.accepted() && !alarm && (m.state == StateTentative || m.state == StateOutside) {
		m.emit(BindingReplaced{m.epoch})
	}
	switch {
	case errors.Is(err, ErrLate):
		// The registration machine takes this for an answer, so that it stops asking.
		if m.state != StateOutside && m.state != StatePaused {
			m.timers[timerRetry] = now.Boot + retryDelay
		}
		return // it says nothing against the proof at hand
	case errors.Is(err, ErrListedOutside):
		m.alarmOutside(e.agent, e.careOf)
	case errors.Is(err, ErrNoTNC):
		m.emit(Alarm{m.epoch, AlarmNoTNC, fmt.Sprintf("the i-HA %v answered without the Trusted Networks Configured extension "+
			"(RFC 5265 section 3.4): its trusted subnets do not have %v, or the firewall lets registrations in from outside", e.agent, e.careOf)})
	case errors.Is(err, ErrNAT):
		m.emit(Alarm{m.epoch, AlarmNAT, fmt.Sprintf("the i-HA %v answered a request that did not reach it from %v: a NAT lies between, "+
			"or somebody inside relays registrations from outside", e.agent, e.careOf)})
	}
	m.fail(now, "the i-HA's reply is no proof: "+err.Error())
}

// alarmOutside raises the alarm of DET-14 on a network that is listed as outside.
func (m *Machine) alarmOutside(agent, careOf netip.Addr) {
	m.emit(Alarm{m.epoch, AlarmReachableOutside, fmt.Sprintf("the i-HA %v answers straight through a network that is "+
		"listed as outside (care-of address %v): the firewall lets registrations in, its administrator has to close that", agent, careOf)})
}

// prove makes the proof. It is the only place that does.
func (m *Machine) prove(e evidence) {
	renewed := m.state == StateInside
	if !renewed && m.state != StatePaused {
		m.active = e.receivedAt // whoever has just come here is not idle
	}
	m.proof = Proof{iface: e.iface, epoch: e.epoch, sentAt: e.sentAt, expires: e.sentAt + m.config.Monitor}
	m.disarm()
	m.timers[timerExpiry] = m.proof.expires
	m.timers[timerMonitor] = m.proof.expires - m.config.Grace
	how := "the i-HA's reply straight through this interface, with the Trusted Networks Configured extension"
	if !e.trustedNetwork {
		how = "the i-HA's reply straight through this interface; the Trusted Networks Configured extension is WAIVED by configuration"
	}
	m.enter(StateInside, how)
	m.emit(Inside{Proof: m.proof, Renewed: renewed})
	if m.bound {
		m.bound = false
		m.emit(DeregisterExternal{m.epoch})
	}
}

// externalEvidence takes what a reply of the x-HA says.
func (m *Machine) externalEvidence(now link.Instant, e evidence) error {
	if err := m.mine(e, m.config.ExternalHomeAgent); err != nil {
		return err
	}
	if !e.accepted() {
		m.external.answered(now.Boot, fmt.Sprintf("refused: code %d", e.code))
		return fmt.Errorf("%w: code %d", ErrNotAccepted, e.code)
	}
	m.external.RoundTrip, m.external.TrustedNetwork = e.receivedAt-e.sentAt, e.trustedNetwork
	if e.lifetime == 0 {
		m.bound = false // the answer to a deregistration says nothing of where the interface is
		m.external.answered(now.Boot, "deregistered")
		return nil
	}
	m.external.answered(now.Boot, "registered")
	m.bound = true
	switch m.state {
	case StateInside, StatePaused:
		m.bound = false
		m.emit(DeregisterExternal{m.epoch})
	case StateDetecting, StateUnreachable:
		m.tentative(now, "the x-HA")
	}
	return nil
}

// tentative takes the interface for outside, but for a proof: the witness has answered.
func (m *Machine) tentative(now link.Instant, witness string) {
	if m.state == StateUnreachable { // all were silent: the i-HA gets its period from the first sign of life on
		m.timers[timerPeriod] = now.Boot + m.config.Period
	}
	m.witness = witness
	m.emit(TentativelyOutside{m.epoch})
	over := m.timers[timerPeriod] == never || now.Boot >= m.timers[timerPeriod]
	m.enter(StateTentative, witness+" answered; the i-HA is still being tried")
	switch {
	case over || !m.asksInternal():
		m.decideOutside(now)
	case m.hint == HintOutside:
		m.decideEarly(now)
	}
}
