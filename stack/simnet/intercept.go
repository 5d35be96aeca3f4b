package simnet

import (
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// Relay is a frame that somebody in the middle of a wire puts on a wire.
type Relay struct {
	// On is the wire, nil for the one that was intercepted. On another wire the frame meets neither impairments nor
	// whoever is in the middle there.
	On *Wire
	// Source and Destination are link-layer addresses.
	Source, Destination packet.HardwareAddr
	// Packet is the IPv4 packet. The network keeps it; it must not be changed afterwards.
	Packet []byte
	// Delay is added to the wire's latency. Later frames overtake a delayed one.
	Delay time.Duration
}

// Relay returns the relay that puts the frame where it was going, as if nobody were in the middle.
func (f Frame) Relay() Relay {
	return Relay{Source: f.Source, Destination: f.Destination, Packet: f.Packet}
}

// Interceptor is somebody in the middle of a wire: it sees each frame at the moment of sending, and what it returns is put
// on the wires in the frame's place; nothing loses the frame. It is called under the network's mutex: it must not block
// nor call anything of the network, nor change the frame's packet.
type Interceptor func(Frame) []Relay

type middle struct{ f Interceptor }

// Intercept puts somebody in the middle of the wire until stop is called. Of several, each is given what the one before
// has put on this wire. Taps see the frame as it was sent, and each frame that is put in its place and differs from it
// with the sender Interceptors.
func (w *Wire) Intercept(f Interceptor) (stop func()) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	m := &middle{f}
	w.middles = append(slices.Clip(w.middles), m)
	return func() {
		w.net.mu.Lock()
		defer w.net.mu.Unlock()
		w.middles = slices.DeleteFunc(slices.Clone(w.middles), func(o *middle) bool { return o == m })
	}
}

// Interceptors is the Frame.Sender of what an interceptor has put on a wire.
const Interceptors = "interceptor"

// intercepted gives f to those in the middle and returns what stays on the wire; what goes to other wires is sent. Mutex
// held.
func (w *Wire) intercepted(now time.Duration, c *NIC, f frame, plaintext bool) []Relay {
	stay := []Relay{{Source: f.src, Destination: f.dst, Packet: f.packet}}
	for _, m := range w.middles {
		var next []Relay
		for _, r := range stay {
			seen := Frame{
				At: now, Wall: w.net.start.Add(now), Wire: w.name, Sender: c.fullName(), Source: r.Source, Destination: r.Destination,
				Packet: r.Packet, Plaintext: plaintext,
			}
			for _, put := range m.f(seen) {
				put.Delay += r.Delay
				if put.On == nil || put.On == w {
					next = append(next, put)
					continue
				}
				put.On.elsewhere(now, c.host.lane, put)
			}
		}
		stay = next
	}
	for _, r := range stay {
		if g := (frame{r.Source, r.Destination, r.Packet}); !g.same(f) {
			w.tellTaps(now, c.host.lane, Interceptors, g, plaintext, false)
		}
	}
	return stay
}

// elsewhere puts a frame that was intercepted on another wire on w. Mutex held.
func (w *Wire) elsewhere(now time.Duration, lane int, r Relay) {
	if len(r.Packet) > w.mtu {
		return
	}
	f := frame{r.Source, r.Destination, r.Packet}
	w.tellTaps(now, lane, Interceptors, f, false, false)
	w.net.at(now+max(w.all.Latency, minLatency)+r.Delay, lane, func() { w.arrive(nil, f) })
}

// same reports whether f and g are one frame, not only equal ones.
func (f frame) same(g frame) bool {
	return f.src == g.src && f.dst == g.dst && len(f.packet) == len(g.packet) && (len(f.packet) == 0 || &f.packet[0] == &g.packet[0])
}
