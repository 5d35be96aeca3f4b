package wire

import (
	"encoding/binary"
	"fmt"
	"time"
)

// UDPTunnelRequest is the UDP Tunnel Request extension (RFC 3519 §3.1), skippable:
//
//	0: type 144   1: length 6         2: sub-type 0    3: reserved 1
//	4: F, R, reserved 2 (6 bits)      5: encapsulation 6: reserved 3 (2 octets)
type UDPTunnelRequest struct {
	// Force (F) asks for UDP tunnelling whether or not there is a NAT.
	Force bool
	// ThroughForeignAgent (R) says that a co-located care-of address is registered through a foreign agent which requires it.
	ThroughForeignAgent bool
	// Encapsulation is the IP protocol number of what is tunnelled: 4, 47, 55, or 0 for what the M and G bits say.
	Encapsulation uint8
}

// ErrReserved3 means that the field Reserved 3 of a UDP Tunnel Request is not zero: the extension counts as not
// understood (RFC 3519 §3.1.3), and a home agent may refuse the request with code 134 (§4.6.1). It wraps ErrExtension.
var ErrReserved3 = fmt.Errorf("%w: UDP Tunnel Request with a reserved field that is not zero", ErrExtension)

// ParseUDPTunnelRequest reads the extension. Errors wrap ErrExtension, or are ErrReserved3; in either case the extension is to be
// skipped.
func ParseUDPTunnelRequest(e Extension) (UDPTunnelRequest, error) {
	if err := e.short(ExtUDPTunnelRequest, 6, 0); err != nil {
		return UDPTunnelRequest{}, err
	}
	if e.Data[4] != 0 || e.Data[5] != 0 {
		return UDPTunnelRequest{}, ErrReserved3
	}
	return UDPTunnelRequest{
		Force:               e.Data[2]&0x80 != 0,
		ThroughForeignAgent: e.Data[2]&0x40 != 0,
		Encapsulation:       e.Data[3],
	}, nil
}

// Extension encodes r.
func (r UDPTunnelRequest) Extension() Extension {
	d := make([]byte, 6)
	if r.Force {
		d[2] |= 0x80
	}
	if r.ThroughForeignAgent {
		d[2] |= 0x40
	}
	d[3] = r.Encapsulation
	return Extension{Type: ExtUDPTunnelRequest, Data: d}
}

// Reply codes of the UDP Tunnel Reply extension (RFC 3519 §3.2.1).
const (
	// UDPTunnelAccepted: will do tunnelling.
	UDPTunnelAccepted uint8 = 0
	// UDPTunnelDeclined: tunnelling declined, reason unspecified.
	UDPTunnelDeclined uint8 = 64
)

// UDPTunnelReply is the UDP Tunnel Reply extension (RFC 3519 §3.2), which must be understood:
//
//	0: type 44    1: length 6         2: sub-type 0    3: reply code
//	4: F, reserved (15 bits)          6: keepalive interval (2 octets, seconds)
type UDPTunnelReply struct {
	// Code is 0 to 63 for assent, 64 to 255 for refusal.
	Code uint8
	// Forced (F) says that tunnelling is done because the request's F bit was set.
	Forced bool
	// KeepAlive is the interval in whole seconds, at most 65535, that the mobile node should keep; 0 leaves it the default.
	KeepAlive time.Duration
}

// ParseUDPTunnelReply reads the extension. Errors wrap ErrExtension.
func ParseUDPTunnelReply(e Extension) (UDPTunnelReply, error) {
	if err := e.short(ExtUDPTunnelReply, 6, 0); err != nil {
		return UDPTunnelReply{}, err
	}
	return UDPTunnelReply{
		Code:      e.Data[1],
		Forced:    e.Data[2]&0x80 != 0,
		KeepAlive: time.Duration(binary.BigEndian.Uint16(e.Data[4:])) * time.Second,
	}, nil
}

// Assents reports whether UDP tunnelling will be done.
func (r UDPTunnelReply) Assents() bool { return r.Code < 64 }

// Extension encodes r. The keepalive interval is cut to whole seconds and to the range of the field.
func (r UDPTunnelReply) Extension() Extension {
	d := make([]byte, 6)
	d[1] = r.Code
	if r.Forced {
		d[2] |= 0x80
	}
	binary.BigEndian.PutUint16(d[4:], uint16(max(0, min(r.KeepAlive/time.Second, 0xffff))))
	return Extension{Type: ExtUDPTunnelReply, Data: d}
}
