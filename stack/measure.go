package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// LongPacket is the length in octets over which Traffic counts a packet as long: what a path of the least usual MTU may not
// carry in the deepest mode.
const LongPacket = 1100

// refusalInterval is the least time between two calls of Measurement.Refused.
const refusalInterval = time.Second

// Measurement is where an Engine tells of what concerns the path MTU. Its functions are called by data-path goroutines and
// must not block.
type Measurement struct {
	// Agent answers the echo requests of Probe, ID is their identifier.
	Agent netip.Addr
	ID    uint16
	// Answer is given each echo reply with that identifier from Agent, which nobody else gets then, and owns it.
	Answer func(packet.IPv4)
	// Refused says that the underlay has refused a packet that the pipeline's MTU admits (link.ErrTooBig): the interface's
	// MTU has changed. It is called once a second at most.
	Refused func()
}

// Measure replaces the measurement that is told; nil for none.
func (e *Engine) Measure(m *Measurement) { e.measurement.Store(m) }

// Ping replaces what is told of the answers to other echo requests of Probe, with another identifier; nil for none. Refused is
// not called.
func (e *Engine) Ping(m *Measurement) { e.ping.Store(m) }

// TellMTU tells the home agent that the tunnel that it granted carries packets of mtu octets at most (tunnel.AppendTooBig).
func (a *CoLocated) TellMTU(granted mobilenode.Tunnel, mtu int) error {
	form, entry, exit := granted.Encapsulation, a.agent, a.udp.Local()
	if !granted.UDP() {
		entry, exit = netip.AddrPortFrom(a.agent.Addr(), 0), netip.AddrPortFrom(a.below.Addr(), 0)
	}
	f, err := a.below.Open(link.FlowSpec{Protocol: packet.ProtocolICMP, Remote: netip.AddrPortFrom(a.agent.Addr(), 0)}, (*packet.Batch).Release)
	if err != nil {
		return fmt.Errorf("stack: tell home agent %v of an MTU of %d: %w", a.agent.Addr(), mtu, err)
	}
	err = f.Send(netip.AddrPort{}, tunnel.AppendTooBig(nil, form, granted.GRE, entry, exit, mtu))
	return errors.Join(err, f.Close())
}

// Probe sends an IPv4 packet of the home address through p as it is, whatever p's MTU, so that every header bears DF: a path
// MTU probe (RFC 8899 §4.1). In a plaintext mode the gate stands before it as before all else. An error that wraps
// link.ErrTooBig says that it exceeds the interface's MTU. The packet is borrowed.
func (e *Engine) Probe(p *Pipeline, probe []byte) error {
	b := packet.From(probe)
	b.Probe = true
	return p.path.Send(packet.One(b))
}

// answers reports whether ip is an answer to a probe, and gives it away if it is.
func (e *Engine) answers(ip packet.IPv4) bool {
	return e.measurement.Load().takes(ip) || e.ping.Load().takes(ip)
}

// takes is answers for one measurement, which may be nil.
func (m *Measurement) takes(ip packet.IPv4) bool {
	if m == nil || ip.Src() != m.Agent {
		return false
	}
	if typ, id, _, ok := tunnel.ParseEcho(ip); !ok || typ != tunnel.ICMPEchoReply || id != m.ID {
		return false
	}
	m.Answer(append(packet.IPv4(nil), ip[:ip.TotalLen()]...))
	return true
}

// refused notes that the underlay takes no packets of a length that the pipeline admits.
func (e *Engine) refused() {
	m, now := e.measurement.Load(), int64(e.clock.Now().Boot)
	if m == nil {
		return
	}
	if last := e.lastRefusal.Load(); (last == 0 || now-last >= int64(refusalInterval)) && e.lastRefusal.CompareAndSwap(last, now) {
		m.Refused()
	}
}
