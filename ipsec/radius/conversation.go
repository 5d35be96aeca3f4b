package radius

import (
	"fmt"

	codec "layeh.com/radius"

	"mipvpn/tun/link"
)

// conversation is one peer's EAP conversation with a server.
type conversation struct {
	id      ID
	user    string
	station string
	last    []byte // the peer's last message
	state   []byte // of the server's last challenge
	flow    *flow  // the server that has the state, nil before the first challenge
	pending *request
	chap    bool // CHAP in the place of EAP: one request and one answer
}

// EAP codes (RFC 3748 §4).
const (
	eapSuccess = 3
	eapFailure = 4
)

// Open begins a conversation about a user, whose outer address is station (Calling-Station-Id, may be empty). The
// driver sends the peer's first EAP message with Send: an EAP-Response of type Identity. Errors: ErrBusy, ErrTooLong.
func (c *Client) Open(user, station string) (ID, error) {
	if len(user) == 0 || len(user) > maxValue || len(station) > maxValue {
		return 0, fmt.Errorf("%w: want a user's name of 1 to %d octets, found %d, and a station of at most that, found %d", ErrTooLong, maxValue, len(user), len(station))
	}
	if len(c.talks) >= c.cfg.Conversations {
		return 0, fmt.Errorf("%w: %d conversations", ErrBusy, c.cfg.Conversations)
	}
	c.lastID++
	c.talks[c.lastID] = &conversation{id: c.lastID, user: user, station: station}
	return c.lastID, nil
}

// Close gives a conversation up. Unknown ones are passed over, so that it may be called after the end.
func (c *Client) Close(id ID) {
	if t := c.talks[id]; t != nil {
		c.end(t)
	}
}

func (c *Client) end(t *conversation) {
	if t.pending != nil {
		c.forget(t.pending)
	}
	delete(c.talks, t.id)
}

// Send passes an EAP message of the peer on. A challenge is answered at the server that made it; any server may take the
// first message. Errors: ErrUnknown, also while the server has not answered yet; ErrBusy; ErrTooLong. They leave the
// conversation as it was.
func (c *Client) Send(now link.Instant, id ID, message []byte) error {
	t := c.talks[id]
	if t == nil || t.pending != nil {
		return ErrUnknown
	}
	p, err := c.base(codec.CodeAccessRequest)
	if err != nil {
		return err
	}
	add(p, attrUserName, []byte(t.user))
	addInteger(p, attrServiceType, serviceFramed)
	addInteger(p, attrFramedMTU, framedMTU)
	if t.station != "" {
		add(p, attrCallingStationID, []byte(t.station))
	}
	if len(t.state) > 0 {
		add(p, attrState, t.state)
	}
	for rest := message; len(rest) > 0; rest = rest[min(len(rest), maxValue):] {
		add(p, attrEAPMessage, rest[:min(len(rest), maxValue)])
	}
	if n, err := codec.AttributesEncodedLen(p.Attributes); err != nil || headerSize+n+18 > codec.MaxPacketLength {
		return fmt.Errorf("%w: an EAP message of %d octets does not fit into a packet", ErrTooLong, len(message))
	}
	flows := choose(now, c.access)
	if t.flow != nil {
		flows = []*flow{t.flow}
	}
	r := &request{id: id, packet: p, talk: t}
	if err := c.begin(now, r, flows); err != nil {
		return err
	}
	t.last, t.pending = append([]byte(nil), message...), r
	return nil
}

// answered takes an authentic answer. An error means that it makes no sense and is passed over.
func (c *Client) answered(t *conversation, p *codec.Packet, f *flow) error {
	message := joined(p, attrEAPMessage)
	switch p.Code {
	case codec.CodeAccessChallenge:
		if t.chap {
			c.fail(t, fmt.Errorf("%w: it asks for more than CHAP", ErrRejected))
			return nil
		}
		if len(message) == 0 {
			return fmt.Errorf("%w: Access-Challenge without EAP-Message", ErrMalformed)
		}
		t.flow, t.pending, t.state = f, nil, nil
		if s, ok := p.Lookup(attrState); ok {
			t.state = append([]byte(nil), s...)
		}
		c.events.Push(Challenge{ID: t.id, Message: message})
	case codec.CodeAccessAccept:
		// An EAP-Failure in it would leave the ends of different minds (RFC 3579 §2.6.3).
		if len(message) > 0 && message[0] != eapSuccess {
			c.fail(t, fmt.Errorf("%w: Access-Accept with an EAP message of code %d", ErrMalformed, message[0]))
			return nil
		}
		msk, err := key(p, f.secret)
		if err != nil {
			c.fail(t, err)
			return nil
		}
		if len(message) == 0 {
			message = t.closing(eapSuccess)
		}
		c.end(t)
		c.events.Push(Accepted{ID: t.id, Message: message, MSK: msk, User: readUser(p)})
	case codec.CodeAccessReject:
		err := ErrRejected
		if text := plain(joined(p, attrReplyMessage)); text != "" {
			err = fmt.Errorf("%w (%s)", err, text)
		}
		c.fail(t, err)
	default:
		return fmt.Errorf("%w: want an answer to an Access-Request, found %v", ErrMalformed, p.Code)
	}
	return nil
}

// fail ends a conversation without success.
func (c *Client) fail(t *conversation, err error) {
	c.end(t)
	c.events.Push(Failed{ID: t.id, Message: t.closing(eapFailure), Err: err})
}

// closing makes the message at the end, which has the identifier of the peer's last response.
func (t *conversation) closing(code byte) []byte {
	var id byte
	if len(t.last) > 1 {
		id = t.last[1]
	}
	return []byte{code, id, 0, 4}
}
