package underlay

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// The places of a flow's two sockets in their SO_REUSEPORT group, which is the order in which they were bound.
const (
	placeData = iota
	placeSignalling
)

// classify returns the program that chooses the socket for a datagram by its payload, or nil where a flow has one socket
// only. It agrees with link.Signalling.Is: what it cannot read, a load past the end, is data.
func classify(s link.Signalling) []bpf.Instruction {
	isData, isSignalling := bpf.RetConstant{Val: placeData}, bpf.RetConstant{Val: placeSignalling}
	switch s {
	case link.SignallingMobileIP:
		const ip = 4 // where the packet begins in a message with tunnelled data (RFC 3519 §3.3)
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: 0, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1}, // type: tunnelled data
			isSignalling,
			bpf.LoadAbsolute{Off: 1, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: packet.ProtocolIPIP, SkipTrue: 1}, // next header
			isData,
			bpf.LoadAbsolute{Off: ip + packet.IPv4Len - 1, Size: 1}, // the whole IPv4 header is there
			bpf.LoadAbsolute{Off: ip + 9, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: packet.ProtocolUDP, SkipTrue: 1},
			isData,
			bpf.LoadAbsolute{Off: ip + 6, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x3fff, SkipTrue: 1}, // a fragment
			isData,
			bpf.LoadMemShift{Off: ip},
			bpf.LoadIndirect{Off: ip + 7, Size: 1}, // the whole UDP header is there
			bpf.LoadIndirect{Off: ip, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 500, SkipTrue: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4500, SkipTrue: 4},
			bpf.LoadIndirect{Off: ip + 2, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4500, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 500, SkipFalse: 3},
			isSignalling,
			bpf.LoadIndirect{Off: ip + packet.UDPLen, Size: 4}, // the non-ESP marker (RFC 3948 §2.2)
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 0, SkipTrue: 1},
			isData,
			isSignalling,
		}
	case link.SignallingNATTraversal:
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: 0, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
			isData,
			isSignalling,
		}
	}
	return nil
}

// choose has the kernel choose between the sockets of the group that s belongs to by the program.
func (s *socket) choose(program []bpf.Instruction) error {
	return s.attach("SO_ATTACH_REUSEPORT_CBPF", unix.SO_ATTACH_REUSEPORT_CBPF, program)
}
