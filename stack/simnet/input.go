package simnet

import (
	"net/netip"
	"slices"

	"mipvpn/tun/packet"
)

// input takes a packet that arrived on the interface c, or on the device d, or (both nil) that the host has sent to
// itself. It owns pkt. Mutex held.
func (h *Host) input(c *NIC, d *device, pkt []byte) {
	ip := packet.IPv4(pkt)
	if !ip.Valid() || !ip.ChecksumOK() {
		h.drops.Count(packet.DropMalformed, 1)
		return
	}
	ip = ip[:ip.TotalLen()]
	if c != nil && h.shielded[ip.Dst()] {
		h.drops.Count(packet.DropPolicy, 1)
		return
	}
	if c != nil && (h.nat != nil || h.firewall != nil) {
		// As connection tracking does, so that all fragments have ports.
		if ip = h.reassemble(ip); ip == nil {
			return
		}
	}
	if h.nat != nil && c != nil && c == h.nat.cfg.Outside {
		switch h.nat.inbound(ip) {
		case natDrop:
			h.drops.Count(packet.DropPolicy, 1)
			return
		case natPass, natTranslated:
		}
	}
	dst := ip.Dst()
	switch answer, drop := h.captive.takes(c, ip); {
	case answer:
		h.local(c, ip)
		return
	case drop:
		h.drops.Count(packet.DropPolicy, 1)
		return
	}
	switch {
	case h.owns(dst):
		if c != nil && !h.admitted(ip, c, nil) {
			return
		}
		h.local(c, ip)
	case dst == limitedBroadcast || dst.IsMulticast() || h.subnetBroadcast(c, dst) || d != nil && slices.Contains(h.settings[d.name].Broadcasts, dst):
		h.local(c, ip)
	case h.forwards():
		h.forward(c, ip)
	default:
		h.drops.Count(packet.DropPolicy, 1)
	}
}

func (h *Host) subnetBroadcast(c *NIC, dst netip.Addr) bool {
	return c != nil && c.addr.IsValid() && c.addr.Bits() < 31 && dst == broadcastOf(c.addr)
}

// admitted asks the firewall about a packet from in to out (nil: to the host itself).
func (h *Host) admitted(ip packet.IPv4, in *NIC, out *NIC) bool {
	if h.firewall == nil {
		return true
	}
	switch h.firewall.judge(ip, in, out) {
	case Accept:
		return true
	case Reject:
		h.icmpError(ip, icmpUnreachable, codeAdminProhibited, 0)
	}
	h.drops.Count(packet.DropPolicy, 1)
	return false
}

// forward routes a packet of somebody else's on. in is nil for one from a device.
func (h *Host) forward(in *NIC, ip packet.IPv4) {
	dst := ip.Dst()
	if h.shielded[dst] || h.noFragments && (ip.MoreFragments() || ip.FragmentOffset() != 0) {
		h.drops.Count(packet.DropPolicy, 1)
		return
	}
	if ip.TTL() <= 1 {
		h.drops.Count(packet.DropTTL, 1)
		h.icmpError(ip, icmpTimeExceeded, 0, 0)
		return
	}
	via, ok := h.route(dst, nil, false)
	if !ok {
		h.drops.Count(packet.DropNoPath, 1)
		h.icmpError(ip, icmpUnreachable, codeNet, 0)
		return
	}
	if !h.admitted(ip, in, via.nic) {
		return
	}
	// A NAT must not send the fragments that it has put together as one packet that is too big (RFC 4787 REQ-13).
	if mtu := h.mtuOf(via); len(ip) > mtu && ip.DontFragment() {
		h.drops.Count(packet.DropTooBig, 1)
		h.icmpError(ip, icmpUnreachable, codeFragmentationNeeded, mtu)
		return
	}
	ip.DecrementTTL()
	if h.nat != nil && via.nic != nil && via.nic == h.nat.cfg.Outside && in != h.nat.cfg.Outside {
		if !h.nat.outbound(ip) {
			h.drops.Count(packet.DropPolicy, 1)
			return
		}
	}
	h.transmit(via, ip, false, false)
}

// mtuOf returns the MTU of a hop in octets.
func (h *Host) mtuOf(via hop) int {
	if via.dev != nil {
		return via.dev.mtu
	}
	return via.nic.mtu
}

// output sends a packet of the host's own. A bound packet leaves by that interface; bypass keeps it out of devices.
func (h *Host) output(pkt []byte, bound *NIC, bypass, plaintext bool) error {
	if h.asleep {
		return nil // lost, as what is in a sleeping interface's queue
	}
	ip := packet.IPv4(pkt)
	dst := ip.Dst()
	if h.owns(dst) {
		h.net.at(h.net.now(), h.lane, func() { h.input(nil, nil, pkt) })
		return nil
	}
	via, ok := h.route(dst, bound, bypass)
	if !ok {
		return ErrNoRoute
	}
	if len(pkt) > h.mtuOf(via) && ip.DontFragment() {
		return ErrTooBig
	}
	if h.firewall != nil {
		h.firewall.track(ip)
	}
	h.transmit(via, ip, bypass, plaintext)
	return nil
}

// transmit sends a packet to its hop, in fragments where it must. marked says that a flow of a driver's sends it.
func (h *Host) transmit(via hop, ip packet.IPv4, marked, plaintext bool) {
	pieces := []packet.IPv4{ip}
	if mtu := h.mtuOf(via); len(ip) > mtu {
		if pieces = fragment(ip, mtu); h.noFragments {
			h.drops.Count(packet.DropPolicy, len(pieces))
			return
		}
	}
	if via.dev != nil {
		for _, p := range pieces {
			via.dev.enqueue(p)
		}
		return
	}
	if !marked && h.outlaws(ip) {
		h.drops.Count(packet.DropPolicy, len(pieces))
		return
	}
	if !h.permits(via.nic, plaintext) {
		h.drops.Count(packet.DropGateClosed, len(pieces))
		return
	}
	hw, ok := h.resolve(via)
	if !ok {
		h.drops.Count(packet.DropNoPath, 1)
		h.icmpError(ip, icmpUnreachable, codeHost, 0)
		return
	}
	for _, p := range pieces {
		via.nic.wire.transmit(via.nic, frame{src: via.nic.hw, dst: hw, packet: p}, plaintext)
	}
}

// resolve returns the link-layer address of a hop.
func (h *Host) resolve(via hop) (packet.HardwareAddr, bool) {
	if via.next == limitedBroadcast || h.subnetBroadcast(via.nic, via.next) {
		return packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true
	}
	if via.next.IsMulticast() {
		a := via.next.As4() // RFC 1112 §6.4
		return packet.HardwareAddr{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}, true
	}
	if c := via.nic.wire.holder(via.next); c != nil {
		return c.hw, true
	}
	// After NIC.Carry the neighbour table still has the router that is not there any more.
	return via.nic.gatewayHW, via.nic.carried && via.next == via.nic.gateway && !via.nic.gatewayHW.IsZero()
}

// local delivers a packet to the host itself.
func (h *Host) local(c *NIC, ip packet.IPv4) {
	if ip = h.reassemble(ip); ip == nil {
		return
	}
	switch ip.Protocol() {
	case packet.ProtocolUDP:
		h.localUDP(c, ip)
	case packet.ProtocolTCP:
		h.localTCP(ip)
	case packet.ProtocolICMP:
		h.localRaw(c, ip)
		h.localICMP(c, ip)
	default:
		if !h.localRaw(c, ip) {
			h.drops.Count(packet.DropNoFlow, 1)
			h.icmpError(ip, icmpUnreachable, codeProtocol, 0)
		}
	}
}

// localUDP gives a datagram to the socket that fits best, one to a group or to all to every one that fits.
func (h *Host) localUDP(c *NIC, ip packet.IPv4) {
	udp := packet.UDP(ip.Payload())
	if !udp.Valid() || !udp.ChecksumOK(ip.Src(), ip.Dst()) {
		h.drops.Count(packet.DropMalformed, 1)
		return
	}
	from := netip.AddrPortFrom(ip.Src(), udp.SrcPort())
	to := netip.AddrPortFrom(ip.Dst(), udp.DstPort())
	group := !h.owns(ip.Dst())
	var best *endpoint
	top := 0
	for _, e := range slices.Clone(h.endpoints) {
		score := e.match(packet.ProtocolUDP, c, from, to)
		switch {
		case score == 0:
		case group:
			e.take(c, from, ip, udp.Payload())
			best = e
		case score > top:
			best, top = e, score
		}
	}
	switch {
	case group:
	case best != nil:
		best.take(c, from, ip, udp.Payload())
	default:
		h.drops.Count(packet.DropNoFlow, 1)
		h.icmpError(ip, icmpUnreachable, codePort, 0)
	}
}

// localRaw gives a packet to every raw socket that fits, as Linux does, and reports whether there was one.
func (h *Host) localRaw(c *NIC, ip packet.IPv4) bool {
	from, to := netip.AddrPortFrom(ip.Src(), 0), netip.AddrPortFrom(ip.Dst(), 0)
	found := false
	for _, e := range slices.Clone(h.endpoints) {
		if e.match(ip.Protocol(), c, from, to) > 0 {
			found = true
			e.take(c, from, ip, ip.Payload())
		}
	}
	return found
}

// build makes an IPv4 packet of the host's own.
func (h *Host) build(f packet.IPv4Fields, payload []byte) []byte {
	h.ipID++
	f.ID = h.ipID
	if f.TTL == 0 {
		f.TTL = 64
	}
	pkt := make([]byte, packet.IPv4Len+len(payload))
	packet.IPv4(pkt).Encode(f, len(pkt))
	copy(pkt[packet.IPv4Len:], payload)
	return pkt
}
