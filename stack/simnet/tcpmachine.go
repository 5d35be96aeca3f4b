package simnet

import (
	"io"
	"os"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

var errEOF = io.EOF

// localTCP hands a segment to its stream or listener, or refuses it with a reset (RFC 9293 §3.10.7.1).
func (h *Host) localTCP(ip packet.IPv4) {
	seg, ok := decodeSegment(ip)
	if !ok {
		h.drops.Count(packet.DropMalformed, 1)
		return
	}
	key := streamKey{seg.dst, seg.src}
	s := h.streams[key]
	if s != nil && s.state == timeWaiting && seg.flags&tcpSYN != 0 && before(s.rcv, seg.seq) {
		s.fail(errClosed) // a new connection takes over (RFC 9293 §3.6.1)
		s = nil
	}
	if s != nil {
		s.handle(seg)
		return
	}
	if seg.flags&(tcpSYN|tcpACK|tcpRST) == tcpSYN {
		if l := h.listenerFor(seg); l != nil {
			h.passiveOpen(l, key, seg)
			return
		}
	}
	h.drops.Count(packet.DropNoFlow, 1)
	if seg.flags&tcpRST == 0 {
		r := segment{src: seg.dst, dst: seg.src, seq: 0, ack: seg.seq + seg.length(), flags: tcpRST | tcpACK}
		if seg.flags&tcpACK != 0 {
			r.seq, r.ack, r.flags = seg.ack, 0, tcpRST
		}
		_ = h.output(h.build(packet.IPv4Fields{Protocol: packet.ProtocolTCP, Src: r.src.Addr(), Dst: r.dst.Addr()}, r.encode()), nil, false, false)
	}
}

func (h *Host) listenerFor(seg segment) *Listener {
	for _, l := range h.listeners {
		if l.local.Port() == seg.dst.Port() && (!l.local.Addr().IsValid() || l.local.Addr() == seg.dst.Addr()) {
			return l
		}
	}
	return nil
}

// passiveOpen answers a SYN (RFC 9293 §3.10.7.2).
func (h *Host) passiveOpen(l *Listener, key streamKey, seg segment) {
	mtu := packet.LargeSize
	if !h.owns(key.remote.Addr()) {
		via, ok := h.route(key.remote.Addr(), nil, false)
		if !ok {
			return
		}
		mtu = h.mtuOf(via)
	}
	s := h.newStream(key, mtu)
	s.state, s.accept = synReceived, l
	s.learnMSS(seg)
	s.rcv, s.window = seg.seq+1, uint32(seg.window)
	s.sendSYN()
}

// learnMSS takes the other end's MSS from its SYN.
func (s *Stream) learnMSS(seg segment) {
	mss := int(seg.mss)
	if mss == 0 {
		mss = defaultMSS
	}
	s.mss = max(min(s.mss, mss), 1)
	s.cwnd = 10 * s.mss
}

func (s *Stream) sendSYN() {
	flags := uint8(tcpSYN)
	if s.state == synReceived {
		flags |= tcpACK
	}
	if s.nxt == s.iss {
		s.timedSeq, s.timedAt, s.timing = s.iss+1, s.host.net.now(), true
	}
	s.nxt = s.iss + 1
	s.max = s.nxt
	s.send(segment{seq: s.iss, ack: s.rcv, flags: flags, mss: uint16(s.mss)})
	s.restart()
}

func (s *Stream) sendACK() { s.send(segment{seq: s.nxt, ack: s.rcv, flags: tcpACK}) }

// receiveWindow returns the room for what is received.
func (s *Stream) receiveWindow() uint32 { return uint32(max(0, streamWindow-len(s.in))) }

// send completes a segment and gives it to the host. What finds no route is lost, and sent again by the timer.
func (s *Stream) send(seg segment) {
	h := s.host
	s.lastWindow = s.receiveWindow()
	seg.src, seg.dst, seg.window = s.key.local, s.key.remote, uint16(s.lastWindow)
	pkt := h.build(packet.IPv4Fields{
		Protocol: packet.ProtocolTCP, DontFragment: true, Src: seg.src.Addr(), Dst: seg.dst.Addr(),
	}, seg.encode())
	if err := h.output(pkt, s.bound, s.bound != nil, false); err == ErrTooBig {
		if via, ok := h.route(seg.dst.Addr(), s.bound, false); ok {
			mtu := h.mtuOf(via)
			h.after(0, func() { s.shrink(mtu) }) // not in the middle of sending
		}
	}
}

// shrink takes in that the path's MTU is mtu, and sends again what was too big (RFC 1191 §6.5).
func (s *Stream) shrink(mtu int) {
	mss := mtu - packet.IPv4Len - tcpLen
	if s.state == dead || mss >= s.mss || mss < 8 {
		return
	}
	s.mss = mss
	if s.state == established && s.una != s.nxt {
		s.nxt = s.una
		s.timing = false
		s.push()
	}
}

// finSeq returns the sequence number of the FIN.
func (s *Stream) finSeq() uint32 { return s.una + uint32(len(s.buf)) }

// synUnacknowledged reports that the handshake is still going on.
func (s *Stream) synUnacknowledged() bool { return s.state == synSent || s.state == synReceived }

// push sends what the windows allow (RFC 9293 §3.8.6.2.1, RFC 5681 §3.1).
func (s *Stream) push() {
	if s.state != established || s.finDone {
		return
	}
	for {
		off := int(s.nxt - s.una) // into buf; one past its end once FIN has been sent
		if off > len(s.buf) {
			break
		}
		space := min(int(s.window), s.cwnd) - off
		size := min(len(s.buf)-off, s.mss, space)
		fin := s.closing && size >= 0 && off+size == len(s.buf)
		if size <= 0 && !fin {
			// A closed window is probed by the timer.
			break
		}
		if size < s.mss && size < len(s.buf)-off && off > 0 {
			break // silly: wait for more window
		}
		seg := segment{seq: s.nxt, ack: s.rcv, flags: tcpACK, data: s.buf[off : off+size]}
		if off+size == len(s.buf) {
			seg.flags |= tcpPSH
		}
		if fin {
			seg.flags |= tcpFIN
		}
		if before(s.nxt, s.max) {
			s.stats.Retransmissions++
		} else if !s.timing {
			s.timedSeq, s.timedAt, s.timing = s.nxt+seg.length(), s.host.net.now(), true
		}
		s.nxt += seg.length()
		if before(s.max, s.nxt) {
			s.max = s.nxt
		}
		s.send(seg)
	}
	if s.timer == nil && (s.nxt != s.una || len(s.buf) > 0) {
		s.restart()
	}
}

// begin notes that sending starts anew when nothing was under way, so that the time to give up counts from now.
func (s *Stream) begin() {
	if s.max == s.una && len(s.buf) == 0 {
		s.progress = s.host.net.now()
	}
}

// restart arms the retransmission timer.
func (s *Stream) restart() {
	s.host.net.cancel(s.timer)
	var e *event
	e = s.host.after(s.rto, func() {
		if s.timer == e {
			s.timer = nil
			s.timeout()
		}
	})
	s.timer = e
}

func (s *Stream) stop() {
	s.host.net.cancel(s.timer)
	s.timer = nil
}

// timeout sends the oldest segment again (RFC 6298 §5), or probes a closed window (RFC 9293 §3.8.6.1).
func (s *Stream) timeout() {
	now := s.host.net.now()
	switch s.state {
	case dead:
		return
	case timeWaiting:
		s.fail(errClosed)
		return
	}
	if now-s.progress > giveUp {
		s.fail(os.ErrDeadlineExceeded)
		return
	}
	s.rto = min(2*s.rto, maxRTO)
	s.timing = false
	if s.synUnacknowledged() {
		s.stats.Timeouts++
		s.stats.Retransmissions++
		s.sendSYN()
		return
	}
	if s.window == 0 && len(s.buf) > 0 {
		s.send(segment{seq: s.una, ack: s.rcv, flags: tcpACK, data: s.buf[:1]})
		if s.nxt == s.una {
			s.nxt++
			if before(s.max, s.nxt) {
				s.max = s.nxt
			}
		}
		s.restart()
		return
	}
	s.stats.Timeouts++
	s.ssthresh = max(int(s.nxt-s.una)/2, 2*s.mss)
	s.cwnd = s.mss
	s.recovering, s.dup = false, 0
	s.nxt = s.una
	s.push()
	if s.timer == nil {
		s.restart()
	}
}

// handle takes a segment of the connection (RFC 9293 §3.10.7.3 and following).
func (s *Stream) handle(seg segment) {
	switch {
	case s.state == synSent:
		s.handleSynSent(seg)
		return
	case seg.flags&tcpRST != 0:
		// Only in the window, so that a stray reset does no harm (RFC 9293 §3.10.7.4).
		if !before(seg.seq, s.rcv) && before(seg.seq, s.rcv+max(1, s.receiveWindow())) {
			s.fail(ErrReset)
		}
		return
	case seg.flags&tcpSYN != 0:
		if s.state == synReceived && seg.seq+1 == s.rcv {
			s.sendSYN() // our answer was lost
		} else {
			s.sendACK()
		}
		return
	case seg.flags&tcpACK == 0:
		return
	}
	if s.state == synReceived {
		if seg.ack != s.iss+1 {
			return
		}
		s.establish(seg)
	}
	s.acknowledge(seg)
	if s.state == dead {
		return
	}
	s.receive(seg)
	s.push()
}

func (s *Stream) handleSynSent(seg segment) {
	if seg.flags&tcpACK != 0 && seg.ack != s.iss+1 {
		return
	}
	switch {
	case seg.flags&tcpRST != 0:
		if seg.flags&tcpACK != 0 {
			s.fail(ErrRefused)
		}
	case seg.flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
		s.learnMSS(seg)
		s.rcv = seg.seq + 1
		s.establish(seg)
		s.sendACK()
		s.push()
	}
}

// establish ends the handshake.
func (s *Stream) establish(seg segment) {
	if s.timing {
		s.sample(s.host.net.now() - s.timedAt)
	}
	s.timing = false
	s.stop()
	s.una, s.state, s.started = s.iss+1, established, true
	s.nxt, s.max = s.una, s.una
	s.window = uint32(seg.window)
	s.progress = s.host.net.now()
	if s.accept != nil {
		if s.accept.closed {
			s.fail(errClosed)
			return
		}
		s.accept.backlog = append(s.accept.backlog, s)
		s.accept.change.fire()
		s.accept = nil
	}
	s.change.fire()
}

// sample takes a round-trip time in (RFC 6298 §2).
func (s *Stream) sample(r time.Duration) {
	if s.srtt == 0 {
		s.srtt, s.rttvar = r, r/2
	} else {
		s.rttvar = (3*s.rttvar + (s.srtt - r).Abs()) / 4
		s.srtt = (7*s.srtt + r) / 8
	}
	s.rto = min(max(s.srtt+4*s.rttvar, minRTO), maxRTO)
}

// acknowledge takes in acknowledgment and window.
func (s *Stream) acknowledge(seg segment) {
	if before(s.max, seg.ack) {
		s.sendACK()
		return
	}
	opened := s.window == 0 && seg.window > 0
	if before(s.una, seg.ack) {
		s.window = uint32(seg.window)
		s.advance(seg.ack)
		return
	}
	if seg.ack != s.una {
		return
	}
	if seg.window == 0 {
		s.progress = s.host.net.now() // a closed window is no dead peer (RFC 9293 §3.8.6.1)
	}
	duplicate := len(seg.data) == 0 && seg.flags&tcpFIN == 0 && s.nxt != s.una && uint32(seg.window) == s.window
	s.window = uint32(seg.window)
	if opened && s.nxt != s.una {
		s.nxt = s.una // what probed the closed window may have been thrown away
	}
	if !duplicate {
		return
	}
	// Fast retransmit (RFC 5681 §3.2).
	if s.dup++; s.dup == 3 && !s.recovering {
		s.ssthresh = max(int(s.nxt-s.una)/2, 2*s.mss)
		s.cwnd = s.ssthresh
		s.recovering, s.recover = true, s.max
		s.resendFirst()
	}
}

// advance drops what is acknowledged and opens the congestion window.
func (s *Stream) advance(ack uint32) {
	acked := int(ack - s.una)
	data := min(acked, len(s.buf))
	s.buf = s.buf[data:]
	s.stats.Sent += uint64(data)
	if acked > data && s.closing {
		s.finDone = true
	}
	s.una = ack
	if before(s.nxt, s.una) {
		s.nxt = s.una
	}
	s.dup = 0
	s.progress = s.host.net.now()
	if s.timing && !before(ack, s.timedSeq) {
		s.sample(s.host.net.now() - s.timedAt)
		s.timing = false
	}
	switch {
	case s.recovering && before(ack, s.recover):
		s.resendFirst() // a partial acknowledgment: the next one is lost, too (RFC 6582)
	case s.recovering:
		s.recovering = false
	case s.cwnd < s.ssthresh:
		s.cwnd += min(acked, s.mss)
	default:
		s.cwnd += max(1, s.mss*s.mss/s.cwnd)
	}
	s.stop()
	if s.nxt != s.una || len(s.buf) > 0 {
		s.restart()
	}
	s.change.fire()
	s.settle()
}

// resendFirst sends the oldest unacknowledged segment again.
func (s *Stream) resendFirst() {
	size := min(len(s.buf), s.mss)
	seg := segment{seq: s.una, ack: s.rcv, flags: tcpACK, data: s.buf[:size]}
	if s.closing && size == len(s.buf) && before(s.finSeq(), s.max) {
		seg.flags |= tcpFIN
	}
	if seg.length() == 0 {
		return
	}
	s.timing = false
	s.stats.Retransmissions++
	s.send(seg)
}

// receive takes in data and FIN, and acknowledges (RFC 9293 §3.10.7.4).
func (s *Stream) receive(seg segment) {
	if seg.length() == 0 {
		return
	}
	seg.data = slices.Clone(seg.data)
	if before(seg.seq, s.rcv+max(1, s.receiveWindow())) {
		i, _ := slices.BinarySearchFunc(s.early, seg.seq, func(e segment, seq uint32) int { return int(int32(e.seq - seq)) })
		s.early = slices.Insert(s.early, i, seg)
	}
	for len(s.early) > 0 && !before(s.rcv, s.early[0].seq) {
		e := s.early[0]
		s.early = s.early[1:]
		if skip := s.rcv - e.seq; int(skip) < len(e.data) {
			room := int(s.receiveWindow())
			fresh := e.data[skip:]
			cut := len(fresh) > room
			fresh = fresh[:min(len(fresh), room)]
			s.in = append(s.in, fresh...)
			s.rcv += uint32(len(fresh))
			s.stats.Received += uint64(len(fresh))
			if cut {
				break
			}
		}
		if e.flags&tcpFIN != 0 && s.rcv == e.seq+uint32(len(e.data)) && !s.finished {
			s.rcv++
			s.finished = true
		}
	}
	if s.err != nil {
		s.in = nil // closed: nobody will read it
	}
	s.sendACK()
	s.change.fire()
	s.settle()
}

// settle ends the connection when both sides have finished.
func (s *Stream) settle() {
	if s.state != established || !s.finished || !s.finDone {
		return
	}
	s.state = timeWaiting
	s.stop()
	s.rto = timeWait
	s.restart()
}

// fail ends the stream for the cause err. Mutex held.
func (s *Stream) fail(err error) {
	s.stop()
	s.state = dead
	if s.err == nil {
		s.err = err
	}
	if s.host.streams[s.key] == s {
		delete(s.host.streams, s.key)
	}
	s.change.fire()
}
