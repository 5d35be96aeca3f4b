package location

import "time"

// Retransmission is the schedule of requests within one series: the first at once, the second after Initial, each later
// interval Factor times the one before but no longer than Max (RFC 5944 §3.6.3: at least one second, doubling up to a
// maximum).
type Retransmission struct {
	// Initial is the first interval.
	Initial time.Duration
	// Factor multiplies each interval to give the next.
	Factor int
	// Max is the longest interval.
	Max time.Duration
	// Count is the number of requests in a series; 0 for no limit. When a series goes unanswered while an answer is still
	// wanted, the machine asks for another at once, so that the intervals only begin anew.
	Count int
}

// DefaultRetransmission is the schedule that registration machines are given when they keep a proof fresh. With
// DefaultMonitor and DefaultGrace there are 16 requests before a proof expires, 14 of them so early that a reply taking
// the whole ReplyLimit still counts; at 30 % loss each way all of those fail with probability (1-0.7²)^14 < 10^-4
// (DET-5).
var DefaultRetransmission = Retransmission{Initial: time.Second, Factor: 2, Max: 2 * time.Second, Count: 16}

// Offsets returns when the requests of series after series are sent while none is answered, counted from the start of the
// first, up to but not including within. Intervals under a millisecond are taken as a millisecond.
func (r Retransmission) Offsets(within time.Duration) []time.Duration {
	var at []time.Duration
	interval := r.Initial
	for t := time.Duration(0); t < within; {
		at = append(at, t)
		t += max(interval, time.Millisecond)
		interval = min(interval*time.Duration(max(r.Factor, 1)), r.Max)
		if r.Count > 0 && len(at)%r.Count == 0 {
			interval = r.Initial
		}
	}
	return at
}
