package stack

import (
	"encoding/binary"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const testFlows = 7

// numbered is a TUN device whose host sends numbered packets of several flows, batch by batch, until it is told to stop.
type numbered struct {
	feeder
	template []byte
	stop     atomic.Bool
	next     [testFlows]uint32
	sent     int
	reads    atomic.Int64
}

// Read implements link.Device.
func (d *numbered) Read(b *packet.Batch) error {
	if d.stop.Load() {
		return net.ErrClosed
	}
	d.reads.Add(1)
	for i := range 1 + d.sent%batchOf {
		flow := uint32(i % testFlows)
		d.next[flow]++
		p := packet.From(d.template)
		binary.BigEndian.PutUint32(p.Bytes()[packet.IPv4Len:], flow)
		binary.BigEndian.PutUint32(p.Bytes()[packet.IPv4Len+4:], d.next[flow])
		b.Append(p)
		d.sent++
	}
	return nil
}

// order looks at the numbered packets that leave, whichever pipeline they leave through.
type order struct {
	t    *testing.T
	mu   sync.Mutex
	last [testFlows]uint32
	n    int
}

func (o *order) take(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
	flow, n := binary.BigEndian.Uint32(p[packet.IPv4Len:]), binary.BigEndian.Uint32(p[packet.IPv4Len+4:])
	if flow >= testFlows || n <= o.last[flow] {
		o.t.Errorf("packet %d of flow %d left after packet %d", n, flow, o.last[flow])
		return
	}
	o.last[flow] = n
}

// Changes of the pipeline under traffic, with and without a hold, between a plaintext mode and one with a VPN: each flow
// keeps its order, and what does not leave is counted. Run it under the race detector and with -tags packetdebug.
func TestSwapUnderTraffic(t *testing.T) {
	o := &order{t: t}
	inside, outside := compose(t, composition{ModeC, false}, suite.AESGCM128), compose(t, composition{ModeCVC, true}, suite.AESGCM128)
	inside.wire.each = o.take
	outside.wire.each = func(s []byte) {
		p, err := outside.opened(s)
		if err != nil {
			t.Error(err)
			return
		}
		o.take(p)
	}
	var drops packet.Drops
	d := &numbered{template: from(home.String(), 100)}
	e := NewEngine(d, &clock{}, home, &drops)
	e.Swap(inside.pipeline)
	done := make(chan error)
	go func() { done <- e.Run() }()
	const rounds = 150
	// meanwhile lets the host send n batches.
	meanwhile := func(n int) {
		for until := d.reads.Load() + int64(n); d.reads.Load() < until; {
			runtime.Gosched()
		}
	}
	for i := range rounds {
		if i%3 != 0 {
			e.Hold()
			meanwhile(i % 4)
		}
		switch i % 5 {
		case 4:
			e.Swap(nil)
		case 1, 3:
			e.Swap(outside.pipeline)
		default:
			e.Swap(inside.pipeline)
		}
		meanwhile(i % 3)
	}
	d.stop.Store(true)
	check(t, <-done)
	e.Swap(inside.pipeline)
	dropped := uint64(0)
	for _, n := range []map[string]uint64{drops.Snapshot(), inside.drops.Snapshot(), outside.drops.Snapshot()} {
		for _, k := range n {
			dropped += k
		}
	}
	if uint64(d.sent) != uint64(o.n)+dropped {
		t.Errorf("the host sent %d packets, %d left and %d were counted as dropped", d.sent, o.n, dropped)
	}
	if traffic := e.Traffic(); traffic.TxPackets != uint64(o.n) {
		t.Errorf("%d packets left, the engine counts %d", o.n, traffic.TxPackets)
	}
	if inside.wire.packets == 0 || outside.wire.packets == 0 {
		t.Errorf("%d packets left inside and %d outside: nothing has been swapped", inside.wire.packets, outside.wire.packets)
	}
	t.Logf("%d packets, %d dropped without a pipeline", d.sent, dropped)
}

// sender is a function as a link.Sender.
type sender func(*packet.Batch) error

// Send implements link.Sender.
func (f sender) Send(b *packet.Batch) error { return f(b) }

var _ link.Sender = sender(nil)

// A packet that comes while those that have waited are being sent goes after them.
func TestWhatWaitedGoesFirst(t *testing.T) {
	var drops packet.Drops
	e := newEngine(&device{}, &clock{}, &drops)
	e.Hold()
	e.send(one(from(home.String(), 60)))
	var s sink
	later := make(chan struct{})
	var once sync.Once
	e.Swap(pipeline(sender(func(b *packet.Batch) error {
		once.Do(func() { // a slow send: the host goes on sending meanwhile
			go func() {
				e.send(one(from(home.String(), 61)))
				close(later)
			}()
			for range 10000 {
				runtime.Gosched()
			}
		})
		return s.Send(b)
	})))
	<-later
	if len(s.sent) != 2 || len(s.sent[0]) != 60 || len(s.sent[1]) != 61 {
		t.Errorf("%d packets sent, the first of %d octets, want the one of 60 that has waited", len(s.sent), len(s.sent[0]))
	}
}
