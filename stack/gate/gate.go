package gate

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/detect/location"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrNotOpened is returned by Open for a proof that must not open the gate: zero, expired, from the future or of an epoch
// that has gone by.
var ErrNotOpened = errors.New("gate: not opened")

// entry is what the gate knows of one interface. Entries are never changed, only replaced.
type entry struct {
	iface  int
	epoch  uint64         // the newest epoch heard of; older ones never pass again
	proof  location.Proof // zero: closed
	ahead  time.Duration  // how far boot time had run ahead when the proof came (awake)
	reason string         // why it is closed
}

// Gate lets plaintext pass, by interface and epoch.
type Gate struct {
	clock   link.Clock
	lived   func() time.Duration    // nil: sleeps are not watched
	kernel  link.PlaintextPermit    // holds the same line below; called under mu
	mu      sync.Mutex              // held by writers of entries
	entries atomic.Pointer[[]entry] // at most one for each interface
	last    atomic.Int64            // age of the proof when plaintext last passed, in nanoseconds
	most    atomic.Int64            // greatest such age
}

// New returns a closed gate that reads the time, of which only Boot counts, from clock, and has the kernel hold the same
// line: plaintext is permitted there before the gate opens, until the proof expires, and forbidden when the gate has closed.
func New(clock link.Clock, kernel link.PlaintextPermit) *Gate {
	g := &Gate{clock: clock, kernel: kernel}
	g.entries.Store(&[]entry{})
	return g
}

// Open lets plaintext pass on the proof's interface in the proof's epoch until the proof expires. An older proof than the
// one that the gate has is no error and changes nothing. The error wraps ErrNotOpened.
func (g *Gate) Open(p location.Proof) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now().Boot
	if !p.Live(now) {
		return fmt.Errorf("%w: proof of interface %d sent at %v, valid until %v, is not live at %v", ErrNotOpened,
			p.Interface(), p.SentAt(), p.Expires(), now)
	}
	e := g.find(p.Interface())
	if e != nil && p.Epoch() < e.epoch {
		return fmt.Errorf("%w: proof of interface %d for epoch %d, the present one is %d", ErrNotOpened, p.Interface(),
			p.Epoch(), e.epoch)
	}
	if e != nil && p.Epoch() == e.epoch && p.SentAt() < e.proof.SentAt() {
		return nil
	}
	if err := g.kernel.Permit(p.Interface(), p.Expires()); err != nil {
		return fmt.Errorf("%w: interface %d: the kernel: %w", ErrNotOpened, p.Interface(), err)
	}
	g.replace(entry{iface: p.Interface(), epoch: p.Epoch(), proof: p, ahead: g.awake()})
	return nil
}

// Enter tells that a new epoch of the interface has begun: what was proven is void at once, and no proof of an earlier
// epoch opens the gate again (DET-2). An epoch that is not newer than the present one changes nothing.
func (g *Gate) Enter(iface int, epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.find(iface); e == nil || e.epoch < epoch {
		g.replace(entry{iface: iface, epoch: epoch, reason: "a new connection has not been proven to be inside"})
	}
}

// Close stops plaintext on one interface at once (DET-12). A later proof opens it again.
func (g *Gate) Close(iface int, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.find(iface); e != nil {
		g.replace(entry{iface: iface, epoch: e.epoch, reason: reason})
	}
}

// CloseAll stops plaintext on every interface at once.
func (g *Gate) CloseAll(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range *g.entries.Load() {
		g.replace(entry{iface: e.iface, epoch: e.epoch, reason: reason})
	}
}

// Allows reports whether plaintext may pass now on this interface in this epoch.
func (g *Gate) Allows(iface int, epoch uint64) bool {
	_, ok := g.age(iface, epoch)
	return ok
}

// Exposure returns the age of the proof when a plaintext batch last passed a guard, and the greatest such age ever; both
// are 0 while none has passed. The age counts from the sending of the request that the proof answers.
func (g *Gate) Exposure() (last, greatest time.Duration) {
	return time.Duration(g.last.Load()), time.Duration(g.most.Load())
}

// State is what the gate does on one interface.
type State struct {
	// Interface is the interface's index and Epoch the newest epoch that the gate has heard of.
	Interface int
	Epoch     uint64
	// Open says whether plaintext passes now.
	Open bool
	// Age is the age of the proof and Remaining the time that it still lasts; both 0 while closed.
	Age, Remaining time.Duration
	// Reason says why the gate is closed; empty while open.
	Reason string
}

// States returns the state of each interface that the gate has heard of, in the order of their indices.
func (g *Gate) States() []State {
	now := g.clock.Now().Boot
	entries := *g.entries.Load()
	states := make([]State, 0, len(entries))
	for _, e := range entries {
		s := State{Interface: e.iface, Epoch: e.epoch, Reason: e.reason}
		if e.proof.Live(now) && !g.slept(&e, now) {
			s.Open, s.Age, s.Remaining = true, now-e.proof.SentAt(), e.proof.Expires()-now
		} else if e.proof.Live(now) {
			s.Reason = "the host has slept since the proof"
		} else if !e.proof.IsZero() {
			s.Reason = "the proof has expired"
		}
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b State) int { return a.Interface - b.Interface })
	return states
}

// age returns the age of the live proof for this interface and epoch, and false when there is none.
func (g *Gate) age(iface int, epoch uint64) (time.Duration, bool) {
	for _, e := range *g.entries.Load() {
		if e.iface == iface && e.epoch == epoch && !e.proof.IsZero() {
			now := g.clock.Now().Boot
			return now - e.proof.SentAt(), e.proof.Live(now) && !g.slept(&e, now)
		}
	}
	return 0, false
}

// pass is age for packets that go on if it says so: it also counts the exposure.
func (g *Gate) pass(iface int, epoch uint64) bool {
	age, ok := g.age(iface, epoch)
	if !ok {
		return false
	}
	g.last.Store(int64(age))
	for {
		most := g.most.Load()
		if int64(age) <= most || g.most.CompareAndSwap(most, int64(age)) {
			return true
		}
	}
}

// find returns the entry of the interface, nil without one. The caller holds mu.
func (g *Gate) find(iface int) *entry {
	entries := *g.entries.Load()
	for i := range entries {
		if entries[i].iface == iface {
			return &entries[i]
		}
	}
	return nil
}

// replace puts e in the place of the entry of its interface. The caller holds mu. When the kernel cannot be told of a
// closing its permit ends with the proof, and nothing is sent to it that it could let out.
func (g *Gate) replace(e entry) {
	old := g.find(e.iface)
	next := slices.DeleteFunc(slices.Clone(*g.entries.Load()), func(o entry) bool { return o.iface == e.iface })
	next = append(next, e)
	g.entries.Store(&next)
	if old != nil && !old.proof.IsZero() && e.proof.IsZero() {
		_ = g.kernel.Forbid(e.iface)
	}
}

// Guard returns a sender that passes a batch on to next while the gate allows plaintext on the interface in the epoch, and
// drops it, counted as DropGateClosed, otherwise. It belongs directly in front of the underlay: whatever waited in queues
// before is judged by the time of sending.
func (g *Gate) Guard(iface int, epoch uint64, next link.Sender, drops *packet.Drops) link.Sender {
	return &guard{gate: g, iface: iface, epoch: epoch, next: next, drops: drops}
}

// GuardReceiver is Guard for what arrives in the clear: no user packet is let in either without a live proof (DET-4).
func (g *Gate) GuardReceiver(iface int, epoch uint64, next link.Receiver, drops *packet.Drops) link.Receiver {
	return func(b *packet.Batch) {
		if !g.pass(iface, epoch) {
			b.Drop(drops, packet.DropGateClosed)
			return
		}
		next(b)
	}
}

type guard struct {
	gate  *Gate
	iface int
	epoch uint64
	next  link.Sender
	drops *packet.Drops
}

// Send implements link.Sender. A closed gate is no error: the packets are dropped and counted.
func (s *guard) Send(b *packet.Batch) error {
	if !s.gate.pass(s.iface, s.epoch) {
		b.Drop(s.drops, packet.DropGateClosed)
		return nil
	}
	return s.next.Send(b)
}
