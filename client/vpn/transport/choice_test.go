package transport

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mipvpn/tun/link"
)

const start = time.Hour

func at(s float64) link.Instant {
	return link.Instant{Boot: start + time.Duration(s*float64(time.Second))}
}

// drain returns what a Choice wants now.
func drain(c *Choice) []Want {
	var out []Want
	for w, ok := c.PollWant(); ok; w, ok = c.PollWant() {
		out = append(out, w)
	}
	return out
}

// step is something told at a time, in seconds from the start, and what is wanted then.
type step struct {
	at   float64
	what string
	want []Want
}

// Shows: IKE-6. RFC 9329 §5.1, §6.1, §7.1.
func TestChoice(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		steps []step
		tcp   bool
	}{
		"UDP passes": {Config{}, []step{{0, "start", nil}, {0.05, "udp answers", nil}, {100, "time", nil}}, false},
		"UDP is blocked": {Config{}, []step{
			{0, "start", nil}, {1.4, "time", nil}, {1.5, "time", []Want{Dial}}, {1.6, "dialled", nil},
			{1.7, "tcp answers", []Want{LeaveUDP}}, {60, "time", nil}, {61.7, "time", []Want{TryUDP}}, {181.6, "time", nil}, {181.7, "time", []Want{TryUDP}},
		}, true},
		"UDP is slow": {Config{}, []step{
			{0, "start", nil}, {1.5, "time", []Want{Dial}}, {1.6, "dialled", nil}, {1.65, "udp answers", []Want{LeaveTCP}}, {1.7, "tcp answers", nil}, {100, "time", nil},
		}, false},
		"UDP is slow, TCP slower": {Config{}, []step{
			{0, "start", nil}, {1.5, "time", []Want{Dial}}, {2, "udp answers", []Want{LeaveTCP}}, {3, "dialled in vain", nil},
		}, false},
		"TCP is refused, with pauses": {Config{}, []step{
			{0, "start", nil}, {1.5, "time", []Want{Dial}}, {2, "broken", nil}, {3, "time", []Want{Dial}}, {3, "broken", nil}, {4.9, "time", nil}, {5, "time", []Want{Dial}},
			{5, "dialled", nil}, {5.1, "broken", nil}, {9.1, "time", []Want{Dial}}, {9.2, "dialled", nil}, {9.3, "tcp answers", []Want{LeaveUDP}},
		}, true},
		"the connection breaks": {Config{}, []step{
			{0, "start", nil}, {1.5, "time", []Want{Dial}}, {1.6, "dialled", nil}, {1.7, "tcp answers", []Want{LeaveUDP}},
			{10, "broken", []Want{Dial}}, {10, "broken", nil}, {11, "time", []Want{Dial}}, {11, "broken", nil}, {13, "time", []Want{Dial}}, {13, "dialled", nil},
			{20, "broken", []Want{Dial}}, {20, "broken", nil}, {21, "time", []Want{Dial}},
		}, true},
		"UDP passes again": {Config{}, []step{
			{0, "start", nil}, {1.5, "time", []Want{Dial}}, {1.6, "dialled", nil}, {1.7, "tcp answers", []Want{LeaveUDP}},
			{61.7, "time", []Want{TryUDP}}, {62, "moved to udp", []Want{LeaveTCP}}, {62, "broken", nil}, {10000, "time", nil},
		}, false},
		"UDP stops passing": {Config{}, []step{
			{0, "start", nil}, {0.1, "udp answers", nil}, {50, "moved to tcp", nil}, {110, "time", []Want{TryUDP}},
		}, true},
		"TCP alone": {Config{TCPOnly: true}, []step{
			{0, "start", []Want{Dial}}, {0.1, "dialled", nil}, {0.2, "tcp answers", []Want{LeaveUDP}}, {9999, "time", nil},
		}, true},
		"late news": {Config{}, []step{
			{0, "broken", nil}, {0, "tcp answers", nil}, {0, "dialled in vain", nil}, {0, "start", nil}, {0, "start", nil}, {0.1, "broken", nil}, {0.2, "udp answers", nil}, {0.2, "udp answers", nil},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(tc.cfg)
			for _, s := range tc.steps {
				now := at(s.at)
				switch s.what {
				case "start":
					c.Start(now)
				case "time":
					c.HandleTimeout(now)
				case "udp answers", "tcp answers":
					c.HandleAnswer(now, s.what[0] == 't')
				case "moved to udp", "moved to tcp":
					c.HandleMoved(now, s.what == "moved to tcp")
				case "dialled", "dialled in vain":
					if taken := c.HandleDialled(); taken != (s.what == "dialled") {
						t.Fatalf("%v: the connection is taken: %t", s, taken)
					}
				case "broken":
					c.HandleBroken(now)
				default:
					t.Fatal(s.what)
				}
				if got := drain(c); !slices.Equal(got, s.want) {
					t.Fatalf("at %v, %s: wants %v, want %v", s.at, s.what, got, s.want)
				}
			}
			if c.TCP() != tc.tcp {
				t.Errorf("in TCP: %t", c.TCP())
			}
		})
	}
}

// Whatever is told in whatever order, a deadline is never in the past once it has been served, there is never more than one
// connection wanted, and what was left is not dialled for.
func TestChoiceAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := New(Config{TCPOnly: seed%7 == 0})
		now, dials := at(0), 0
		var log []string
		for range 200 {
			n := r.IntN(9)
			log = append(log, fmt.Sprint(n))
			switch n {
			case 0:
				c.Start(now)
			case 1:
				c.HandleAnswer(now, false)
			case 2:
				c.HandleAnswer(now, true)
			case 3:
				c.HandleMoved(now, r.IntN(2) == 0)
				dials = 0
			case 4:
				if c.HandleDialled() {
					dials = 0
				}
			case 5:
				c.HandleBroken(now)
				dials = 0
			default:
				if d, ok := c.Deadline(); ok {
					now.Boot = max(now.Boot, d)
				}
				c.HandleTimeout(now)
				if d, ok := c.Deadline(); ok && d <= now.Boot {
					t.Fatalf("seed %d: deadline %v at %v after %v", seed, d, now.Boot, log)
				}
			}
			for _, w := range drain(c) {
				switch w {
				case Dial:
					dials++
				case LeaveTCP:
					dials = 0
				case TryUDP:
					if !c.TCP() {
						t.Fatalf("seed %d: tries UDP out of TCP", seed)
					}
				case LeaveUDP:
				}
			}
			if dials > 1 || dials == 1 && c.state == inUDP {
				t.Fatalf("seed %d: %d connections wanted in state %d after %v", seed, dials, c.state, log)
			}
		}
	}
}
