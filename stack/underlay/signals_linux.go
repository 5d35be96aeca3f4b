package underlay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Registrations and IKE share their UDP ports with tunnelled data (RFC 3519 §3.3, RFC 3948 §2.2). So that they do not wait
// behind data nor go down with it, a flow that carries both has two sockets on its address and port: the kernel chooses by a
// datagram's payload which one receives it, and each has a buffer and a goroutine of its own.

const (
	// signalBuffer is the size in octets of each direction's buffer of a socket for signalling.
	signalBuffer = 256 << 10
	// signalMessages is how many messages one recvmmsg takes from it at most.
	signalMessages = receiveTrains
	// signalPriority is TC_PRIO_INTERACTIVE, the highest that needs no privilege: the first band of the kernel's default queue.
	signalPriority = 6
	// signalTTL is the time to live of what is signalling. It differs from that of data, or generic receive offload at the far
	// end would put signalling into trains of data, which are received and lost as one.
	signalTTL = 255
)

// openSignals gives the flow its second socket. Where the kernel cannot do that, the flow goes on with one.
//
// The first socket has been bound without SO_REUSEPORT, so that nobody else had the port, and none can get it who does not
// ask to share it.
func (f *flow) openSignals(k *kernelLink, spec link.FlowSpec, program []bpf.Instruction) {
	share := func(s *socket, on int) error { return s.set("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, on) }
	s, err := newSocket(f.family(), unix.SOCK_DGRAM, 0, f.host.opts.mark(link.Protected))
	if err != nil {
		return
	}
	s.setBuffers(signalBuffer, signalBuffer)
	ttl := signalTTL
	if spec.TTL != 0 {
		ttl = int(spec.TTL)
	}
	for _, step := range []func() error{
		func() error { return s.prepare(k, spec) },
		func() error {
			return s.discover(f.six, false)
		},
		func() error { return s.setTTL(f.six, ttl) },
		func() error { return s.set("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, signalPriority) },
		func() error { return share(s, 1) },
		func() error { return share(f.socket, 1) },
		func() error {
			return s.control(func(fd int) error {
				return unix.Bind(fd, address(f.local, f.six))
			})
		},
		func() error { return s.choose(program) },
	} {
		if err := step(); err != nil {
			s.discard()
			_ = share(f.socket, 0)
			return
		}
	}
	f.signals = s
}

// closeBoth ends the two sockets of a flow or of frames, the second of which may be nil, before it waits. A receiver that calls
// it waits for neither goroutine: the other one may be about to call it too.
func closeBoth(data, signals *socket) error {
	if signals == nil {
		return data.close()
	}
	err := errors.Join(data.end(), signals.end())
	if !data.receiving() && !signals.receiving() {
		<-data.done
		<-signals.done
	}
	return err
}

// signal sends one payload over the socket for signalling. It never waits: signalling that finds no room is lost, as on the
// way.
func (f *flow) signal(to netip.AddrPort, tos uint8, payload []byte) error {
	var oob []byte
	var c control
	if tos != 0 {
		level, typ := tosItem(f.six)
		data, n := c.putCmsg(0, level, typ, 4)
		binary.NativeEndian.PutUint32(data, uint32(tos))
		oob = c.bytes()[:n]
	}
	err := f.signals.control(func(fd int) error {
		for {
			_, err := unix.SendmsgN(fd, payload, oob, address(to, f.six), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err
			}
		}
	})
	switch {
	case err != nil && f.closed.Load():
		return net.ErrClosed
	case err == unix.EMSGSIZE:
		return refusal(unix.EMSGSIZE)
	}
	return err
}

// takeSignals takes what is signalling out of a batch of data, IKE that a layer above has put into a tunnel, and sends it.
func (f *flow) takeSignals(b *packet.Batch) {
	for _, p := range b.Bufs {
		if f.signalling(p) {
			b.Keep(f.host.opts.Drops, f.sendSignal)
			return
		}
	}
}

func (f *flow) sendSignal(p *packet.Buf) packet.DropReason {
	if !f.signalling(p) {
		return packet.NotDropped
	}
	if err := f.signal(f.peer(p), p.TOS, p.Bytes()); err != nil {
		return packet.DropSendFailed
	}
	return packet.Delivered
}

// signalling reports whether p goes by the socket for signalling, which never sets DF.
func (f *flow) signalling(p *packet.Buf) bool {
	return !p.Super() && !p.Whole() && f.reaches(f.peer(p).Addr()) && f.kind.Is(p.Bytes())
}
