package recording

import (
	"net/netip"
	"slices"

	"mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
)

// Stage is where a scenario is played, and what is known of it beforehand.
type Stage struct {
	Schema int `json:"schema"`
	// World is what the scenario's world says of itself.
	World string `json:"world"`
	// Networks are those that the laptop can come into, in the order in which they are drawn, and that are in the tour.
	Networks []Network `json:"networks"`
	// Agents are the boxes that tunnels end at, and the correspondent.
	Agents []Agent `json:"agents"`
	// Inner is the length in octets of the packets that are shown: those of the UDP stream.
	Inner int `json:"inner_octets"`
	// Modes are all access modes, with what each puts around a packet on paper where no NAT is on the way.
	Modes []Mode `json:"modes"`
	// Cipher is ESP's.
	Cipher string `json:"cipher"`
}

// Network is a network that the laptop can come into.
type Network struct {
	Name   string `json:"name"`
	Inside bool   `json:"inside"`
	// About says what a laptop finds there.
	About string `json:"about"`
	// ForeignAgent is set where there is a foreign agent and no DHCP.
	ForeignAgent bool `json:"foreign_agent"`
}

// Agent is a box with the addresses that it has.
type Agent struct {
	Name      string       `json:"name"`
	About     string       `json:"about"`
	Addresses []netip.Addr `json:"addresses"`
}

// Mode is an access mode, +zot with zero-overhead tunnelling, with what it puts around a packet.
type Mode struct {
	Name    string            `json:"name"`
	Headers []overhead.Header `json:"headers"`
}

// networks are the laptop's, in the order in which they are drawn.
var networks = []Network{
	{string(topology.Office), true, "office, DHCP", false},
	{string(topology.OfficeFA), true, "office, foreign agent", true},
	{string(topology.Cafe), false, "café behind a NAT", false},
	{string(topology.Hotspot), false, "hotspot, foreign agent", true},
	{string(topology.Cellular), false, "cellular, carrier's NAT", false},
	{string(topology.Campus), false, "campus, no NAT", false},
}

// agents are the boxes that tunnels end at, and the correspondent. The simulated network has them at the same addresses.
var agents = []Agent{
	{topology.InternalHA, "internal home agent", []netip.Addr{topology.InternalHAAddress}},
	{topology.Correspondent, "correspondent", []netip.Addr{topology.CorrespondentAddress}},
	{topology.Gateway, "VPN gateway", []netip.Addr{topology.GatewayAddress, topology.GatewayInnerAddress}},
	{topology.ExternalHA, "external home agent", []netip.Addr{topology.ExternalHAAddress}},
	{topology.InternalFA, "foreign agent inside", []netip.Addr{topology.InternalFACareOf, topology.InternalFAAddress}},
	{topology.ExternalFA, "foreign agent outside", []netip.Addr{topology.ExternalFACareOf, topology.ExternalFAAddress}},
}

// NewStage returns the stage of a world for the steps.
func NewStage(world string, steps []scenario.Step) *Stage {
	s := &Stage{Schema: Schema, World: world, Agents: agents, Inner: session.PacketLen, Cipher: overhead.GCM.Name}
	s.Networks = slices.DeleteFunc(slices.Clone(networks), func(n Network) bool {
		return !slices.ContainsFunc(steps, func(s scenario.Step) bool { return s.Network == n.Name })
	})
	for _, c := range overhead.Compositions() {
		headers, err := overhead.Headers(c.Layers(false), overhead.GCM, s.Inner)
		if err != nil {
			continue // never: Layers names what Headers counts
		}
		s.Modes = append(s.Modes, Mode{Name: c.String(), Headers: headers})
	}
	return s
}
