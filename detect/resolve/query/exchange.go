package query

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/tun/link"
)

const (
	// DefaultInterval is the time in the first round until the next server is asked, or the same again; it doubles each
	// round.
	DefaultInterval = time.Second
	// DefaultRounds is how often each server is asked.
	DefaultRounds = 3
	// MaxServers is how many servers an Exchange asks; the rest is left out.
	MaxServers = 4
	// maxRejected bounds the answers that fit nothing, each exchange: behind it stands an attacker who guesses.
	maxRejected = 256
)

// Errors of exchanges.
var (
	// ErrNoServers means that there is no name server to ask.
	ErrNoServers = errors.New("query: no name servers")
	// ErrNoAnswer means that no server has answered in time.
	ErrNoAnswer = errors.New("query: no name server answers")
	// ErrRejected is wrapped by the error for an answer that does not fit what was asked. The machine is intact.
	ErrRejected = errors.New("query: answer rejected")
	// ErrFlooded means that so many answers fitted nothing that somebody is guessing.
	ErrFlooded = errors.New("query: too many answers that fit nothing")
)

// ServerError is a server's refusal or failure (RFC 1035 §4.1.1).
type ServerError struct {
	// Rcode is the answer's response code.
	Rcode int
}

// Error implements error.
func (e *ServerError) Error() string {
	return fmt.Sprintf("query: the name servers answer %s", rcodeName(e.Rcode))
}

// ExchangeConfig says what an Exchange asks whom.
type ExchangeConfig struct {
	// Query is the message to be answered, as ParseQuestion takes it.
	Query []byte
	// Servers are asked in this order.
	Servers []netip.AddrPort
	// Interval and Rounds are DefaultInterval and DefaultRounds when 0.
	Interval time.Duration
	Rounds   int
}

// Transmit is a message to be sent to a server from a port of its own.
type Transmit struct {
	// Number tells the transmissions of a machine apart. An answer is handed back with it.
	Number int
	// Server is where it goes, and alone may be answered from.
	Server netip.AddrPort
	// Payload is the caller's.
	Payload []byte
}

// Answer is the event that ends an Exchange: a message or an error.
type Answer struct {
	// Message is the answer with the ID and the name's spelling of the query, nil with an Err. It is the caller's.
	Message []byte
	// Rcode is the answer's response code, Truncated its TC bit.
	Rcode     int
	Truncated bool
	// Err is ErrNoAnswer or ErrFlooded. A server's failure is a Message, when every server that answers says so.
	Err error
}

// Exchange gets one message answered. It follows the machine contract: after each Handle call PollTransmit and PollEvent
// are drained, and HandleTimeout is called at Deadline.
type Exchange struct {
	cfg      ExchangeConfig
	question Question
	rand     io.Reader
	sent     []sent
	bad      map[netip.AddrPort]bool // answered with a failure
	failure  *Answer                 // the last one
	rejected int
	started  bool
	next     time.Duration
	out      []Transmit
	event    *Answer
	done     bool
	fault    error
}

// sent is one transmission.
type sent struct {
	server   netip.AddrPort
	id       uint16
	question []byte
}

// NewExchange returns the machine. Errors: ErrNoServers, what ParseQuestion says.
func NewExchange(cfg ExchangeConfig, rand io.Reader) (*Exchange, error) {
	q, err := ParseQuestion(cfg.Query)
	if err != nil {
		return nil, err
	}
	if len(cfg.Servers) == 0 {
		return nil, ErrNoServers
	}
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Rounds <= 0 {
		cfg.Rounds = DefaultRounds
	}
	cfg.Query = append([]byte(nil), cfg.Query...)
	cfg.Servers = append([]netip.AddrPort(nil), cfg.Servers[:min(len(cfg.Servers), MaxServers)]...)
	return &Exchange{cfg: cfg, question: q, rand: rand, bad: make(map[netip.AddrPort]bool)}, nil
}

// HandleTimeout implements the machine contract; its first call starts the exchange.
func (x *Exchange) HandleTimeout(now link.Instant) {
	if x.done || x.started && now.Boot < x.next {
		return
	}
	x.started = true
	x.transmit(now)
}

// transmit asks the next server that has not failed, or ends.
func (x *Exchange) transmit(now link.Instant) {
	n := len(x.cfg.Servers)
	for ; len(x.sent) < n*x.cfg.Rounds; x.sent = append(x.sent, sent{}) {
		k := len(x.sent)
		server, round := x.cfg.Servers[k%n], k/n
		if x.bad[server] {
			continue
		}
		s, payload, err := x.make(server, round == x.cfg.Rounds-1)
		if err != nil {
			x.end(Answer{Err: err})
			x.fault = err
			return
		}
		x.sent = append(x.sent, s)
		x.out = append(x.out, Transmit{Number: k, Server: server, Payload: payload})
		x.next = now.Boot + x.cfg.Interval<<round
		return
	}
	switch {
	case x.failure != nil:
		x.end(*x.failure)
	default:
		x.end(Answer{Err: ErrNoAnswer})
	}
}

// make makes a transmission: a random ID, and the letters of the name in random case unless plain is set.
func (x *Exchange) make(server netip.AddrPort, plain bool) (sent, []byte, error) {
	q := x.question
	random := make([]byte, 2+q.length)
	if _, err := io.ReadFull(x.rand, random); err != nil {
		return sent{}, nil, fmt.Errorf("query: no random numbers: %w", err)
	}
	payload := append([]byte(nil), x.cfg.Query...)
	copy(payload, random[:2])
	question := payload[headerLen : headerLen+q.length]
	if !plain {
		for i := 0; i < len(question)-4 && question[i] != 0; { // label by label; a length is no letter
			n := int(question[i])
			for k := i + 1; k <= i+n; k++ {
				if c := question[k] | 0x20; c >= 'a' && c <= 'z' {
					question[k] = question[k]&^0x20 | random[2+k]&0x20
				}
			}
			i += 1 + n
		}
	}
	return sent{server: server, id: binary.BigEndian.Uint16(payload), question: append([]byte(nil), question...)}, payload, nil
}

// HandleAnswer takes what came back for the transmission of that number. An error that wraps ErrRejected means that it
// fits nothing.
func (x *Exchange) HandleAnswer(now link.Instant, number int, message []byte) error {
	if x.done {
		return nil
	}
	if err := x.check(number, message); err != nil {
		if x.rejected++; x.rejected > maxRejected {
			x.end(Answer{Err: ErrFlooded})
		}
		return err
	}
	flags := binary.BigEndian.Uint16(message[2:])
	a := Answer{Message: append([]byte(nil), message...), Rcode: int(flags & 0xf), Truncated: flags&0x0200 != 0}
	copy(a.Message, x.cfg.Query[:2])
	copy(a.Message[headerLen:], x.cfg.Query[headerLen:headerLen+x.question.length])
	if a.Rcode == RcodeSuccess || a.Rcode == RcodeNameError {
		x.end(a)
		return nil
	}
	x.failure = &a
	x.bad[x.sent[number].server] = true
	x.transmit(now)
	return nil
}

// check says what is wrong with an answer (RFC 1035 §7.3, RFC 5452 §9.1).
func (x *Exchange) check(number int, message []byte) error {
	if number < 0 || number >= len(x.sent) || x.sent[number].question == nil {
		return fmt.Errorf("%w: to transmission %d, which there was not", ErrRejected, number)
	}
	s := &x.sent[number]
	if n := headerLen + len(s.question); len(message) < n || len(message) > MaxMessage {
		return fmt.Errorf("%w: %d octets, expected %d to %d", ErrRejected, len(message), n, MaxMessage)
	}
	if id := binary.BigEndian.Uint16(message); id != s.id {
		return fmt.Errorf("%w: it has another ID", ErrRejected)
	}
	flags := binary.BigEndian.Uint16(message[2:])
	if flags&0x8000 == 0 || flags>>11&0xf != 0 {
		return fmt.Errorf("%w: flags 0x%04x are not those of an answer", ErrRejected, flags)
	}
	if n := binary.BigEndian.Uint16(message[4:]); n != 1 {
		return fmt.Errorf("%w: it has %d questions, expected one", ErrRejected, n)
	}
	if string(message[headerLen:headerLen+len(s.question)]) != string(s.question) {
		return fmt.Errorf("%w: its question differs from what was asked", ErrRejected)
	}
	return nil
}

func (x *Exchange) end(a Answer) {
	x.done, x.event, x.out = true, &a, nil
}

// PollTransmit returns the next message to send.
func (x *Exchange) PollTransmit() (Transmit, bool) {
	if len(x.out) == 0 {
		return Transmit{}, false
	}
	t := x.out[0]
	x.out = x.out[1:]
	return t, true
}

// PollEvent returns the answer once there is one.
func (x *Exchange) PollEvent() (Answer, bool) {
	if x.event == nil {
		return Answer{}, false
	}
	a := *x.event
	x.event = nil
	return a, true
}

// Deadline returns when HandleTimeout is to be called: at once before the start, never after the end.
func (x *Exchange) Deadline() (time.Duration, bool) { return x.next, !x.done }

// Err returns what has broken the machine: no random numbers.
func (x *Exchange) Err() error { return x.fault }
