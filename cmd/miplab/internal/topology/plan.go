package topology

import "net/netip"

// Wire names one link of the lab.
type Wire string

// The wires. Those of External are where a stranger could listen.
const (
	Core     Wire = "core"      // 10.0.1.0/24: home agent, correspondent, the gateway's inner side
	Office   Wire = "office"    // 10.0.2.0/24: office LAN with DHCP (mode c)
	OfficeFA Wire = "office-fa" // 10.0.3.0/24: office network with a foreign agent, no DHCP (mode f)
	Internet Wire = "internet"  // 192.0.2.0/24: demilitarised zone and Internet in one
	Cafe     Wire = "cafe"      // 192.168.1.0/24: DHCP behind a NAPT (mode cvc)
	Hotspot  Wire = "hotspot"   // 172.16.5.0/24: a foreign agent, no DHCP (mode fvc)
	Cellular Wire = "cellular"  // 100.64.7.0/24: another network with DHCP behind a NAPT, a carrier's (mode cvc)
	Campus   Wire = "campus"    // 203.0.113.0/24: DHCP and global addresses, no NAT (mode cvc)
)

// Wires are all wires, External those outside the company.
var (
	Wires    = []Wire{Core, Office, OfficeFA, Internet, Cafe, Hotspot, Cellular, Campus}
	External = []Wire{Internet, Cafe, Hotspot, Cellular, Campus}
)

// The boxes.
const (
	Laptop        = "laptop"
	Firewall      = "firewall"      // the company's router: firewall, and DHCP for the office LAN
	InternalHA    = "internal-ha"   // i-HA
	ExternalHA    = "external-ha"   // x-HA
	InternalFA    = "internal-fa"   // i-FA
	ExternalFA    = "external-fa"   // x-FA
	Gateway       = "gateway"       // VPN gateway
	Correspondent = "correspondent" // correspondent node inside
	Router        = "router"        // the Internet, and DHCP for the campus
	CafeRouter    = "cafe-router"   // DHCP and NAPT of the café
	Carrier       = "carrier"       // DHCP and NAPT of the cellular network
)

// Addresses of the plan that others need: the tunnels' ends, and the home addresses.
var (
	EnterprisePrefix6    = netip.MustParsePrefix("fd00:5f1d::/32") // which nothing carries
	Correspondent6       = netip.MustParseAddr("fd00:5f1d::20")
	EnterprisePrefix     = netip.MustParsePrefix("10.0.0.0/16")
	InternalHomeNetwork  = netip.MustParsePrefix("10.0.8.0/24")
	ExternalHomeNetwork  = netip.MustParsePrefix("198.51.100.0/24")
	TunnelInnerPool      = netip.MustParsePrefix("10.0.9.0/24")
	InternalHomeAddress  = netip.MustParseAddr("10.0.8.100")
	ExternalHomeAddress  = netip.MustParseAddr("198.51.100.100")
	FirewallAddress      = netip.MustParseAddr("10.0.1.1")
	FirewallOuterAddress = netip.MustParseAddr("192.0.2.2")
	InternalHAAddress    = netip.MustParseAddr("10.0.1.10")
	CorrespondentAddress = netip.MustParseAddr("10.0.1.20")
	GatewayInnerAddress  = netip.MustParseAddr("10.0.1.30")
	InternalFACareOf     = netip.MustParseAddr("10.0.1.40")
	InternalFAAddress    = netip.MustParseAddr("10.0.3.1")
	GatewayAddress       = netip.MustParseAddr("192.0.2.10")
	ExternalHAAddress    = netip.MustParseAddr("192.0.2.20")
	ExternalFACareOf     = netip.MustParseAddr("192.0.2.40")
	ExternalFAAddress    = netip.MustParseAddr("172.16.5.1")
)

// port is one network interface of a box with its cable in a wire.
type port struct {
	box, name string
	wire      Wire
	address   string // with prefix length
}

// ports are all interfaces with a fixed place. The laptop's are not among them: eth0 and eth1 begin unplugged.
var ports = []port{
	{Firewall, "core", Core, "10.0.1.1/24"},
	{Firewall, "office", Office, "10.0.2.1/24"},
	{Firewall, "internet", Internet, "192.0.2.2/24"},
	{InternalHA, "core", Core, "10.0.1.10/24"},
	{Correspondent, "core", Core, "10.0.1.20/24"},
	{Gateway, "core", Core, "10.0.1.30/24"},
	{Gateway, "internet", Internet, "192.0.2.10/24"},
	{InternalFA, "core", Core, "10.0.1.40/24"},
	{InternalFA, "visited", OfficeFA, "10.0.3.1/24"},
	{Router, "internet", Internet, "192.0.2.1/24"},
	{Router, "campus", Campus, "203.0.113.1/24"},
	{ExternalHA, "internet", Internet, "192.0.2.20/24"},
	{CafeRouter, "internet", Internet, "192.0.2.30/24"},
	{CafeRouter, "cafe", Cafe, "192.168.1.1/24"},
	{Carrier, "internet", Internet, "192.0.2.50/24"},
	{Carrier, "cellular", Cellular, "100.64.7.1/24"},
	{ExternalFA, "internet", Internet, "192.0.2.40/24"},
	{ExternalFA, "visited", Hotspot, "172.16.5.1/24"},
}

// route is one route of a box; no next hop means that packets vanish without an answer, as private addresses do on the
// Internet.
type route struct{ box, to, via string }

var routes = []route{
	{Firewall, "0.0.0.0/0", "192.0.2.1"},
	{Firewall, "10.0.3.0/24", "10.0.1.40"},
	{Firewall, "10.0.8.0/24", "10.0.1.10"},
	{Firewall, "10.0.9.0/24", "10.0.1.30"},
	{InternalHA, "0.0.0.0/0", "10.0.1.1"},
	{Correspondent, "0.0.0.0/0", "10.0.1.1"},
	{InternalFA, "0.0.0.0/0", "10.0.1.1"},
	{Gateway, "0.0.0.0/0", "192.0.2.1"},
	{Gateway, "10.0.0.0/16", "10.0.1.1"},
	{Router, "198.51.100.0/24", "192.0.2.20"},
	{Router, "10.0.0.0/16", "192.0.2.2"}, // so that it is the firewall that hides the inside
	{Router, "172.16.0.0/12", ""},
	{Router, "192.168.0.0/16", ""},
	{Router, "100.64.0.0/10", ""},
	{ExternalHA, "0.0.0.0/0", "192.0.2.1"},
	{ExternalHA, "10.0.0.0/16", "192.0.2.2"},
	{CafeRouter, "0.0.0.0/0", "192.0.2.1"},
	{Carrier, "0.0.0.0/0", "192.0.2.1"},
	{ExternalFA, "0.0.0.0/0", "192.0.2.1"},
}

// forwarders are the boxes that are routers without any program of ours.
var forwarders = []string{Firewall, Router, CafeRouter, Carrier}

// translators are the forwarders that are NAPTs: what leaves for the Internet takes their address.
var translators = []string{CafeRouter, Carrier}

// scope is what one DHCP server gives out.
type scope struct {
	box, port   string
	prefix      netip.Prefix
	router      netip.Addr
	first, last netip.Addr
	domain      string
}

var scopes = []scope{
	{Firewall, "office", netip.MustParsePrefix("10.0.2.0/24"), netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("10.0.2.100"), netip.MustParseAddr("10.0.2.199"), "corp.example"},
	{CafeRouter, "cafe", netip.MustParsePrefix("192.168.1.0/24"), netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.100"), netip.MustParseAddr("192.168.1.199"), "cafe.example"},
	{Carrier, "cellular", netip.MustParsePrefix("100.64.7.0/24"), netip.MustParseAddr("100.64.7.1"), netip.MustParseAddr("100.64.7.100"), netip.MustParseAddr("100.64.7.199"), "carrier.example"},
	{Router, "campus", netip.MustParsePrefix("203.0.113.0/24"), netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.100"), netip.MustParseAddr("203.0.113.199"), "campus.example"},
}

// Served are the networks with DHCP, each with its prefix.
var Served = map[Wire]netip.Prefix{
	Office:   netip.MustParsePrefix("10.0.2.0/24"),
	Cafe:     netip.MustParsePrefix("192.168.1.0/24"),
	Cellular: netip.MustParsePrefix("100.64.7.0/24"),
	Campus:   netip.MustParsePrefix("203.0.113.0/24"),
}

// laptopPorts are the laptop's interfaces.
var laptopPorts = []string{"eth0", "eth1"}
