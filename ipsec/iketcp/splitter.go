package iketcp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Prefix is what the TCP Originator sends first on each connection, once (RFC 9329 §4).
const Prefix = "IKETCP"

// LengthLen is the length in octets of the Length field in front of each message; its value counts it (RFC 9329 §3).
const LengthLen = 2

// MaxMessage is the length in octets of the longest message.
const MaxMessage = 65535 - LengthLen

var (
	// ErrPrefix means that the stream does not begin with Prefix: it is for something else.
	ErrPrefix = errors.New("the stream does not begin with IKETCP")
	// ErrLength means that a Length field is 0 or 1: nothing that follows makes sense, and the connection must be closed.
	ErrLength = errors.New("the length of a message in the stream is impossible")
)

// Splitter makes messages of a stream. The loop is: read into Space, tell with Filled how much came, take messages from
// Next until there is none.
type Splitter struct {
	buf      []byte
	from, to int // what is there and not taken yet
	prefix   int // octets of the prefix that are still to come
	err      error
}

// NewSplitter makes a Splitter. originator tells which end sends the stream: only the TCP Originator's begins with Prefix.
func NewSplitter(originator bool) *Splitter {
	s := &Splitter{buf: make([]byte, 2*(LengthLen+MaxMessage))}
	if originator {
		s.prefix = len(Prefix)
	}
	return s
}

// Space returns where the next octets of the stream belong. It is never empty once Next has said that there is no message.
// What Next returned before is not valid any more.
func (s *Splitter) Space() []byte {
	if s.from == s.to {
		s.from, s.to = 0, 0
	}
	if len(s.buf)-s.to < len(s.buf)/2 { // half of it takes any message
		s.to = copy(s.buf, s.buf[s.from:s.to])
		s.from = 0
	}
	return s.buf[s.to:]
}

// Filled tells that n octets were put into Space.
func (s *Splitter) Filled(n int) { s.to += n }

// Next returns the next message, or false when more of the stream is needed. Empty messages are skipped (RFC 9329 §3). An
// error wraps ErrPrefix or ErrLength and ends the stream: the same error follows for ever.
func (s *Splitter) Next() ([]byte, bool, error) {
	if s.err != nil {
		return nil, false, s.err
	}
	for s.prefix > 0 && s.from < s.to {
		if c := s.buf[s.from]; c != Prefix[len(Prefix)-s.prefix] {
			s.err = fmt.Errorf("iketcp: %w: octet %d is %#02x", ErrPrefix, len(Prefix)-s.prefix, c)
			return nil, false, s.err
		}
		s.from++
		s.prefix--
	}
	for s.to-s.from >= LengthLen {
		n := int(binary.BigEndian.Uint16(s.buf[s.from:]))
		if n < LengthLen {
			s.err = fmt.Errorf("iketcp: %w: want at least %d, found %d", ErrLength, LengthLen, n)
			return nil, false, s.err
		}
		if s.to-s.from < n {
			break
		}
		message := s.buf[s.from+LengthLen : s.from+n : s.from+n]
		s.from += n
		if len(message) > 0 {
			return message, true, nil
		}
	}
	return nil, false, nil
}
