package stack

import (
	"sync"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/packet"
)

const (
	// tooBigPerSecond and tooBigBurst bound the ICMP errors that the engine makes (RFC 1812 §4.3.2.8). A sender that gets
	// none about one packet gets one about another: nothing is lost but time.
	tooBigPerSecond = 100
	tooBigBurst     = 50
	// precedenceInternet is the IP precedence of ICMP errors, 6 or 7 (RFC 1812 §4.3.2.5), and tosBits the type of service
	// that they take over from the packet in error.
	precedenceInternet = 6 << 5
	tosBits            = 0x1e
)

// tooBig answers a packet with DF from the device that is larger than mtu by "fragmentation needed" to its sender
// (RFC 1191 §4), so that the sender's path MTU discovery works however deep the mode is. No error is sent about an ICMP
// error and the like (RFC 1812 §4.3.2.7), nor more than a few. The source is the packet's destination: the engine has no
// address of its own, and the kernel takes nothing else from the device for an enterprise prefix.
func (e *Engine) tooBig(p *packet.Buf, mtu int) packet.DropReason {
	if !e.errors.allow(e.clock.Now().Boot) {
		return packet.DropTooBig
	}
	ip := packet.IPv4(p.Bytes())
	reply := tunnel.ICMPError(ip.Dst(), tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(max(mtu, 0)), ip)
	if reply != nil {
		packet.IPv4(reply.Bytes()).SetTOS(precedenceInternet | ip.TOS()&tosBits)
		_ = e.dev.Write(packet.One(reply)) // the device counts what it drops
	}
	return packet.DropTooBig
}

// fits reports whether the packet can go into a pipeline of the MTU as it is. A superpacket that opens a connection cannot:
// its checksum is not one that ClampMSS could mend.
func fits(p *packet.Buf, mtu int) bool {
	return p.SegmentLen() <= mtu && !(p.Super() && opensTCP(packet.IPv4(p.Bytes())))
}

// cut makes those packets of the batch that do not fit smaller and counts them. Superpackets become ordinary packets.
// Packets without DF are fragmented before the first encapsulation, where it costs the far end of a tunnel nothing
// (RFC 2003 §5.1). Others, and what cannot be fragmented, are dropped.
func (e *Engine) cut(b *packet.Batch, mtu int, t *tally) {
	whole := packet.GetBatch()
	whole.Bufs, b.Bufs = b.Bufs, whole.Bufs
	for _, p := range whole.Bufs {
		switch {
		case fits(p, mtu):
			b.Append(p)
		case p.Super():
			segments := packet.One(p)
			segments.Cut()
			for _, q := range segments.Bufs {
				e.fit(q, mtu, b, t)
			}
			segments.Forget()
		default:
			e.fit(p, mtu, b, t)
		}
	}
	whole.Forget()
}

// fit appends an ordinary packet to out, in fragments if need be, and counts it, or drops it.
func (e *Engine) fit(p *packet.Buf, mtu int, out *packet.Batch, t *tally) {
	var r packet.DropReason
	first, n := out.Len(), long(p)
	if p.Len() > mtu && p.DontFragment {
		r = e.tooBig(p, mtu)
	} else {
		ClampMSS(packet.IPv4(p.Bytes()), mtu)
		r = tunnel.Fragment(p, mtu, out)
	}
	if r != packet.NotDropped {
		e.drops.Count(r, 1)
		p.Release()
		return
	}
	for _, q := range out.Bufs[first:] {
		t.packets++
		t.octets += q.Len()
	}
	t.long += n
}

// limiter admits tooBigBurst at once and tooBigPerSecond in the long run. The zero value is ready.
type limiter struct {
	mu    sync.Mutex
	spent float64
	last  time.Duration // boot time
}

// allow reports whether one more is admitted at the boot time now.
func (l *limiter) allow(now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now > l.last {
		l.spent = max(0, l.spent-(now-l.last).Seconds()*tooBigPerSecond)
		l.last = now
	}
	if l.spent > tooBigBurst-1 {
		return false
	}
	l.spent++
	return true
}
