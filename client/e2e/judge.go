package e2e

import (
	"bytes"
	"encoding/binary"
	"sync"

	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Judge watches wires for the laptop's enterprise traffic in the clear: the canary, the addresses of the home address and
// the correspondent side by side as an IPv4 header has them, or a whole IPv4 header from or to the home address, at any
// offset. Registration messages, which name the home address in the clear by design, and ICMP errors about them are left
// out, and so is what an attacker in the middle puts on a wire: he has it already.
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
	if f.Sender == simnet.Interceptors || isRegistration(packet.IPv4(f.Packet)) {
		return
	}
	leaked := bytes.Contains(f.Packet, Canary) || homeHeader(f.Packet)
	for _, h := range enterpriseHeaders {
		leaked = leaked || bytes.Contains(f.Packet, h)
	}
	if leaked {
		j.leaks = append(j.leaks, f)
	}
}

// homeHeader reports whether an IPv4 header without options, with a right checksum, stands anywhere in p that bears the home
// address, unless it is of a datagram to or from port 434 (an ICMP error quotes one).
func homeHeader(p []byte) bool {
	home := simnet.LabHomeAddress.AsSlice()
	for at := 0; ; at++ {
		next := bytes.Index(p[at:], home)
		if next < 0 {
			return false
		}
		at += next
		for _, field := range []int{12, 16} { // source and destination
			begin := at - field
			if begin < 0 || begin+packet.IPv4Len > len(p) || p[begin] != 0x45 || packet.Checksum(p[begin:begin+packet.IPv4Len], 0) != 0 {
				continue
			}
			if u := p[begin+packet.IPv4Len:]; p[begin+9] != packet.ProtocolUDP || len(u) < 4 || binary.BigEndian.Uint16(u) != wire.Port && binary.BigEndian.Uint16(u[2:]) != wire.Port {
				return true
			}
		}
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
