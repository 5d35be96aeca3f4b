package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var _ link.Host = (*Host)(nil)

// Host is a simulated computer: interfaces, an IPv4 stack, a clock. It implements link.Host.
type Host struct {
	net  *Network
	name string
	lane int
	rng  *rand.Rand

	bootOffset, wallOffset time.Duration
	asleep                 bool
	late                   []func() // what came due in suspend
	timers                 []*timer // armed ones

	nics        []*NIC
	nextIndex   int
	watchers    []*watcher
	routes      []Route
	router      bool
	mute        bool // SetMute
	noFragments bool // SetNoFragments
	devices     []*device
	settings    map[string]link.Settings // by device
	shielded    map[netip.Addr]bool
	line        *line                      // nil without a kill switch
	told        func(link.Restored, error) // of settings that were put back, nil for nobody

	endpoints []*endpoint
	nextPort  uint16
	listeners []*Listener
	streams   map[streamKey]*Stream
	pings     map[uint16]*ping
	fragments map[fragmentKey]*reassembly
	pathMTU   map[netip.Addr]int
	ipID      uint16

	nat      *nat
	firewall *firewall
	captive  *CaptivePortal // nil for none
	portal   *PortalWay     // the open way to a captive portal, nil for none
	drops    packet.Drops
}

// NewHost adds a host without interfaces. It panics when the name is empty or taken.
func (n *Network) NewHost(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.name == name {
			panic(fmt.Sprintf("simnet: there is a host %q already", name))
		}
	}
	if name == "" {
		panic("simnet: a host needs a name")
	}
	h := &Host{
		net: n, name: name, lane: len(n.hosts) + 1, rng: n.random(name),
		nextPort: 32768, settings: make(map[string]link.Settings), shielded: make(map[netip.Addr]bool),
		streams: make(map[streamKey]*Stream), pings: make(map[uint16]*ping),
		fragments: make(map[fragmentKey]*reassembly), pathMTU: make(map[netip.Addr]int),
	}
	// Hosts have not booted at the same time, so that a boot time that strays to another host is seen.
	h.bootOffset = time.Duration(h.lane) * time.Hour
	n.hosts = append(n.hosts, h)
	return h
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Drops returns the counters of what the host's stack has dropped.
func (h *Host) Drops() *packet.Drops { return &h.drops }

// SetRouter makes the host forward between its interfaces whatever Apply says.
func (h *Host) SetRouter(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.router = on
}

// owns reports whether addr is one of the host's own addresses.
func (h *Host) owns(addr netip.Addr) bool {
	for _, c := range h.nics {
		if c.addr.IsValid() && c.addr.Addr() == addr {
			return true
		}
	}
	for _, d := range h.devices {
		if s := h.settings[d.name]; addr.IsValid() && (s.Address == addr || s.Taken == addr) {
			return true
		}
	}
	return addr.IsLoopback()
}

func (h *Host) nic(index int) *NIC {
	for _, c := range h.nics {
		if c.index == index {
			return c
		}
	}
	return nil
}

// forwards reports whether the host is a router.
func (h *Host) forwards() bool {
	if h.router {
		return true
	}
	for _, s := range h.settings {
		if s.Forward {
			return true
		}
	}
	return false
}

// shutdown ends what blocks on the host. Mutex held.
func (h *Host) shutdown() {
	for _, d := range h.devices {
		d.end()
	}
	for _, e := range h.endpoints {
		e.end()
	}
	for _, l := range h.listeners {
		l.end()
	}
	for _, s := range h.streams {
		s.fail(errClosed)
	}
	for _, p := range h.pings {
		p.end(errClosed)
	}
}
