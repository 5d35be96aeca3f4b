//go:build linux || darwin || windows

package underlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// plainLink is the link of one interface and address, or of one address on every interface, over the sockets of Go's net package:
// what there is on systems whose sockets are not driven by this package itself. It opens UDP flows alone. It runs on Linux too,
// where it is tried.
type plainLink struct {
	ports *ports
	index int
	addr  netip.Addr
	mtu   int
}

// newPlainLink returns the link of the interface with this index, 0 for every one, and one of the host's addresses.
func newPlainLink(p *ports, index int, addr netip.Addr) (*plainLink, error) {
	if !addr.IsValid() || addr.Is4In6() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() && addr.Is6() {
		return nil, fmt.Errorf("underlay: link of address %v: expected an IPv4 address of the host or a global IPv6 one", addr)
	}
	k := &plainLink{ports: p, index: index, addr: addr, mtu: defaultMTU}
	if index != 0 {
		i, err := net.InterfaceByIndex(index)
		if err != nil {
			return nil, fmt.Errorf("underlay: link of interface %d: %w", index, err)
		}
		k.mtu = i.MTU
	}
	return k, nil
}

func (k *plainLink) Addr() netip.Addr { return k.addr }

func (k *plainLink) MTU() int { return k.mtu }

func (k *plainLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	if spec.Protocol != packet.ProtocolUDP {
		return nil, fmt.Errorf("underlay: open flow of protocol %d from %v: UDP alone passes through this system's sockets: %w; choose UDP encapsulation (encapsulation = \"udp\")",
			spec.Protocol, k.addr, ErrUnsupported)
	}
	if spec.Port != 0 && spec.Remote.IsValid() {
		return k.ports.branch(k.index, k.addr, spec, recv, k.open)
	}
	return k.open(spec, recv)
}

// open opens a socket of its own.
func (k *plainLink) open(spec link.FlowSpec, recv link.Receiver) (portFlow, error) {
	f := &plainFlow{drops: k.ports.drops, six: k.addr.Is6(), index: k.index, mtu: k.mtu, remote: spec.Remote, recv: recv, done: make(chan struct{})}
	if err := f.open(k, spec); err != nil {
		return nil, fmt.Errorf("underlay: open flow of UDP from %v port %d: %w", k.addr, spec.Port, err)
	}
	return f, nil
}

// plainFlow is a UDP socket of Go's net package. It is never connected: the remote endpoint is checked here, so that ICMP errors of
// strangers have no effect on it. Signalling and data go through the same buffers, one datagram a system call.
type plainFlow struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	drops  *packet.Drops
	six    bool
	index  int
	mtu    int
	local  netip.AddrPort
	remote netip.AddrPort
	recv   link.Receiver

	mu    sync.Mutex
	whole bool // what is sent bears DF, as the socket is set now
	room  plainRoom

	closed   atomic.Bool
	receiver atomic.Uint64 // goroutineID of the receiving goroutine
	done     chan struct{} // closed at its end
}

var _ link.Flow = (*plainFlow)(nil)

func (f *plainFlow) open(k *plainLink, spec link.FlowSpec) error {
	if f.remote.IsValid() && !f.reaches(f.remote.Addr()) {
		return fmt.Errorf("remote address %v: expected the IP version of %v", f.remote.Addr(), k.addr)
	}
	network := "udp4"
	if f.six {
		network = "udp6"
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		outer := raw.Control(func(fd uintptr) { err = plainSet(fd, k.index, f.six, int(spec.TTL)) })
		return errors.Join(outer, err)
	}}
	conn, err := c.ListenPacket(context.Background(), network, netip.AddrPortFrom(k.addr, spec.Port).String())
	if err != nil {
		return err
	}
	f.conn = conn.(*net.UDPConn)
	if f.raw, err = f.conn.SyscallConn(); err == nil {
		err = f.discover(false)
	}
	if err != nil {
		f.conn.Close()
		return err
	}
	_ = f.conn.SetReadBuffer(plainBuffer)
	f.local = netip.AddrPortFrom(k.addr, f.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	go f.run()
	return nil
}

const (
	// defaultMTU is the MTU in octets that a link of no particular interface is taken to have.
	defaultMTU = 1500
	// ipv6Len is the length of the IPv6 header in octets (RFC 8200 §3).
	ipv6Len = 40
)

// plainBuffer is the size in octets that is asked for a socket's receive buffer; the default is small, but works.
const plainBuffer = 1 << 20

func (f *plainFlow) reaches(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Is6() == f.six }

func (f *plainFlow) receiving() bool {
	id := goroutineID()
	return id != 0 && id == f.receiver.Load()
}

// discover has what is sent from now on bear DF, or not. It is called by open, and then with mu held.
func (f *plainFlow) discover(whole bool) error {
	var err error
	outer := f.raw.Control(func(fd uintptr) { err = plainWhole(fd, f.six, whole) })
	if err := errors.Join(outer, err); err != nil {
		return fmt.Errorf("have packets bear DF or not: %w", err)
	}
	f.whole = whole
	return nil
}

// plainPause is the wait after an error of receiving that passes, such as an ICMP message that the system tells sockets of, so that
// one that comes again and again keeps no processor busy.
const plainPause = time.Millisecond

func (f *plainFlow) run() {
	defer close(f.done)
	f.receiver.Store(goroutineID())
	var room [packet.LargeSize]byte
	var oob [128]byte
	for {
		n, o, _, peer, err := f.conn.ReadMsgUDPAddrPort(room[:], oob[:])
		if f.closed.Load() || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(plainPause)
			continue
		}
		peer = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
		if f.remote.IsValid() && peer != f.remote {
			f.drops.Count(packet.DropNoFlow, 1)
			continue
		}
		b := packet.Get(n)
		copy(b.Extend(n), room[:n])
		b.Peer, b.Interface, b.TOS = peer, f.index, plainTOS(oob[:o])
		f.recv(packet.One(b))
	}
}

func (f *plainFlow) Local() netip.AddrPort { return f.local }

func (f *plainFlow) Remote() netip.AddrPort { return f.remote }

// Send sends one payload as Protected.
func (f *plainFlow) Send(to netip.AddrPort, payload []byte) error {
	if !to.IsValid() {
		to = f.remote
	}
	if !f.reaches(to.Addr()) {
		return fmt.Errorf("underlay: send to %v from %v: expected an endpoint of the same IP version", to, f.local)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.send(to, payload, 0, false); err != nil {
		return fmt.Errorf("underlay: send %d octets of UDP to %v: %w", len(payload), to, err)
	}
	return nil
}

// send sends one datagram. mu is held.
func (f *plainFlow) send(to netip.AddrPort, payload []byte, tos uint8, whole bool) error {
	if whole != f.whole {
		if err := f.discover(whole); err != nil {
			return err
		}
	}
	if whole && len(payload)+f.overhead() > f.mtu {
		return fmt.Errorf("%w: %d octets, the interface takes %d", link.ErrTooBig, len(payload)+f.overhead(), f.mtu)
	}
	var oob []byte
	if tos != 0 {
		oob = f.room.tos(tos, f.six)
	}
	_, _, err := f.conn.WriteMsgUDPAddrPort(payload, oob, to)
	return err
}

// overhead returns the octets of the headers that the kernel writes in front of a payload.
func (f *plainFlow) overhead() int {
	if f.six {
		return ipv6Len + packet.UDPLen
	}
	return packet.IPv4Len + packet.UDPLen
}

func (f *plainFlow) Path(link.Class) link.Path {
	n := f.overhead()
	return link.Path{Out: plainSender{f}, Overhead: n, MTU: f.mtu - n}
}

// plainSender is the end of a path over a plainFlow.
type plainSender struct{ flow *plainFlow }

// Send implements link.Sender. What the system refuses is dropped and counted, the rest still sent; the first refusal is returned.
func (s plainSender) Send(b *packet.Batch) error {
	f := s.flow
	defer b.Release()
	b.Cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	var first error
	for _, p := range b.Bufs {
		to := f.remote
		if !to.IsValid() {
			to = p.Peer
		}
		err := f.send(to, p.Bytes(), p.TOS, p.Whole())
		if err == nil {
			continue
		}
		reason := packet.DropSendFailed
		if errors.Is(err, link.ErrTooBig) {
			reason = packet.DropTooBig
		}
		f.drops.Count(reason, 1)
		if first == nil {
			first = fmt.Errorf("underlay: send UDP from %v: %w", f.local, err)
		}
	}
	return first
}

// Close ends the flow and, unless called by the receiver itself, waits for the receiving goroutine's end.
func (f *plainFlow) Close() error {
	var err error
	if !f.closed.Swap(true) {
		err = f.conn.Close()
	}
	if !f.receiving() {
		<-f.done
	}
	return err
}
