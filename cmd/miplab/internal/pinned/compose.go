package pinned

import (
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// composition is an end that has been put together.
type composition interface {
	// run carries packets from the device until that is closed.
	run() error
	close() error
}

// compose puts the end together on the link below.
func (e End) compose(below link.Link, dev link.Device, clock link.Clock, drops *packet.Drops) (composition, error) {
	switch e.Kind {
	case VCNear:
		return newNear(e, below, dev, clock, drops)
	case VCFar:
		return newFar(e, below, dev, drops)
	}
	return newNull(e, below, dev, drops)
}
