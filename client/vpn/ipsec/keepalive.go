package ipsec

import (
	"slices"
	"time"

	"mipvpn/tun/link"
)

// maxNetworks bounds the networks of which it is remembered how long their NATs hold a mapping.
const maxNetworks = 64

// patience is what is known of the NATs of networks, for as long as the process lives: how long each has been seen to hold a mapping
// that nothing was sent through. Nobody is told.
type patience struct{ networks []patientNetwork } // the one learned last at the end

type patientNetwork struct {
	name     string
	interval time.Duration
}

// of returns what is known of a network, 0 for nothing.
func (p *patience) of(network string) time.Duration {
	i := slices.IndexFunc(p.networks, func(n patientNetwork) bool { return n.name == network })
	if i < 0 {
		return 0
	}
	return p.networks[i].interval
}

// learn takes what has been seen of a network, in the place of what was known before. A network without a name is not remembered.
func (p *patience) learn(network string, interval time.Duration) {
	if network == "" {
		return
	}
	p.networks = slices.DeleteFunc(p.networks, func(n patientNetwork) bool { return n.name == network })
	if len(p.networks) == maxNetworks {
		p.networks = slices.Delete(p.networks, 0, 1)
	}
	p.networks = append(p.networks, patientNetwork{network, interval})
}

// network names the network that the tunnel's way begins in, empty where that is not known.
func (t *tunnel) network() string {
	b, _ := t.access.bearer(t.at)
	return b.Network
}

// useKeepalive has the IKE machine go by what is known of the network that the tunnel has come to.
func (t *tunnel) useKeepalive(now link.Instant) {
	t.machine.UseKeepalive(now, t.access.protocol.patience.of(t.network()))
}

// sentESP returns how many ESP packets the tunnel has sent.
func (t *tunnel) sentESP() uint64 {
	n := t.sealed
	for _, c := range t.children {
		n += c.seal.Sent()
	}
	return n
}

// Spare implements vpn.Sparer.
func (a *access) Spare(now link.Instant, factor int) {
	a.spared = factor
	for _, t := range a.tunnels {
		t.machine.Spare(now, factor)
	}
}
