package homeagent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

const (
	// DefaultMaxPending is how many questions to an AAA infrastructure wait for their answers at most, unless configured otherwise.
	DefaultMaxPending = 1024
	// maxAsked is how many of them are about one mobile node: what it repeats of two registrations while a server is silent.
	maxAsked = 8
)

// asking are the requests that an AAA infrastructure is asked about.
type asking struct {
	questions  queue.FIFO[auth.Question]
	asked      uint64
	byQuestion map[uint64]*pending
	byNode     map[*node][]*pending // the oldest first
}

// pending is a request that waits for the answer to its question.
type pending struct {
	id      uint64
	request *request
	spi     uint32
	void    bool // a later message has overtaken it: the answer does not matter
}

// ask has an AAA infrastructure asked about a registration that is authentic, fresh and well-formed, where that is configured
// (RFC 4721 §3.4). done says that the request needs nothing more for now: it waits, or was denied or discarded.
func (m *Machine) ask(q *request) (done bool, err error) {
	if !m.cfg.AAA {
		return false, nil
	}
	at := q.rest.Index(wire.ExtGeneralizedAuthentication)
	if at < 0 {
		return true, m.deny(q, wire.CodeBadAAAAuthentication, fmt.Errorf("no Mobile-AAA Authentication extension behind %v", wire.ExtMobileHomeAuthentication))
	}
	var challenge []byte
	if i := q.rest[:at].Index(wire.ExtMobileForeignChallenge); i >= 0 {
		challenge, _ = wire.ParseChallenge(q.rest[i]) // an empty one is none: the extension is skippable
	}
	c, err := auth.CredentialsAt(q.raw, q.Offset(len(q.covered)+at), challenge)
	if err != nil {
		return true, m.deny(q, wire.CodePoorlyFormedRequest, err)
	}
	a, n := &m.asking, q.node
	if waiting := len(a.byNode[n]); waiting >= maxAsked {
		return true, fmt.Errorf("%w: home address %v from %v: the AAA infrastructure has not answered for %d of them", ErrRateLimited, q.HomeAddress, q.source, waiting)
	}
	if waiting := len(a.byQuestion); waiting >= m.cfg.MaxPending {
		return true, m.deny(q, wire.CodeInsufficientResources, fmt.Errorf("the AAA infrastructure has not answered for %d requests", waiting))
	}
	alone := !q.Flags.Has(wire.FlagSimultaneous) || !m.simultaneous(n)
	a.overtake(n, func(p *pending) bool { return alone || p.request.CareOfAddress == q.CareOfAddress })
	q.own()
	a.asked++
	p := &pending{id: a.asked, request: q, spi: c.SPI}
	if a.byQuestion == nil {
		a.byQuestion, a.byNode = make(map[uint64]*pending), make(map[*node][]*pending)
	}
	a.byQuestion[p.id] = p
	a.byNode[n] = append(a.byNode[n], p)
	a.questions.Push(auth.Question{ID: p.id, NAI: q.nai, HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Credentials: c})
	return true, nil
}

// own makes the request independent of the message that it came in.
func (q *request) own() {
	q.raw = nil
	for i := range q.Extensions { // covered and rest are views of it
		q.Extensions[i].Data = bytes.Clone(q.Extensions[i].Data)
	}
}

// overtake makes those requests of a mobile node void that a later message has overtaken, as if they had been lost on the way. Their
// questions count until they are answered.
func (a *asking) overtake(n *node, which func(*pending) bool) {
	for _, p := range a.byNode[n] {
		if which(p) {
			p.void = true
		}
	}
}

// repeats reports whether the request is one that waits: the mobile node repeats it unchanged with nonces (RFC 5944 §3.6.3).
func (a *asking) repeats(q *request) bool {
	return slices.ContainsFunc(a.byNode[q.node], func(p *pending) bool {
		return !p.void && p.request.Identification == q.Identification && p.request.CareOfAddress == q.CareOfAddress && !q.Deregistration()
	})
}

// remove takes a request whose question is answered out.
func (a *asking) remove(p *pending) {
	delete(a.byQuestion, p.id)
	n := p.request.node
	if left := slices.DeleteFunc(a.byNode[n], func(x *pending) bool { return x == p }); len(left) > 0 {
		a.byNode[n] = left
	} else {
		delete(a.byNode, n)
	}
}

// PollQuestion returns the next question to an AAA infrastructure, with Config.AAA alone. The driver answers each with HandleVerdict,
// also when nobody answers it.
func (m *Machine) PollQuestion() (auth.Question, bool) { return m.asking.questions.Pop() }

// HandleVerdict takes the answer to a question. With auth.Granted the registration goes on as HandleRequest says; with auth.Rejected
// it is denied with code 144 (RFC 4721 §3.4), and with auth.Unavailable with code 130. It returns nil, also for a question that is
// not known or whose request a later one has overtaken, or the *Denied.
func (m *Machine) HandleVerdict(now link.Instant, id uint64, v auth.Verdict) error {
	p := m.asking.byQuestion[id]
	if p == nil {
		return nil
	}
	m.asking.remove(p)
	if p.void {
		return nil
	}
	q := p.request
	switch v {
	case auth.Granted:
		m.asking.overtake(q.node, func(other *pending) bool { return other.id < p.id })
		if q.HomeAddress.IsUnspecified() && q.node.home.IsValid() {
			q.HomeAddress = q.node.home // assigned since
		}
		return m.register(now, q)
	case auth.Rejected:
		return m.deny(q, wire.CodeBadAAAAuthentication, errors.New("the AAA infrastructure rejects the mobile node"))
	}
	return m.deny(q, wire.CodeInsufficientResources, fmt.Errorf("the AAA infrastructure does not answer, or cannot check SPI %d", p.spi))
}
