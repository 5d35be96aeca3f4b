package link

import (
	"net/netip"

	"mipvpn/tun/packet"
)

// HomeLinkHost is what a Host may implement beside: the link layer of a home network that is a real link (RFC 5944 §4.6).
type HomeLinkHost interface {
	// OpenHomeLink opens the interface with this index as the link of a home network. The device is the one that Intercept
	// leads packets into; empty, Intercept answers ARP and routes nothing, as a mobile node does for itself. Applying settings anew
	// keeps what is intercepted.
	OpenHomeLink(index int, device string) (HomeLink, error)
}

// HomeLink is an open link of a home network, with what a home agent there does on behalf of mobile nodes that are away, and a
// mobile node for itself when it comes home. Its methods may be called from several goroutines.
type HomeLink interface {
	// Hardware returns the interface's own link-layer address.
	Hardware() packet.HardwareAddr
	// Intercept has this host take the place of home on the link: it answers ARP requests for it with its own link-layer
	// address (proxy ARP), and what it forwards or sends to home goes into the device, where there is one. Doing so twice changes nothing.
	Intercept(home netip.Addr) error
	// Release ends Intercept. Addresses that are not intercepted change nothing.
	Release(home netip.Addr) error
	// Announce broadcasts one gratuitous ARP which says that home is at hardware.
	Announce(home netip.Addr, hardware packet.HardwareAddr) error
	// Heard returns from which link-layer address on the link ARP was last heard that has home as its sender, other than this
	// host's own. Memory of that is bounded, and what was heard says only what somebody claimed. Forget clears it.
	Heard(home netip.Addr) (packet.HardwareAddr, bool)
	// Forget clears what Heard says of home.
	Forget(home netip.Addr)
	// Join has this host be a member of a group on the link, as its routers and switches see it (IGMP), so that datagrams for the
	// group come here, and to Frames; whoever on this host listens to a group's port on every address hears them too. Doing so twice
	// changes nothing.
	Join(group netip.Addr) error
	// Leave ends Join. Groups that were not joined change nothing.
	Leave(group netip.Addr) error
	// Close ends all of it; what is intercepted is released. It does not wait for what it has sent.
	Close() error
}
