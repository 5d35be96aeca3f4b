package dns

import (
	"errors"
	"net/netip"

	"mipvpn/detect/resolve/query"
)

// Plan is what the host's resolver is to do while the client is up.
type Plan struct {
	// Device is the name of the TUN device.
	Device string
	// Server is the Forwarder's address, the only server to be asked about the enterprise's names.
	Server netip.Addr
	// Domains are the enterprise's, and Reverse those of its addresses' names.
	Domains, Reverse query.Domains
	// Search has the Domains appended to names of one label.
	Search bool
	// Full has the Server asked about everything.
	Full bool
}

// Settings changes the host's resolver. What it does outlives the process; Clear takes it back, also what an earlier
// process has left.
type Settings interface {
	// Name says for people what is changed, such as "systemd-resolved".
	Name() string
	// Set makes the plan the host's, or makes it so again when others have changed something since. changed says that
	// something had to be done.
	Set(p Plan) (changed bool, err error)
	// Standing reports whether something stands that Clear would take back.
	Standing() (bool, error)
	// Clear takes everything back. Without anything to take back it does nothing.
	Clear() error
}

// Watcher is implemented by Settings that notice when others change the host's resolver.
type Watcher interface {
	// Watch calls changed, from any goroutine, whenever something may have been changed, by this program too, until stop is
	// called; it is not called once stop has returned. A call is a hint: Set finds out.
	Watch(changed func()) (stop func(), err error)
}

// ErrManaged means that the resolver's configuration belongs to another program, which would not notice or would write it
// anew.
var ErrManaged = errors.New("dns: managed by another program")

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")
