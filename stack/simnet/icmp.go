package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/tun/packet"
)

// ICMP types and codes (RFC 792; RFC 1812 §5.2.7.1 for 13).
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11

	codeNet                 = 0
	codeHost                = 1
	codeProtocol            = 2
	codePort                = 3
	codeFragmentationNeeded = 4
	codeAdminProhibited     = 13
)

// icmpLen is the length in octets of an ICMP header.
const icmpLen = 8

// ErrTimeout is returned by Ping when no answer has come in time.
var ErrTimeout = errors.New("timed out")

// icmpMessage returns an ICMP message with its checksum.
func icmpMessage(kind, code uint8, rest uint32, data []byte) []byte {
	m := make([]byte, icmpLen+len(data))
	m[0], m[1] = kind, code
	binary.BigEndian.PutUint32(m[4:], rest)
	copy(m[icmpLen:], data)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	return m
}

// icmpIsError reports whether m is an ICMP error message (RFC 1122 §3.2.2).
func icmpIsError(m []byte) bool {
	switch m[0] {
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}

// icmpError answers the packet ip with an error, where RFC 1122 §3.2.2 allows one. mtu is that of the next hop (RFC
// 1191 §4).
func (h *Host) icmpError(ip packet.IPv4, kind, code uint8, mtu int) {
	if h.mute {
		return
	}
	src, dst := ip.Src(), ip.Dst()
	if src.IsUnspecified() || src.IsMulticast() || src == limitedBroadcast || dst.IsMulticast() || dst == limitedBroadcast ||
		ip.FragmentOffset() != 0 {
		return
	}
	if m := ip.Payload(); ip.Protocol() == packet.ProtocolICMP && (len(m) == 0 || icmpIsError(m)) {
		return
	}
	quote := ip[:min(len(ip), ip.HeaderLen()+8)]
	via, ok := h.route(src, nil, false)
	if !ok && !h.owns(src) {
		return
	}
	from := dst
	if !h.owns(dst) {
		if h.owns(src) {
			from = src
		} else {
			from = h.sourceFor(via)
		}
	}
	if !from.IsValid() {
		return
	}
	pkt := h.build(packet.IPv4Fields{Protocol: packet.ProtocolICMP, Src: from, Dst: src},
		icmpMessage(kind, code, uint32(mtu), quote))
	// A packet that finds no way has nobody to be told.
	_ = h.output(pkt, nil, false, false)
}

// localICMP handles ICMP to the host itself.
func (h *Host) localICMP(c *NIC, ip packet.IPv4) {
	m := ip.Payload()
	if len(m) < icmpLen || packet.Checksum(m, 0) != 0 {
		h.drops.Count(packet.DropMalformed, 1)
		return
	}
	switch m[0] {
	case icmpEcho:
		if !h.owns(ip.Dst()) {
			return
		}
		reply := icmpMessage(icmpEchoReply, 0, binary.BigEndian.Uint32(m[4:]), m[icmpLen:])
		pkt := h.build(packet.IPv4Fields{TOS: ip.TOS(), Protocol: packet.ProtocolICMP, Src: ip.Dst(), Dst: ip.Src()}, reply)
		_ = h.output(pkt, nil, false, false)
	case icmpEchoReply:
		if p := h.pings[binary.BigEndian.Uint16(m[4:])]; p != nil && p.to == ip.Src() {
			p.end(nil)
		}
	case icmpUnreachable, icmpTimeExceeded:
		h.icmpReport(m)
	}
}

// icmpReport handles an ICMP error about a packet that the host has sent.
func (h *Host) icmpReport(m []byte) {
	about := packet.IPv4(m[icmpLen:])
	// The quotation is cut off, so that its total length is more than there is.
	if len(about) < packet.IPv4Len || about[0]>>4 != 4 || len(about) < about.HeaderLen()+8 || about.HeaderLen() < packet.IPv4Len {
		return
	}
	transport := about[about.HeaderLen():]
	if m[0] == icmpUnreachable && m[1] == codeFragmentationNeeded {
		mtu := int(binary.BigEndian.Uint16(m[6:]))
		if old, ok := h.pathMTU[about.Dst()]; mtu >= 68 && (!ok || mtu < old) {
			h.pathMTU[about.Dst()] = mtu
		}
		if about.Protocol() == packet.ProtocolTCP {
			local := netip.AddrPortFrom(about.Src(), binary.BigEndian.Uint16(transport[0:]))
			remote := netip.AddrPortFrom(about.Dst(), binary.BigEndian.Uint16(transport[2:]))
			if s := h.streams[streamKey{local, remote}]; s != nil {
				s.shrink(mtu)
			}
		}
		return
	}
	if about.Protocol() == packet.ProtocolICMP && transport[0] == icmpEcho {
		if p := h.pings[binary.BigEndian.Uint16(transport[4:])]; p != nil && p.to == about.Dst() {
			p.end(&ICMPError{Type: m[0], Code: m[1]})
		}
	}
}

// ICMPError is an ICMP error that answered a Ping.
type ICMPError struct {
	// Type and Code as RFC 792 numbers them.
	Type, Code uint8
}

// Error names type and code.
func (e *ICMPError) Error() string { return fmt.Sprintf("ICMP error type %d, code %d", e.Type, e.Code) }

// ping is an echo request under way.
type ping struct {
	host *Host
	id   uint16
	to   netip.Addr
	e    *event
	done chan error // room for one
}

// end gives Ping its result. Mutex held.
func (p *ping) end(err error) {
	if p.host.pings[p.id] != p {
		return
	}
	delete(p.host.pings, p.id)
	p.host.net.cancel(p.e)
	p.done <- err
}

// Ping sends one ICMP echo request with size octets of data through the host's routes and waits for the answer. It returns
// the round-trip time, or an error that wraps ErrTimeout, ErrNoRoute or *ICMPError.
func (h *Host) Ping(to netip.Addr, size int, timeout time.Duration) (time.Duration, error) {
	h.net.mu.Lock()
	if h.net.closed {
		h.net.mu.Unlock()
		return 0, fmt.Errorf("simnet: ping %v from %s: %w", to, h.name, errClosed)
	}
	id := uint16(h.rng.Uint32())
	for h.pings[id] != nil {
		id++
	}
	p := &ping{host: h, id: id, to: to, done: make(chan error, 1)}
	sent := h.net.now()
	err := h.sendEcho(to, id, make([]byte, size))
	if err == nil {
		h.pings[id] = p
		p.e = h.after(timeout, func() { p.end(ErrTimeout) })
	}
	h.net.mu.Unlock()
	if err == nil {
		err = <-p.done
	}
	if err != nil {
		return 0, fmt.Errorf("simnet: ping %v from %s: %w", to, h.name, err)
	}
	return h.net.now() - sent, nil
}

// SendEcho sends one ICMP echo request with the data through the host's routes and waits for nothing. Errors wrap ErrNoRoute or
// net.ErrClosed.
func (h *Host) SendEcho(to netip.Addr, data []byte) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	err := error(errClosed)
	if !h.net.closed {
		err = h.sendEcho(to, 0, data)
	}
	if err != nil {
		return fmt.Errorf("simnet: echo request to %v from %s: %w", to, h.name, err)
	}
	return nil
}

func (h *Host) sendEcho(to netip.Addr, id uint16, data []byte) error {
	via, ok := h.route(to, nil, false)
	if !ok && !h.owns(to) {
		return ErrNoRoute
	}
	from := to
	if !h.owns(to) {
		from = h.sourceFor(via)
	}
	if !from.IsValid() {
		return ErrNoRoute
	}
	m := icmpMessage(icmpEcho, 0, uint32(id)<<16|1, data)
	return h.output(h.build(packet.IPv4Fields{Protocol: packet.ProtocolICMP, Src: from, Dst: to}, m), nil, false, false)
}
