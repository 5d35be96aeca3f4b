package link

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Portal describes the way that one browser gets to a captive portal (HST-5).
type Portal struct {
	// Interface is the interface that the portal is on. Address and Gateway say where its network is.
	Interface Interface
	// Forbidden is what the browser never reaches, whatever is admitted: the enterprise's IPv4 prefixes, home agents, home
	// addresses, the VPN gateway.
	Forbidden []netip.Prefix
	// Ports are the TCP ports that may be reached at an admitted address.
	Ports []uint16
	// Resolver is the UDP port on 127.0.0.1 that the browser's DNS queries are led to, wherever they were going.
	Resolver uint16
}

// PortalWay is an open way to a captive portal: what its processes send goes to what is admitted, by the Portal's interface,
// and nowhere else. Its methods may be called from several goroutines.
type PortalWay interface {
	// Admit lets the way lead to the addresses for the time that remains, whatever becomes of this process, in the place of
	// what was admitted of them before. Addresses that are forbidden or not IPv4 are an error, and none is admitted then.
	Admit(addresses []netip.Addr, remaining time.Duration) error
	// Join puts the process into the way, which must be the user's own. What it opens and starts from then on is confined.
	Join(pid int, user uint32) error
	// Confinement says by what means the kernel knows the way's processes, for people.
	Confinement() string
	// Close closes the way: nothing is admitted any more, and its processes are killed.
	Close() error
}

// PortalHost is what the way to a captive portal takes of an operating system.
type PortalHost interface {
	// OpenPortal opens a way that leads nowhere yet, in the place of any other. It fails without KillSwitch.
	OpenPortal(p Portal) (PortalWay, error)
	// DialThrough opens a TCP connection that leaves by the interface with this index and by no other, past the Device. It is
	// Protected: to be used for what names nothing of the enterprise's.
	DialThrough(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error)
	// ListenLocal opens a UDP socket on a free port of this host's loopback address.
	ListenLocal() (net.PacketConn, error)
}
