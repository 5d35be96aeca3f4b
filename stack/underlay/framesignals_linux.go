package underlay

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Frames have a second packet socket for signalling, as flows do: a filter on each of the two has it take its own.

// accepted is what a filter returns for a frame that the socket takes, all of its octets.
const accepted = 1 << 20

// signalsFrame reports whether the IPv4 packet of a frame is signalling, and whole: a registration, IKE, or what finds foreign agents (ICMP
// types 9 and 10, RFC 1256 §3).
func signalsFrame(ip []byte) bool {
	if len(ip) < packet.IPv4Len || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // fragments stay together
		return false
	}
	header := int(ip[0]&0xf) * 4
	if len(ip)-header < packet.UDPLen {
		return false
	}
	body := ip[header:]
	switch ip[9] {
	case packet.ProtocolICMP:
		return body[0] == 9 || body[0] == 10
	case packet.ProtocolUDP:
		if len(body) < packet.UDPLen+4 { // no signalling is that short
			return false
		}
		for _, port := range [...]uint16{binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])} {
			switch port {
			case 434:
				return body[packet.UDPLen] != 4 // tunnelled data (RFC 3519 §3.3)
			case 500:
				return true
			case 4500:
				return link.SignallingNATTraversal.Is(body[packet.UDPLen:])
			}
		}
	}
	return false
}

// classifyFrames returns the filter that yields one of two values for a frame, as signalsFrame has it.
func classifyFrames(signalling, other uint32) []bpf.Instruction {
	const (
		ip  = ethernetLen
		udp = packet.UDPLen
		// Where the parts of the program begin.
		isUDP, is434, marker, isOther, isSignalling = 16, 26, 28, 30, 31
	)
	at := 0
	skip := func(to int) uint8 { return uint8(to - at - 1) }
	var program []bpf.Instruction
	add := func(i bpf.Instruction) {
		program = append(program, i)
		at = len(program)
	}
	load := func(off, size int) { add(bpf.LoadIndirect{Off: uint32(ip + off), Size: size}) } // behind the IPv4 header
	unless := func(c bpf.JumpTest, v uint32, to int) { add(bpf.JumpIf{Cond: c, Val: v, SkipFalse: skip(to)}) }
	when := func(c bpf.JumpTest, v uint32, to int) { add(bpf.JumpIf{Cond: c, Val: v, SkipTrue: skip(to)}) }
	length := bpf.LoadExtension{Num: bpf.ExtLen}
	add(length)
	unless(bpf.JumpGreaterOrEqual, ip+packet.IPv4Len, isOther)
	add(bpf.LoadAbsolute{Off: ip + 6, Size: 2})
	unless(bpf.JumpBitsNotSet, 0x3fff, isOther) // a fragment
	add(bpf.LoadMemShift{Off: ip})
	add(length)
	add(bpf.ALUOpX{Op: bpf.ALUOpSub}) // without the IPv4 header
	unless(bpf.JumpGreaterOrEqual, ip+udp, isOther)
	when(bpf.JumpGreaterThan, 1<<20, isOther) // less than none
	add(bpf.StoreScratch{Src: bpf.RegA, N: 0})
	add(bpf.LoadAbsolute{Off: ip + 9, Size: 1})
	when(bpf.JumpEqual, packet.ProtocolUDP, isUDP)
	unless(bpf.JumpEqual, packet.ProtocolICMP, isOther)
	load(0, 1)
	when(bpf.JumpEqual, 9, isSignalling)
	add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: 10, SkipTrue: skip(isSignalling), SkipFalse: skip(isOther)})
	// isUDP
	add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	unless(bpf.JumpGreaterOrEqual, ip+udp+4, isOther)
	load(0, 2)
	when(bpf.JumpEqual, 434, is434)
	when(bpf.JumpEqual, 500, isSignalling)
	when(bpf.JumpEqual, 4500, marker)
	load(2, 2)
	when(bpf.JumpEqual, 434, is434)
	when(bpf.JumpEqual, 500, isSignalling)
	add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4500, SkipTrue: skip(marker), SkipFalse: skip(isOther)})
	// is434
	load(udp, 1)
	add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: skip(isOther), SkipFalse: skip(isSignalling)})
	// marker
	load(udp, 4)
	add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: skip(isSignalling), SkipFalse: skip(isOther)})
	add(bpf.RetConstant{Val: other})
	add(bpf.RetConstant{Val: signalling})
	return program
}

// onlyAdvertisements returns the filter that takes the frames with a whole ICMP message of type 9 (RFC 1256 §3), and no others.
func onlyAdvertisements() []bpf.Instruction {
	const ip = ethernetLen
	return []bpf.Instruction{ // a load past the end of a frame refuses it
		bpf.LoadAbsolute{Off: ip + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packet.ProtocolICMP, SkipFalse: 6},
		bpf.LoadAbsolute{Off: ip + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x3fff, SkipFalse: 4}, // a fragment
		bpf.LoadMemShift{Off: ip},
		bpf.LoadIndirect{Off: ip, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 9, SkipFalse: 1},
		bpf.RetConstant{Val: accepted},
		bpf.RetConstant{Val: 0},
	}
}

// filter has the socket take only what the program accepts.
func (s *socket) filter(program []bpf.Instruction) error {
	return s.attach("SO_ATTACH_FILTER", unix.SO_ATTACH_FILTER, program)
}

// attach sets the option to the program.
func (s *socket) attach(name string, option int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble the program that tells signalling from data: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = s.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)})
	})
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// openSignals gives the frames their second socket. Where the kernel cannot do that, they go on with one. For a moment both
// take signalling: what comes twice does no harm, what is lost might.
func (f *frames) openSignals() {
	s, err := newSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, f.host.opts.mark(link.Protected))
	if err != nil {
		return
	}
	s.setBuffers(signalBuffer, signalBuffer)
	for _, step := range []func() error{
		func() error { return s.set("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, signalPriority) },
		func() error { return s.filter(classifyFrames(accepted, 0)) },
		func() error { return f.prepare(s) },
		func() error { return f.filter(classifyFrames(0, accepted)) },
	} {
		if err := step(); err != nil {
			s.discard()
			return
		}
	}
	f.signals = s
}

// takeSignals takes what is signalling out of a batch and sends it.
func (f *frames) takeSignals(b *packet.Batch) {
	for _, p := range b.Bufs {
		if !p.Super() && signalsFrame(p.Bytes()) {
			b.Keep(f.host.opts.Drops, f.sendSignal)
			return
		}
	}
}

// sendSignal sends p if it is signalling. It never waits, as flow.signal does not.
func (f *frames) sendSignal(p *packet.Buf) packet.DropReason {
	if p.Super() || !signalsFrame(p.Bytes()) {
		return packet.NotDropped
	}
	f.head(p)
	err := f.signals.control(func(fd int) error {
		for {
			_, err := unix.SendmsgN(fd, p.Bytes(), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err
			}
		}
	})
	if err != nil {
		return packet.DropSendFailed
	}
	return packet.Delivered
}
