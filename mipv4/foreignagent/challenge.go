package foreignagent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

const (
	// DefaultChallengeWindow is how many of the last advertised challenges are taken (RFC 4721 §9, CHALLENGE_WINDOW).
	DefaultChallengeWindow = 2
	// challengeLen is the length of a challenge in octets.
	challengeLen = 16
	// spareChallenged is how many mobile nodes without a registration are remembered before they are looked through.
	spareChallenged = 64
)

// ErrUnauthenticated: a request with a challenge, but without an authentication that covers it (RFC 4721 §3.2).
var ErrUnauthenticated = errors.New("foreignagent: challenge without Mobile-Foreign or Mobile-AAA Authentication extension")

// challenges are what the agent has issued and what mobile nodes have used of it (RFC 4721 §3.2.1).
type challenges struct {
	window  []challenge // the last that were advertised, the newest last
	issued  uint64
	records map[registrationKey]*challenged
}

// challenge is one that was advertised; numbers count from 1.
type challenge struct {
	number uint64
	value  []byte
}

// challenged is what is known of a mobile node that has used a challenge.
type challenged struct {
	number  uint64 // of the newest advertised one that it has used, 0 for none
	last    []byte // the one that it has used last
	offered []byte // in the last reply, nil when that was used
}

// issue makes a new challenge for advertisements.
func (m *Machine) issue() {
	value := m.fresh()
	if value == nil {
		return
	}
	c := &m.challenges
	c.issued++
	c.window = append(c.window, challenge{c.issued, value})
	if extra := len(c.window) - m.cfg.ChallengeWindow; extra > 0 {
		c.window = slices.Clone(c.window[extra:])
	}
	if len(c.records) > len(m.registrations)+spareChallenged {
		for key, r := range c.records {
			if m.registrations[key] == nil && r.number < c.window[0].number {
				delete(c.records, key)
			}
		}
	}
}

// fresh returns a new challenge, nil when there is no randomness: then the old ones go on.
func (m *Machine) fresh() []byte {
	value := make([]byte, challengeLen)
	if _, err := io.ReadFull(m.random, value); err != nil {
		return nil
	}
	return value
}

// advertised returns the challenge to advertise, nil for none. Solicitations do not make new ones (RFC 4721 §2.1, §12).
func (m *Machine) advertised() []byte {
	if !m.cfg.Challenge {
		return nil
	}
	if len(m.challenges.window) == 0 {
		m.issue()
	}
	if w := m.challenges.window; len(w) > 0 {
		return w[len(w)-1].value
	}
	return nil
}

// checkChallenge checks the challenge of a request (RFC 4721 §3.2). It returns the challenge, nil where none is needed, and the code
// that the request must be denied with, CodeAccepted for none. Errors that wrap ErrUnauthenticated have it discarded.
func (m *Machine) checkChallenge(key registrationKey, r *wire.RegistrationRequest, rest wire.Extensions) ([]byte, wire.Code, error) {
	if !m.cfg.Challenge {
		return nil, wire.CodeAccepted, nil
	}
	known := m.mobileNodes[r.HomeAddress] != nil // its authentication has been verified
	i := rest.Index(wire.ExtMobileForeignChallenge)
	if i < 0 {
		if known {
			return nil, wire.CodeAccepted, nil
		}
		return nil, wire.CodeFAMissingChallenge, nil
	}
	aaa := rest.Index(wire.ExtGeneralizedAuthentication)
	if aaa < i && rest.Index(wire.ExtMobileForeignAuthentication) < i || aaa < 0 && !known {
		return nil, wire.CodeAccepted, fmt.Errorf("%w: home address %v", ErrUnauthenticated, r.HomeAddress)
	}
	value, err := wire.ParseChallenge(rest[i])
	if err != nil {
		return nil, wire.CodeFAUnknownChallenge, err
	}
	used := m.challenges.records[key]
	if used == nil {
		used = new(challenged)
	}
	if bytes.Equal(value, used.last) {
		if m.repeats(key, r) {
			return value, wire.CodeAccepted, nil
		}
		return nil, wire.CodeFAStaleChallenge, nil
	}
	if used.offered != nil && bytes.Equal(value, used.offered) {
		return value, wire.CodeAccepted, nil
	}
	for _, c := range m.challenges.window {
		if !bytes.Equal(value, c.value) {
			continue
		}
		if c.number <= used.number {
			return nil, wire.CodeFAStaleChallenge, nil
		}
		return value, wire.CodeAccepted, nil
	}
	return nil, wire.CodeFAUnknownChallenge, nil
}

// repeats reports whether the request repeats one that is pending, but for Identification and lifetime.
func (m *Machine) repeats(key registrationKey, r *wire.RegistrationRequest) bool {
	entry := m.registrations[key]
	if entry == nil {
		return false
	}
	return slices.ContainsFunc(entry.pending, func(p *pending) bool {
		return p.request.Flags == r.Flags && p.request.CareOfAddress == r.CareOfAddress && naiOf(p.request) == naiOf(r)
	})
}

func naiOf(r *wire.RegistrationRequest) string {
	if i := r.Extensions.Index(wire.ExtMobileNodeNAI); i >= 0 {
		return string(r.Extensions[i].Data)
	}
	return ""
}

// use notes that a mobile node has used a challenge, in a request that passed every check.
func (m *Machine) use(key registrationKey, value []byte) {
	if value == nil {
		return
	}
	c := &m.challenges
	if c.records == nil {
		c.records = make(map[registrationKey]*challenged)
	}
	r := c.records[key]
	if r == nil {
		if len(c.records) >= m.cfg.MaxVisitors+m.cfg.MaxPending+spareChallenged {
			maps.DeleteFunc(c.records, func(key registrationKey, _ *challenged) bool { return m.registrations[key] == nil })
		}
		r = new(challenged)
		c.records[key] = r
	}
	r.last = bytes.Clone(value)
	if bytes.Equal(r.offered, value) {
		r.offered = nil
	}
	for _, w := range c.window {
		if bytes.Equal(w.value, value) {
			r.number = w.number
		}
	}
}

// appendChallenge appends a challenge that the mobile node has not used to a reply (RFC 4721 §3.3). Only for mobile nodes that have
// used one, so that they were authenticated, something is stored (§12).
func (m *Machine) appendChallenge(payload []byte, key registrationKey) []byte {
	value := m.advertised()
	if value == nil {
		return payload
	}
	if r := m.challenges.records[key]; r != nil {
		if w := m.challenges.window; r.offered == nil && w[len(w)-1].number <= r.number {
			r.offered = m.fresh()
		}
		if r.offered != nil {
			value = r.offered
		}
	}
	e, err := wire.Challenge(value)
	if err != nil {
		return payload
	}
	return append(append(payload, uint8(e.Type), uint8(len(e.Data))), e.Data...)
}

// forwarded returns how many extensions of a request go to the home agent: those up to the Mobile-Home Authentication, and with a
// Mobile-AAA Authentication those up to it, which it covers (RFC 4721 §3.2). ok is false when it covers what is not the home agent's.
func forwarded(r *wire.RegistrationRequest, covered, rest wire.Extensions) (n int, ok bool) {
	i := rest.Index(wire.ExtGeneralizedAuthentication)
	if i < 0 {
		return len(covered), true
	}
	for _, e := range rest[:i] {
		switch e.Type {
		case wire.ExtMobileForeignChallenge, wire.ExtEncapsulatingDelivery, wire.ExtPadding, wire.ExtMobileNodeNAI, wire.ExtVendorNormal:
		default:
			return 0, false
		}
	}
	return len(covered) + i + 1, true
}

// ask has an AAA infrastructure asked about a request before it is relayed, if that is configured and the mobile node is not known
// otherwise. It reports whether it was.
func (m *Machine) ask(entry *registration, p *pending, payload []byte) (bool, error) {
	r := p.request
	i := r.Extensions.Index(wire.ExtGeneralizedAuthentication)
	if !m.cfg.AAA || m.mobileNodes[r.HomeAddress] != nil || i < 0 {
		return false, nil
	}
	c, err := auth.CredentialsAt(payload, r.Offset(i), p.challenge)
	if err != nil {
		return false, err
	}
	m.asked++
	p.question = m.asked
	if m.asking == nil {
		m.asking = make(map[uint64]*registration)
	}
	m.asking[p.question] = entry
	m.questions.Push(auth.Question{ID: p.question, NAI: naiOf(r), HomeAddress: r.HomeAddress, HomeAgent: r.HomeAgent, Credentials: c})
	return true, nil
}

// PollQuestion returns the next question to an AAA infrastructure, with Config.AAA alone; HandleVerdict takes the answer.
func (m *Machine) PollQuestion() (auth.Question, bool) { return m.questions.Pop() }

// HandleVerdict takes the answer to a question: the request is relayed, or denied with code 108, or 66 when there was no answer
// (RFC 4721 §3.2). It returns nil, also for an answer that comes too late, or the *Denied.
func (m *Machine) HandleVerdict(now link.Instant, id uint64, v auth.Verdict) error {
	entry := m.asking[id]
	if entry == nil {
		return nil
	}
	delete(m.asking, id)
	i := slices.IndexFunc(entry.pending, func(p *pending) bool { return p.question == id })
	if i < 0 {
		return nil
	}
	p := entry.pending[i]
	p.question = 0
	if v == auth.Granted {
		m.relay(now, p)
		return nil
	}
	m.removePending(entry, i)
	m.tidy(entry)
	if v == auth.Rejected {
		return m.deny(now, p.request, p.station, wire.CodeFABadAAAAuthentication, nil)
	}
	return m.deny(now, p.request, p.station, wire.CodeFAInsufficientResources, errors.New("the AAA infrastructure does not answer"))
}

// wrongChallenge reports whether a home agent's reply has another challenge than its request had (RFC 4721 §3.3).
func wrongChallenge(p *pending, rest wire.Extensions) bool {
	i := rest.Index(wire.ExtMobileForeignChallenge)
	return i >= 0 && p.challenge != nil && !bytes.Equal(rest[i].Data, p.challenge)
}
