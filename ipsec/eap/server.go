package eap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// server is the conversation of a server, or of one inside a tunnel.
type server struct {
	cfg      *ServerConfig
	talk     *talk
	carry    func(message []byte) ([]byte, error)
	id       uint8
	method   Type
	identity string
	begun    bool // the peer has agreed to the method
	inside   bool // in a tunnel: no other tunnel in it
}

// run is the whole conversation.
func (s *server) run() Finished {
	msk, identity, err := s.converse()
	f := Finished{MSK: msk, Method: s.method, Identity: identity, Err: err}
	if errors.Is(err, ErrClosed) {
		return f
	}
	code := Success
	if err != nil {
		code, f.MSK, f.Identity = Failure, nil, ""
	}
	f.Message = []byte{byte(code), s.id, 0, headerSize}
	return f
}

func (s *server) converse() (msk []byte, identity string, err error) {
	var first [1]byte
	if _, err := io.ReadFull(s.cfg.Rand, first[:]); err != nil {
		return nil, "", fmt.Errorf("eap: %w", err)
	}
	s.id, s.identity = first[0], s.cfg.Identity
	if s.cfg.AskIdentity || s.inside {
		s.method = TypeIdentity
		b, err := s.exchange(nil)
		if err != nil {
			return nil, "", err
		}
		if len(b) > maxName {
			return nil, "", fmt.Errorf("%w: identity: want at most %d octets, found %d", ErrMalformed, maxName, len(b))
		}
		s.identity = string(b)
	}
	left := slices.Clone(s.cfg.Methods)
	if s.inside {
		left = []Type{TypeMSCHAPv2}
	}
	for len(left) > 0 {
		s.method, s.begun = left[0], false
		msk, identity, err := s.start(s.method)
		var nak *nakError
		if !errors.As(err, &nak) {
			return msk, identity, err
		}
		// Of what is left only what the peer takes too, in its order.
		s.id++
		left = slices.DeleteFunc(nak.wanted, func(t Type) bool { return !slices.Contains(left[1:], t) })
	}
	return nil, "", ErrMethod
}

func (s *server) start(t Type) (msk []byte, identity string, err error) {
	switch t {
	case TypeMSCHAPv2:
		return s.mschapv2()
	case TypeTLS:
		return s.tls()
	default:
		return s.ttls()
	}
}

// nakError says that the peer refuses the method and which ones it takes.
type nakError struct{ wanted []Type }

func (e *nakError) Error() string { return fmt.Sprintf("%v: the peer takes %v", ErrMethod, e.wanted) }
func (e *nakError) Unwrap() error { return ErrMethod }

// exchange sends a request of the method, with a new identifier, and returns the data of the response.
func (s *server) exchange(data []byte) ([]byte, error) {
	s.id++
	request, err := Packet{Code: Request, Identifier: s.id, Type: s.method, Data: data}.Marshal()
	if err != nil {
		return nil, err
	}
	b, err := s.carry(request)
	if err != nil {
		return nil, err
	}
	in, err := Parse(b)
	switch {
	case err != nil:
		return nil, err
	case in.Code != Response:
		return nil, fmt.Errorf("%w: want a Response, found %v", ErrUnexpected, in.Code)
	case in.Identifier != s.id:
		return nil, fmt.Errorf("%w: want identifier %d, found %d", ErrUnexpected, s.id, in.Identifier)
	case in.Type == TypeNak && !s.begun && !special(s.method):
		return nil, parseNak(in)
	case in.Type != s.method:
		return nil, fmt.Errorf("%w: want a response of %v, found %v", ErrUnexpected, s.method, in.Type)
	}
	s.begun = true
	return in.Data, nil
}

// maxNak bounds the methods that are read of a Nak.
const maxNak = 32

// parseNak reads what a Nak lists (RFC 3748 §5.3.1, §5.3.2). No method, or 0, means that none will do.
func parseNak(in Packet) error {
	out := &nakError{}
	if !in.Expanded {
		for _, t := range in.Data[:min(len(in.Data), maxNak)] {
			out.wanted = append(out.wanted, Type(t))
		}
		return out
	}
	if len(in.Data)%expandedSize != 0 {
		return fmt.Errorf("%w: Expanded Nak: want entries of %d octets, found %d", ErrMalformed, expandedSize, len(in.Data))
	}
	for i := 0; i < len(in.Data) && i < maxNak*expandedSize; i += expandedSize {
		e := in.Data[i:]
		if t := binary.BigEndian.Uint32(e[4:]); e[0] == byte(TypeExpanded) && e[1]|e[2]|e[3] == 0 && t < uint32(TypeExpanded) {
			out.wanted = append(out.wanted, Type(t))
		}
	}
	return out
}
