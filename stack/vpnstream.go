package stack

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"mipvpn/stack/tcpflow"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrNoStream means that there is no TCP connection to the gateway.
var ErrNoStream = errors.New("stack: no TCP connection to the VPN gateway")

// vpnStreams are the TCP connections to the gateway (RFC 9329): one, and for a moment an earlier one.
type vpnStreams struct {
	mu      sync.Mutex
	current *tcpflow.Flow
	used    atomic.Pointer[tcpflow.Flow] // what data goes through, nil for UDP or protocol 50
}

// OpenStream makes a TCP connection to the gateway the one that IKE messages can be sent through, in the place of an earlier
// one, which is closed; VPN owns it from now on. mtu is that of the interface it goes by, in octets. What arrives in it is
// taken like what arrives in UDP. ended is called from any goroutine when the connection has ended otherwise than by
// this VPN, with the reason of tcpflow.Options.Ended; it must not block.
func (v *VPN) OpenStream(conn net.Conn, mtu int, ended func(error)) link.Flow {
	f := tcpflow.New(conn, tcpflow.Options{Originator: true, MTU: mtu, Drops: v.drops,
		Receive: func(f *tcpflow.Flow, b *packet.Batch) { v.receiveEither(f, b, true) },
		Ended:   func(_ *tcpflow.Flow, err error) { ended(err) }})
	t := &v.streams
	t.mu.Lock()
	old := t.current
	t.current = f
	if old != nil && t.used.Load() == old {
		t.used.Store(f)
	}
	t.mu.Unlock()
	if old != nil {
		_ = old.Close() // what became of it does not matter any more
	}
	return f
}

// UseStream has data go through the TCP connection, or not. A pipeline that was compiled before is to be compiled anew.
// Errors: ErrNoStream.
func (v *VPN) UseStream(use bool) error {
	t := &v.streams
	t.mu.Lock()
	defer t.mu.Unlock()
	if !use {
		t.used.Store(nil)
		return nil
	}
	if t.current == nil {
		return ErrNoStream
	}
	t.used.Store(t.current)
	return nil
}

// SendStream sends an IKE message in the TCP connection. Errors: ErrNoStream and those of link.Flow.Send.
func (v *VPN) SendStream(payload []byte) error {
	t := &v.streams
	t.mu.Lock()
	f := t.current
	t.mu.Unlock()
	if f == nil {
		return ErrNoStream
	}
	return f.Send(f.Remote(), append(nonESPMarker[:], payload...))
}

// CloseStream closes the TCP connection, once what was sent has left.
func (v *VPN) CloseStream() error { return v.streams.close() }

func (t *vpnStreams) close() error {
	t.mu.Lock()
	f := t.current
	t.current = nil
	t.used.Store(nil)
	t.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.Close()
}
