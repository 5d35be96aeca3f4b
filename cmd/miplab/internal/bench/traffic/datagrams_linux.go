package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/bench"
)

const (
	// burst is the most datagrams that one system call sends or receives.
	burst = 64
	// receiveBuffer is the receiving application's socket buffer in octets: large, so that it is the tunnel that loses.
	receiveBuffer = 8 << 20
	// warmUp is the part of a trial, one in so many, that is not counted: queues fill in it.
	warmUp = 4
	// pace is the sender's pause when nothing is due.
	pace = 100 * time.Microsecond
	// slip is how far the sender may fall behind and still make up for it.
	slip = 2 * time.Millisecond
	// leastSent is the least number of datagrams that count: a trial goes on until they are sent.
	leastSent = 20
	// wait is how long a receiver waits for a datagram, and waits is how many times in a row it does so in vain before it takes
	// those on their way for lost.
	wait  = 15 * time.Millisecond
	waits = 4
)

// MinPayload is the least payload of the datagrams, in octets: trial, counted or not.
const MinPayload = 8

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// Datagrams are two connected UDP sockets, one at each end.
type Datagrams struct {
	from, to int // descriptors
	trial    uint32
}

// OpenDatagrams opens the sockets; datagrams go up, or down when up is not set.
func OpenDatagrams(p Path, up bool) (*Datagrams, error) {
	near := netip.AddrPortFrom(p.NearAddress, udpPort)
	far := netip.AddrPortFrom(p.FarAddress, udpPort)
	d := &Datagrams{from: -1, to: -1}
	err := errors.Join(
		p.Near.Do(func() (err error) { d.from, err = udpSocket(near, far); return err }),
		p.Far.Do(func() (err error) { d.to, err = udpSocket(far, near); return err }))
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("traffic: datagrams: %w", err)
	}
	if !up {
		d.from, d.to = d.to, d.from
	}
	return d, nil
}

// Close closes the sockets.
func (d *Datagrams) Close() error {
	var errs []error
	for _, fd := range []int{d.from, d.to} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// udpSocket opens a blocking socket.
func udpSocket(local, remote netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	err = errors.Join(err,
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()})),
		os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: int(remote.Port()), Addr: remote.Addr().As4()})))
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Trial sends datagrams with that many octets of payload, at least MinPayload, at a steady rate, a second, for the duration,
// and counts those that arrive. Its first quarter does not count. It takes longer when it has to for a few datagrams.
func (d *Datagrams) Trial(payload int, rate float64, duration time.Duration) (bench.Outcome, error) {
	d.trial++
	type result struct {
		count int
		err   error
	}
	sent, received := make(chan int, 1), make(chan result, 1)
	go func() {
		n, err := d.receive(d.trial, sent)
		received <- result{n, err}
	}()
	o, err := d.send(payload, rate, duration)
	sent <- o.Sent
	r := <-received
	o.Received = r.count
	return o, errors.Join(err, r.err)
}

// send paces the datagrams of a trial.
func (d *Datagrams) send(payload int, rate float64, duration time.Duration) (o bench.Outcome, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var messages [burst]mmsghdr
	data := make([]byte, payload)
	binary.BigEndian.PutUint32(data, d.trial)
	vector := unix.Iovec{Base: &data[0]}
	vector.SetLen(payload)
	for i := range messages {
		messages[i].header.Iov = &vector
		messages[i].header.SetIovlen(1)
	}
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default again
	var total int
	begin := time.Now()
	start, counting := begin, false // start of the schedule, and whether datagrams count
	var from time.Time              // start of what counts
	for {
		now := time.Now()
		if !counting && now.Sub(begin) >= duration/warmUp {
			counting, from = true, now
			data[4] = 1
		}
		if now.Sub(begin) >= duration && o.Sent >= leastSent {
			break
		}
		late := int(now.Sub(start).Seconds()*rate) - total
		if late <= 0 {
			sleep(pace)
			continue
		}
		if most := max(int(slip.Seconds()*rate), burst); late > most {
			// Others had the processor: what was not sent then is not sent at once now.
			start = start.Add(time.Duration(float64(late-most) / rate * float64(time.Second)))
			late = most
		}
		n, err := sendMany(d.from, messages[:min(late, burst)])
		if err != nil {
			return o, err
		}
		total += n
		if counting {
			o.Sent += n
		}
	}
	o.Offered = float64(o.Sent) / time.Since(from).Seconds()
	return o, nil
}

// sendMany sends the messages, of which the first n go out.
func sendMany(fd int, messages []mmsghdr) (n int, err error) {
	r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), 0, 0, 0)
	switch {
	case errno == 0:
		return int(r), nil
	case errno == unix.EINTR || errno == unix.ENOBUFS || errno == unix.EAGAIN || errno == unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, os.NewSyscallError("sendmmsg", errno)
}

// receive counts datagrams of the trial until all that were sent are there, or none comes any more.
func (d *Datagrams) receive(trial uint32, sent <-chan int) (count int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var messages [burst]mmsghdr
	var heads [burst][MinPayload]byte
	var vectors [burst]unix.Iovec
	for i := range messages {
		vectors[i].Base = &heads[i][0]
		vectors[i].SetLen(MinPayload)
		messages[i].header.Iov = &vectors[i]
		messages[i].header.SetIovlen(1)
	}
	all := -1  // how many were sent, once that is known
	quiet := 0 // how often in a row nothing came
	for all < 0 || count < all && quiet < waits {
		if all < 0 {
			select {
			case all = <-sent:
				quiet = 0
			default:
			}
		}
		r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(d.to), uintptr(unsafe.Pointer(&messages[0])), burst, unix.MSG_WAITFORONE, 0, 0)
		if errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ECONNREFUSED {
			quiet++
			continue
		}
		if errno != 0 {
			return count, os.NewSyscallError("recvmmsg", syscall.Errno(errno))
		}
		for i := range int(r) {
			if binary.BigEndian.Uint32(heads[i][:]) == trial && heads[i][4] == 1 {
				count++
			}
		}
		quiet = 0
	}
	return count, nil
}

// IPPayload is the payload of a UDP datagram in an IPv4 packet of that many octets.
func IPPayload(packet int) int { return packet - 20 - 8 }
