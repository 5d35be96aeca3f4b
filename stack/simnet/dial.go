package simnet

import (
	"net"
	"net/netip"
)

// DialUDP opens an application's UDP socket that talks to one peer: what comes from others is passed over. The local end is as in
// ListenUDP, and so are the errors.
func (h *Host) DialUDP(local, peer netip.AddrPort) (net.Conn, error) {
	u, err := h.ListenUDP(local)
	if err != nil {
		return nil, err
	}
	return connected{u, peer}, nil
}

// connected is a UDP socket that talks to one peer.
type connected struct {
	*UDPConn
	peer netip.AddrPort
}

// Read implements net.Conn.
func (c connected) Read(p []byte) (int, error) {
	for {
		n, from, err := c.ReadFromAddrPort(p)
		if err != nil || from == c.peer {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c connected) Write(p []byte) (int, error) { return c.WriteToAddrPort(p, c.peer) }

// RemoteAddr implements net.Conn.
func (c connected) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.peer) }
