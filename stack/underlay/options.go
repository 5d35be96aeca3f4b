package underlay

import (
	"errors"
	"os"

	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// ErrKernelDecapsulates is wrapped by the refusal to open a flow of a tunnel protocol while an interface of the kernel's
// own takes that protocol from any sender: it would unpack tunnel packets past the gate.
var ErrKernelDecapsulates = errors.New("the kernel itself would decapsulate this protocol")

// Options are the choices of a Host. The zero value is ready.
type Options struct {
	// Settings are the names and numbers under which Host.Apply puts its state into the kernel; see package hostnet. Its
	// two marks are those of the Host's sockets.
	Settings hostnet.Options
	// Drops counts the packets that flows and frames drop. Nil counts nothing.
	Drops *packet.Drops
	// Namespace is the open network namespace (/proc/PID/ns/net) that the Host works in, whatever thread calls it; it
	// stays open as long as the Host. Nil means the one of the calling thread.
	Namespace *os.File
}

// mark returns the firewall mark of a class.
func (o *Options) mark(c link.Class) uint32 {
	if c == link.Plaintext {
		return o.Settings.PlaintextMark
	}
	return o.Settings.ProtectedMark
}
