package simnet

import (
	"net/netip"
	"time"

	"mipvpn/tun/packet"
)

// Addresses of the lab, the same as in its network namespaces.
var (
	// LabHomeAddress is the laptop's internal home address (i-HoA), LabExternalHomeAddress its external one (x-HoA).
	LabHomeAddress         = netip.MustParseAddr("10.0.8.100")
	LabExternalHomeAddress = netip.MustParseAddr("198.51.100.100")
	// LabHomeNetwork and LabExternalHomeNetwork are the home networks, which are virtual: routed to the home agents.
	LabHomeNetwork         = netip.MustParsePrefix("10.0.8.0/24")
	LabExternalHomeNetwork = netip.MustParsePrefix("198.51.100.0/24")
	// LabInnerPool is the VPN gateway's address pool (VPN-TIA), routed to the gateway.
	LabInnerPool = netip.MustParsePrefix("10.0.9.0/24")
	// LabEnterprise is what the laptop routes into its TUN device.
	LabEnterprise = netip.MustParsePrefix("10.0.0.0/16")
	// LabCorrespondent is the correspondent node inside.
	LabCorrespondent = netip.MustParseAddr("10.0.1.20")
	// LabInternalHA and LabExternalHA are the home agents, LabGateway and LabGatewayInner the VPN gateway's two sides.
	LabInternalHA   = netip.MustParseAddr("10.0.1.10")
	LabExternalHA   = netip.MustParseAddr("192.0.2.20")
	LabGateway      = netip.MustParseAddr("192.0.2.10")
	LabGatewayInner = netip.MustParseAddr("10.0.1.30")
	// LabInternalFA and LabExternalFA are the foreign agents' care-of addresses, LabInternalFAVisited and
	// LabExternalFAVisited their addresses on the networks that they serve.
	LabInternalFA        = netip.MustParseAddr("10.0.1.40")
	LabInternalFAVisited = netip.MustParseAddr("10.0.3.1")
	LabExternalFA        = netip.MustParseAddr("192.0.2.40")
	LabExternalFAVisited = netip.MustParseAddr("172.16.5.1")
	// LabCafeNAT is the outside address of the café's NAPT.
	LabCafeNAT = netip.MustParseAddr("192.0.2.30")
)

// Lab is the topology of the draft's §2 with all hosts, routers, the firewall and the NAT, and without agents:
//
//	Core 10.0.1.0/24      firewall .1, InternalHA .10, Correspondent .20, Gateway .30, InternalFA .40
//	Office 10.0.2.0/24    firewall .1, addresses from .100 on
//	OfficeFA 10.0.3.0/24  InternalFA .1, no addresses
//	Internet 192.0.2.0/24 router .1, firewall .2, Gateway .10, ExternalHA .20, café NAPT .30, ExternalFA .40
//	Cafe 192.168.1.0/24   café NAPT .1, addresses from .100 on
//	Hotspot 172.16.5.0/24 ExternalFA .1, no addresses
//	Campus 203.0.113.0/24 router .1, addresses from .100 on, no NAT
//
// From outside nothing reaches inside. Inside reaches everything. Packets from the Gateway's inner side are inside.
type Lab struct {
	*Network
	// Wires. Internet and those after it are external: no enterprise traffic may show on them in the clear.
	Core, Office, OfficeFA, Internet, Cafe, Hotspot, Campus *Wire
	// Hosts that agents run on, and the correspondent.
	InternalHA, ExternalHA, InternalFA, ExternalFA, Gateway, Correspondent *Host
	// Hosts that are only part of the network.
	Firewall, InternetRouter, CafeNAT *Host
	// Laptop has Eth0 (wired) and Wlan0 (wireless), neither attached.
	Laptop      *Host
	Eth0, Wlan0 *NIC
	// GatewayOuter, GatewayInner, InternalFAVisited, ExternalFAVisited and CafeOutside are interfaces that drivers and
	// tests name.
	GatewayOuter, GatewayInner, InternalFAVisited, ExternalFAVisited, CafeOutside *NIC
	// FirewallCore and FirewallOffice are the firewall's inner interfaces.
	FirewallCore, FirewallOffice *NIC
	internalFACore               *NIC
}

// labLAN is the latency of the company's wires.
const labLAN = 200 * time.Microsecond

// NewLab returns the lab on a new network with the seed. The caller closes it.
func NewLab(seed uint64) *Lab {
	n := New(seed)
	l := &Lab{Network: n}
	lan := Impairment{Latency: labLAN}
	wlan := Impairment{Latency: 2 * time.Millisecond, Jitter: time.Millisecond}
	l.Core = n.NewWire(WireConfig{Name: "core", Impairment: lan})
	l.Office = n.NewWire(WireConfig{
		Name: "office", Impairment: lan, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 1},
		Pool: &AddressPool{First: netip.MustParsePrefix("10.0.2.100/24"), Gateway: netip.MustParseAddr("10.0.2.1")},
	})
	l.OfficeFA = n.NewWire(WireConfig{Name: "office-fa", Impairment: lan, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 2}})
	l.Internet = n.NewWire(WireConfig{Name: "internet", Impairment: Impairment{Latency: 5 * time.Millisecond}})
	l.Cafe = n.NewWire(WireConfig{
		Name: "cafe", Impairment: wlan, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 3},
		Pool: &AddressPool{First: netip.MustParsePrefix("192.168.1.100/24"), Gateway: netip.MustParseAddr("192.168.1.1")},
	})
	l.Hotspot = n.NewWire(WireConfig{Name: "hotspot", Impairment: wlan, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 4}})
	l.wireInside()
	l.wireOutside()
	l.Laptop = n.NewHost("laptop")
	l.Eth0 = l.Laptop.AddNIC(NICConfig{Name: "eth0", Automatic: true})
	l.Wlan0 = l.Laptop.AddNIC(NICConfig{Name: "wlan0", Automatic: true, Wireless: true})
	l.Campus = n.NewWire(WireConfig{
		Name: "campus", Impairment: wlan, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 0, 5},
		Pool: &AddressPool{First: netip.MustParsePrefix("203.0.113.100/24"), Gateway: netip.MustParseAddr("203.0.113.1")},
	})
	l.InternetRouter.join(l.Campus, "campus0", "203.0.113.1/24", "")
	return l
}

// wireInside makes the company's network up to the firewall.
func (l *Lab) wireInside() {
	n := l.Network
	l.Firewall = n.NewHost("firewall")
	core := l.Firewall.join(l.Core, "core0", "10.0.1.1/24", "")
	office := l.Firewall.join(l.Office, "office0", "10.0.2.1/24", "")
	l.Firewall.join(l.Internet, "wan0", "192.0.2.2/24", "192.0.2.1")
	l.Firewall.SetRouter(true)
	l.Firewall.AddRoute(Route{Prefix: LabHomeNetwork, Via: LabInternalHA})
	l.Firewall.AddRoute(Route{Prefix: LabInnerPool, Via: LabGatewayInner})
	l.Firewall.AddRoute(Route{Prefix: netip.MustParsePrefix("10.0.3.0/24"), Via: LabInternalFA})
	l.Firewall.AddRoute(Route{Prefix: LabEnterprise, NIC: core}) // what nobody inside has does not go the default route
	l.FirewallCore, l.FirewallOffice = core, office
	l.RouteOffice(true)

	l.InternalHA = n.NewHost("i-ha")
	l.InternalHA.join(l.Core, "eth0", "10.0.1.10/24", "10.0.1.1")
	l.Correspondent = n.NewHost("correspondent")
	l.Correspondent.join(l.Core, "eth0", "10.0.1.20/24", "10.0.1.1")
	l.InternalFA = n.NewHost("i-fa")
	l.internalFACore = l.InternalFA.join(l.Core, "eth0", "10.0.1.40/24", "10.0.1.1")
	l.InternalFAVisited = l.InternalFA.join(l.OfficeFA, "visit0", "10.0.3.1/24", "")
	l.Gateway = n.NewHost("gateway")
	l.GatewayOuter = l.Gateway.join(l.Internet, "eth0", "192.0.2.10/24", "192.0.2.1")
	l.GatewayInner = l.Gateway.join(l.Core, "eth1", "10.0.1.30/24", "")
	l.Gateway.AddRoute(Route{Prefix: LabEnterprise, Via: netip.MustParseAddr("10.0.1.1")})
	// The gateway forwards, too, once its agent runs: out of its device, but not from the Internet.
	l.Gateway.SetFirewall(Rule{ToHost: true, Verdict: Accept}, Rule{In: l.GatewayInner, Verdict: Accept}, Rule{FromDevice: true, Verdict: Accept})
}

// wireOutside makes the Internet and the access networks.
func (l *Lab) wireOutside() {
	n := l.Network
	l.InternetRouter = n.NewHost("router")
	l.InternetRouter.join(l.Internet, "eth0", "192.0.2.1/24", "")
	l.InternetRouter.SetRouter(true)
	// So that it is the firewall that hides the inside.
	l.InternetRouter.AddRoute(Route{Prefix: LabEnterprise, Via: netip.MustParseAddr("192.0.2.2")})
	l.InternetRouter.AddRoute(Route{Prefix: LabExternalHomeNetwork, Via: LabExternalHA})
	l.ExternalHA = n.NewHost("x-ha")
	l.ExternalHA.join(l.Internet, "eth0", "192.0.2.20/24", "192.0.2.1")
	l.CafeNAT = n.NewHost("cafe-nat")
	l.CafeOutside = l.CafeNAT.join(l.Internet, "wan0", "192.0.2.30/24", "192.0.2.1")
	l.CafeNAT.join(l.Cafe, "lan0", "192.168.1.1/24", "")
	l.CafeNAT.SetRouter(true)
	l.CafeNAT.SetNAT(NATConfig{Outside: l.CafeOutside, Filtering: AddressAndPortDependent})
	l.ExternalFA = n.NewHost("x-fa")
	l.ExternalFA.join(l.Internet, "eth0", "192.0.2.40/24", "192.0.2.1")
	l.ExternalFAVisited = l.ExternalFA.join(l.Hotspot, "visit0", "172.16.5.1/24", "")
}

// join adds an interface with a static address and attaches it.
func (h *Host) join(w *Wire, name, addr, gateway string) *NIC {
	cfg := NICConfig{Name: name, Address: netip.MustParsePrefix(addr)}
	if gateway != "" {
		cfg.Gateway = netip.MustParseAddr(gateway)
	}
	c := h.AddNIC(cfg)
	c.Attach(w)
	return c
}

// Plug moves an interface of the laptop to a wire.
func (l *Lab) Plug(c *NIC, w *Wire) { c.Attach(w) }

// Unplug takes an interface of the laptop off its wire.
func (l *Lab) Unplug(c *NIC) { c.Detach() }

// RouteOffice makes the office's wire a part of the inside, as it is at first, or of the outside: then what comes from it
// reaches the Internet alone. Nobody is told.
func (l *Lab) RouteOffice(inside bool) {
	rules := []Rule{{In: l.FirewallCore, Verdict: Accept}, {In: l.FirewallOffice, Verdict: Accept}}
	if !inside {
		rules = append([]Rule{{In: l.FirewallOffice, Destination: LabEnterprise, Verdict: Drop}, {In: l.FirewallCore, Destination: netip.MustParsePrefix("10.0.2.0/24"), Verdict: Drop}}, rules...)
	}
	l.Firewall.SetFirewall(rules...)
}

// CutOfficeFA takes the office's foreign agent off the company's network, and of everything else, or gives it back. Nobody is
// told: it goes on answering on the network that it serves.
func (l *Lab) CutOfficeFA(cut bool) {
	i := Impairment{Latency: labLAN}
	if cut {
		i.Loss = 1
	}
	l.Core.ImpairFrom(l.internalFACore, i)
}

// External returns the wires outside the company.
func (l *Lab) External() []*Wire { return []*Wire{l.Internet, l.Cafe, l.Hotspot, l.Campus} }
