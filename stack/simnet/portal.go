package simnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var _ link.PortalHost = (*Host)(nil)

// CaptivePortal makes a router keep hosts from the rest of the network until they have logged in: it answers every TCP
// connection to port 80 itself, whoever it is to, and drops everything else that it would forward. What is for the router
// itself, such as DNS and the portal's page, passes.
type CaptivePortal struct {
	host   *Host
	inside *NIC
	passed map[netip.Addr]bool
}

// httpPort is the port whose connections the portal takes.
const httpPort = 80

// SetCaptivePortal puts a portal in front of the hosts that are connected to the router's interface inside. Its page is served
// by whatever listens on TCP port 80 of the router's unspecified address (ListenTCP).
func (h *Host) SetCaptivePortal(inside *NIC) *CaptivePortal {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.captive = &CaptivePortal{host: h, inside: inside, passed: make(map[netip.Addr]bool)}
	return h.captive
}

// Login lets the host with the address pass.
func (p *CaptivePortal) Login(client netip.Addr) { p.set(client, true) }

// Logout keeps the host with the address again, as when its time has run out.
func (p *CaptivePortal) Logout(client netip.Addr) { p.set(client, false) }

func (p *CaptivePortal) set(client netip.Addr, passed bool) {
	p.host.net.mu.Lock()
	defer p.host.net.mu.Unlock()
	p.passed[client] = passed
}

// takes judges a packet that arrived on an interface of the router and is not for itself: to be answered here, or to be
// dropped. Mutex held.
func (p *CaptivePortal) takes(c *NIC, ip packet.IPv4) (answer, drop bool) {
	if p == nil || c != p.inside || p.passed[ip.Src()] || p.host.owns(ip.Dst()) {
		return false, false
	}
	if id := flowOf(ip); id.protocol == packet.ProtocolTCP && id.dst.Port() == httpPort {
		return true, false
	}
	return false, true
}

// LabHotel is the address of the hotel's router on its own network, LabHotelNAT the one outside.
var (
	LabHotel    = netip.MustParseAddr("172.20.0.1")
	LabHotelNAT = netip.MustParseAddr("192.0.2.50")
)

// Hotel is a network with a captive portal.
type Hotel struct {
	// Wire is the network: 172.20.0.0/24, addresses from .100 on.
	Wire *Wire
	// Router is its router and NAPT, Outside its interface on the Internet.
	Router  *Host
	Outside *NIC
	// Portal stands in front of the network's hosts.
	Portal *CaptivePortal
}

// AddHotel adds a hotel to the lab: it is no part of it otherwise. Nothing serves the portal's page yet.
func (l *Lab) AddHotel() *Hotel {
	n := l.Network
	h := &Hotel{Router: n.NewHost("hotel"), Wire: n.NewWire(WireConfig{
		Name: "hotel", Impairment: Impairment{Latency: 2 * time.Millisecond}, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 5},
		Pool: &AddressPool{First: netip.MustParsePrefix("172.20.0.100/24"), Gateway: LabHotel},
	})}
	inside := h.Router.join(h.Wire, "lan0", "172.20.0.1/24", "")
	h.Outside = h.Router.join(l.Internet, "wan0", "192.0.2.50/24", "192.0.2.1")
	h.Router.SetRouter(true)
	h.Router.SetNAT(NATConfig{Outside: h.Outside, Filtering: AddressAndPortDependent})
	h.Portal = h.Router.SetCaptivePortal(inside)
	return h
}

// DialThrough implements link.PortalHost.
func (h *Host) DialThrough(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, fmt.Errorf("simnet: dial TCP %v through interface %d of %s: %w", to, index, h.name, err)
	}
	h.net.mu.Lock()
	c := h.nic(index)
	if c == nil {
		h.net.mu.Unlock()
		return fail(ErrNotFound)
	}
	s, err := h.connect(to, c)
	h.net.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() {
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		if !s.started && s.err == nil {
			s.fail(context.Cause(ctx))
		}
	})
	defer stop()
	if err := s.established(time.Time{}); err != nil {
		return fail(err)
	}
	return s, nil
}

// ListenLocal implements link.PortalHost.
func (h *Host) ListenLocal() (net.PacketConn, error) {
	return h.ListenUDP(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
}

// OpenPortal implements link.PortalHost. The way is a *PortalWay.
func (h *Host) OpenPortal(p link.Portal) (link.PortalWay, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.line == nil {
		return nil, fmt.Errorf("simnet: open the way to a portal on %s: kill switch: %w", h.name, ErrNotFound)
	}
	p.Forbidden, p.Ports = slices.Clone(p.Forbidden), slices.Clone(p.Ports)
	w := &PortalWay{host: h, portal: p, until: make(map[netip.Addr]time.Duration)}
	if h.portal != nil {
		h.portal.closed = true
	}
	h.portal = w
	return w, nil
}

// Portal returns the way to a captive portal that is open on the host, nil without one.
func (h *Host) Portal() *PortalWay {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.portal
}

// PortalWay is an open way to a captive portal. Its processes are those that use Dial and Resolver.
type PortalWay struct {
	host   *Host
	portal link.Portal
	until  map[netip.Addr]time.Duration // boot time
	joined []int
	closed bool
}

// ErrConfined is returned for what the way does not lead to.
var ErrConfined = errors.New("confined to the way to a portal")

// Admit implements link.PortalWay.
func (w *PortalWay) Admit(addresses []netip.Addr, remaining time.Duration) error {
	w.host.net.mu.Lock()
	defer w.host.net.mu.Unlock()
	for _, a := range addresses {
		if w.closed || !a.Is4() || slices.ContainsFunc(w.portal.Forbidden, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return fmt.Errorf("simnet: admit %v: %w", a, ErrConfined)
		}
	}
	for _, a := range addresses {
		w.until[a] = w.host.net.now() + w.host.bootOffset + remaining
	}
	return nil
}

// Join implements link.PortalWay; Joined tells which processes have.
func (w *PortalWay) Join(pid int, _ uint32) error {
	w.host.net.mu.Lock()
	defer w.host.net.mu.Unlock()
	if w.closed {
		return fmt.Errorf("simnet: join: %w", ErrConfined)
	}
	w.joined = append(w.joined, pid)
	return nil
}

// Joined returns the processes that have joined.
func (w *PortalWay) Joined() []int {
	w.host.net.mu.Lock()
	defer w.host.net.mu.Unlock()
	return slices.Clone(w.joined)
}

// Confinement implements link.PortalWay.
func (w *PortalWay) Confinement() string { return "simulation" }

// Close implements link.PortalWay.
func (w *PortalWay) Close() error {
	w.host.net.mu.Lock()
	defer w.host.net.mu.Unlock()
	w.closed = true
	if w.host.portal == w {
		w.host.portal = nil
	}
	return nil
}

// Resolver returns where the way's processes ask for names.
func (w *PortalWay) Resolver() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), w.portal.Resolver)
}

// Dial opens a TCP connection as the way's processes can. The error wraps ErrConfined for what the way does not lead to. A
// connection that is open already goes on when the way closes, which the kernel's does not.
func (w *PortalWay) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	h := w.host
	h.net.mu.Lock()
	leads := !w.closed && slices.Contains(w.portal.Ports, to.Port()) && h.net.now()+h.bootOffset < w.until[to.Addr()]
	h.net.mu.Unlock()
	if !leads {
		return nil, fmt.Errorf("simnet: dial TCP %v from a portal's browser on %s: %w", to, h.name, ErrConfined)
	}
	return h.DialThrough(ctx, w.portal.Interface.Index, to)
}
