package underlay

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is the size in octets that is asked for a socket's receive buffer: some 40 ms at 1 Gbit/s. It fills only
	// where our own processing is what is slow.
	receiveBuffer = 4 << 20
	// sendBuffer is the size in octets that is asked for its send buffer; the kernel doubles it and counts with overhead, so that
	// about twice as much is under way: 8 ms at 1 Gbit/s. It bounds the queue in front of a slow uplink, for whatever waits in
	// the interface's queue is charged to it, and a queue that counts packets (pfifo_fast has room for 1000) takes a run of 64 KiB
	// for one. When it is full the TUN device is not read, and its queue tells the applications.
	sendBuffer = 512 << 10
)

// socket is a kernel socket in non-blocking mode and the life of its receiving goroutine.
type socket struct {
	file *os.File
	conn syscall.RawConn

	closed   atomic.Bool
	receiver atomic.Uint64 // goroutineID of the receiving goroutine
	done     chan struct{} // closed at its end
	closing  sync.Once
}

// newSocket makes a socket of the calling thread's network namespace. mark is put on everything it sends.
func newSocket(domain, typ, protocol int, mark uint32) (*socket, error) {
	fd, err := unix.Socket(domain, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "socket"), done: make(chan struct{})}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := s.set("SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		s.file.Close()
		return nil, err
	}
	s.setBuffers(receiveBuffer, sendBuffer)
	return s, nil
}

// setBuffers asks for the octets given for each direction's socket buffer.
func (s *socket) setBuffers(receive, send int) {
	if s.set("SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receive) != nil {
		_ = s.set("SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, receive) // the default is small, but works
	}
	if s.set("SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, send) != nil {
		_ = s.set("SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, send)
	}
}

// control calls f with the descriptor and returns its error.
func (s *socket) control(f func(fd int) error) error {
	var err error
	if e := s.conn.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// set sets an integer option; name is for the error.
func (s *socket) set(name string, level, option, value int) error {
	err := s.control(func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
	if err != nil {
		return fmt.Errorf("set %s to %d: %w", name, value, err)
	}
	return nil
}

// start runs the receiving goroutine: loop is called once and returns when receiving fails for good.
func (s *socket) start(loop func()) {
	go func() {
		defer close(s.done)
		s.receiver.Store(goroutineID())
		loop()
	}()
}

// close ends the socket and, unless called by the receiver itself, waits for the receiving goroutine's end.
func (s *socket) close() error {
	err := s.end()
	if !s.receiving() {
		<-s.done
	}
	return err
}

// end ends the socket without waiting for anything.
func (s *socket) end() error {
	var err error
	s.closing.Do(func() {
		s.closed.Store(true)
		err = s.file.Close()
	})
	return err
}

// receiving reports whether the calling goroutine is the receiving one.
func (s *socket) receiving() bool {
	id := goroutineID()
	return id != 0 && id == s.receiver.Load()
}

// discard closes a socket that was never started.
func (s *socket) discard() {
	close(s.done)
	_ = s.close()
}

// receive waits for messages and returns how many came into msgs, or an error that wraps net.ErrClosed.
type receiveCall struct {
	socket *socket
	msgs   []mmsghdr
	most   int // how many of msgs are received into
	n      int
	errno  syscall.Errno
	call   func(fd uintptr) bool // the method value, made once
}

func newReceiveCall(s *socket, msgs []mmsghdr) *receiveCall {
	r := &receiveCall{socket: s, msgs: msgs, most: receiveTrains}
	r.call = r.try
	return r
}

func (r *receiveCall) try(fd uintptr) bool {
	for {
		r.n, r.errno = recvmmsg(fd, r.msgs[:r.most])
		switch r.errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		return true
	}
}

// expect fits the number of messages of the next calls to what the last one, of n messages, has brought.
func (r *receiveCall) expect(n int, trains bool) {
	switch {
	case trains:
		r.most = receiveTrains
	case n == r.most:
		r.most = min(2*r.most, len(r.msgs))
	}
}

// wait returns how many messages have come. Errors of the socket that pass (an ICMP message, the interface going down) are
// not returned; what is returned ends the socket.
func (r *receiveCall) wait() (int, error) {
	for {
		if err := r.socket.conn.Read(r.call); err != nil {
			return 0, err
		}
		if r.errno == 0 {
			return r.n, nil
		}
		if r.socket.closed.Load() {
			return 0, net.ErrClosed
		}
		switch r.errno {
		case unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK, unix.ENOSYS:
			return 0, r.errno
		}
	}
}
