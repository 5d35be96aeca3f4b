package simnet

import (
	"net/netip"
	"slices"

	"mipvpn/tun/packet"
)

// Spoof has the interface c, which must be on the wire to count, answer ARP for addr there in the place of whoever has the
// address; nil ends that. As after a gratuitous ARP, every interface on the wire learns its router's link-layer address
// anew, and watchers get a hint.
func (w *Wire) Spoof(addr netip.Addr, c *NIC) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	if w.spoofed == nil {
		w.spoofed = make(map[netip.Addr]*NIC)
	}
	if c == nil {
		delete(w.spoofed, addr)
	} else {
		w.spoofed[addr] = c
	}
	for _, o := range w.nics {
		if before := o.gatewayHW; o.gateway.IsValid() {
			if o.learnGateway(); o.gatewayHW != before {
				o.host.hint()
			}
		}
	}
}

// SetPool puts another DHCP server on the wire, or none. Leases that interfaces have go on until they ask again.
func (w *Wire) SetPool(p *AddressPool) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.pool = p
	w.leases, w.taken = make(map[packet.HardwareAddr]netip.Prefix), make(map[netip.Addr]bool)
}

// RenewLease has an automatic interface ask the wire's DHCP server for an address again, as at the end of a lease. The old
// address stays until the answer; without a server it stays for good.
func (c *NIC) RenewLease() {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.wire == nil || c.wire.pool == nil || !c.automatic {
		return
	}
	n.cancel(c.lease)
	c.askLease()
}

// SendPacket sends a packet as an application with a raw socket does that writes the IPv4 header itself: it goes by the
// host's routes, unchanged but for fragmentation. What is no IPv4 packet, as an IPv6 one, goes into every TUN device and
// nowhere else: the simulated network has no IPv6. The error is ErrNoRoute or ErrTooBig.
func (h *Host) SendPacket(pkt []byte) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	own := append([]byte(nil), pkt...)
	if packet.IPv4(own).Valid() {
		return h.output(own, nil, false, false)
	}
	for _, d := range h.devices {
		d.enqueue(own)
	}
	return nil
}

// SendFrame sends an IPv4 packet in a frame from the interface c as a program with a packet socket does, past the host's
// routes. The host's kill switch stops it as it does applications' packets. Errors: ErrLinkDown.
func (h *Host) SendFrame(c *NIC, to packet.HardwareAddr, pkt []byte) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !c.up() {
		return ErrLinkDown
	}
	own := slices.Clone(pkt)
	if h.outlaws(packet.IPv4(own)) {
		h.drops.Count(packet.DropPolicy, 1)
		return nil
	}
	c.wire.transmit(c, frame{src: c.hw, dst: to, packet: own}, false)
	return nil
}

// NICs returns the host's interfaces, in the order of their indices.
func (h *Host) NICs() []*NIC {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.nics)
}
