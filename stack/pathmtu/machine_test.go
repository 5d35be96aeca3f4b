package pathmtu

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	home  = netip.MustParseAddr("10.0.8.100")
	agent = netip.MustParseAddr("10.0.1.10")
)

const (
	overhead = 117 // of cvc
	most     = 1380
)

// stream is a source of numbers that are always the same.
type stream struct{ sum [32]byte }

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		s.sum = sha256.Sum256(s.sum[:])
		p[i] = s.sum[0]
	}
	return len(p), nil
}

// arrival is an answer, or a router's message, on its way back.
type arrival struct {
	at   time.Duration
	ip   packet.IPv4
	hint int
}

type arrivals []arrival

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i].at < a[j].at }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)        { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// road is a path with an i-HA at its end, and the machine that measures it, in virtual time.
type road struct {
	t      testing.TB
	m      *Machine
	now    link.Instant
	mtu    int           // of the network below, outermost header included
	rtt    time.Duration // there and back
	honest bool          // routers send ICMP messages
	deaf   bool          // nothing is answered
	lose   func(size int) bool
	back   arrivals
	events []Event
	sizes  []int
	force  []change
}

// change is a change of the size in force.
type change struct {
	at  time.Duration
	mtu int
}

func newRoad(t testing.TB, mtu int) *road {
	m, err := NewMachine(DefaultConfig, &stream{})
	if err != nil {
		t.Fatal(err)
	}
	return &road{t: t, m: m, mtu: mtu, rtt: 40 * time.Millisecond, now: link.Instant{Boot: time.Hour}}
}

func (r *road) start() {
	r.t.Helper()
	if err := r.m.Start(r.now, Path{Home: home, Agent: agent, Max: most, Overhead: overhead}); err != nil {
		r.t.Fatal(err)
	}
	r.drain()
}

// drain carries what the machine has to say.
func (r *road) drain() {
	r.t.Helper()
	for p, ok := r.m.PollTransmit(); ok; p, ok = r.m.PollTransmit() {
		ip := packet.IPv4(p)
		if !ip.Valid() || !ip.ChecksumOK() || !ip.DontFragment() || ip.Src() != home || ip.Dst() != agent || ip.TotalLen() != len(p) {
			r.t.Fatalf("probe %x", p[:28])
		}
		if i := slices.IndexFunc(p[36:], func(b byte) bool { return b != 0 }); i >= 0 {
			r.t.Fatalf("octet %d of a probe's padding is not zero", i)
		}
		r.sizes = append(r.sizes, len(p))
		switch {
		case r.deaf || r.lose != nil && r.lose(len(p)):
		case len(p)+overhead > r.mtu:
			if r.honest {
				heap.Push(&r.back, arrival{at: r.now.Boot + r.rtt/2, hint: r.mtu - overhead})
			}
		default:
			b := packet.From(p)
			if !tunnel.AnswerEcho(b, agent) {
				r.t.Fatal("the i-HA takes a probe for something else")
			}
			heap.Push(&r.back, arrival{at: r.now.Boot + r.rtt, ip: bytes.Clone(b.Bytes())})
			b.Release()
		}
	}
	for e, ok := r.m.PollEvent(); ok; e, ok = r.m.PollEvent() {
		r.events = append(r.events, e)
	}
	if n := len(r.force); n == 0 || r.force[n-1].mtu != r.m.MTU() {
		r.force = append(r.force, change{r.now.Boot, r.m.MTU()})
	}
}

// run lets time pass.
func (r *road) run(d time.Duration) {
	r.t.Helper()
	end := r.now.Boot + d
	for steps := 0; ; steps++ {
		if steps > 10000 {
			r.t.Fatal("the machine does not come to rest")
		}
		next, armed := r.m.Deadline()
		at := end
		if armed && next < at {
			at = max(next, r.now.Boot)
		}
		if len(r.back) > 0 && r.back[0].at < at {
			at = r.back[0].at
		}
		r.now = r.now.Add(at - r.now.Boot)
		if len(r.back) > 0 && r.back[0].at <= at {
			a := heap.Pop(&r.back).(arrival)
			if a.ip != nil {
				r.m.HandleAnswer(r.now, a.ip)
			} else {
				r.m.HandleHint(r.now, a.hint)
			}
			r.drain()
			continue
		}
		if armed && next <= at {
			r.m.HandleTimeout(r.now)
			r.drain()
			continue
		}
		if at >= end {
			return
		}
	}
}

// fits is the largest size that the search can find for the network's MTU.
func fits(mtu int) int {
	size := DefaultConfig.Floor - overhead
	for _, r := range rungs {
		if r <= mtu {
			size = r - overhead
		}
	}
	if most+overhead <= mtu {
		size = most
	}
	return size
}

// within fails unless no size above the network's was in force later than d after since, and want is in force now.
func (r *road) within(since, d time.Duration, want int) {
	r.t.Helper()
	for i, c := range r.force {
		last := i+1 == len(r.force) || r.force[i+1].at > since+d
		if last && c.mtu+overhead > r.mtu {
			r.t.Errorf("%v after the change %d octets are in force, %d get through", d, c.mtu, r.mtu-overhead)
			break
		}
	}
	if got := r.m.MTU(); got != want {
		r.t.Errorf("%d octets in force in the end, want %d (state %v)", got, want, r.m.State())
	}
}

// Shows: HST-4 (path MTU probing: RFC 8899 §5.2, from floor to interface, with routers that are silent about it and with
// such as are not)
func TestFindsThePathMTU(t *testing.T) {
	for _, honest := range []bool{false, true} {
		for _, mtu := range []int{576, 600, 1006, 1100, 1280, 1300, 1340, 1399, 1400, 1472, 1480, 1491, 1492, 1496, 1497, 1500, 9000} {
			t.Run(fmt.Sprintf("%d/honest=%t", mtu, honest), func(t *testing.T) {
				r := newRoad(t, mtu)
				r.honest = honest
				r.start()
				since := r.now.Boot
				r.run(time.Minute)
				want, limit := fits(mtu), 7*r.rtt+2*patienceLeast
				if honest && mtu < most+overhead {
					want = mtu - overhead // to the octet
				}
				if mtu < DefaultConfig.Base {
					limit = time.Second + r.rtt // the base size must be given up first
					if !honest {
						limit = 3*time.Second + r.rtt
					}
				}
				r.within(since, limit, want)
				if r.m.State() != Complete {
					t.Errorf("state %v", r.m.State())
				}
				if mtu >= most+overhead && len(r.sizes) != 2 {
					t.Errorf("%d probes on a path that is wide enough, want 2", len(r.sizes))
				}
				if len(r.sizes) > 20 {
					t.Errorf("%d probes", len(r.sizes))
				}
				last := r.force[len(r.force)-1]
				t.Logf("%d probes %v; %d octets after %v", len(r.sizes), r.sizes, last.mtu, last.at-since)
				if n := len(r.sizes); len(r.sizes) > 0 {
					r.run(time.Hour)
					if len(r.sizes) != n {
						t.Errorf("%d probes in an idle hour", len(r.sizes)-n)
					}
				}
			})
		}
	}
}

// Probes that are lost for other reasons than their size do not narrow a path (RFC 8899 §3, item 4): with every tenth lost
// each way the full size is found nearly always, and no size under the base is ever taken.
func TestLossIsNotTakenForAnMTU(t *testing.T) {
	full := 0
	for seed := range 200 {
		r := newRoad(t, 1500)
		rng := rand.New(rand.NewPCG(1, uint64(seed)))
		r.lose = func(int) bool { return rng.Float64() < 0.19 }
		r.start()
		r.run(2 * time.Minute)
		if r.m.MTU() == most {
			full++
		}
		if r.m.State() == Complete && r.m.MTU() < DefaultConfig.Base-overhead {
			t.Errorf("seed %d: %d octets in the end", seed, r.m.MTU())
		}
	}
	if full < 180 {
		t.Errorf("the full size was found %d times of 200", full)
	}
}

// Shows: HST-4 (a path that becomes narrower without a sign is noticed while long packets are sent, and a wider one found
// again)
func TestBlackHole(t *testing.T) {
	r := newRoad(t, 1500)
	r.start()
	r.run(time.Second)
	if r.m.MTU() != most || r.m.Statistics().Probes != 2 {
		t.Fatalf("%d octets, %d probes", r.m.MTU(), r.m.Statistics().Probes)
	}
	r.mtu = 1400
	r.run(10 * time.Minute)
	if r.m.Statistics().Probes != 2 {
		t.Fatal("an idle path is probed")
	}
	since := r.now.Boot
	for i := range uint64(60) { // as TCP sends lost segments again
		r.m.HandleTraffic(100+i, 50+i/4)
		r.run(time.Second)
	}
	r.within(since, 3*DefaultConfig.Confirm/2+3*DefaultConfig.Timeout, 1400-overhead)
	if r.m.Statistics().BlackHoles != 1 {
		t.Errorf("%+v", r.m.Statistics())
	}
	r.mtu = 1500
	r.m.HandleTraffic(200, 50)
	r.run(DefaultConfig.Raise + time.Minute)
	if r.m.MTU() != most {
		t.Errorf("%d octets after the raise timer", r.m.MTU())
	}
}

// Short packets alone confirm nothing: they get through anyway.
func TestConfirmsOnlyWhileLongPacketsAreSent(t *testing.T) {
	r := newRoad(t, 1500)
	r.start()
	r.run(time.Second)
	for i := range uint64(60) {
		r.m.HandleTraffic(i*1000, 0)
		r.run(time.Minute)
	}
	if n := r.m.Statistics().Probes; n != 2 {
		t.Errorf("%d probes", n)
	}
	r.m.HandleTraffic(0, 1) // once
	r.run(10 * DefaultConfig.Confirm)
	if n := r.m.Statistics().Probes; n != 2 {
		t.Errorf("%d probes after a single long packet", n)
	}
	for i := range uint64(40) {
		r.m.HandleTraffic(i, i+2)
		r.run(DefaultConfig.Confirm / 10)
	}
	if n := r.m.Statistics().Probes; n < 5 || n > 6 {
		t.Errorf("%d probes with long packets all the time, want one in %v", n, DefaultConfig.Confirm)
	}
	if r.m.MTU() != most {
		t.Errorf("%d octets", r.m.MTU())
	}
}

// Shows: HST-4 (forged "fragmentation needed" is a hint at most: it never lowers what counts, nor below the floor)
func TestForgedHints(t *testing.T) {
	for _, size := range []int{0, 1, 68 - overhead, 100, 459, 600, 1100, 1379} {
		r := newRoad(t, 1500)
		r.start()
		r.run(time.Second)
		for range 600 { // ten a second
			r.m.HandleHint(r.now, size)
			r.drain()
			r.run(100 * time.Millisecond)
		}
		for _, c := range r.force {
			if c.mtu != most {
				t.Errorf("a hint of %d makes it %d octets", size, c.mtu)
			}
		}
		s := r.m.Statistics()
		if s.Probes > 2+3*7 {
			t.Errorf("600 hints of %d cause %d probes", size, s.Probes)
		}
		if slices.Min(r.sizes) < DefaultConfig.Floor-overhead {
			t.Errorf("a hint of %d causes a probe of %d octets", size, slices.Min(r.sizes))
		}
	}
	// While a path is being measured, too.
	r := newRoad(t, 1500)
	r.start()
	for range 1000 {
		r.m.HandleHint(r.now, 300)
		r.drain()
		r.run(time.Millisecond)
	}
	r.run(time.Minute)
	if r.m.MTU() != most || len(r.sizes) > 8 {
		t.Errorf("%d octets after %d probes", r.m.MTU(), len(r.sizes))
	}
}

// An honest hint in a quiet time leads to the new size within a few round trips.
func TestHonestHint(t *testing.T) {
	r := newRoad(t, 1500)
	r.honest = true
	r.start()
	r.run(time.Second)
	r.mtu = 1420
	since := r.now.Boot
	r.m.HandleHint(r.now, 1420-overhead)
	r.drain()
	r.run(time.Minute)
	r.within(since, 6*r.rtt+2*patienceLeast, 1420-overhead)
}

// Shows: HST-4 (an i-HA that answers no probe: the base size counts, and is tried again while there is traffic)
func TestUnanswered(t *testing.T) {
	r := newRoad(t, 1500)
	r.deaf = true
	r.start()
	r.run(time.Minute)
	if r.m.State() != Unanswered || r.m.MTU() != DefaultConfig.Base-overhead {
		t.Fatalf("state %v, %d octets", r.m.State(), r.m.MTU())
	}
	n := len(r.sizes)
	r.run(time.Hour)
	if len(r.sizes) != n || n != 6 {
		t.Errorf("%d probes, %d in an idle hour", n, len(r.sizes)-n)
	}
	r.m.HandleTraffic(1, 0)
	r.deaf = false
	r.run(DefaultConfig.Raise)
	if r.m.State() != Complete || r.m.MTU() != most {
		t.Errorf("state %v, %d octets", r.m.State(), r.m.MTU())
	}
}

// An answer that is late counts, whatever has been decided meanwhile.
func TestLateAnswers(t *testing.T) {
	r := newRoad(t, 1500)
	r.rtt = 2500 * time.Millisecond // over PROBE_TIMER
	r.start()
	r.run(2 * time.Minute)
	if r.m.State() != Complete || r.m.MTU() != most {
		t.Errorf("state %v, %d octets", r.m.State(), r.m.MTU())
	}
	r = newRoad(t, 1500)
	r.rtt = 10 * time.Second // when everything has been given up
	r.start()
	r.run(5 * time.Minute)
	if r.m.State() != Complete || r.m.MTU() != most {
		t.Errorf("state %v, %d octets", r.m.State(), r.m.MTU())
	}
}

// The interface refuses what is too long for it at once.
func TestRefusedProbes(t *testing.T) {
	r := newRoad(t, 1500)
	r.start()
	r.run(r.rtt) // the base is answered, the largest size is out
	r.m.HandleRefused(r.now, most)
	r.drain()
	r.mtu = 1400
	since := r.now.Boot
	r.run(time.Minute)
	r.within(since, 2*r.rtt, 1400-overhead)
}

// Shows: HST-4 (a probe is sent a round trip after the one before at the earliest: RFC 8899 §3, item 7)
func TestProbesAreARoundTripApart(t *testing.T) {
	for _, mtu := range []int{576, 1280, 1420, 1500} {
		r := newRoad(t, mtu)
		r.honest = true
		r.start()
		last, n := r.now.Boot, len(r.sizes)
		for range 10000 {
			r.run(time.Millisecond)
			if len(r.sizes) == n {
				continue
			}
			if len(r.sizes) > n+1 || r.now.Boot-last < r.rtt {
				t.Fatalf("MTU %d: %d probes %v after the one before", mtu, len(r.sizes)-n, r.now.Boot-last)
			}
			last, n = r.now.Boot, len(r.sizes)
		}
	}
}

func TestStrangeAnswersAreIgnored(t *testing.T) {
	m, err := NewMachine(DefaultConfig, &stream{})
	if err != nil {
		t.Fatal(err)
	}
	now := link.Instant{Boot: time.Hour}
	if m.HandleAnswer(now, nil) {
		t.Error("an idle machine takes an answer")
	}
	if err := m.Start(now, Path{Home: home, Agent: agent, Max: most, Overhead: overhead}); err != nil {
		t.Fatal(err)
	}
	p, ok := m.PollTransmit()
	if !ok {
		t.Fatal("no probe")
	}
	b := packet.From(p)
	defer b.Release()
	tunnel.AnswerEcho(b, agent)
	right := bytes.Clone(b.Bytes())
	for name, change := range map[string]func(packet.IPv4){
		"from somebody else": func(p packet.IPv4) { p[15]++ },
		"to somebody else":   func(p packet.IPv4) { p[19]++ },
		"a fragment":         func(p packet.IPv4) { p[6] |= 0x20 },
		"a request":          func(p packet.IPv4) { p[20] = 8 },
		"a code":             func(p packet.IPv4) { p[21] = 1 },
		"another identifier": func(p packet.IPv4) { p[24]++ },
		"another number":     func(p packet.IPv4) { p[27]++ },
		"another token":      func(p packet.IPv4) { p[30]++ },
		"UDP":                func(p packet.IPv4) { p[9] = 17 },
	} {
		wrong := packet.IPv4(bytes.Clone(right))
		change(wrong)
		binary.BigEndian.PutUint16(wrong[22:], 0)
		binary.BigEndian.PutUint16(wrong[22:], packet.Checksum(wrong[20:], 0))
		if m.HandleAnswer(now, wrong) {
			t.Errorf("%s: taken", name)
		}
	}
	damaged := packet.IPv4(bytes.Clone(right))
	damaged[100] ^= 1
	if m.HandleAnswer(now, damaged) {
		t.Error("damaged: taken")
	}
	if !m.HandleAnswer(now, right) || m.HandleAnswer(now, right) {
		t.Error("the right answer counts once")
	}
}

func TestErrors(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no floor":         func(c *Config) { c.Floor = 0 },
		"floor over base":  func(c *Config) { c.Floor = 1400 },
		"a short timeout":  func(c *Config) { c.Timeout = time.Millisecond },
		"no probes":        func(c *Config) { c.Probes = 0 },
		"no confirmation":  func(c *Config) { c.Confirm = 0 },
		"raise by confirm": func(c *Config) { c.Raise = time.Second },
	} {
		cfg := DefaultConfig
		change(&cfg)
		if _, err := NewMachine(cfg, &stream{}); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := NewMachine(DefaultConfig, &stream{})
	if err != nil {
		t.Fatal(err)
	}
	now := link.Instant{Boot: time.Hour}
	for _, p := range []Path{{}, {Home: home, Agent: agent, Max: 67}, {Home: home, Agent: agent, Max: 1 << 17}, {Home: home, Agent: agent, Max: 1380, Overhead: -1}} {
		if err := m.Start(now, p); !errors.Is(err, ErrConfig) || m.MTU() != 0 || m.State() != Idle {
			t.Errorf("%+v: %v, state %v", p, err, m.State())
		}
		if _, armed := m.Deadline(); armed {
			t.Errorf("%+v: a timer runs", p)
		}
	}
	m, err = NewMachine(DefaultConfig, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(now, Path{Home: home, Agent: agent, Max: most}); !errors.Is(err, io.EOF) || !errors.Is(m.Err(), io.EOF) {
		t.Errorf("no random numbers: %v, %v", err, m.Err())
	}
}

// An interface narrower than the base, or even than the floor, is measured at what it has.
func TestNarrowInterfaces(t *testing.T) {
	for _, max := range []int{68, 300, 576 - overhead, 1000, 1163} {
		r := newRoad(t, max+overhead)
		if err := r.m.Start(r.now, Path{Home: home, Agent: agent, Max: max, Overhead: overhead}); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.run(time.Minute)
		if r.m.MTU() != max || r.m.State() != Complete || len(r.sizes) != 1 {
			t.Errorf("%d: %d octets, state %v, %d probes", max, r.m.MTU(), r.m.State(), len(r.sizes))
		}
	}
}

// FuzzMachine drives the machine with any order of inputs: it never panics, never leaves its bounds, and always has a
// deadline while it has a path and is not done.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, uint16(1400))
	f.Add([]byte{1, 1, 1, 1, 0, 0, 0, 7, 7, 2, 2, 9, 9}, uint16(700))
	f.Fuzz(func(t *testing.T, steps []byte, mtu uint16) {
		r := newRoad(t, int(mtu))
		r.start()
		for i, s := range steps[:min(len(steps), 300)] {
			switch s % 8 {
			case 0:
				r.run(time.Duration(s) * time.Millisecond)
			case 1:
				r.run(time.Duration(s) * time.Second / 8)
			case 2:
				r.m.HandleHint(r.now, int(s)*8)
			case 3:
				r.deaf = !r.deaf
			case 4:
				r.mtu = int(s) * 8
			case 5:
				r.m.HandleTraffic(uint64(i), uint64(i))
			case 6:
				r.m.HandleRefused(r.now, r.m.target)
			case 7:
				r.honest = !r.honest
			}
			r.drain()
			if got := r.m.MTU(); got > most || got < DefaultConfig.Floor-overhead {
				t.Fatalf("%d octets in force", got)
			}
			if _, armed := r.m.Deadline(); !armed && r.m.State() != Complete {
				t.Fatalf("no deadline in state %v", r.m.State())
			}
		}
	})
}
