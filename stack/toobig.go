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

// cut fragments those packets of the batch, all of them without DF, that are larger than mtu: before the first
// encapsulation, where it costs the far end of a tunnel nothing (RFC 2003 §5.1). What cannot be cut is dropped.
func (e *Engine) cut(b *packet.Batch, mtu int) {
	whole := packet.GetBatch()
	whole.Bufs, b.Bufs = b.Bufs, whole.Bufs
	for _, p := range whole.Bufs {
		if r := tunnel.Fragment(p, mtu, b); r != packet.NotDropped {
			e.drops.Count(r, 1)
			p.Release()
		}
	}
	whole.Forget()
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
