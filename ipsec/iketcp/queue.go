package iketcp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTooLong means that a message does not fit the Length field.
var ErrTooLong = errors.New("message too long for a TCP stream")

// ErrFull means that the queue has no room for a message of its kind.
var ErrFull = errors.New("the queue in front of the TCP stream is full")

// signalRoom is the room in octets for signalling: an IKE message of any length, and several of the usual ones.
const signalRoom = 2 * (LengthLen + MaxMessage)

// Queue holds messages in front of a stream, within bounds. What is signalling leaves before data that waits, so that IKE gets
// through while data stands in line. The loop is: Push, and write what Take returns.
type Queue struct {
	signals, data []byte
	room          int
}

// NewQueue makes a Queue with room for that many octets of data, Length fields included. originator has the stream begin
// with Prefix.
func NewQueue(originator bool, room int) *Queue {
	q := &Queue{room: room}
	if originator {
		q.signals = append(q.signals, Prefix...)
	}
	return q
}

// Push puts a copy of the message at the end of its kind's line. Errors: ErrTooLong, ErrFull; both change nothing.
func (q *Queue) Push(message []byte, signalling bool) error {
	n := LengthLen + len(message)
	if len(message) > MaxMessage {
		return fmt.Errorf("iketcp: %w: %d octets, want at most %d", ErrTooLong, len(message), MaxMessage)
	}
	line, room := &q.data, q.room
	if signalling {
		line, room = &q.signals, signalRoom
	}
	if len(*line)+n > room {
		return ErrFull
	}
	*line = append(binary.BigEndian.AppendUint16(*line, uint16(n)), message...) //nolint:gosec // at most 65535
	return nil
}

// Empty tells whether nothing waits.
func (q *Queue) Empty() bool { return len(q.signals)+len(q.data) == 0 }

// Take returns all that waits, whole messages in the order in which they are to be written, appended to b[:0], and
// empties the queue. Whoever takes writes it all: half a message would make the rest of the stream meaningless.
func (q *Queue) Take(b []byte) []byte {
	b = append(append(b[:0], q.signals...), q.data...)
	q.signals, q.data = q.signals[:0], q.data[:0]
	return b
}
