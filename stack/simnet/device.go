package simnet

import (
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// deviceQueue is how many packets a TUN device holds for its reader, as Linux's default queue length.
const deviceQueue = 500

// device implements link.Device.
type device struct {
	host   *Host
	name   string
	mtu    int
	queue  [][]byte
	ready  chan struct{} // room for one
	done   chan struct{}
	closed bool
}

// OpenDevice implements link.Host. An empty name becomes "tun0" or the next one free.
func (h *Host) OpenDevice(name string, mtu int) (link.Device, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for i := 0; name == ""; i++ {
		if s := fmt.Sprintf("tun%d", i); h.device(s) == nil {
			name = s
		}
	}
	switch {
	case h.net.closed:
		return nil, fmt.Errorf("simnet: open device %s on %s: %w", name, h.name, errClosed)
	case h.device(name) != nil || slices.ContainsFunc(h.nics, func(c *NIC) bool { return c.name == name }):
		return nil, fmt.Errorf("simnet: open device on %s: there is an interface %s already", h.name, name)
	case mtu < 68 || mtu > packet.LargeSize:
		return nil, fmt.Errorf("simnet: open device %s on %s: an MTU of %d is not between 68 and %d", name, h.name, mtu, packet.LargeSize)
	}
	d := &device{host: h, name: name, mtu: mtu, ready: make(chan struct{}, 1), done: make(chan struct{})}
	h.devices = append(h.devices, d)
	return d, nil
}

func (h *Host) device(name string) *device {
	for _, d := range h.devices {
		if d.name == name {
			return d
		}
	}
	return nil
}

// Name implements link.Device.
func (d *device) Name() string { return d.name }

// enqueue gives a packet to the reader. Mutex held.
func (d *device) enqueue(p []byte) {
	if len(d.queue) >= deviceQueue {
		d.host.drops.Count(packet.DropQueueFull, 1)
		return
	}
	d.queue = append(d.queue, p)
	select {
	case d.ready <- struct{}{}:
	default:
	}
}

// Read implements link.Device. Packets that could have been one superpacket come as one.
func (d *device) Read(b *packet.Batch) error {
	n := d.host.net
	for {
		n.mu.Lock()
		closed := d.closed
		k := min(len(d.queue), packet.BatchSize)
		take(d.queue[:k], b)
		d.queue = slices.Delete(d.queue, 0, k)
		if len(d.queue) > 0 {
			select {
			case d.ready <- struct{}{}: // for another reader
			default:
			}
		}
		n.mu.Unlock()
		switch {
		case closed:
			return fmt.Errorf("simnet: read device %s on %s: %w", d.name, d.host.name, errClosed)
		case k > 0:
			return nil
		}
		select {
		case <-d.ready:
		case <-d.done:
		}
	}
}

// Write implements link.Device. Superpackets are cut.
func (d *device) Write(b *packet.Batch) error {
	b.Cut()
	n := d.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	defer b.Release()
	if d.closed {
		return fmt.Errorf("simnet: write device %s on %s: %w", d.name, d.host.name, errClosed)
	}
	for _, p := range b.Bufs {
		pkt := slices.Clone(p.Bytes())
		n.at(n.now(), d.host.lane, func() {
			if !d.closed && !d.host.asleep {
				d.host.input(nil, d, pkt)
			}
		})
	}
	return nil
}

// Close implements link.Device.
func (d *device) Close() error {
	n := d.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	d.end()
	d.host.devices = slices.DeleteFunc(slices.Clone(d.host.devices), func(o *device) bool { return o == d })
	delete(d.host.settings, d.name)
	d.host.shield()
	return nil
}

func (d *device) end() {
	if !d.closed {
		d.closed = true
		d.queue = nil
		close(d.done)
	}
}

// Apply implements link.Host. Each device has settings of its own, so that agents on one host do not undo each other's;
// settings without a device apply to the host. The zero value takes everything back.
func (h *Host) Apply(s link.Settings) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if s.Device == "" && !s.Address.IsValid() && s.MTU == 0 && len(s.Routes) == 0 && len(s.Shielded) == 0 && !s.Forward && !s.KillSwitch && !s.Full {
		clear(h.settings)
		h.line = nil
		h.shield()
		return nil
	}
	d := h.device(s.Device)
	if s.Device != "" && d == nil {
		return fmt.Errorf("simnet: apply settings on %s: device %s: %w", h.name, s.Device, ErrNotFound)
	}
	if s.Device == "" && (s.Address.IsValid() || s.Taken.IsValid() || len(s.Routes) > 0 || s.KillSwitch) {
		return fmt.Errorf("simnet: apply settings on %s: an address, routes or a kill switch need a device", h.name)
	}
	if s.Full && !s.KillSwitch {
		return fmt.Errorf("simnet: apply settings on %s: a full tunnel needs a kill switch", h.name)
	}
	if d != nil && s.MTU != 0 {
		if s.MTU < 68 || s.MTU > packet.LargeSize {
			return fmt.Errorf("simnet: apply settings on %s: an MTU of %d is not between 68 and %d", h.name, s.MTU, packet.LargeSize)
		}
		d.mtu = s.MTU
	}
	s.Routes, s.Shielded, s.Broadcasts = slices.Clone(s.Routes), slices.Clone(s.Shielded), slices.Clone(s.Broadcasts)
	for _, a := range s.Broadcasts {
		s.Routes = append(s.Routes, netip.PrefixFrom(a, 32))
	}
	if s.KillSwitch {
		h.hold(s)
	}
	h.settings[s.Device] = s
	h.shield()
	return nil
}

// shield collects the shielded addresses of all settings.
func (h *Host) shield() {
	h.shielded = make(map[netip.Addr]bool)
	for _, s := range h.settings {
		for _, a := range s.Shielded {
			h.shielded[a] = true
		}
	}
}
