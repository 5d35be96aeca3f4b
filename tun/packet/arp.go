package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The operations of ARP (RFC 826).
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// ARPLen is the length in octets of an ARP message about IPv4 addresses on Ethernet.
const ARPLen = 28

// ErrARP is wrapped by the errors of ParseARP.
var ErrARP = errors.New("no ARP message about IPv4 on Ethernet")

// ARP is an ARP message about IPv4 addresses on Ethernet (RFC 826): hardware type 1, protocol type 0x0800, lengths 6 and 4.
type ARP struct {
	// Operation is ARPRequest or ARPReply; others are left to the reader.
	Operation uint16
	// SenderHardware and Sender are the sender's addresses, TargetHardware and Target those of whoever is asked for or answered.
	SenderHardware HardwareAddr
	Sender         netip.Addr
	TargetHardware HardwareAddr
	Target         netip.Addr
}

// GratuitousARP returns the message by which every node on a link that has an entry for addr changes it to hardware: a request
// with addr as the sender's and the target's protocol address (RFC 5944 §4.6). It is to be broadcast.
func GratuitousARP(addr netip.Addr, hardware HardwareAddr) ARP {
	return ARP{Operation: ARPRequest, SenderHardware: hardware, Sender: addr, Target: addr}
}

// Gratuitous reports whether the message asks for nobody: the sender's protocol address is the target's.
func (a ARP) Gratuitous() bool { return a.Sender == a.Target }

// Answer returns the reply to a request that says that its target has the address hardware, to be sent to the request's
// SenderHardware.
func (a ARP) Answer(hardware HardwareAddr) ARP {
	return ARP{Operation: ARPReply, SenderHardware: hardware, Sender: a.Target, TargetHardware: a.SenderHardware, Target: a.Sender}
}

// ParseARP reads a message; what follows it (Ethernet's padding) is passed over. Errors wrap ErrARP.
func ParseARP(p []byte) (ARP, error) {
	if len(p) < ARPLen {
		return ARP{}, fmt.Errorf("%w: %d octets, expected %d", ErrARP, len(p), ARPLen)
	}
	if head := binary.BigEndian.Uint64(p); head>>16 != 0x0001_0800_0604 {
		return ARP{}, fmt.Errorf("%w: types and lengths %012x, expected 000108000604", ErrARP, head>>16)
	}
	return ARP{
		Operation:      binary.BigEndian.Uint16(p[6:]),
		SenderHardware: HardwareAddr(p[8:14]), Sender: netip.AddrFrom4([4]byte(p[14:18])),
		TargetHardware: HardwareAddr(p[18:24]), Target: netip.AddrFrom4([4]byte(p[24:28])),
	}, nil
}

// Append appends the message to dst. Sender and Target must be IPv4 addresses.
func (a ARP) Append(dst []byte) []byte {
	dst = append(dst, 0, 1, 8, 0, 6, 4)
	dst = binary.BigEndian.AppendUint16(dst, a.Operation)
	sender, target := a.Sender.As4(), a.Target.As4()
	dst = append(append(dst, a.SenderHardware[:]...), sender[:]...)
	return append(append(dst, a.TargetHardware[:]...), target[:]...)
}
