package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// trainInterval is the time between two trains of datagrams.
	trainInterval = 2 * time.Millisecond
	// headLen is what a datagram begins with: its number (8 octets) and the epoch it was sent in (4).
	headLen = 12
	// longest is the most octets of a datagram, which every mode carries without fragments, and mostInTrain the most
	// datagrams of a train.
	longest     = 1200
	mostInTrain = 40
)

// Socket is a UDP socket that is connected to the other end's.
type Socket interface {
	// SendTrain sends p as datagrams of size octets each, the last with what is left, in one call if the system can.
	SendTrain(p []byte, size int) error
	// Read reads one datagram. Errors that pass (an ICMP message) may be returned; what wraps net.ErrClosed ends reading.
	Read(p []byte) (int, error)
	// Close closes the socket.
	Close() error
}

// paths numbers the times during which the path stays the same. Odd numbers are changes.
type paths struct{ epoch atomic.Uint32 }

// changing says that the laptop begins to move.
func (p *paths) changing() { p.epoch.Or(1) }

// settled says that it has arrived, after changing, and returns the number of the time that begins.
func (p *paths) settled() uint32 { return p.epoch.Add(1) }

// Flow is what one direction of datagrams came to.
type Flow struct {
	// Sent counts datagrams given to the system, Refused those of trains that it did not take.
	Sent    int64 `json:"sent"`
	Refused int64 `json:"refused"`
	// Received counts those that arrived as they were sent, each once, Corrupted others, Duplicates further copies.
	Received   int64 `json:"received"`
	Corrupted  int64 `json:"corrupted"`
	Duplicates int64 `json:"duplicates"`
	// Late counts datagrams that came after one with a higher number, Reordered those of them where both were sent on one
	// path that did not change.
	Late      int64 `json:"late"`
	Reordered int64 `json:"reordered"`
}

// fill writes the octets of a datagram over p: number and epoch, then what follows from these and from the length.
func fill(p []byte, direction byte, number uint64, epoch uint32) {
	binary.BigEndian.PutUint64(p, number)
	binary.BigEndian.PutUint32(p[8:], epoch)
	state := number*0x9e3779b97f4a7c15 + bits.ReverseBytes64(uint64(epoch)) + uint64(direction)<<32 + uint64(len(p))
	var word [8]byte
	for p = p[headLen:]; len(p) > 0; p = p[copy(p, word[:]):] {
		state += 0x9e3779b97f4a7c15 // splitmix64
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(word[:], z^z>>31)
	}
}

// shooter sends the datagrams of one direction.
type shooter struct {
	socket    Socket
	direction byte
	paths     *paths
	rng       *rand.Rand
	sent      atomic.Int64
	refused   atomic.Int64
}

// run sends until stop is closed.
func (s *shooter) run(stop <-chan struct{}) {
	pace := time.NewTicker(trainInterval)
	defer pace.Stop()
	train := make([]byte, mostInTrain*longest)
	number := uint64(0)
	for {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		count, size := 1+s.rng.IntN(mostInTrain), 100+s.rng.IntN(longest-99)
		last := headLen + 8 + s.rng.IntN(size-headLen-7)
		epoch := s.paths.epoch.Load()
		p := train[:0]
		for i := range count {
			n := size
			if i == count-1 {
				n = last
			}
			at := len(p)
			p = train[:at+n]
			fill(p[at:], s.direction, number+uint64(i), epoch)
		}
		// A number is used once, whether the train was taken or not.
		number += uint64(count)
		if err := s.socket.SendTrain(p, size); err != nil {
			s.refused.Add(int64(count))
			continue
		}
		s.sent.Add(int64(count))
	}
}

// catcher judges the datagrams of one direction.
type catcher struct {
	socket    Socket
	direction byte

	mu      sync.Mutex
	flow    Flow
	seen    []uint64 // one bit a number
	highest uint64   // 1 + the highest number
	at      uint32   // its epoch
	inEpoch map[uint32]int64
	remarks []string
}

// mostRemarks is how many remarks are kept.
const mostRemarks = 10

func (c *catcher) remark(format string, args ...any) {
	if len(c.remarks) < mostRemarks {
		c.remarks = append(c.remarks, fmt.Sprintf(format, args...))
	}
}

// run reads until the socket is closed.
func (c *catcher) run() {
	buf := make([]byte, 1<<16)
	want := make([]byte, longest)
	for {
		n, err := c.socket.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			c.take(buf[:n], want)
		}
	}
}

// mostNumbers is the highest number that can have been sent, so that a corrupted one takes no memory.
const mostNumbers = 1 << 30

// take judges one datagram; want is memory for what it should have been.
func (c *catcher) take(p, want []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) < headLen+8 || len(p) > longest {
		c.flow.Corrupted++
		c.remark("a datagram of %d octets", len(p))
		return
	}
	number, epoch := binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:])
	fill(want[:len(p)], c.direction, number, epoch)
	if string(p) != string(want[:len(p)]) || number >= mostNumbers {
		c.flow.Corrupted++
		c.remark("a datagram of %d octets that begins with % x", len(p), p[:32])
		return
	}
	for uint64(len(c.seen))*64 <= number {
		c.seen = append(c.seen, 0)
	}
	if bit := uint64(1) << (number % 64); c.seen[number/64]&bit != 0 {
		c.flow.Duplicates++
		return
	} else {
		c.seen[number/64] |= bit
	}
	c.flow.Received++
	c.inEpoch[epoch]++
	if number+1 > c.highest {
		c.highest, c.at = number+1, epoch
		return
	}
	c.flow.Late++
	if epoch == c.at && epoch%2 == 0 {
		c.flow.Reordered++
		c.remark("datagram %d came after %d, both sent on path %d, as number %d of what came by it", number, c.highest-1, epoch/2-1, c.inEpoch[epoch])
	}
}

// received returns how many datagrams of an epoch have come.
func (c *catcher) received(epoch uint32) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inEpoch[epoch]
}

// result returns the counts, with what the shooter of the same direction has sent, and the remarks.
func (c *catcher) result(s *shooter) (Flow, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flow
	f.Sent, f.Refused = s.sent.Load(), s.refused.Load()
	return f, c.remarks
}
