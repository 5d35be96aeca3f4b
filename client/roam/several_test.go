package roam

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/link"
)

// later returns the instant d after t0.
func later(d time.Duration) link.Instant { return t0.Add(d) }

// verdictAt gives the verdict for the present epoch at a time.
func verdictAt(m *Machine, now link.Instant, index int, v Verdict) {
	m.HandleVerdict(now, index, m.epochOf(index), v, v.String())
}

// wakeUp plays HandleTimeout at the machine's deadline and returns that instant.
func wakeUp(t *testing.T, m *Machine) link.Instant {
	t.Helper()
	at, armed := m.Deadline()
	if !armed {
		t.Fatal("nothing is due")
	}
	now := link.Instant{Boot: at}
	m.HandleTimeout(now)
	return now
}

// The second interface joins the race when the first is silent, and not before.
//
// Shows: DET-1, MOD-prefer
func TestRace(t *testing.T) {
	m := New(Config{})
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5"), wireless("192.168.1.5")})
	m.Start(t0)
	expect(t, m, "epoch eth0", "epoch wlan0", "attempt eth0")
	m.HandleTimeout(later(RaceDelay - 1))
	expect(t, m)
	if now := wakeUp(t, m); now != (link.Instant{Boot: t0.Boot + RaceDelay}) {
		t.Errorf("woken at %v", now.Boot)
	}
	expect(t, m, "attempt wlan0 S")
	verdict(m, 3, TentativelyOutside)
	verdict(m, 3, Outside)
	expect(t, m, "use 3 cvc")
	// The wired one answers at last.
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c", "abandon 3")
}

// Ethernet outside and Wi-Fi inside: while the detection period of the wired interface runs, the other is asked whether it is
// inside, and direct access wins over the preferred interface.
//
// Shows: MOD-prefer
func TestDirectAccessThroughTheOtherInterface(t *testing.T) {
	m := started(wired("192.168.1.5"), wireless("10.0.2.5"))
	verdict(m, 2, TentativelyOutside)
	expect(t, m, "attempt wlan0 probe S")
	verdict(m, 3, Inside)
	expect(t, m, "use 3 c")
	verdict(m, 2, Outside) // its race was still on, since it is the preferred one
	expect(t, m, "abandon 2", "keep 3")
	// The wireless one goes away: back to the wired one.
	m.HandleSnapshot(t0, []link.Interface{wired("192.168.1.5")})
	expect(t, m, "hold", "abandon 3", "epoch wlan0 gone", "attempt eth0")
}

// A probe that asked the i-HA alone becomes a race when the path beside it is lost.
func TestProbeBecomesARace(t *testing.T) {
	m := started(wired("192.168.1.5"), wireless("10.0.2.5"))
	verdict(m, 2, TentativelyOutside)
	expect(t, m, "attempt wlan0 probe S")
	down := wired("")
	down.Up = false
	m.HandleSnapshot(t0, []link.Interface{down, wireless("10.0.2.5")})
	expect(t, m, "abandon 2", "epoch eth0 relinked", "attempt wlan0")
	verdict(m, 3, Outside)
	expect(t, m, "use 3 cvc")
}

// Outside, the other interface is probed once an epoch, again after Config.Probe, and not at all where the i-HA keeps one
// binding only.
//
// Shows: MOD-prefer, DET-9
func TestProbesOfTheSecondInterface(t *testing.T) {
	begin := func(alone bool) *Machine {
		m := New(Config{Probe: 10 * time.Minute})
		m.HandleSimultaneous(!alone)
		m.HandleSnapshot(t0, []link.Interface{wired("192.168.1.5")})
		m.Start(t0)
		verdict(m, 2, Outside)
		m.HandleSnapshot(t0, []link.Interface{wired("192.168.1.5"), wireless("10.0.2.5")})
		return m
	}
	m := begin(false)
	expect(t, m, "epoch eth0", "attempt eth0", "use 2 cvc", "epoch wlan0", "attempt wlan0 probe S")
	verdict(m, 3, Unreachable)
	expect(t, m, "abandon 3", "keep 2")
	if now := wakeUp(t, m); now.Boot != t0.Boot+10*time.Minute {
		t.Errorf("probed again after %v", now.Boot-t0.Boot)
	}
	expect(t, m, "attempt wlan0 probe S")
	// What carried the traffic is lost: no waiting then.
	verdict(m, 3, Unreachable)
	expect(t, m, "abandon 3", "keep 2")
	m.HandleSnapshot(t0, []link.Interface{wireless("10.0.2.5")})
	expect(t, m, "hold", "abandon 2", "epoch eth0 gone", "attempt wlan0")

	m = begin(true)
	expect(t, m, "epoch eth0", "attempt eth0", "use 2 cvc", "epoch wlan0")
}

// A preferred interface that is dead is tried again, more and more seldom, and what is in use stays.
func TestDeadPreferredInterface(t *testing.T) {
	m := started(wireless("192.168.1.5"))
	m.HandleVPN(t0, true)
	verdict(m, 3, Outside)
	m.HandleSnapshot(t0, []link.Interface{wireless("192.168.1.5"), wired("10.0.2.5")})
	expect(t, m, "use 3 cvc", "epoch eth0", "attempt eth0 S")
	now := t0
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600} {
		verdictAt(m, now, 2, Unreachable)
		expect(t, m, "abandon 2", "keep 3")
		next := wakeUp(t, m)
		if wait := next.Boot - now.Boot; wait != want*time.Second {
			t.Fatalf("tried again after %v, want %ds", wait, want)
		}
		expect(t, m, "attempt eth0 S")
		now = next
	}
}

// Shows: MOD-prefer
func TestConfiguredOrder(t *testing.T) {
	m := New(Config{Prefer: []string{"wlan*"}})
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5"), wireless("10.0.2.6")})
	m.Start(t0)
	expect(t, m, "epoch eth0", "epoch wlan0", "attempt wlan0")
	verdict(m, 3, Inside)
	expect(t, m, "use 3 c")
	// Gone and back: the wired one is used meanwhile, and left again.
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5")})
	verdict(m, 2, Inside)
	expect(t, m, "hold", "abandon 3", "epoch wlan0 gone", "attempt eth0", "use 2 c fallback")
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5"), wireless("10.0.2.6")})
	expect(t, m, "epoch wlan0", "attempt wlan0 probe S")
	verdict(m, 3, Inside)
	expect(t, m, "use 3 c", "abandon 2")
}

// A hint changes which interface is tried first, and nothing else.
//
// Shows: DET-11
func TestHintsOrderTheRace(t *testing.T) {
	m := New(Config{})
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5"), wireless("10.0.2.6")})
	m.HandleHint(3, m.epochOf(3), true)
	m.HandleHint(2, m.epochOf(2)+100, true) // of no epoch
	m.Start(t0)
	expect(t, m, "epoch eth0", "epoch wlan0", "attempt wlan0")
	m.HandleTimeout(later(RaceDelay))
	expect(t, m, "attempt eth0 S")
	verdict(m, 2, Inside)
	expect(t, m, "use 2 c", "abandon 3") // preferred all the same
	m.HandleHint(2, m.epochOf(2), false)
	if i, mode := m.Using(); i != 2 || mode != stack.ModeC {
		t.Errorf("using %d %s", i, mode)
	}
}

// An interface that changes 100 times a minute is tried seldom, last, and again soon after it has come to rest; alone it is
// not starved.
//
// Shows: HST-6
func TestFlapDamping(t *testing.T) {
	flap := func(m *Machine, now link.Instant, others ...link.Interface) {
		up := wired("10.0.2.5")
		up.CarrierChanges = uint32(now.Boot / time.Millisecond)
		m.HandleSnapshot(now, append([]link.Interface{up}, others...))
	}
	count := func(decisions []string, what string) (n int) {
		for _, d := range decisions {
			if d == what {
				n++
			}
		}
		return n
	}
	const every = 600 * time.Millisecond

	m := New(Config{})
	m.Start(t0)
	now := t0
	var said []string
	for range 300 { // three minutes
		now = now.Add(every)
		flap(m, now)
		said = append(said, drain(m)...)
	}
	tries := count(said, "attempt eth0")
	if tries < 40 || tries > 110 {
		t.Errorf("tried %d times in three minutes alone", tries)
	}
	if n := count(said, "damped 2"); n != 1 {
		t.Errorf("told %d times of damping", n)
	}
	if at, armed := m.Deadline(); !armed || at > now.Boot+dampQuiet {
		t.Errorf("tried again %v after the last change (%t)", at-now.Boot, armed)
	}

	// Beside an interface that is at rest it is left alone, and preferred again once quiet.
	m = New(Config{})
	m.Start(t0)
	calm := wireless("10.0.2.6")
	now, said = t0, nil
	for range 300 {
		now = now.Add(every)
		flap(m, now, calm)
		if i, _ := m.Using(); i == 0 && m.candidates[3].pursuit == racing {
			verdictAt(m, now, 3, Inside)
		}
		said = append(said, drain(m)...)
	}
	if n := count(said, "hold"); n > 10 {
		t.Errorf("the path was held %d times", n)
	}
	for range 10 {
		at, armed := m.Deadline()
		if !armed || at > now.Boot+time.Minute {
			break
		}
		now = link.Instant{Boot: at}
		m.HandleTimeout(now)
	}
	if m.candidates[2].pursuit != probing {
		t.Errorf("the wired interface is not tried again within a minute")
	}
}

// Whatever happens in whatever order: plaintext only with the verdict inside, one interface at a time, nothing is used that is
// not usable, every attempt ends, and the machine says when it wants to go on.
//
// Shows: DET-2, DET-12
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := New(Config{Probe: time.Minute})
		now := t0
		m.Start(now)
		open := map[int]uint64{} // epochs of attempts begun
		carrier := map[int]uint32{}
		snapshot := func() []link.Interface {
			var list []link.Interface
			for index := 2; index < 5; index++ {
				if r.IntN(5) == 0 {
					continue
				}
				i := link.Interface{Index: index, Name: "if" + string(rune('0'+index)), MTU: 1500, Up: r.IntN(5) > 0, Wireless: r.IntN(2) == 0}
				if r.IntN(3) > 0 {
					i = addressed(i, netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(index)}).String())
				}
				carrier[index] += uint32(r.IntN(2))
				i.CarrierChanges = carrier[index]
				list = append(list, i)
			}
			return list
		}
		for step := range 400 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			index := 2 + r.IntN(3)
			switch r.IntN(10) {
			case 0, 1:
				m.HandleSnapshot(now, snapshot())
			case 2:
				m.HandleAgent(now, index, r.IntN(2) == 0)
			case 3:
				pins := append(stack.Modes(), stack.ModeNone, stack.ModeNone, stack.ModeNone)
				m.HandlePin(now, pins[r.IntN(len(pins))])
			case 4:
				m.HandleVPN(now, r.IntN(2) == 0)
			case 5:
				m.HandleSimultaneous(r.IntN(2) == 0)
				m.HandleResume(now)
			case 6:
				if at, armed := m.Deadline(); armed {
					now.Boot = max(now.Boot, at)
					m.HandleTimeout(now)
					if again, armed := m.Deadline(); armed && again <= now.Boot {
						t.Fatalf("seed %d step %d: due again at once", seed, step)
					}
				}
			default:
				if c := m.candidates[index]; c != nil {
					m.HandleVerdict(now, index, c.epoch-uint64(r.IntN(8)/7), Verdict(r.IntN(5)), "chance")
				}
			}
			for {
				e, ok := m.PollEvent()
				if !ok {
					break
				}
				switch e := e.(type) {
				case Attempt:
					open[e.Interface.Index] = e.Epoch
				case Abandon:
					if open[e.Index] != e.Epoch {
						t.Fatalf("seed %d step %d: abandon of epoch %d, begun was %d", seed, step, e.Epoch, open[e.Index])
					}
					delete(open, e.Index)
				case Use:
					if open[e.Index] != e.Epoch {
						t.Fatalf("seed %d step %d: use of interface %d without an attempt", seed, step, e.Index)
					}
					comp, pinned := m.pin.Composition()
					if e.Mode.Plaintext() && pinned && comp.VPN {
						t.Fatalf("seed %d step %d: plaintext although %s is pinned", seed, step, m.pin)
					}
				}
			}
			for i, c := range m.candidates {
				if _, begun := open[i]; begun != (c.pursuit != idle) {
					t.Fatalf("seed %d step %d: interface %d: begun %t, pursuit %d", seed, step, i, begun, c.pursuit)
				}
			}
			if u := m.candidates[m.using]; m.using != 0 {
				switch {
				case u == nil || u.pursuit != racing:
					t.Fatalf("seed %d step %d: interface %d is used and not pursued", seed, step, m.using)
				case m.mode.Plaintext() && u.verdict != Inside:
					t.Fatalf("seed %d step %d: plaintext with verdict %v", seed, step, u.verdict)
				}
			}
		}
	}
}

// Shows: DET-16 (why nothing is known of an interface is said too)
func TestStanding(t *testing.T) {
	down := wireless("")
	down.Index, down.Name, down.Up = 4, "wlan1", false
	bare := wired("")
	bare.Index, bare.Name = 5, "eth1"
	m := started(wired("10.0.2.5"), wireless("10.0.2.6"), down, bare)
	verdict(m, 2, Inside)
	for index, want := range map[int]string{
		3: "standing by: eth0 carries the traffic", 4: "not connected", 5: "no address with a default route", 9: "leaves it out",
	} {
		if got := m.Standing(index); !strings.Contains(got, want) {
			t.Errorf("interface %d: %q, want %q", index, got, want)
		}
	}
	m = started(wired("10.0.2.5"))
	verdict(m, 2, Outside)
	m.HandleSnapshot(t0, []link.Interface{wired("10.0.2.5"), wireless("10.0.2.6")})
	verdict(m, 3, Unreachable)
	if got := m.Standing(3); !strings.Contains(got, "is not inside") {
		t.Errorf("a probed interface: %q", got)
	}
}
