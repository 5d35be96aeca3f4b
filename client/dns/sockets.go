package dns

import (
	"context"
	"net"
	"net/netip"
)

// OSSockets are this machine's sockets.
type OSSockets struct{}

var _ Sockets = OSSockets{}

// ListenUDP implements Sockets. The kernel draws a free port at random.
func (OSSockets) ListenUDP(local netip.AddrPort) (net.PacketConn, error) {
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())
	}
	if err := prepareLoopback(local.Addr()); err != nil {
		return nil, err
	}
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(local))
}

// ListenTCP implements Sockets.
func (OSSockets) ListenTCP(local netip.AddrPort) (net.Listener, error) {
	if err := prepareLoopback(local.Addr()); err != nil {
		return nil, err
	}
	return net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(local))
}

// DialTCP implements Sockets.
func (OSSockets) DialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", remote.String())
}
