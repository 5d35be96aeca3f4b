package eap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// maxName bounds names in octets, own ones and the other end's (RFC 2759 §8.1; RFC 7542 §2.2 would allow 253).
const maxName = 256

// peer is the conversation of a peer, or of one inside a tunnel.
type peer struct {
	cfg   *PeerConfig
	talk  *talk
	carry func(message []byte) ([]byte, error)
	// request is the last request, which the next response answers.
	request Packet
	inside  bool // in a tunnel: no other tunnel in it
}

// run is the whole conversation.
func (p *peer) run() Finished {
	msk, err := p.converse()
	f := Finished{MSK: msk, Err: err}
	if !special(p.request.Type) {
		f.Method = p.request.Type
	}
	return f
}

// converse answers requests until one is for a method that may be used, and has that do the rest.
func (p *peer) converse() ([]byte, error) {
	var response []byte
	for {
		if err := p.next(response); err != nil {
			return nil, err
		}
		var err error
		switch t := p.request.Type; {
		case p.request.Code == Success:
			return nil, ErrEarlySuccess
		case t == TypeIdentity:
			response, err = p.answer([]byte(p.cfg.Identity))
		case t == TypeNak:
			return nil, fmt.Errorf("%w: a Nak from the server", ErrUnexpected)
		case p.method(t) == nil:
			response, err = p.nak()
		default:
			return p.method(t)(p.request.Data)
		}
		if err != nil {
			return nil, err
		}
	}
}

// method returns what runs a method, nil when it may not be used.
func (p *peer) method(t Type) func(first []byte) ([]byte, error) {
	if !slices.Contains(p.methods(), t) {
		return nil
	}
	switch t {
	case TypeMSCHAPv2:
		return p.mschapv2
	case TypeTLS:
		return p.tls
	case TypeTTLS:
		return p.ttls
	default:
		return nil
	}
}

func (p *peer) methods() []Type {
	if p.inside {
		return []Type{TypeMSCHAPv2}
	}
	return p.cfg.Methods
}

// next sends a response, if there is one, and takes the server's next request or its EAP-Success; notifications are
// acknowledged on the way (RFC 3748 §5.2).
func (p *peer) next(response []byte) error {
	for {
		b, err := p.carry(response)
		if err != nil {
			return err
		}
		in, err := Parse(b)
		if err != nil {
			return err
		}
		switch {
		case in.Code == Failure:
			return ErrRejected
		case in.Code == Response:
			return fmt.Errorf("%w: a Response from the server", ErrUnexpected)
		case in.Code == Success:
			p.request.Code = Success
			return nil
		case in.Type != TypeNotification:
			p.request = in
			return nil
		}
		p.talk.events.Push(Notified{Text: plain(in.Data)})
		if response, err = (Packet{Code: Response, Identifier: in.Identifier, Type: TypeNotification, Expanded: in.Expanded}).Marshal(); err != nil {
			return err
		}
	}
}

// answer returns a response to the request in its type.
func (p *peer) answer(data []byte) ([]byte, error) {
	return Packet{Code: Response, Identifier: p.request.Identifier, Type: p.request.Type, Expanded: p.request.Expanded, Data: data}.Marshal()
}

// nak refuses the method of the request and says which ones may be used (RFC 3748 §5.3).
func (p *peer) nak() ([]byte, error) {
	out := Packet{Code: Response, Identifier: p.request.Identifier, Type: TypeNak, Expanded: p.request.Expanded}
	for _, t := range p.methods() {
		if out.Expanded {
			out.Data = binary.BigEndian.AppendUint32(append(out.Data, byte(TypeExpanded), 0, 0, 0), uint32(t))
		} else {
			out.Data = append(out.Data, byte(t))
		}
	}
	return out.Marshal()
}

// exchange answers the request of a method and returns the data of its next one; success means that the server sent
// EAP-Success in its place, which is for the method to judge. Another method in between is an error: once one has begun no
// other may follow (RFC 3748 §2.1).
func (p *peer) exchange(data []byte) (next []byte, success bool, err error) {
	method := p.request.Type
	response, err := p.answer(data)
	if err != nil {
		return nil, false, err
	}
	if err := p.next(response); err != nil {
		return nil, false, err
	}
	if p.request.Code == Success {
		return nil, true, nil
	}
	if p.request.Type != method {
		found := p.request.Type
		p.request.Type = method
		return nil, false, fmt.Errorf("%w: %v has begun, but the server asks for %v", ErrUnexpected, method, found)
	}
	return p.request.Data, false, nil
}

// finish sends the method's last response, after which only EAP-Success may come.
func (p *peer) finish(data []byte) error {
	_, success, err := p.exchange(data)
	if err == nil && !success {
		err = fmt.Errorf("%w: want EAP-Success, found another request of %v", ErrUnexpected, p.request.Type)
	}
	return err
}

// fail tells the server why this end gives up, and returns cause whatever it answers.
func (p *peer) fail(data []byte, cause error) error {
	if _, _, err := p.exchange(data); errors.Is(err, ErrClosed) {
		return err
	}
	return cause
}

// special tells whether a type is none of a method.
func special(t Type) bool { return t <= TypeNak }
