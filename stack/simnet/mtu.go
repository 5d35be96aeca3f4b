package simnet

// SetMTU sets the interface's MTU in octets, as `ip link set mtu` does: what is longer is not sent out of it, but in
// fragments or, with DF, answered with an ICMP error. Frames that arrive are not measured. Watchers get a hint.
func (c *NIC) SetMTU(mtu int) {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	c.mtu = mtu
	c.host.hint()
}

// SetMTU sets the longest IPv4 packet that the wire carries: longer ones vanish without a word, whatever the interfaces on
// it think.
func (w *Wire) SetMTU(mtu int) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.mtu = mtu
}

// SetMute keeps the host from sending ICMP errors, as a router behind an administrator who has ICMP filtered.
func (h *Host) SetMute(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.mute = on
}

// SetNoFragments has the host drop the fragments that it would forward, as many middleboxes do.
func (h *Host) SetNoFragments(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.noFragments = on
}

// NIC returns the host's interface of that name, nil for none.
func (h *Host) NIC(name string) *NIC {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, c := range h.nics {
		if c.name == name {
			return c
		}
	}
	return nil
}
