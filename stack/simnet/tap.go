package simnet

import (
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"

	"mipvpn/tun/packet"
)

// Frame is a frame as a tap sees it.
type Frame struct {
	// At is the network's time of sending, Wall the same on the network's true wall clock.
	At   time.Duration
	Wall time.Time
	// Wire and Sender are the names of the wire and of the sending interface ("laptop/eth0").
	Wire, Sender string
	// Source and Destination are link-layer addresses.
	Source, Destination packet.HardwareAddr
	// Packet is the IPv4 packet. Nobody may change it; it may be kept.
	Packet []byte
	// Plaintext is set on what a flow or Frames of the sending host has sent as link.Plaintext.
	Plaintext bool
	// Lost is set on a frame that the wire loses.
	Lost bool
}

// Ethernet returns the frame as on an Ethernet: destination, source, type 0x0800, packet.
func (f Frame) Ethernet() []byte {
	b := make([]byte, 0, 14+len(f.Packet))
	b = append(append(b, f.Destination[:]...), f.Source[:]...)
	return append(append(b, 0x08, 0x00), f.Packet...)
}

type tap struct{ f func(Frame) }

// Tap has f called for every frame that is sent on the wire until stop is called. It is called a microsecond after the
// frame was sent, so that the order of frames that several hosts send at one time does not depend on their goroutines, and
// under the network's mutex: it must not block nor call anything of the network.
func (w *Wire) Tap(f func(Frame)) (stop func()) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	t := &tap{f}
	w.taps = append(slices.Clip(w.taps), t)
	return func() {
		w.net.mu.Lock()
		defer w.net.mu.Unlock()
		w.taps = slices.DeleteFunc(slices.Clone(w.taps), func(o *tap) bool { return o == t })
	}
}

// TapAll has f called for every frame of every wire that is there now, as Wire.Tap does.
func (n *Network) TapAll(f func(Frame)) (stop func()) {
	n.mu.Lock()
	wires := slices.Clone(n.wires)
	n.mu.Unlock()
	var stops []func()
	for _, w := range wires {
		stops = append(stops, w.Tap(f))
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}

// tapped tells the taps that are there now of a frame.
func (w *Wire) tapped(now time.Duration, c *NIC, f frame, plaintext, lost bool) {
	w.tellTaps(now, c.host.lane, c.fullName(), f, plaintext, lost)
}

// tellTaps is tapped for a frame of any sender, in the order of the lane.
func (w *Wire) tellTaps(now time.Duration, lane int, sender string, f frame, plaintext, lost bool) {
	if len(w.taps) == 0 {
		return
	}
	taps := w.taps
	seen := Frame{
		At: now, Wall: w.net.start.Add(now), Wire: w.name, Sender: sender, Source: f.src, Destination: f.dst,
		Packet: f.packet, Plaintext: plaintext, Lost: lost,
	}
	w.net.at(now+minLatency, lane, func() {
		for _, t := range taps {
			t.f(seen)
		}
	}).tap = true
}

// Capture keeps the frames of a tap. Its Add is a function for Tap and TapAll. The zero value is ready; it is safe for
// concurrent use.
type Capture struct {
	mu     sync.Mutex
	frames []Frame
}

// Add keeps f.
func (c *Capture) Add(f Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, f)
}

// Frames returns what has been kept so far. The packets must not be changed.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// WritePCAP writes the frames as a libpcap file of version 2.4 with nanosecond times and link type Ethernet, little
// endian.
func (c *Capture) WritePCAP(w io.Writer) error {
	le := binary.LittleEndian
	h := le.AppendUint32(nil, 0xa1b23c4d)
	h = le.AppendUint16(le.AppendUint16(h, 2), 4)
	h = le.AppendUint32(le.AppendUint32(h, 0), 0) // time zone, accuracy
	h = le.AppendUint32(le.AppendUint32(h, 1<<16), 1)
	if _, err := w.Write(h); err != nil {
		return err
	}
	for _, f := range c.Frames() {
		e := f.Ethernet()
		r := le.AppendUint32(nil, uint32(f.Wall.Unix()))
		r = le.AppendUint32(r, uint32(f.Wall.Nanosecond()))
		r = le.AppendUint32(le.AppendUint32(r, uint32(len(e))), uint32(len(e)))
		if _, err := w.Write(append(r, e...)); err != nil {
			return err
		}
	}
	return nil
}
