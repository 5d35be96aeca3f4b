package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pingPatience is how long an answer may take; a lost one counts as that long.
const pingPatience = time.Second

// Pinger sends ICMP echo requests (RFC 792), each after the answer to the one before.
type Pinger struct {
	fd   int
	id   uint16
	next uint16
}

// OpenPinger opens the socket at the near end.
func OpenPinger(p Path) (*Pinger, error) {
	g := &Pinger{fd: -1, id: uint16(os.Getpid())}
	err := p.Near.Do(func() (err error) {
		if g.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(g.fd, &unix.SockaddrInet4{Addr: p.NearAddress.As4()}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		return os.NewSyscallError("connect", unix.Connect(g.fd, &unix.SockaddrInet4{Addr: p.FarAddress.As4()}))
	})
	if err != nil {
		if g.fd >= 0 {
			unix.Close(g.fd)
		}
		return nil, fmt.Errorf("traffic: echo requests: %w", err)
	}
	return g, nil
}

// Close closes the socket.
func (g *Pinger) Close() error { return unix.Close(g.fd) }

// Run sends count echo requests, or as many as go until ctx ends, with a pause after each answer, and returns the time each
// answer took. What is not answered within a second counts as that.
func (g *Pinger) Run(ctx context.Context, count int, pause time.Duration) ([]time.Duration, error) {
	// Blocking calls on a thread of its own: how the runtime wakes goroutines is not to be measured.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all []time.Duration
	for len(all) < count && ctx.Err() == nil {
		rtt, err := g.once(pingPatience)
		if err != nil {
			return all, err
		}
		all = append(all, rtt)
		sleep(pause)
	}
	return all, nil
}

// Await sends echo requests until one is answered.
func (g *Pinger) Await(ctx context.Context) error {
	for ctx.Err() == nil {
		const attempt = 50 * time.Millisecond
		begin := time.Now()
		rtt, err := g.once(attempt)
		if err == nil && rtt < attempt {
			return nil
		}
		// Until the tunnel stands the near end may have no way there.
		time.Sleep(attempt - time.Since(begin))
	}
	return fmt.Errorf("traffic: no answer to echo requests: %w", context.Cause(ctx))
}

// once sends one request and waits for its answer.
func (g *Pinger) once(patience time.Duration) (time.Duration, error) {
	g.next++
	var m [64]byte
	m[0] = 8
	binary.BigEndian.PutUint16(m[4:], g.id)
	binary.BigEndian.PutUint16(m[6:], g.next)
	binary.BigEndian.PutUint16(m[2:], checksum(m[:]))
	begin := time.Now()
	if err := unix.Send(g.fd, m[:], 0); err != nil {
		return 0, os.NewSyscallError("send", err)
	}
	var b [256]byte
	for {
		left := patience - time.Since(begin)
		if left <= 0 {
			return patience, nil
		}
		tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
		n, _, err := unix.Recvfrom(g.fd, b[:], 0)
		took := time.Since(begin)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("recvfrom", err)
		}
		if h := 4 * int(b[0]&15); n >= h+8 && b[h] == 0 && binary.BigEndian.Uint16(b[h+4:]) == g.id && binary.BigEndian.Uint16(b[h+6:]) == g.next {
			return took, nil
		}
	}
}

// checksum is the Internet checksum (RFC 1071) of an even number of octets.
func checksum(m []byte) uint16 {
	var sum uint32
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// sleep stops this thread.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	for errors.Is(unix.Nanosleep(&t, &t), unix.EINTR) {
	}
}
