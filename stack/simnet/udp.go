package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// udpQueue is how many datagrams a UDPConn holds for its reader.
const udpQueue = 4096

// UDPConn is an application's UDP socket. It goes by the host's routes, so into a TUN device where they lead there. It
// implements net.PacketConn with *net.UDPAddr addresses.
type UDPConn struct {
	endpoint
	queue    []datagram
	change   signal
	deadline time.Time
}

type datagram struct {
	from    netip.AddrPort
	payload []byte
}

var _ net.PacketConn = (*UDPConn)(nil)

// signal wakes everybody who waits for a change. It is used under the network's mutex.
type signal struct{ c chan struct{} }

// wait returns a channel that the next fire closes.
func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) fire() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

// await blocks until c is closed or the deadline (zero: none) has passed, then it returns os.ErrDeadlineExceeded.
func await(c <-chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-c
		return nil
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-c:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

// ListenUDP opens an application's UDP socket. The zero Addr stands for any address, port 0 for a free one.
func (h *Host) ListenUDP(local netip.AddrPort) (*UDPConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if local.Addr().IsUnspecified() {
		local = netip.AddrPortFrom(netip.Addr{}, local.Port())
	}
	u := &UDPConn{endpoint: endpoint{host: h, protocol: packet.ProtocolUDP, local: local}}
	u.take = func(_ *NIC, from netip.AddrPort, _ packet.IPv4, payload []byte) {
		if len(u.queue) >= udpQueue {
			h.drops.Count(packet.DropQueueFull, 1)
			return
		}
		u.queue = append(u.queue, datagram{from, slices.Clone(payload)})
		u.change.fire()
	}
	u.end = func() {
		u.closed = true
		u.change.fire()
	}
	err := error(errClosed)
	if !h.net.closed {
		err = h.register(&u.endpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("simnet: listen on UDP %v on %s: %w", shown(local), h.name, err)
	}
	return u, nil
}

// ReadFromAddrPort waits for a datagram and copies as much of it as fits to p. Errors wrap net.ErrClosed or
// os.ErrDeadlineExceeded.
func (u *UDPConn) ReadFromAddrPort(p []byte) (int, netip.AddrPort, error) {
	n := u.host.net
	for {
		n.mu.Lock()
		if len(u.queue) > 0 {
			d := u.queue[0]
			u.queue = u.queue[1:]
			n.mu.Unlock()
			return copy(p, d.payload), d.from, nil
		}
		if u.closed {
			n.mu.Unlock()
			return 0, netip.AddrPort{}, fmt.Errorf("simnet: read UDP %v on %s: %w", shown(u.local), u.host.name, errClosed)
		}
		c, deadline := u.change.wait(), u.deadline
		n.mu.Unlock()
		if err := await(c, deadline); err != nil {
			return 0, netip.AddrPort{}, fmt.Errorf("simnet: read UDP %v on %s: %w", shown(u.local), u.host.name, err)
		}
	}
}

// WriteToAddrPort sends a datagram. Errors wrap ErrNoRoute or net.ErrClosed.
func (u *UDPConn) WriteToAddrPort(p []byte, to netip.AddrPort) (int, error) {
	h := u.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if err := u.write(p, to); err != nil {
		return 0, fmt.Errorf("simnet: send UDP from %v on %s to %v: %w", shown(u.local), h.name, to, err)
	}
	return len(p), nil
}

// WriteTrain sends p as datagrams of size octets each, the last with what is left, all at once, as UDP_SEGMENT has it: a TUN
// device that they go into gives them to its reader as one superpacket. Errors are those of WriteToAddrPort; datagrams before
// the one that failed have been sent.
func (u *UDPConn) WriteTrain(p []byte, size int, to netip.AddrPort) error {
	h := u.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for one := range slices.Chunk(p, size) {
		if err := u.write(one, to); err != nil {
			return fmt.Errorf("simnet: send UDP from %v on %s to %v: %w", shown(u.local), h.name, to, err)
		}
	}
	return nil
}

func (u *UDPConn) write(p []byte, to netip.AddrPort) error {
	h := u.host
	switch {
	case u.closed:
		return errClosed
	case !to.Addr().Is4():
		return fmt.Errorf("an IPv4 destination is needed")
	case len(p) > packet.LargeSize-packet.IPv4Len-packet.UDPLen:
		return ErrTooBig
	}
	src := u.local.Addr()
	if !src.IsValid() {
		src = to.Addr()
		if !h.owns(src) {
			via, ok := h.route(to.Addr(), nil, false)
			if !ok {
				return ErrNoRoute
			}
			src = h.sourceFor(via)
		}
	}
	if !src.IsValid() {
		return ErrNoRoute
	}
	segment := udpSegment(netip.AddrPortFrom(src, u.local.Port()), to, p)
	return h.output(h.build(packet.IPv4Fields{Protocol: packet.ProtocolUDP, Src: src, Dst: to.Addr()}, segment), nil, false, false)
}

// ReadFrom implements net.PacketConn.
func (u *UDPConn) ReadFrom(p []byte) (int, net.Addr, error) {
	k, from, err := u.ReadFromAddrPort(p)
	if err != nil {
		return 0, nil, err
	}
	return k, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo implements net.PacketConn. The address must be a *net.UDPAddr.
func (u *UDPConn) WriteTo(p []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("simnet: send UDP on %s: an address of type *net.UDPAddr is needed, this is a %T", u.host.name, to)
	}
	ap := a.AddrPort()
	return u.WriteToAddrPort(p, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// LocalAddr implements net.PacketConn.
func (u *UDPConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(shown(u.local)) }

// shown returns a local endpoint with 0.0.0.0 for any address.
func shown(local netip.AddrPort) netip.AddrPort {
	if !local.Addr().IsValid() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())
	}
	return local
}

// SetReadDeadline implements net.PacketConn; it also wakes readers that wait already.
func (u *UDPConn) SetReadDeadline(t time.Time) error {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	u.deadline = t
	u.change.fire()
	return nil
}

// SetDeadline implements net.PacketConn. Writing never blocks.
func (u *UDPConn) SetDeadline(t time.Time) error { return u.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Writing never blocks, so there is nothing to limit.
func (u *UDPConn) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.PacketConn.
func (u *UDPConn) Close() error {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	u.closed = true
	u.host.unregister(&u.endpoint)
	u.change.fire()
	return nil
}
