package igmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/tun/packet"
)

// Protocol is the IP protocol number of IGMP (RFC 3376 §4).
const Protocol = 2

// TTL and TOS are what IPv4 headers of IGMP messages have: they stay on their link, and have the precedence of internetwork control
// (RFC 3376 §4).
const (
	TTL = 1
	TOS = 0xc0
)

// Groups that messages are sent to (RFC 3376 §4.1.12 and §4.2.14, RFC 2236 §9).
var (
	AllSystems = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	AllRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	AllReports = netip.AddrFrom4([4]byte{224, 0, 0, 22})
)

// ErrMessage is wrapped by the errors of the parsers.
var ErrMessage = errors.New("no IGMP message of the expected kind")

// The types of messages (RFC 3376 §4, RFC 2236 §2.1).
const (
	typeQuery   = 0x11
	typeReport1 = 0x12
	typeReport2 = 0x16
	typeLeave2  = 0x17
	typeReport3 = 0x22
)

// The types of group records in reports of version 3 (RFC 3376 §4.2.12).
const (
	modeIsInclude   = 1
	modeIsExclude   = 2
	changeToInclude = 3
	changeToExclude = 4
	allowNewSources = 5
)

const (
	shortLen       = 8  // octets of messages of versions 1 and 2
	queryLen       = 12 // octets of a query of version 3 without sources
	recordLen      = 8  // octets of a group record without sources and auxiliary data
	maxResponse    = 10 * time.Second
	robustness     = 2
	defaultQueries = 125 * time.Second
)

// Report is what a host says of one group: that it is a member, from whatever sources, or is not.
type Report struct {
	// Group is a group of any scope.
	Group netip.Addr
	// Member is false when the host has left.
	Member bool
}

// ParseReports reads a report or a leave of version 1, 2 or 3, the octets behind the IPv4 header. Records about something that is no
// group, records that only block sources, and those of unknown types (RFC 3376 §4.2.12) are passed over. Errors wrap ErrMessage.
func ParseReports(m []byte) ([]Report, error) {
	if len(m) < shortLen {
		return nil, fmt.Errorf("%w: %d octets, expected at least %d", ErrMessage, len(m), shortLen)
	}
	if packet.Checksum(m, 0) != 0 {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrMessage)
	}
	switch m[0] {
	case typeReport1, typeReport2:
		return appendReport(nil, m[4:8], true), nil
	case typeLeave2:
		return appendReport(nil, m[4:8], false), nil
	case typeReport3:
		return parseRecords(m[shortLen:], int(binary.BigEndian.Uint16(m[6:])))
	}
	return nil, fmt.Errorf("%w: type %#x, expected a report or a leave", ErrMessage, m[0])
}

// parseRecords reads n group records; what follows them is passed over (RFC 3376 §4.2.11).
func parseRecords(p []byte, n int) (list []Report, err error) {
	for range n {
		if len(p) < recordLen {
			return nil, fmt.Errorf("%w: %d octets where a group record begins, expected at least %d", ErrMessage, len(p), recordLen)
		}
		sources := int(binary.BigEndian.Uint16(p[2:]))
		length := recordLen + 4*sources + 4*int(p[1])
		if len(p) < length {
			return nil, fmt.Errorf("%w: a group record of %d octets in the %d that are left", ErrMessage, length, len(p))
		}
		switch p[0] {
		case modeIsExclude, changeToExclude:
			list = appendReport(list, p[4:8], true)
		case modeIsInclude, changeToInclude:
			list = appendReport(list, p[4:8], sources > 0)
		case allowNewSources:
			if sources > 0 {
				list = appendReport(list, p[4:8], true)
			}
		}
		p = p[length:]
	}
	return list, nil
}

func appendReport(list []Report, group []byte, member bool) []Report {
	if a := netip.AddrFrom4([4]byte(group)); a.IsMulticast() {
		list = append(list, Report{a, member})
	}
	return list
}

// AppendReport appends a report of version 3 about the groups, which must be IPv4: the change to all sources of a group for a
// member, and to none for another (RFC 3376 §4.2.12). It is to be sent to AllReports.
func AppendReport(b []byte, list []Report) []byte {
	start := len(b)
	b = append(b, typeReport3, 0, 0, 0, 0, 0, byte(len(list)>>8), byte(len(list)))
	for _, r := range list {
		kind := byte(changeToInclude)
		if r.Member {
			kind = changeToExclude
		}
		group := r.Group.As4()
		b = append(append(b, kind, 0, 0, 0), group[:]...)
	}
	binary.BigEndian.PutUint16(b[start+2:], packet.Checksum(b[start:], 0))
	return b
}

// AppendQuery appends a general query of version 3 (RFC 3376 §4.1), which hosts of the earlier versions understand too (§7.1). It
// asks for answers within 10 seconds and is to be sent to AllSystems.
func AppendQuery(b []byte) []byte {
	start := len(b)
	b = append(b, typeQuery, byte(maxResponse/(100*time.Millisecond)), 0, 0, 0, 0, 0, 0, robustness, byte(defaultQueries/time.Second), 0, 0)
	binary.BigEndian.PutUint16(b[start+2:], packet.Checksum(b[start:], 0))
	return b
}

// ParseQuery reads a query of any version, the octets behind the IPv4 header, and returns the group that is asked about, the zero
// Addr for a general query. Errors wrap ErrMessage.
func ParseQuery(m []byte) (netip.Addr, error) {
	switch {
	case len(m) < shortLen || len(m) > shortLen && len(m) < queryLen:
		return netip.Addr{}, fmt.Errorf("%w: %d octets, expected %d or at least %d", ErrMessage, len(m), shortLen, queryLen)
	case m[0] != typeQuery:
		return netip.Addr{}, fmt.Errorf("%w: type %#x, expected a query (%#x)", ErrMessage, m[0], typeQuery)
	case packet.Checksum(m, 0) != 0:
		return netip.Addr{}, fmt.Errorf("%w: its checksum is wrong", ErrMessage)
	}
	if group := netip.AddrFrom4([4]byte(m[4:8])); !group.IsUnspecified() {
		return group, nil
	}
	return netip.Addr{}, nil
}

// routerAlert is the option that has routers look into messages that are not for them (RFC 2113), which all of IGMP bears.
var routerAlert = [4]byte{0x94, 0x04, 0, 0}

// Packet returns an IPv4 packet with the message, from a host to a group on its link: with a time to live of 1 and the router alert
// option (RFC 3376 §4). The caller owns it.
func Packet(src, dst netip.Addr, message []byte) *packet.Buf {
	const header = packet.IPv4Len + len(routerAlert)
	p := packet.GetSmall()
	b := p.Extend(header + len(message))
	ip := packet.IPv4(b)
	ip.Encode(packet.IPv4Fields{TOS: TOS, TTL: TTL, Protocol: Protocol, Src: src, Dst: dst}, len(b))
	ip[0] = 4<<4 | byte(header/4)
	copy(ip[packet.IPv4Len:], routerAlert[:])
	copy(ip[header:], message)
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:header], 0))
	return p
}
