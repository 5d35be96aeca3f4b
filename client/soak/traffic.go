package soak

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/client/e2e"
	"mipvpn/stack/simnet"
)

const (
	tcpPort  = 7100
	echoPort = 7101
	pushPort = 7102
	dnsPort  = 53
	// record is how many octets of the TCP session are written at once.
	record = 400
	// calm, brisk and hurry are the pauses between two beats of the traffic: when nothing happens, while something is waited
	// for, and around whatever is done to the laptop. They are
	// odd, so that applications never send at the very instant of a timer of the client.
	calm  = 250*time.Millisecond + 137*time.Microsecond
	brisk = 25*time.Millisecond + 137*time.Microsecond
	hurry = 4*time.Millisecond + 137*time.Microsecond
	// rush is how long a hurry lasts, until it becomes brisk.
	rush = 500 * time.Millisecond
)

// traffic is what applications of the laptop and the correspondent say to each other: a TCP session busy both ways, every
// octet hashed where it is written and where it is read; UDP with an echo, UDP that the correspondent begins, ICMP, DNS, and
// IPv6, which has no way. Each packet with a payload bears the canary.
type traffic struct {
	w         *e2e.World
	near, far net.Conn // of the TCP session
	socks     []*simnet.UDPConn
	probe     *simnet.UDPConn
	query     *simnet.UDPConn
	push      *simnet.UDPConn

	changed chan struct{}
	stop    chan struct{}
	once    sync.Once
	up      chan struct{} // a record is due, room for one
	down    chan struct{}
	work    sync.WaitGroup
	sides   [2]side

	mu       sync.Mutex
	busy     bool      // hurry or brisk
	hurried  time.Time // when that began
	answered time.Time // when the last echo or octet came
	waiting  time.Time // zero, or: outage is to be told of the first answer after this
	back     time.Time // that answer
	sent     int
	echoes   int
	errs     []error
}

// side is one direction of the TCP session.
type side struct {
	written, read hash.Hash
	octets        atomic.Int64 // read
	last          time.Time    // when octets were read last, under the mutex
}

// startTraffic opens everything; the laptop must be connected.
func startTraffic(w *e2e.World) (*traffic, error) {
	k := &traffic{
		w: w, changed: make(chan struct{}, 1), stop: make(chan struct{}), up: make(chan struct{}, 1), down: make(chan struct{}, 1), answered: time.Now(),
	}
	for i := range k.sides {
		k.sides[i] = side{written: sha256.New(), read: sha256.New(), last: time.Now()}
	}
	l, err := w.Correspondent.ListenTCP(netip.AddrPortFrom(simnet.LabCorrespondent, tcpPort))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if k.near, err = w.Laptop.DialTCP(netip.AddrPortFrom(simnet.LabCorrespondent, tcpPort), time.Minute); err != nil {
		return nil, err
	}
	if k.far, err = l.Accept(); err != nil {
		return nil, err
	}
	listen := func(h *simnet.Host, addr netip.Addr, port uint16) *simnet.UDPConn {
		c, e := h.ListenUDP(netip.AddrPortFrom(addr, port))
		if e != nil {
			err = errors.Join(err, e)
			return nil
		}
		k.socks = append(k.socks, c)
		return c
	}
	k.probe = listen(w.Laptop, simnet.LabHomeAddress, echoPort)
	k.query = listen(w.Laptop, simnet.LabHomeAddress, 0)
	pushed := listen(w.Laptop, simnet.LabHomeAddress, pushPort)
	echo := listen(w.Correspondent, simnet.LabCorrespondent, echoPort)
	names := listen(w.Correspondent, simnet.LabCorrespondent, dnsPort)
	k.push = listen(w.Correspondent, simnet.LabCorrespondent, pushPort)
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	// Each takes its time, so that no two of them send in the same instant.
	k.work.Go(func() { answer(echo, 11003*time.Nanosecond) })
	k.work.Go(func() { answer(names, 29989*time.Nanosecond) })
	for _, c := range []*simnet.UDPConn{k.probe, k.query, pushed} {
		k.work.Go(func() { k.listen(c) })
	}
	k.work.Go(func() { k.write(k.near, &k.sides[0], k.up, 1) })
	k.work.Go(func() { k.write(k.far, &k.sides[1], k.down, 2) })
	k.work.Go(func() { k.read(k.far, &k.sides[0]) })
	k.work.Go(func() { k.read(k.near, &k.sides[1]) })
	k.work.Go(k.beat)
	return k, nil
}

// answer sends back what comes, after a while.
func answer(c *simnet.UDPConn, after time.Duration) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromAddrPort(buf)
		if err != nil {
			return
		}
		time.Sleep(after)
		_, _ = c.WriteToAddrPort(buf[:n], from) // what does not come back is what is counted
	}
}

func (k *traffic) listen(c *simnet.UDPConn) {
	buf := make([]byte, 2048)
	for {
		if _, _, err := c.ReadFromAddrPort(buf); err != nil {
			return
		}
		k.heard(c == k.probe)
	}
}

// heard notes a sign of life.
func (k *traffic) heard(echo bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = time.Now()
	if !k.waiting.IsZero() && k.back.IsZero() {
		k.back = k.answered
	}
	if echo {
		k.echoes++
	}
}

// beat sends, in step, what each application has to say.
func (k *traffic) beat() {
	to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(simnet.LabCorrespondent, port) }
	query := dnsQuery()
	six := ipv6Packet()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for n := 0; ; n++ {
		tick.Reset(k.pace())
		select {
		case <-tick.C:
		case <-k.changed:
		case <-k.stop:
			return
		}
		// What the host refuses is lost, which is what happens to it outside as well.
		_, _ = k.probe.WriteToAddrPort(e2e.Canary, to(echoPort))
		k.mu.Lock()
		k.sent++
		k.mu.Unlock()
		switch n % 4 {
		case 0:
			_ = k.w.Laptop.SendEcho(simnet.LabCorrespondent, e2e.Canary)
		case 1:
			_, _ = k.query.WriteToAddrPort(query, to(dnsPort))
		case 2:
			_, _ = k.push.WriteToAddrPort(e2e.Canary, netip.AddrPortFrom(simnet.LabHomeAddress, pushPort))
		case 3:
			_ = k.w.Laptop.SendPacket(six)
		}
		for _, c := range []chan struct{}{k.up, k.down} {
			if n%3 != 0 {
				continue
			}
			select {
			case c <- struct{}{}:
			default: // still busy with the one before
			}
		}
	}
}

// pace returns the pause until the next beat.
func (k *traffic) pace() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.busy:
		return calm
	case time.Since(k.hurried) < rush:
		return hurry
	}
	return brisk
}

// hasten has the applications hurry, from now on for a while, and be brisk then; or be calm again.
func (k *traffic) hasten(fast bool) {
	k.mu.Lock()
	was := k.busy
	if k.busy = fast; fast {
		k.hurried = time.Now()
	}
	k.mu.Unlock()
	if fast && !was {
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
}

func (k *traffic) write(c net.Conn, s *side, due <-chan struct{}, seed byte) {
	buf := make([]byte, record)
	for n := byte(0); ; n++ {
		select {
		case <-due:
		case <-k.stop:
			if cw, ok := c.(interface{ CloseWrite() error }); ok {
				if err := cw.CloseWrite(); err != nil {
					k.fail(err)
				}
			}
			return
		}
		for i := range buf {
			buf[i] = byte(i)*seed + n
		}
		copy(buf, e2e.Canary)
		m, err := c.Write(buf)
		s.written.Write(buf[:m])
		if err != nil {
			k.fail(fmt.Errorf("soak: TCP session: %w", err))
			return
		}
	}
}

func (k *traffic) read(c net.Conn, s *side) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		s.read.Write(buf[:n])
		s.octets.Add(int64(n))
		k.mu.Lock()
		s.last = time.Now()
		k.mu.Unlock()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			k.fail(fmt.Errorf("soak: TCP session: %w", err))
			return
		}
	}
}

func (k *traffic) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errs = append(k.errs, err)
}

// silence returns how long nothing has come back.
func (k *traffic) silence() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Since(k.answered)
}

// stalled returns how long the TCP session has stood still in one direction or the other.
func (k *traffic) stalled() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(time.Since(k.sides[0].last), time.Since(k.sides[1].last))
}

// mark begins to wait for the first answer from now on; outage then returns the time between the last answer before and that
// one, false while none has come.
func (k *traffic) mark() (outage func() (time.Duration, bool)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.answered
	k.waiting, k.back = time.Now(), time.Time{}
	return func() (time.Duration, bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.back.Sub(before), !k.back.IsZero()
	}
}

// finish ends the TCP session in order and checks that every octet has arrived unchanged.
func (k *traffic) finish() (up, down int64, err error) {
	pair := func(c net.Conn) [2]string { return [2]string{c.LocalAddr().String(), c.RemoteAddr().String()} }
	near, far := pair(k.near), pair(k.far)
	err = k.close()
	k.end()
	k.mu.Lock()
	err = errors.Join(append(k.errs, err)...)
	k.mu.Unlock()
	if near != [2]string{far[1], far[0]} {
		err = errors.Join(err, fmt.Errorf("soak: the laptop sees the socket pair %v, the correspondent %v", near, far))
	}
	for i, name := range []string{"to the correspondent", "to the laptop"} {
		s := &k.sides[i]
		if w, r := s.written.Sum(nil), s.read.Sum(nil); string(w) != string(r) {
			err = errors.Join(err, fmt.Errorf("soak: TCP session %s: wrote %x, read %x", name, w[:8], r[:8]))
		}
	}
	return k.sides[0].octets.Load(), k.sides[1].octets.Load(), errors.Join(err, k.near.Close(), k.far.Close())
}

// end has the applications say no more and waits for them.
func (k *traffic) end() {
	k.once.Do(func() { close(k.stop) })
	k.work.Wait()
}

// close ends the datagram sockets.
func (k *traffic) close() error {
	var errs []error
	for _, c := range k.socks {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// dnsQuery returns a query for the address of a name with the canary for a label (RFC 1035 §4.1).
func dnsQuery() []byte {
	q := []byte{0x5f, 0x1d, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0}
	q = append(append(q, byte(len(e2e.Canary))), e2e.Canary...)
	q = append(append(q, 4), "corp"...)
	q = append(append(q, 7), "example"...)
	return append(q, 0, 0, 1, 0, 1)
}

// ipv6Packet returns a packet with the canary between two unique local addresses (RFC 8200 §3, RFC 4193), of a protocol for
// experiments (RFC 3692), which has no checksum.
func ipv6Packet() []byte {
	src, dst := netip.MustParseAddr("fd00:5f1d::100").As16(), netip.MustParseAddr("fd00:5f1d::20").As16()
	p := []byte{0x60, 0, 0, 0, 0, byte(len(e2e.Canary)), 253, 64}
	return append(append(append(p, src[:]...), dst[:]...), e2e.Canary...)
}
