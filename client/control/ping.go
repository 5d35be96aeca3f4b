package control

import (
	"context"
	"net/netip"
)

// Ping is the answer to OpPing: one question to the far end of each layer, each answered or not by itself.
type Ping struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// State and Mode are the client's, Interface is the name of the interface that was asked through, empty for none.
	State     State  `json:"state"`
	Mode      string `json:"mode"`
	Interface string `json:"interface"`
	// Layers are the questions, from the interface up. The underlay has two where something can be asked straight: the router,
	// and the x-HA or the gateway that the layer above goes to.
	Layers []PingLayer `json:"layers"`
}

// PingLayer is what one question to the far end of a layer came to.
type PingLayer struct {
	// Kind is the layer's, as in Layer: "underlay", "x-mip", "vpn" or "i-mip".
	Kind string `json:"kind"`
	// Role is what was asked: "router", "x-HA", "gateway" or "i-HA"; Target is its address, invalid where that is not known.
	Role   string     `json:"role"`
	Target netip.Addr `json:"target"`
	// Method says what the question was, such as "ICMP echo" or "IKE INFORMATIONAL".
	Method string `json:"method"`
	// Asked says that the question was sent, Answered that an answer came within a few seconds, RoundTrip milliseconds later.
	Asked     bool    `json:"asked"`
	Answered  bool    `json:"answered"`
	RoundTrip float64 `json:"round_trip_ms"`
	// Outcome says in plain words why nothing was asked; empty otherwise.
	Outcome string `json:"outcome,omitempty"`
}

// Ping asks the far end of each layer (Backend.Ping).
func (c *Client) Ping(ctx context.Context) (Ping, error) {
	r, err := c.ask(ctx, Request{Op: OpPing})
	return value(r.Ping, err)
}
