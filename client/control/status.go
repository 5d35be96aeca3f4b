package control

import (
	"net/netip"
	"time"
)

// Schema is the version of all documents of this package, in their field "schema".
const Schema = 1

// State is what the client is doing about user data.
type State string

// The states.
const (
	// StateDown: a person took the client down, or has not brought it up; the enterprise's traffic is not handled.
	StateDown State = "down"
	// StateDetecting: finding out whether an interface is inside or outside.
	StateDetecting State = "detecting"
	// StateConnecting: that is known, and registrations or the VPN are being set up.
	StateConnecting State = "connecting"
	// StateConnected: user data flows.
	StateConnected State = "connected"
	// StateBlocked: user data does not flow and will not without a change that Problems names.
	StateBlocked State = "blocked"
)

// States returns all states.
func States() []State {
	return []State{StateDown, StateDetecting, StateConnecting, StateConnected, StateBlocked}
}

// Verdict is where an interface is.
type Verdict string

// The verdicts.
const (
	VerdictInside  Verdict = "inside"
	VerdictOutside Verdict = "outside"
	VerdictUnknown Verdict = "unknown"
)

// Status is the whole state of the client (DESIGN §4), the document of `status --json`.
type Status struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// State is what the client is doing about user data.
	State State `json:"state"`
	// Mode is the access mode in use, empty without one.
	Mode string `json:"mode"`
	// ModePolicy is "auto" or the access mode that a person pinned.
	ModePolicy string `json:"mode_policy"`
	// ModeReason says in plain words why it is this mode and no cheaper one; empty without one.
	ModeReason string `json:"mode_reason"`
	// Interface is the name of the interface in use, empty without one.
	Interface string `json:"interface"`
	// HomeAddress is the i-HoA.
	HomeAddress netip.Addr `json:"home_address"`
	// Device is the name of the TUN device, empty while there is none.
	Device string `json:"device"`
	// Since is when the present state began.
	Since time.Time `json:"since"`
	// Proof says where the interface in use is, how that is known and until when.
	Proof Proof `json:"proof"`
	// Layers are the layers in use, from the interface up.
	Layers []Layer `json:"layers"`
	// PathMTU is how large packets may be on the path in use, null without one.
	PathMTU *PathMTU `json:"path_mtu"`
	// Interfaces are all interfaces, each with its own verdict (DET-1).
	Interfaces []Interface `json:"interfaces"`
	// Handoffs are the last changes of mode or interface, the newest last.
	Handoffs []Handoff `json:"handoffs"`
	// Exposure is the greatest age of a proof, in milliseconds, at which a plaintext packet passed; 0 when none has.
	Exposure int64 `json:"exposure"`
	// Monitor is T_MONITOR in seconds, which Exposure never reaches: the greatest age of a proof.
	Monitor float64 `json:"t_monitor_s"`
	// TNCWaived says that the configuration accepts an i-HA without Trusted Networks Configured extension (DET-3): then only
	// the firewall keeps a laptop outside from taking itself for inside.
	TNCWaived bool `json:"tnc_waived"`
	// Problems are what keeps the client from working as configured, or will; empty when all is well.
	Problems []Problem `json:"problems"`
	// VPN is the tunnel to the gateway, missing while there is none.
	VPN *VPN `json:"vpn,omitempty"`
	// Questions are what persons are asked for at the moment: the names of passwords and PINs.
	Questions []string `json:"questions,omitempty"`
	// DNS says how names are resolved; missing where the client leaves that alone.
	DNS *DNS `json:"dns,omitempty"`
	// Power says what is known of power and of what octets cost; missing where nothing is to be saved.
	Power *Power `json:"power,omitempty"`
	// Profile is the name of the configuration in use, "default" for that which the daemon was started with; missing where the daemon has
	// no profiles (see Profiler).
	Profile string `json:"profile,omitempty"`
	// Counters are packets and octets carried, and drops by reason.
	Counters Counters `json:"counters"`
}

// Power is why the VPN sends less of its own accord.
type Power struct {
	// Battery says that the laptop runs on battery, Metered that its connection is metered.
	Battery bool `json:"battery"`
	Metered bool `json:"metered"`
	// Sparing is how many times rarer liveness checks of the VPN are, and keepalives at most; 1 for as ever.
	Sparing int `json:"sparing"`
}

// Proof says where an interface is and how that is known.
type Proof struct {
	// Verdict is inside, outside or unknown.
	Verdict Verdict `json:"verdict"`
	// Age is the time in seconds since the sending of the request that the proof of inside answers; null without a proof.
	Age *float64 `json:"age_s"`
	// ExpiresIn is the time in seconds until the proof is void unless renewed; null without a proof.
	ExpiresIn *float64 `json:"expires_in_s"`
	// Reason says in plain words how the verdict came about.
	Reason string `json:"reason"`
}

// Layer is one layer in use.
type Layer struct {
	// Kind is "underlay", "x-mip", "vpn" or "i-mip".
	Kind string `json:"kind"`
	// Local is the layer's own address: of the interface, x-HoA, VPN-TIA, i-HoA.
	Local netip.Addr `json:"local"`
	// Remote is the agent or gateway that the layer ends at; the invalid address for the underlay.
	Remote netip.Addr `json:"remote"`
	// CareOf is the care-of address of a Mobile IP layer, invalid for the others.
	CareOf netip.Addr `json:"care_of"`
	// Encapsulation is how packets of this layer travel: "none", "ipip", "udp" (RFC 3519), "switched" (without any: the home
	// agent switches addresses, draft appendix D), "esp", "esp-in-udp".
	Encapsulation string `json:"encapsulation"`
	// Why says in plain words why a Mobile IP layer has that encapsulation; empty for the others.
	Why string `json:"encapsulation_reason,omitempty"`
	// Lifetime is what is left of the registration in seconds; 0 for layers without one.
	Lifetime float64 `json:"lifetime_s,omitempty"`
	// SPIs are the child security association's inbound and outbound SPI, as 0x and eight hexadecimal digits.
	SPIs []string `json:"spis,omitempty"`
}

// Interface is one interface with its own verdict.
type Interface struct {
	// Name and Index are the system's.
	Name  string `json:"name"`
	Index int    `json:"index"`
	// Up says that it is up with carrier.
	Up bool `json:"up"`
	// Address is its own address with prefix length; the invalid prefix without one.
	Address netip.Prefix `json:"address"`
	// ForeignAgent is the foreign agent heard on it, invalid without one.
	ForeignAgent netip.Addr `json:"foreign_agent"`
	// Epoch is the number of its present connection status epoch (DET-2).
	Epoch uint64 `json:"epoch"`
	// State is the detector's state, such as "tentatively_outside".
	State string `json:"state"`
	// Proof says where it is and how that is known.
	Proof Proof `json:"proof"`
	// InUse says that user data goes through it.
	InUse bool `json:"in_use"`
	// Portal is the captive portal that is suspected on it, left out without one.
	Portal *Portal `json:"portal,omitempty"`
}

// Handoff is one change of mode or interface.
type Handoff struct {
	// Time is when the new mode carried user data.
	Time time.Time `json:"time"`
	// From and To are the access modes with their interfaces, such as "c eth0"; empty for none.
	From string `json:"from"`
	To   string `json:"to"`
	// Reason says in plain words what caused it.
	Reason string `json:"reason"`
	// Outage is the time in milliseconds during which no user data could flow.
	Outage float64 `json:"outage_ms"`
}

// Counters are what the data path has counted since the daemon started.
type Counters struct {
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	// Drops counts dropped packets by reason (packet.DropReason's names).
	Drops map[string]uint64 `json:"drops"`
}

// Detection is the document of `detect --json` (DET-16).
type Detection struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Mode is the access mode in use, empty without one, and ModeReason says why it is that.
	Mode       string `json:"mode"`
	ModeReason string `json:"mode_reason"`
	// Interfaces are the detections, one an interface.
	Interfaces []InterfaceDetection `json:"interfaces"`
}

// InterfaceDetection is the detection on one interface.
type InterfaceDetection struct {
	Interface
	// Hint says what unauthenticated signs make likely, and which; empty without any. It proves nothing (DET-11).
	Hint string `json:"hint,omitempty"`
	// Internal is the registration with the i-HA straight through the interface, External that with the x-HA.
	Internal Registration `json:"internal"`
	External Registration `json:"external"`
}

// Registration is what detection knows of one registration.
type Registration struct {
	// Agent is the home agent's address.
	Agent netip.Addr `json:"agent"`
	// Asked says that a request went out in the present detection, AskedAgo seconds ago.
	Asked    bool    `json:"asked"`
	AskedAgo float64 `json:"asked_ago_s"`
	// Answered says that an answer came, AnsweredAgo seconds ago.
	Answered    bool    `json:"answered"`
	AnsweredAgo float64 `json:"answered_ago_s"`
	// RoundTrip is the time in milliseconds from request to reply, 0 while unknown.
	RoundTrip float64 `json:"round_trip_ms"`
	// TrustedNetwork says that the reply bore the Trusted Networks Configured extension (RFC 5265 §3.4).
	TrustedNetwork bool `json:"tnc"`
	// Outcome says in plain words what the answer was worth.
	Outcome string `json:"outcome"`
	// ClockOffset is how far the agent's clock was found to be ahead of the laptop's, in milliseconds: 0 while they agree well
	// enough for registrations (RFC 5944 §5.7.1).
	ClockOffset float64 `json:"clock_offset_ms"`
}

// Event is one thing that happened, a line of `events --json`.
type Event struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Sequence counts a daemon's events from 1; a gap means that the reader was too slow.
	Sequence uint64 `json:"sequence"`
	// Cursor names the event for who wants what comes after it, also after the reader was started anew. It has no other meaning.
	Cursor string `json:"cursor,omitempty"`
	// Time is when it happened.
	Time time.Time `json:"time"`
	// Kind is a stable name, such as "state", "verdict", "proof_lost", "handoff", "encapsulation", "problem": docs/scripting.md lists them.
	Kind string `json:"kind"`
	// State, Mode and Verdict are the client's after the event.
	State   State   `json:"state"`
	Mode    string  `json:"mode"`
	Verdict Verdict `json:"verdict"`
	// Interface is the name of the interface concerned, empty when it is about none.
	Interface string `json:"interface,omitempty"`
	// Message says in plain words what happened.
	Message string `json:"message"`
	// Handoff is set for the kind "handoff".
	Handoff *Handoff `json:"handoff,omitempty"`
	// Problem is set for the kind "problem".
	Problem *Problem `json:"problem,omitempty"`
}
