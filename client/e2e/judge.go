package e2e

import (
	"bytes"
	"sync"

	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Judge watches wires for the laptop's enterprise traffic in the clear: the canary, or the addresses of the home address and
// the correspondent side by side as an IPv4 header has them, at any offset. Registration messages, which name the home
// address in the clear by design, are left out.
type Judge struct {
	mu     sync.Mutex
	frames int
	leaks  []simnet.Frame
	stops  []func()
}

// Watch begins to watch the wires.
func Watch(wires ...*simnet.Wire) *Judge {
	j := &Judge{}
	for _, w := range wires {
		j.stops = append(j.stops, w.Tap(j.look))
	}
	return j
}

var enterpriseHeaders = [][]byte{addressPair(simnet.LabHomeAddress, simnet.LabCorrespondent), addressPair(simnet.LabCorrespondent, simnet.LabHomeAddress)}

func (j *Judge) look(f simnet.Frame) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.frames++
	if isRegistration(packet.IPv4(f.Packet)) {
		return
	}
	leaked := bytes.Contains(f.Packet, Canary)
	for _, h := range enterpriseHeaders {
		leaked = leaked || bytes.Contains(f.Packet, h)
	}
	if leaked {
		j.leaks = append(j.leaks, f)
	}
}

// isRegistration reports whether the packet is a registration message, and not tunnelled data (RFC 3519 §3.3).
func isRegistration(ip packet.IPv4) bool {
	if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP {
		return false
	}
	u := packet.UDP(ip.Payload())
	if !u.Valid() || u.SrcPort() != wire.Port && u.DstPort() != wire.Port {
		return false
	}
	p := u.Payload()
	return len(p) > 0 && (p[0] == 1 || p[0] == 3) // RFC 5944 §3.3, §3.4
}

// Leaks returns the frames that leaked, and how many were looked at.
func (j *Judge) Leaks() (leaks []simnet.Frame, frames int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]simnet.Frame(nil), j.leaks...), j.frames
}

// Stop ends watching.
func (j *Judge) Stop() {
	for _, stop := range j.stops {
		stop()
	}
}
