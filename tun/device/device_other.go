//go:build !linux

package device

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"

	"mipvpn/tun/packet"
)

// offset is the room in octets that wireguard's devices want in front of a packet: 4 for the address family on the BSDs
// and darwin.
const offset = 16

// Device is a TUN device made by wireguard's tun package.
type Device struct {
	tun   tun.Device
	name  string
	drops *packet.Drops

	reading sync.Mutex
	bufs    [][]byte
	sizes   []int
	writing sync.Mutex
	out     [][]byte
}

// Open makes a TUN device with an MTU in octets. On darwin the name must be empty or utunN. drops counts packets that do
// not fit; nil counts nothing. It needs the rights of an administrator.
func Open(name string, mtu int, drops *packet.Drops) (*Device, error) {
	if name == "" {
		name = defaultName
	}
	t, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("device: open TUN device %q: %w", name, err)
	}
	d := &Device{tun: t, drops: drops}
	if d.name, err = t.Name(); err != nil {
		t.Close()
		return nil, fmt.Errorf("device: read the name of the TUN device: %w", err)
	}
	d.bufs, d.sizes = make([][]byte, t.BatchSize()), make([]int, t.BatchSize())
	for i := range d.bufs {
		d.bufs[i] = make([]byte, offset+packet.LargeSize)
	}
	return d, nil
}

// Name returns the interface's name.
func (d *Device) Name() string { return d.name }

// Close removes the device. Read then returns an error that wraps net.ErrClosed.
func (d *Device) Close() error { return d.tun.Close() }

// Read blocks until packets from the host are there and appends them to b.
func (d *Device) Read(b *packet.Batch) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	n, err := d.tun.Read(d.bufs, d.sizes, offset)
	for i := range n {
		b.Append(packet.From(d.bufs[i][offset : offset+d.sizes[i]]))
	}
	switch {
	case n > 0 || err == nil || errors.Is(err, tun.ErrTooManySegments):
		return nil
	case errors.Is(err, os.ErrClosed):
		err = net.ErrClosed
	}
	return fmt.Errorf("device: read: %w", err)
}

// Write gives the packets to the host and takes ownership of the batch.
func (d *Device) Write(b *packet.Batch) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	defer b.Release()
	b.Cut()
	for at := 0; at < b.Len(); {
		d.out = d.out[:0]
		for at < b.Len() && len(d.out) < d.tun.BatchSize() {
			p := b.Bufs[at]
			at++
			p.Push(offset)
			d.out = append(d.out, p.Bytes())
		}
		if len(d.out) == 0 {
			continue
		}
		if _, err := d.tun.Write(d.out, offset); err != nil {
			d.drops.Count(packet.DropSendFailed, b.Len()-at+len(d.out))
			if errors.Is(err, os.ErrClosed) {
				err = net.ErrClosed
			}
			return fmt.Errorf("device: write to %s: %w", d.name, err)
		}
	}
	return nil
}
