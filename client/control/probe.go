package control

import "context"

// Probe is the answer to OpProbe: whether the i-HA answers straight through each interface (DET-14).
type Probe struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Interfaces are the answers, one an interface.
	Interfaces []InterfaceProbe `json:"interfaces"`
}

// InterfaceProbe is what asking the i-HA straight through one interface came to.
type InterfaceProbe struct {
	// Name and Index are the interface's.
	Name  string `json:"name"`
	Index int    `json:"index"`
	// Internal is what was asked and answered. Where nothing was asked its Outcome says why.
	Internal Registration `json:"internal"`
	// Authentic says that the answer bore a valid authenticator of the i-HA; another one anybody may have sent.
	Authentic bool `json:"authentic"`
}

// Probe asks the i-HA straight through every interface (Backend.Probe).
func (c *Client) Probe(ctx context.Context) (Probe, error) {
	r, err := c.ask(ctx, Request{Op: OpProbe})
	return value(r.Probe, err)
}
