package resolve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/detect/resolve/query"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// answerQueue is how many datagrams may wait for a machine; what comes when it is full is lost, as on a wire.
const answerQueue = 16

// Open opens a conversation with a server from a port of its own. What the server sends is handed to receive, which takes
// ownership, does not block and may be called until close has returned. send sends a datagram; it copies it.
type Open func(server netip.AddrPort, receive func(datagram []byte)) (send func([]byte) error, close func(), err error)

// overFlows opens conversations as flows of a link.
func overFlows(below link.Link) Open {
	return func(server netip.AddrPort, receive func([]byte)) (func([]byte) error, func(), error) {
		f, err := below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server}, func(b *packet.Batch) {
			for _, p := range b.Bufs {
				receive(append([]byte(nil), p.Bytes()...))
			}
			b.Release()
		})
		if err != nil {
			return nil, nil, err
		}
		return func(p []byte) error { return f.Send(netip.AddrPort{}, p) }, func() { _ = f.Close() }, nil // nothing waits for its end
	}
}

// machine is an Exchange or a Lookup.
type machine[E any] interface {
	HandleTimeout(now link.Instant)
	HandleAnswer(now link.Instant, number int, message []byte) error
	PollTransmit() (query.Transmit, bool)
	PollEvent() (E, bool)
	Deadline() (time.Duration, bool)
}

// Exchange gets a message answered by one of the servers, in conversations that open makes. The answer has the query's ID
// and spelling; it may say that a server failed. Errors: ctx's, and query's.
func Exchange(ctx context.Context, clock link.Clock, message []byte, servers []netip.AddrPort, rand io.Reader, open Open) ([]byte, error) {
	m, err := query.NewExchange(query.ExchangeConfig{Query: message, Servers: servers}, rand)
	if err != nil {
		return nil, err
	}
	a, err := drive(ctx, clock, m, open)
	if err != nil {
		return nil, err
	}
	return a.Message, a.Err
}

// errEnded means that a machine has ended without an event: a fault of the program.
var errEnded = errors.New("resolve: the machine has ended without an event: please report this")

// drive gives a machine time and messages until its event.
func drive[E any](ctx context.Context, clock link.Clock, m machine[E], open Open) (event E, err error) {
	type datagram struct {
		number  int
		payload []byte
	}
	inbox := make(chan datagram, answerQueue)
	var closes []func()
	defer func() {
		for _, f := range closes {
			f()
		}
	}()
	timer := clock.NewTimer()
	defer timer.Stop()
	var failed error // the last failure to send
	m.HandleTimeout(clock.Now())
	for {
		for {
			t, ok := m.PollTransmit()
			if !ok {
				break
			}
			number := t.Number
			send, end, err := open(t.Server, func(p []byte) {
				select {
				case inbox <- datagram{number, p}:
				default:
				}
			})
			if err == nil {
				closes = append(closes, end)
				err = send(t.Payload)
			}
			if err != nil { // as if it had been lost: the interface may be coming back
				failed = err
			}
		}
		if event, ok := m.PollEvent(); ok {
			return event, noted(event, failed)
		}
		at, armed := m.Deadline()
		if !armed {
			return event, errEnded
		}
		timer.Reset(at)
		select {
		case d := <-inbox:
			_ = m.HandleAnswer(clock.Now(), d.number, d.payload) // rejected: a stranger's, or late
		case <-timer.C():
			m.HandleTimeout(clock.Now())
		case <-ctx.Done():
			return event, ctx.Err()
		}
	}
}

// noted returns why there is no answer when nothing could be sent.
func noted(event any, failed error) error {
	if failed == nil {
		return nil
	}
	var err error
	switch e := event.(type) {
	case query.Answer:
		err = e.Err
	case query.Result:
		err = e.Err
	}
	if errors.Is(err, query.ErrNoAnswer) {
		return fmt.Errorf("%w (%w)", err, failed)
	}
	return nil
}
