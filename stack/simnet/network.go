package simnet

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Errors of hosts' sockets. They are wrapped with what was being done.
var (
	// ErrNoRoute: no route leads to the destination.
	ErrNoRoute = errors.New("no route to host")
	// ErrLinkDown: the interface has no carrier or no longer has the address that is asked for.
	ErrLinkDown = errors.New("link is down")
	// ErrPortTaken: another socket has the port.
	ErrPortTaken = errors.New("port is taken")
	// ErrTooBig: the packet exceeds the MTU and may not be fragmented.
	ErrTooBig = fmt.Errorf("simnet: %w", link.ErrTooBig)
	// ErrNotFound: no interface or device has that index or name.
	ErrNotFound = errors.New("not found")
)

// Network is a simulated network: wires, hosts and the loop that moves frames between them.
type Network struct {
	seed  uint64
	start time.Time

	mu     sync.Mutex
	events eventHeap
	seq    uint64
	hosts  []*Host
	wires  []*Wire
	calls  []call
	closed bool

	wake    chan struct{}
	done    chan struct{}
	stopped chan struct{}
	loopID  uint64
}

// New returns an empty network and starts its loop. All its chances follow from the seed.
func New(seed uint64) *Network {
	n := &Network{
		seed: seed, start: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}), stopped: make(chan struct{}),
	}
	ready := make(chan struct{})
	go n.loop(ready)
	<-ready
	return n
}

// Close stops the loop and ends all blocked reads and writes of devices and sockets with net.ErrClosed. It must not be
// called from a Receiver. Taps have seen every frame when it returns, and nothing moves any more.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		<-n.stopped
		return nil
	}
	n.closed = true
	for len(n.events) > 0 {
		if e := heap.Pop(&n.events).(*event); e.tap {
			e.run()
		}
	}
	for _, h := range n.hosts {
		h.shutdown()
	}
	n.mu.Unlock()
	close(n.done)
	<-n.stopped
	return nil
}

// Elapsed returns the network's time: how long it has existed.
func (n *Network) Elapsed() time.Duration { return time.Since(n.start) }

// After calls f from the loop, without the mutex, when d has passed: for scenarios. f must not block. The function
// returned takes it back.
func (n *Network) After(d time.Duration, f func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.at(n.now()+d, 0, func() { n.calls = append(n.calls, call{run: f}) })
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cancel(e)
	}
}

// Wire returns the wire of that name, nil when there is none.
func (n *Network) Wire(name string) *Wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		if w.name == name {
			return w
		}
	}
	return nil
}

// Host returns the host of that name, nil when there is none.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

func (n *Network) now() time.Duration { return time.Since(n.start) }

// random returns a generator whose numbers follow from the seed and the name.
func (n *Network) random(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

// poke makes the loop look at its events again.
func (n *Network) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// callee is something that the loop calls without the mutex and that can be closed.
type callee struct {
	closed bool
	busy   chan struct{} // not nil while the loop is in a call
}

// call is a function that the loop is to call without the mutex, either run, or recv with the batch.
type call struct {
	to    *callee
	recv  func(*packet.Batch)
	batch *packet.Batch
	run   func()
}

// deliver queues p for recv. Packets for one callee that follow one another become one batch.
func (n *Network) deliver(to *callee, recv func(*packet.Batch), p *packet.Buf) {
	if k := len(n.calls); k > 0 {
		if last := n.calls[k-1]; last.to == to && last.batch.Len() < packet.BatchSize {
			last.batch.Append(p)
			return
		}
	}
	n.calls = append(n.calls, call{to: to, recv: recv, batch: packet.One(p)})
}

// retire ends calls to c. It waits for one that is going on, except when it is called from it.
func (n *Network) retire(c *callee) {
	n.mu.Lock()
	c.closed = true
	busy := c.busy
	n.mu.Unlock()
	if busy != nil && goroutineID() != n.loopID {
		<-busy
	}
}

// maxRun is how many events the loop runs before it makes the calls that they have led to.
const maxRun = 256

func (n *Network) loop(ready chan<- struct{}) {
	defer close(n.stopped)
	n.loopID = goroutineID()
	close(ready)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n.mu.Lock()
		now := n.now()
		for i := 0; i < maxRun && !n.closed && len(n.events) > 0 && n.events[0].at <= now; i++ {
			heap.Pop(&n.events).(*event).run()
		}
		calls := n.calls
		n.calls = nil
		wait := time.Hour
		if len(n.events) > 0 {
			wait = n.events[0].at - now
		}
		n.mu.Unlock()
		for _, c := range calls {
			n.call(c)
		}
		if len(calls) > 0 {
			wait = 0 // the calls may have queued more
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-n.done:
			return
		default:
		}
		if wait <= 0 {
			continue
		}
		select {
		case <-n.done:
			return
		case <-n.wake:
		case <-timer.C:
		}
	}
}

// call makes one call without the mutex.
func (n *Network) call(c call) {
	if c.to == nil {
		c.run()
		return
	}
	n.mu.Lock()
	if c.to.closed || n.closed {
		n.mu.Unlock()
		c.batch.Release()
		return
	}
	busy := make(chan struct{})
	c.to.busy = busy
	n.mu.Unlock()
	c.recv(c.batch)
	n.mu.Lock()
	c.to.busy = nil
	n.mu.Unlock()
	close(busy)
}

// goroutineID returns the number of the calling goroutine, as its stack trace begins with it ("goroutine 12 [running").
// It only serves to see that a receiver closes its own flow.
func goroutineID() uint64 {
	var b [64]byte
	s := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		s = s[:i]
	}
	id, err := strconv.ParseUint(string(s), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("simnet: a stack trace begins with %q, not with a goroutine's number", s))
	}
	return id
}
