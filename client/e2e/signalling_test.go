package e2e

import (
	"strings"
	"sync"

	"mipvpn/ipsec/esp"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// signalling counts the messages that the laptop sends.
type signalling struct {
	mu            sync.Mutex
	registrations []simnet.Frame
	ikeMessages   int
}

func (s *signalling) look(f simnet.Frame) {
	if !strings.HasPrefix(f.Sender, "laptop/") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := packet.IPv4(f.Packet)
	if isRegistration(ip) {
		s.registrations = append(s.registrations, f)
	}
	if hasIKE(ip) {
		s.ikeMessages++
	}
}

func (s *signalling) ike() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ikeMessages
}

// hasIKE reports whether the packet is an IKE message, plain or inside the tunnels of x-MIP.
func hasIKE(ip packet.IPv4) bool {
	if !ip.Valid() {
		return false
	}
	switch ip.Protocol() {
	case packet.ProtocolIPIP:
		return hasIKE(packet.IPv4(ip.Payload()))
	case packet.ProtocolUDP:
		u := packet.UDP(ip.Payload())
		if !u.Valid() {
			return false
		}
		p := u.Payload()
		switch {
		case u.DstPort() == esp.PortIKE:
			return true
		case u.DstPort() == esp.PortNATT:
			return esp.Classify(p) == esp.KindIKE
		case u.DstPort() == 434 && len(p) > 4 && p[0] == 4:
			return hasIKE(packet.IPv4(p[4:]))
		}
	}
	return false
}
