package homeagent

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Registrations with full authentication, from the datagram to the reply: renewals at the same care-of address, and moves to
// another. The requests are made beforehand.
func BenchmarkRegistration(b *testing.B) {
	const chunk = 10_000
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n)
			before := inUse()
			c.register(0, n, 0, 600)
			perBinding := float64(inUse()-before) / float64(n)
			for name, moves := range map[string]bool{"renew": false, "move": true} {
				b.Run(name, func(b *testing.B) {
					requests := make([]Request, 0, chunk)
					who, round := 0, 0
					var start, spent time.Duration
					b.ReportAllocs()
					for i := range b.N {
						if i%chunk == 0 {
							b.StopTimer()
							if i > 0 {
								spent += processorTime(b) - start
							}
							c.now = c.now.Add(time.Millisecond)
							requests = requests[:0]
							for range min(chunk, b.N-i) {
								place := 0
								if moves {
									place = 1 + round%2
								}
								requests = append(requests, c.request(who, place, 600))
								if who += 1; who == n {
									who, round = 0, round+1
								}
							}
							start = processorTime(b)
							b.StartTimer()
						}
						c.handle(requests[i%chunk])
					}
					spent += processorTime(b) - start
					b.ReportMetric(float64(b.N)/spent.Seconds(), "registrations/cpu-s")
					b.ReportMetric(perBinding, "octets/binding")
				})
			}
		})
	}
}

// What expiry costs a binding.
func BenchmarkExpiry(b *testing.B) {
	const n = 100_000
	c := newCrowd(b, n)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		c.register(0, n, 0, 600)
		c.now = c.now.Add(600 * time.Second)
		start := processorTime(b)
		b.StartTimer()
		c.m.HandleTimeout(c.now)
		if c.events()[Expired] != n {
			b.Fatal("bindings are left")
		}
		spent += processorTime(b) - start
	}
	b.ReportMetric(float64(spent)/float64(b.N)/n, "cpu-ns/binding")
}

// What a request costs that is refused: by a stranger in a mobile node's name, and in the name of nobody who is served.
func BenchmarkRefusal(b *testing.B) {
	c := newCrowd(b, 100_000)
	c.register(0, 1, 0, 600)
	forged := c.request(0, 0, 600)
	forged.Payload[len(forged.Payload)-1] ^= 1
	unknown := c.request(0, 0, 600)
	unknown.Payload[4] = 99
	for name, r := range map[string]Request{"forged": forged, "unknown": unknown} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			start := processorTime(b)
			for b.Loop() {
				if c.m.HandleRequest(c.now, r) == nil {
					b.Fatal("accepted")
				}
				c.m.PollTransmit()
			}
			b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/request")
		})
	}
}

// processorTime returns the processor time that this process has used, by all its threads: on a machine that does other things, too,
// it says more than the time that has passed.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a record costs that is taken back at a start: to be read from its encoded form, and to become a binding again.
func BenchmarkRestore(b *testing.B) {
	const n = 100_000
	from := newCrowd(b, n)
	from.m.cfg.Durable = true
	from.register(0, n, 0, 600)
	var encoded [][]byte
	octets := 0
	for r, ok := from.m.PollRecord(from.now); ok; r, ok = from.m.PollRecord(from.now) {
		encoded = append(encoded, r.Encode())
		octets += len(encoded[len(encoded)-1])
	}
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		to := newCrowd(b, n)
		start := processorTime(b)
		b.StartTimer()
		for _, e := range encoded {
			r, err := ParseRecord(e)
			if err == nil {
				err = to.m.Restore(from.now, r)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		spent += processorTime(b) - start
		if to.m.Table().Len() != n {
			b.Fatal("bindings are missing")
		}
	}
	b.ReportMetric(float64(spent)/float64(b.N)/n, "cpu-ns/record")
	b.ReportMetric(float64(octets)/n, "octets/record")
}
