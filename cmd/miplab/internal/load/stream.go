package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"mipvpn/cmd/miplab/internal/session"
)

// blockLen is how many octets of a stream are made, written or read at once.
const blockLen = 256 << 10

// source returns the octets of one direction's stream, from the first on.
func source(seed uint64, direction byte) *rand.ChaCha8 {
	key := [32]byte{0: direction}
	binary.BigEndian.PutUint64(key[8:], seed)
	return rand.NewChaCha8(key)
}

// end is one end of the TCP connection.
type end struct {
	conn     session.Conn
	out, in  *rand.ChaCha8
	name     string
	stop     atomic.Bool
	done     sync.WaitGroup
	sent     atomic.Int64
	received atomic.Int64
	wrong    atomic.Int64 // octets received that are not those at their position
	first    atomic.Int64 // 1 + the position of the first of them

	mu  sync.Mutex
	err error
}

// startEnd begins to send and to read. out and in are the directions of what it sends and reads.
func startEnd(name string, conn session.Conn, seed uint64, out, in byte) *end {
	e := &end{name: name, conn: conn, out: source(seed, out), in: source(seed, in)}
	e.done.Go(func() { e.fail("sending", e.send()) })
	e.done.Go(func() { e.fail("receiving", e.receive()) })
	return e
}

func (e *end) fail(what string, err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = fmt.Errorf("load: %s at the %s after %d octets sent and %d received: %w", what, e.name, e.sent.Load(), e.received.Load(), err)
	}
}

// Err returns what broke the connection.
func (e *end) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *end) send() error {
	block := make([]byte, blockLen)
	for !e.stop.Load() {
		e.out.Read(block)
		for left := block; len(left) > 0; {
			n, err := e.conn.Write(left)
			e.sent.Add(int64(n))
			left = left[n:]
			if err != nil {
				return err
			}
		}
	}
	return e.conn.CloseWrite()
}

// receive compares what comes with what belongs there. A wrong octet does not shift those after it.
func (e *end) receive() error {
	got, want := make([]byte, blockLen), make([]byte, blockLen)
	for {
		n, err := e.conn.Read(got)
		e.in.Read(want[:n])
		if string(got[:n]) != string(want[:n]) {
			for i := range n {
				if got[i] != want[i] {
					e.first.CompareAndSwap(0, 1+e.received.Load()+int64(i))
					e.wrong.Add(1)
				}
			}
		}
		e.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
