package stack

import (
	"net"
	"net/netip"

	"mipvpn/stack/tcpflow"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Stream is a TCP connection to the VPN gateway, for one IKE SA and its child SAs (RFC 9329). It belongs to who has opened it.
type Stream struct{ flow *tcpflow.Flow }

// OpenStream makes a Stream of a connection to the gateway, which the Stream owns from now on. mtu is that of the interface it
// goes by, in octets. What arrives in it is taken like what arrives in UDP. ended is called from any goroutine when the
// connection has ended otherwise than by Close, with the reason of tcpflow.Options.Ended; it must not block.
func (v *VPN) OpenStream(conn net.Conn, mtu int, ended func(error)) *Stream {
	return &Stream{tcpflow.New(conn, tcpflow.Options{Originator: true, MTU: mtu, Drops: v.drops,
		Receive: func(f *tcpflow.Flow, b *packet.Batch) { v.receiveEither(f.Local(), f.Remote(), b, true) },
		Ended:   func(_ *tcpflow.Flow, err error) { ended(err) }})}
}

// UseStream has data go through s, nil for UDP or protocol 50 as Use says. A pipeline that was compiled before is to be compiled
// anew.
func (v *VPN) UseStream(s *Stream) { v.stream.Store(s) }

// Local returns our end of the connection.
func (s *Stream) Local() netip.AddrPort { return s.flow.Local() }

// Remote returns the gateway's end.
func (s *Stream) Remote() netip.AddrPort { return s.flow.Remote() }

// Send sends an IKE message, in front of data that waits. Errors are those of tcpflow.Flow.Send.
func (s *Stream) Send(payload []byte) error {
	return s.flow.Send(netip.AddrPort{}, append(nonESPMarker[:], payload...))
}

// Close closes the connection, once what was sent has left. Data that is sent through it afterwards is dropped.
func (s *Stream) Close() error { return s.flow.Close() }

// path returns how data goes through the connection.
func (s *Stream) path(c link.Class) link.Path { return s.flow.Path(c) }
