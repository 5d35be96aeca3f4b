package link

import (
	"context"
	"net"
	"net/netip"
)

// StreamHost is what a Host may implement beside: TCP connections for IKE and ESP where UDP does not pass (RFC 9329). What
// they send is Protected. They end by themselves when the other end has answered nothing for a while.
type StreamHost interface {
	// DialThrough opens a TCP connection that leaves by the interface with this index and by no other, past the Device.
	DialThrough(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error)
	// ListenStream accepts TCP connections to one of the host's addresses and a port, on every interface.
	ListenStream(local netip.AddrPort) (net.Listener, error)
}
