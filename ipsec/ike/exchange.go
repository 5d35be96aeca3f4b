package ike

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// task is one concern of an exchange that this end starts. Each task adds its payloads to the request and takes its part
// of the response; the exchange joins the tasks that share one.
type task interface {
	// needed is asked just before the request is made: a task whose reason has gone away says no.
	needed(m *Machine) bool
	// request adds to the request's payloads.
	request(now link.Instant, m *Machine, x *exchange) error
	// response takes the response. A *fatalError ends the machine, others end the exchange.
	response(now link.Instant, m *Machine, x *exchange, in *message.Message) error
	// abandon is called when the exchange ends without a response, because its SA ended.
	abandon(now link.Instant, m *Machine)
}

// exchange is a request of ours and its tasks.
type exchange struct {
	kind  message.ExchangeType
	tasks []task
	// continued is set when it goes on with what another one has begun: see errMore.
	continued bool
	sa        *ikeSA
	id        uint32
	// payloads are the request's, wires is the request as sent, in one datagram or in fragments: repetitions are the same
	// octets (RFC 7296 §2.1).
	payloads []message.Payload
	wires    [][]byte
	tries    int
	interval time.Duration
	// test is a path that the request is to be sent over first; spread is set once it has been sent over more than one, and
	// searching once other paths than the one in use have been tried for it.
	test              path
	spread, searching bool
	// Boot times: when it was first sent, or taken up again after a pause; when it is repeated.
	sentAt, resendAt time.Duration
	// incoming has the fragments of the response.
	incoming reassembly
}

// errMore is the error of the first task of an exchange that is not at its end: an exchange of the same kind follows. The
// other tasks have said their part in the first request, and take the last response.
var errMore = errors.New("another exchange follows")

func newExchange(kind message.ExchangeType, tasks ...task) *exchange {
	return &exchange{kind: kind, tasks: tasks}
}

func (x *exchange) add(p ...message.Payload) { x.payloads = append(x.payloads, p...) }

// saying are the tasks that add to the request.
func (x *exchange) saying() []task {
	if x.continued {
		return x.tasks[:1]
	}
	return x.tasks
}

func (x *exchange) needed(m *Machine) bool {
	for _, t := range x.tasks {
		if !t.needed(m) {
			return false
		}
	}
	return true
}

func (x *exchange) abandon(now link.Instant, m *Machine) {
	for _, t := range x.tasks {
		t.abandon(now, m)
	}
}

// childBusy tells whether the exchange creates, rekeys or closes child SAs (RFC 7296 §2.25.1).
func (x *exchange) childBusy() bool {
	if x == nil {
		return false
	}
	switch t := x.tasks[0].(type) {
	case *childTask, *deleteChildTask:
		return true
	case *followupTask:
		_, child := t.owner.(*childTask)
		return child
	default:
		return false
	}
}

// fatalError is the error of a task that ends the machine. farewell is what the peer is told, if anything.
type fatalError struct {
	err      error
	farewell []message.Payload
}

// Error returns the error of the cause.
func (e *fatalError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *fatalError) Unwrap() error { return e.err }

func fatal(err error, farewell ...message.Payload) error { return &fatalError{err, farewell} }

// deleteIKE is the Delete payload for the IKE SA itself (RFC 7296 §1.4.1).
var deleteIKE = message.Delete{Protocol: message.ProtocolIKE}

// enqueue lets an exchange of ours wait for its turn on an SA.
func (m *Machine) enqueue(now link.Instant, s *ikeSA, x *exchange) {
	s.queue = append(s.queue, x)
	m.startNext(now, s)
}

// startNext sends the next request of the queue when none is outstanding.
func (m *Machine) startNext(now link.Instant, s *ikeSA) {
	for s.exchange == nil && len(s.queue) > 0 && m.err == nil && m.waiting == nil {
		if s.heldUntil > now.Boot {
			return
		}
		x := s.queue[0]
		s.queue = s.queue[1:]
		if !x.needed(m) {
			continue
		}
		if s.nextID == math.MaxUint32 { // RFC 7296 §2.2
			m.close(now, fmt.Errorf("ike: message IDs used up: %w", ErrExpired))
			return
		}
		x.sa, x.id, x.payloads = s, s.nextID, nil
		s.exchange = x
		if m.sendOrClose(now, x) != nil {
			return
		}
	}
}

// sendOrClose is send, and ends the machine when that fails.
func (m *Machine) sendOrClose(now link.Instant, x *exchange) error {
	err := m.send(now, x)
	if err != nil {
		err = fmt.Errorf("ike: make %v request: %w", x.kind, err)
		m.close(now, err)
	}
	return err
}

// send makes the request of an exchange and sends it. IKE_SA_INIT comes here again for each retry.
func (m *Machine) send(now link.Instant, x *exchange) error {
	x.payloads = nil
	for _, t := range x.saying() {
		err := t.request(now, m, x)
		if errors.Is(err, errWait) {
			m.wait(nil, func(now link.Instant) error { return m.sendOrClose(now, x) })
			return nil
		}
		if err != nil {
			return err
		}
	}
	wires, err := m.sealed(x.sa, x.sa.header(x.kind, x.id, false), x.payloads)
	if err != nil {
		return err
	}
	x.wires = wires
	x.tries, x.interval, x.sentAt = 0, m.cfg.Retransmission.Initial, now.Boot
	m.resend(now, x)
	return nil
}

// resend sends the request once more and arms its timer.
func (m *Machine) resend(now link.Instant, x *exchange) {
	over := m.route(now, x)
	x.tries++
	x.resendAt = now.Boot + m.pace(now, x)
	x.interval = min(time.Duration(float64(x.interval)*m.cfg.Retransmission.Factor), m.cfg.Retransmission.Limit)
	if !over.tcp || x.tries == 1 { // what TCP has taken it delivers, or the connection is made anew (RFC 9329 §6.2)
		m.sendOver(over, x)
	}
	m.accompany(x)
	m.suspect(now, x)
}

// timeout handles the end of a retransmission interval.
func (m *Machine) timeout(now link.Instant, x *exchange) {
	tries := m.cfg.Retransmission.Tries
	if first := m.cfg.Retransmission.InitTries; x.kind == message.IKESAInit && first != 0 {
		tries = first
	}
	refused := x.sa.state == saInit && m.refused != nil
	if refused || x.sa.state == saDeleting || m.deleting {
		tries = min(tries, m.cfg.Retransmission.RefusedTries)
	}
	if x.kind == message.IKESessionResume {
		tries = min(tries, resumeTries)
	}
	again := x.tries < tries || m.patient(now, x)
	if _, ok := m.verdictAt(x); ok {
		if now.Since(x.resendAt) >= m.asking() {
			x.sentAt = now.Boot // the driver has slept
		}
		at, _ := m.verdictAt(x)
		again = now.Boot < at
	}
	if again {
		if done, err := m.refragment(now, x); err != nil {
			m.close(now, fmt.Errorf("ike: make %v request: %w", x.kind, err))
		} else if !done {
			m.resend(now, x)
		}
		return
	}
	s := x.sa
	switch {
	case x.kind == message.IKESessionResume && !m.deleting:
		if err := m.startAnew(now); err != nil {
			m.close(now, err)
		}
	case s != m.current:
		m.shutSA(now, s)
		m.dropSA(s)
	case m.settleTimeout(now, x):
		// The peer has rekeyed the IKE SA as well, and forgotten the old one.
		m.shutSA(now, s)
		m.dropSA(s)
		m.startNext(now, m.current)
	case m.deleting:
		m.close(now, ErrDeleted)
	case refused:
		m.close(now, fmt.Errorf("ike: %w", m.refused))
	default:
		m.close(now, fmt.Errorf("ike: %w: %d %v requests to %v", ErrNoAnswer, x.tries, x.kind, m.remote))
	}
}

// handleResponse takes a verified response (or any in IKE_SA_INIT).
func (m *Machine) handleResponse(now link.Instant, s *ikeSA, in *message.Message) error {
	x := s.exchange
	s.exchange = nil
	s.nextID++
	m.noteAnswer(now, x)
	return m.takeResponse(now, s, x, in, 0)
}

// takeResponse gives the response to the exchange's tasks, from number first on.
func (m *Machine) takeResponse(now link.Instant, s *ikeSA, x *exchange, in *message.Message, first int) error {
	var failed error
	for i := first; i < len(x.tasks); i++ {
		err := x.tasks[i].response(now, m, x, in)
		switch {
		case errors.Is(err, errWait):
			m.wait(nil, func(now link.Instant) error { return m.takeResponse(now, s, x, in, i) })
			return nil
		case errors.Is(err, errMore):
			s.queue = append([]*exchange{{kind: x.kind, tasks: x.tasks, continued: true}}, s.queue...)
		case err != nil:
			failed = err
		}
		if err != nil {
			break
		}
		if m.err != nil {
			return nil
		}
	}
	var f *fatalError
	if errors.As(failed, &f) {
		err := fmt.Errorf("ike: %w", f.err)
		m.close(now, err, f.farewell...)
		return err
	}
	if m.err == nil {
		m.startNext(now, s)
		if s != m.current {
			m.startNext(now, m.current)
		}
	}
	return failed
}

// respond sends the response to the peer's request and keeps it for repetitions of it.
func (m *Machine) respond(s *ikeSA, d Datagram, h message.Header, ps []message.Payload) error {
	own := s.header(h.Exchange, h.MessageID, true)
	wires, err := m.sealed(s, own, ps)
	if err != nil {
		return fmt.Errorf("ike: make %v response: %w", h.Exchange, err)
	}
	s.expectID = h.MessageID + 1
	s.lastRequest, s.lastResponse = sha256.Sum256(d.Payload), wires
	s.lastAnswer, s.repeats = nil, 0
	if m.fragmentSize != 0 && !initial(h.Exchange) {
		s.lastAnswer = &answer{own, ps, s.ownCipher(), s.peerCipher()}
	}
	for _, wire := range wires {
		m.transmit(d.path(), wire)
	}
	return nil
}

// refusal is the answer to a request that cannot be done: an error notify alone.
type refusal struct {
	notify message.Notify
	// payloads, when set, are sent in the place of notify.
	payloads []message.Payload
	// fatal ends the machine after the response, with cause.
	fatal bool
	cause error
}

func (r *refusal) Error() string { return "refused with " + r.notify.Message.String() }

func refuse(t message.NotifyType, data ...byte) *refusal {
	return &refusal{notify: message.Notify{Message: t, Data: data}}
}

func refuseGroup(g uint16) *refusal {
	return refuse(message.InvalidKEPayload, binary.BigEndian.AppendUint16(nil, g)...)
}

// notifyError makes the typed error of a notify that the peer sent.
func notifyError(kind message.ExchangeType, n message.Notify) *NotifyError {
	return &NotifyError{Type: n.Message, Exchange: kind, Data: n.Data}
}
