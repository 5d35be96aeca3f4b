package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/stack/simnet"
)

const (
	// simulatedPort is the correspondent's port for echoes.
	simulatedPort = 7200
	// arrival is how long a change may take, in virtual time: the detection period, IKE, and registrations.
	arrival = time.Minute
	// lingering is the least that the first interface stays after the second one has taken over, longer than anything is on its
	// way to it; staying is the most that it stays beyond that; leaving what is observed after it
	// has gone, simulatedTail the end of that which is left out: what was sent last is still on its way.
	lingering, staying, leaving, simulatedTail = 400 * time.Millisecond, 3 * time.Second, 800 * time.Millisecond, 400 * time.Millisecond
)

// network is a network of the simulated lab that the laptop can be in.
type network struct {
	wire   *simnet.Wire
	mode   string
	inside bool
}

// simulation is one simulated lab in which changes are made.
type simulation struct {
	seed     uint64
	rng      *rand.Rand
	world    *e2e.World
	networks []network
	// preferred is eth0, the wired interface; other is wlan0.
	preferred, other *simnet.NIC
	// at says where each interface is, nil for nowhere.
	at     map[*simnet.NIC]*network
	echo   *simnet.UDPConn
	result Simulated

	mu    sync.Mutex
	heard map[uint64]bool // what got to the correspondent, by sequence number
}

// Simulate makes so many changes with make before break on a simulated network, where all chances follow from the seed: the
// networks, their latencies, the moments of change. Each time an interface comes up in a network that is better than the
// present one, because the interface is preferred or because it is inside; once it has taken over, the first one goes. It
// must be called in a testing/synctest bubble. The error is for what kept the changes from being made; losses stand in the
// result.
func Simulate(seed uint64, changes int) (_ Simulated, err error) {
	s := &simulation{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x4a0d)), at: map[*simnet.NIC]*network{}, result: Simulated{Modes: map[string]int{}}}
	s.world, err = e2e.NewWorld(e2e.Options{Seed: seed, Lab: s.impair})
	if err != nil {
		return s.result, err
	}
	w := s.world
	defer func() { err = errors.Join(err, w.Close()) }()
	s.preferred, s.other = w.Eth0, w.Wlan0
	s.networks = []network{
		{w.Office, "c", true}, {w.OfficeFA, "f", true}, {w.Cafe, "cvc", false}, {w.Hotspot, "fvc", false},
	}
	if s.echo, err = w.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, simulatedPort)); err != nil {
		return s.result, err
	}
	var answering sync.WaitGroup
	answering.Go(s.answer)
	defer answering.Wait()
	defer s.echo.Close()
	for s.result.Changes < changes {
		if err := s.next(); err != nil {
			return s.result, fmt.Errorf("handoff: seed %d, change %d: %w", seed, s.result.Changes, err)
		}
	}
	s.result.Virtual = w.Elapsed().Seconds()
	return s.result, nil
}

// impair gives each wire a latency of its own.
func (s *simulation) impair(l *simnet.Lab) {
	for wire, most := range map[*simnet.Wire]time.Duration{
		l.Core: time.Millisecond, l.Office: 3 * time.Millisecond, l.OfficeFA: 3 * time.Millisecond, l.Internet: 40 * time.Millisecond,
		l.Cafe: 10 * time.Millisecond, l.Hotspot: 10 * time.Millisecond,
	} {
		// The order of a map must not decide what follows from the seed.
		chance := rand.New(rand.NewPCG(s.seed, uint64(len(wire.Name()))<<8|uint64(wire.Name()[0])))
		latency := 100*time.Microsecond + time.Duration(chance.Int64N(int64(most)))
		wire.Impair(simnet.Impairment{Latency: latency, Jitter: latency / 4})
	}
}

// answer sends back what comes, and remembers it.
func (s *simulation) answer() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.echo.ReadFromAddrPort(buf)
		if err != nil {
			return
		}
		if n >= 8 {
			s.mu.Lock()
			s.heard[binary.BigEndian.Uint64(buf)] = true
			s.mu.Unlock()
		}
		s.echo.WriteToAddrPort(buf[:n], from) // what does not come back is what is counted
	}
}

// next makes the next change that is possible from where the laptop is; where none is, it brings the laptop elsewhere first,
// which is not counted.
func (s *simulation) next() error {
	if here := s.at[s.other]; here != nil {
		return s.change(s.preferred, s.other, s.better(here, true))
	}
	if here := s.at[s.preferred]; here != nil && !here.inside && s.rng.IntN(2) == 0 {
		return s.change(s.other, s.preferred, s.better(here, false))
	}
	s.plug(s.preferred, nil)
	s.plug(s.other, &s.networks[s.rng.IntN(len(s.networks))])
	return s.await(s.other)
}

// better picks a network that takes over from the present one: direct access takes over from the VPN; otherwise an interface
// does that is preferred.
func (s *simulation) better(here *network, preferred bool) *network {
	var all []*network
	for i := range s.networks {
		n := &s.networks[i]
		if n.inside && !here.inside || preferred && n.inside == here.inside {
			all = append(all, n)
		}
	}
	return all[s.rng.IntN(len(all))]
}

// plug puts an interface into a network, or nowhere.
func (s *simulation) plug(c *simnet.NIC, n *network) {
	if s.at[c] != nil {
		s.world.Unplug(c)
	}
	if s.at[c] = n; n != nil {
		s.world.Plug(c, n.wire)
	}
}

// await waits until the interface carries the traffic in the mode of its network.
func (s *simulation) await(c *simnet.NIC) error {
	mode := s.at[c].mode
	_, err := s.world.Until(arrival, func(st control.Status) bool {
		return st.State == control.StateConnected && st.Mode == mode && st.Interface == c.Name()
	})
	return err
}

// random returns a duration up to the most.
func (s *simulation) random(most time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(most)))
}

// change has an interface come up in a network and take over from another one, which goes later.
func (s *simulation) change(up, down *simnet.NIC, to *network) error {
	what := s.at[down].mode + " to " + to.mode
	s.mu.Lock()
	s.heard = map[uint64]bool{}
	s.mu.Unlock()
	conn, err := s.world.Laptop.DialUDP(netip.AddrPortFrom(simnet.LabHomeAddress, 0), netip.AddrPortFrom(simnet.LabCorrespondent, simulatedPort))
	if err != nil {
		return err
	}
	began := time.Now()
	stream := session.StartStream(conn, make([]byte, 16))
	defer stream.Close()
	time.Sleep(200*time.Millisecond + s.random(50*time.Millisecond))
	s.plug(up, to)
	if err := s.await(up); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	time.Sleep(lingering + s.random(staying))
	s.plug(down, nil)
	time.Sleep(leaving)
	f := stream.Between(began, time.Now().Add(-simulatedTail))
	lostUp := 0
	s.mu.Lock()
	for n := range f.Sent {
		if !s.heard[uint64(n)] {
			lostUp++
		}
	}
	s.mu.Unlock()
	r := Simulated{Changes: 1, Modes: map[string]int{what: 1}, Sent: f.Sent, Lost: f.Lost, LostUp: lostUp}
	if f.Lost > 0 {
		r.Losses = []string{fmt.Sprintf("seed %d, change %d, %s from %s to %s: %d of %d lost, %d of them on the way up", s.seed, s.result.Changes, what, down.Name(), up.Name(),
			f.Lost, f.Sent, lostUp)}
	}
	s.result.Add(r)
	return nil
}

// Split divides changes among simulations, as evenly as can be, none with more than the most.
func Split(changes, most int) []int {
	n := (changes + most - 1) / most
	out := make([]int, n)
	for i := range out {
		out[i] = changes / n
		if i < changes%n {
			out[i]++
		}
	}
	return slices.DeleteFunc(out, func(c int) bool { return c == 0 })
}
