package esp

import "encoding/binary"

// The UDP ports of IKE and of ESP in UDP (RFC 7296 §2, RFC 3948 §2).
const (
	PortIKE  = 500
	PortNATT = 4500
)

// MarkerLen is the length in octets of the non-ESP marker, which is zero and stands before IKE messages on port 4500
// (RFC 3948 §2.2).
const MarkerLen = 4

// Keepalive is the payload of a NAT keepalive packet (RFC 3948 §2.3).
const Keepalive = 0xff

// Kind is what a UDP datagram on port 4500 carries.
type Kind uint8

// The kinds of datagrams on port 4500 (RFC 3948 §2).
const (
	KindInvalid   Kind = iota // too short for anything
	KindKeepalive             // a NAT keepalive, to be ignored
	KindIKE                   // an IKE message behind the marker of MarkerLen octets
	KindESP                   // an ESP packet
)

// Classify tells what the payload p of a UDP datagram on port 4500 is. Whether an ESP packet or IKE message in it is
// whole is not looked at.
func Classify(p []byte) Kind {
	switch {
	case len(p) == 1 && p[0] == Keepalive:
		return KindKeepalive
	case len(p) <= MarkerLen:
		return KindInvalid
	case binary.BigEndian.Uint32(p) == 0:
		return KindIKE
	}
	return KindESP
}
