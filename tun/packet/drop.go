package packet

import "sync/atomic"

// DropReason says why a packet was not passed on. Its String is a stable name for counters and status.
type DropReason uint8

// The reasons for a drop. NotDropped is what a filter returns for a packet that stays.
const (
	NotDropped          DropReason = iota
	DropGateClosed                 // plaintext without a live proof of inside (DET-4)
	DropNoPath                     // no pipeline carries traffic now
	DropMalformed                  // a header's length, version or checksum is wrong
	DropNotHomeAddress             // source (outbound) or destination (inbound) is not the home address
	DropNotEnterprise              // neither an enterprise prefix nor a configured exception
	DropWrongTunnelPeer            // a tunnel packet from an address that is not the tunnel's other end
	DropNoFlow                     // nothing on this link listens to it
	DropUnknownSPI                 // no inbound security association has this SPI
	DropReplayed                   // ESP sequence number outside the window or seen before (RFC 4303 §3.4.3)
	DropAuthFailed                 // integrity check failed (RFC 4303 §3.4.4)
	DropSelector                   // decrypted packet outside the SA's traffic selectors (RFC 4301 §5.2)
	DropSAExhausted                // the SA's sequence numbers or byte lifetime are used up
	DropDummy                      // dummy packet, next header 59 (RFC 4303 §2.6)
	DropUnsupported                // a protocol or option that is not supported
	DropTooBig                     // exceeds the path's MTU
	DropQueueFull                  // the receiver's queue was full
	DropSendFailed                 // the operating system refused to send it
	DropNoBinding                  // an agent has no binding or visitor for it
	DropTTL                        // time to live exhausted
	DropPolicy                     // refused by configured policy
	DropDuplicate                  // a second copy of a packet, by another care-of address (RFC 5944 §4.2.3)
	DropUnproven                   // more than may be sent to an endpoint that has not answered yet (RFC 4555 §3.7)
	Delivered                      // no drop: the packet has been taken elsewhere, and its buffer is done with
	numDropReasons
)

var dropNames = [numDropReasons]string{
	"not_dropped", "gate_closed", "no_path", "malformed", "not_home_address", "not_enterprise", "wrong_tunnel_peer",
	"no_flow", "unknown_spi", "replayed", "auth_failed", "selector", "sa_exhausted", "dummy", "unsupported", "too_big",
	"queue_full", "send_failed", "no_binding", "ttl", "policy", "duplicate", "unproven", "delivered",
}

// String returns the stable name of the reason.
func (r DropReason) String() string {
	if r < numDropReasons {
		return dropNames[r]
	}
	return "unknown"
}

// Drops counts dropped packets by reason. The zero value is ready; a nil *Drops counts nothing. It is safe for
// concurrent use.
type Drops struct {
	counts [numDropReasons]atomic.Uint64
}

// Count adds n packets under r.
func (d *Drops) Count(r DropReason, n int) {
	if d == nil || n <= 0 || r == NotDropped || r == Delivered || r >= numDropReasons {
		return
	}
	d.counts[r].Add(uint64(n))
}

// Of returns the number of packets dropped for r so far.
func (d *Drops) Of(r DropReason) uint64 {
	if d == nil || r >= numDropReasons {
		return 0
	}
	return d.counts[r].Load()
}

// Snapshot returns the counters that are not zero, by the reasons' names.
func (d *Drops) Snapshot() map[string]uint64 {
	m := make(map[string]uint64)
	if d == nil {
		return m
	}
	for r := range d.counts {
		if n := d.counts[r].Load(); n != 0 {
			m[DropReason(r).String()] = n
		}
	}
	return m
}
