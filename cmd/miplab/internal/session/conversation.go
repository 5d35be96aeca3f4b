package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	canaryLen = 16
	blockLen  = 32
	// recordLen is how many octets of a conversation are written at once, in one segment as a rule.
	recordLen = 1024
	// recordInterval is the pause between two records.
	recordInterval = 10 * time.Millisecond
)

// NewCanary returns a random canary of 16 octets.
func NewCanary() ([]byte, error) {
	c := make([]byte, canaryLen)
	if _, err := rand.Read(c); err != nil {
		return nil, fmt.Errorf("session: canary: %w", err)
	}
	return c, nil
}

// fill writes blocks with the canary over p, counting on from n.
func fill(p, canary []byte, n uint64) uint64 {
	var block [blockLen]byte
	copy(block[:], canary)
	for len(p) > 0 {
		binary.BigEndian.PutUint64(block[canaryLen:], n)
		binary.BigEndian.PutUint64(block[canaryLen+8:], mrand.Uint64())
		p = p[copy(p, block[:]):]
		n++
	}
	return n
}

// Conn is a connection as the conversation uses it: Close alone is not enough to end one side orderly.
type Conn interface {
	io.ReadWriteCloser
	// CloseWrite ends this side's sending; the other reads io.EOF behind the last octet.
	CloseWrite() error
}

// End is one end of the conversation: it sends its own stream, reads the other's, and hashes both.
type End struct {
	conn   Conn
	canary []byte
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup

	sent, received atomic.Int64
	sentHash       hash.Hash // owned by the sender until done
	receivedHash   hash.Hash // owned by the reader until done

	mu  sync.Mutex
	err error
}

// StartEnd begins to talk over conn.
func StartEnd(conn Conn, canary []byte) *End {
	e := &End{conn: conn, canary: canary, stop: make(chan struct{}), sentHash: sha256.New(), receivedHash: sha256.New()}
	e.done.Go(e.send)
	e.done.Go(e.receive)
	return e
}

// Stop makes the end finish its stream after the present record.
func (e *End) Stop() { e.once.Do(func() { close(e.stop) }) }

// Wait waits until both directions have ended and returns the first error of either.
func (e *End) Wait() error {
	e.done.Wait()
	return errors.Join(e.Err(), e.conn.Close())
}

// Abort breaks the connection off, so that Wait returns.
func (e *End) Abort() {
	e.Stop()
	e.conn.Close()
}

// Err returns the error that broke the session, nil while it lives or has ended in order.
func (e *End) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *End) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

// Sent and Received return the octets so far.
func (e *End) Sent() int64 { return e.sent.Load() }

// Received returns the octets read so far.
func (e *End) Received() int64 { return e.received.Load() }

func (e *End) send() {
	pace := time.NewTicker(recordInterval)
	defer pace.Stop()
	record := make([]byte, recordLen)
	var count uint64
	for {
		select {
		case <-e.stop:
			if err := e.conn.CloseWrite(); err != nil {
				e.fail(fmt.Errorf("session: ending the stream: %w", err))
			}
			return
		case <-pace.C:
		}
		count = fill(record, e.canary, count)
		n, err := e.conn.Write(record)
		e.sentHash.Write(record[:n])
		e.sent.Add(int64(n))
		if err != nil {
			e.fail(fmt.Errorf("session: sending after %d octets: %w", e.Sent(), err))
			return
		}
	}
}

func (e *End) receive() {
	buf := make([]byte, 64*1024)
	for {
		n, err := e.conn.Read(buf)
		e.receivedHash.Write(buf[:n])
		e.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			e.fail(fmt.Errorf("session: receiving after %d octets: %w", e.Received(), err))
			return
		}
	}
}

// Report is what came of a conversation.
type Report struct {
	// Sent and Received are octets, seen from the near end (the laptop).
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
	// SentHash and ReceivedHash are SHA-256 in hexadecimal of what the near end sent and received.
	SentHash     string `json:"sent_sha256"`
	ReceivedHash string `json:"received_sha256"`
	// Intact means that the far end has seen exactly the same octets in both directions.
	Intact bool `json:"intact"`
}

// Compare makes the report of two ends that have ended.
func Compare(near, far *End) Report {
	up, down := near.sentHash.Sum(nil), near.receivedHash.Sum(nil)
	return Report{
		Sent: near.Sent(), Received: near.Received(),
		SentHash: hex.EncodeToString(up), ReceivedHash: hex.EncodeToString(down),
		Intact: string(up) == string(far.receivedHash.Sum(nil)) && string(down) == string(far.sentHash.Sum(nil)) &&
			near.Sent() == far.Received() && near.Received() == far.Sent(),
	}
}
