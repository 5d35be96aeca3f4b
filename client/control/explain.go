package control

import (
	"context"
	"net/netip"
)

// Way says what becomes of packets from this laptop to an address.
type Way string

// The ways.
const (
	// WayClient: they go through the client, by the layers of Explanation.
	WayClient Way = "client"
	// WayHeld: they go to the client, which drops them for now, because user data does not flow.
	WayHeld Way = "held"
	// WayRefused: they are refused, because nothing carries them and they must not leave by another way.
	WayRefused Way = "refused"
	// WayHost: they are left to the host's own routes.
	WayHost Way = "host"
	// WaySelf: the address is the laptop's own.
	WaySelf Way = "self"
)

// Explanation is the answer to OpExplain: which way packets to an address go at this moment, and by which rule.
type Explanation struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Address is the one asked about.
	Address netip.Addr `json:"address"`
	// Way is what becomes of packets to it.
	Way Way `json:"way"`
	// Rule is the key of the configuration that decides, with its value where there is one, such as
	// "enterprise.prefixes 10.0.0.0/8".
	Rule string `json:"rule"`
	// Reason says in plain words why.
	Reason string `json:"reason"`
	// Plaintext says that they leave the interface unencrypted: for WayClient, in a mode inside; for WayHost, unless what sent them
	// encrypts.
	Plaintext bool `json:"plaintext"`
	// Mode, Interface and Layers are those in use for WayClient, from the interface up; empty for the others.
	Mode      string  `json:"mode"`
	Interface string  `json:"interface"`
	Layers    []Layer `json:"layers"`
	// MTU is how large packets may be in octets on that path, 0 where that is not known.
	MTU int `json:"mtu"`
}

// Explain asks which way packets to an address go (Backend.Explain).
func (c *Client) Explain(ctx context.Context, address netip.Addr) (Explanation, error) {
	r, err := c.ask(ctx, Request{Op: OpExplain, Address: address.String()})
	return value(r.Explanation, err)
}

// checkExplain checks what concerns OpExplain.
func (r Request) checkExplain() error {
	if r.Op != OpExplain {
		if r.Address != "" {
			return errRequest("operation %q takes no address", r.Op)
		}
		return nil
	}
	if _, err := netip.ParseAddr(r.Address); err != nil {
		return errRequest("%.60q is no IP address", r.Address)
	}
	return nil
}
