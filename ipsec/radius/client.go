package radius

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	codec "layeh.com/radius"

	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Reasons why something is not done, or fails.
var (
	// ErrBusy tells that there are too many requests or conversations under way.
	ErrBusy = errors.New("radius: too many requests are under way")
	// ErrSilent tells that no server answers.
	ErrSilent = errors.New("radius: no server answers")
	// ErrRejected tells that the server refused the user.
	ErrRejected = errors.New("radius: the server refused the user")
	// ErrUnknown tells that there is no such conversation, or nothing that a datagram could answer.
	ErrUnknown = errors.New("radius: nothing is under way for this")
	// ErrTooLong tells that something does not fit into a packet or an attribute.
	ErrTooLong = errors.New("radius: too long")
)

// ID names a conversation or a record that is on its way. It is never used again.
type ID uint64

// Transmit is a datagram to be sent.
type Transmit struct {
	To      netip.AddrPort
	Payload []byte
}

// Event is what a Client tells its driver: Challenge, Accepted, Failed or Accounted.
type Event interface{ event() }

// Challenge brings the server's next EAP message; Client.Send answers.
type Challenge struct {
	ID      ID
	Message []byte
}

// Accepted says that the server has authenticated the user. The conversation is closed.
type Accepted struct {
	ID ID
	// Message is the EAP-Success for the peer.
	Message []byte
	// MSK is the master session key in 64 octets, nil when the server sent none. The receiver wipes it.
	MSK []byte
	// User is what the server says of the user.
	User User
}

// Failed says that a conversation is over without success. Message is the EAP-Failure for the peer. Err wraps ErrRejected,
// ErrSilent or ErrMalformed.
type Failed struct {
	ID      ID
	Message []byte
	Err     error
}

// Accounted says that a server has taken a record, or in Err that none did.
type Accounted struct {
	ID  ID
	Err error
}

func (Challenge) event() {}
func (Accepted) event()  {}
func (Failed) event()    {}
func (Accounted) event() {}

// flow is what goes to one port of a server.
type flow struct {
	to      netip.AddrPort
	secret  []byte
	silent  time.Duration // until when it is passed over
	pending map[byte]*request
	last    byte // identifier
}

// request is a request under way.
type request struct {
	id      ID
	flow    *flow
	packet  *codec.Packet // without Message-Authenticator, to be sealed anew for another server
	payload []byte
	tries   int
	wait    time.Duration
	at      time.Duration
	others  []*flow       // that may be tried after this one
	talk    *conversation // nil for accounting
}

// Client is the machine. After each call PollEvent and PollTransmit are drained; HandleTimeout is called at Deadline.
type Client struct {
	cfg             Config
	rand            io.Reader
	access, account []*flow
	flows           map[netip.AddrPort]*flow
	talks           map[ID]*conversation
	lastID          ID
	events          queue.FIFO[Event]
	transmits       queue.FIFO[Transmit]
}

// New makes a client. rand is the source of authenticators. Errors: ErrConfig.
func New(cfg Config, rand io.Reader) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, rand: rand, flows: make(map[netip.AddrPort]*flow), talks: make(map[ID]*conversation)}
	open := func(to netip.AddrPort, secret []byte) *flow {
		f := &flow{to: to, secret: append([]byte(nil), secret...), pending: make(map[byte]*request)}
		c.flows[to] = f
		return f
	}
	for _, s := range cfg.Servers {
		c.access = append(c.access, open(s.Address, s.Secret))
		if s.Accounting.IsValid() {
			c.account = append(c.account, open(s.Accounting, s.Secret))
		}
	}
	return c, nil
}

// base makes a request with what all have.
func (c *Client) base(code codec.Code) (*codec.Packet, error) {
	p := &codec.Packet{Code: code}
	if _, err := io.ReadFull(c.rand, p.Authenticator[:]); err != nil {
		return nil, fmt.Errorf("radius: %w", err)
	}
	add(p, attrNASIdentifier, []byte(c.cfg.Identifier))
	switch a := c.cfg.Address.Unmap(); {
	case a.Is4():
		add(p, attrNASIPAddress, a.AsSlice())
	case a.Is6():
		add(p, attrNASIPv6Address, a.AsSlice())
	}
	addInteger(p, attrNASPortType, portVirtual)
	return p, nil
}

// choose returns the flows in the order in which they are to be tried: those that are not known to be silent first.
func choose(now link.Instant, flows []*flow) []*flow {
	out := slices.Clone(flows)
	slices.SortStableFunc(out, func(a, b *flow) int {
		sa, sb := a.silent > now.Boot, b.silent > now.Boot
		switch {
		case sa == sb:
			return 0
		case sb:
			return -1
		default:
			return 1
		}
	})
	return out
}

// begin sends a request over the first of the flows that has an identifier free.
func (c *Client) begin(now link.Instant, r *request, flows []*flow) error {
	for i, f := range flows {
		id, ok := c.free(f)
		if !ok {
			continue
		}
		r.flow, r.others, r.tries, r.wait = f, flows[i+1:], 0, c.cfg.Initial
		r.packet.Identifier = id
		sealed := *r.packet
		sealed.Attributes = slices.Clone(r.packet.Attributes)
		b, err := seal(&sealed, f.secret)
		if err != nil {
			return err
		}
		r.payload, f.pending[id], f.last = b, r, id
		c.transmit(now, r)
		return nil
	}
	return fmt.Errorf("%w: %d at each server", ErrBusy, c.cfg.Outstanding)
}

// free returns an identifier that is not in use, the one that was free the longest.
func (c *Client) free(f *flow) (byte, bool) {
	if len(f.pending) >= c.cfg.Outstanding {
		return 0, false
	}
	for i := 1; i <= identifiers; i++ {
		if id := f.last + byte(i); f.pending[id] == nil {
			return id, true
		}
	}
	return 0, false
}

func (c *Client) transmit(now link.Instant, r *request) {
	r.tries++
	r.at = now.Boot + r.wait
	r.wait *= 2
	c.transmits.Push(Transmit{To: r.flow.to, Payload: append([]byte(nil), r.payload...)})
}

// Deadline returns the boot time of the earliest timer, false when there is none.
func (c *Client) Deadline() (at time.Duration, ok bool) {
	for _, f := range c.flows {
		for _, r := range f.pending {
			if !ok || r.at < at {
				at, ok = r.at, true
			}
		}
	}
	return at, ok
}

// HandleTimeout does what is due at now.
func (c *Client) HandleTimeout(now link.Instant) {
	for _, f := range slices.Concat(c.access, c.account) {
		for _, id := range slices.Sorted(maps.Keys(f.pending)) {
			if r := f.pending[id]; r.at <= now.Boot {
				c.overdue(now, r)
			}
		}
	}
}

// overdue repeats a request, or turns to the next server, or gives it up.
func (c *Client) overdue(now link.Instant, r *request) {
	if r.tries < c.cfg.Tries {
		c.transmit(now, r)
		return
	}
	r.flow.silent = now.Boot + c.cfg.Silent
	c.forget(r)
	err := fmt.Errorf("%w: the last was %v", ErrSilent, r.flow.to)
	if len(r.others) > 0 {
		if e := c.begin(now, r, r.others); e == nil {
			return
		}
	}
	if r.talk == nil {
		c.events.Push(Accounted{ID: r.id, Err: err})
		return
	}
	c.fail(r.talk, err)
}

func (c *Client) forget(r *request) {
	if r.flow.pending[r.packet.Identifier] == r {
		delete(r.flow.pending, r.packet.Identifier)
	}
}

// HandleDatagram takes a datagram from a server. An error says why it was rejected: ErrUnknown, ErrForged, ErrMalformed.
func (c *Client) HandleDatagram(now link.Instant, from netip.AddrPort, payload []byte) error {
	f := c.flows[from]
	if f == nil {
		f = c.flows[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
	}
	if f == nil || len(payload) < headerSize {
		return ErrUnknown
	}
	r := f.pending[payload[1]]
	if r == nil {
		return ErrUnknown
	}
	p, err := openResponse(payload, r.payload, f.secret, r.talk != nil)
	if err != nil {
		return err
	}
	if r.talk == nil {
		if p.Code != codec.CodeAccountingResponse {
			return fmt.Errorf("%w: want an Accounting-Response, found %v", ErrMalformed, p.Code)
		}
		c.events.Push(Accounted{ID: r.id})
	} else if err := c.answered(r.talk, p, f); err != nil {
		return err
	}
	f.silent = 0
	c.forget(r)
	return nil
}

// PollTransmit returns the next datagram to be sent.
func (c *Client) PollTransmit() (Transmit, bool) { return c.transmits.Pop() }

// PollEvent returns the next event.
func (c *Client) PollEvent() (Event, bool) { return c.events.Pop() }
