package scenario

import (
	"context"
	"net"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/session"
)

// World is where a scenario plays. Networks go by the names of the lab's wires.
type World interface {
	// Describe says in a line what this world is.
	Describe() string
	// Client returns the mobile node's control.
	Client() Client
	// Plug puts the cable of the laptop's interface into the network and returns when that has offered what it has: an
	// address by DHCP, or, where there is only a foreign agent, the link. offered is when that was so.
	Plug(ctx context.Context, iface, network string) (offered time.Time, err error)
	// Unplug pulls the cable.
	Unplug(iface string) error
	// OpenConversation connects the laptop's home address with the correspondent's TCP service and returns both ends.
	OpenConversation(ctx context.Context) (near, far session.Conn, err error)
	// OpenStream connects the laptop's home address with the correspondent's UDP echo service.
	OpenStream(ctx context.Context) (net.Conn, error)
	// Outside judges the wires where a stranger could listen, Inside those of the company: that one must see the canaries,
	// or the judging proves nothing.
	Outside() *judge.Judge
	Inside() *judge.Judge
	// Settle ends the captures, so that the judges have seen all, and returns how many frames they lost.
	Settle() (lost int, err error)
	// Err says that a part of the world has broken down; nil while all is well.
	Err() error
}

// Client is what a scenario asks of the mobile node.
type Client interface {
	Up(ctx context.Context) error
	// SetMode pins an access mode, or has the client choose with "auto".
	SetMode(ctx context.Context, policy string) error
	Status(ctx context.Context) (control.Status, error)
	// Events calls f for each event from now on until ctx ends.
	Events(ctx context.Context, f func(control.Event)) error
}
