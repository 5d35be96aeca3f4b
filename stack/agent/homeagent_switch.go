package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Zero-overhead tunnelling at the home agent (draft appendix D, docs/zero-overhead.md). Packets with switched addresses are
// payloads of three flows of the agent's address: ESP, and UDP from and to the ports of IKE.

// switchedKinds are what packets with switched addresses travel as.
var switchedKinds = [...]tunnel.Switched{tunnel.SwitchedESP, tunnel.SwitchedIKE, tunnel.SwitchedNATT}

// exit is how packets leave for a care-of address: by tunnel.Encapsulation, and behind those by tunnel.Switched.
type exit int

const (
	exitIPIP = exit(tunnel.IPIP)
	exitUDP  = exit(tunnel.UDP)
	// exitForms is how many exits are forms of tunnels.
	exitForms = exit(tunnel.NumEncapsulations)
	exitESP   = exitForms + exit(tunnel.SwitchedESP) - 1
	exitIKE   = exitForms + exit(tunnel.SwitchedIKE) - 1
	exitNATT  = exitForms + exit(tunnel.SwitchedNATT) - 1
	numExits  = exitNATT + 1
)

// exitOf returns the exit of what travels as s.
func exitOf(s tunnel.Switched) exit { return exitForms + exit(s) - 1 }

// switching is the state of zero-overhead tunnelling.
type switching struct {
	flows [len(switchedKinds)]link.Flow
	id    atomic.Uint32 // of the last header restored
	// Packets that have travelled without a tunnel, for people.
	out, in atomic.Uint64
}

// SwitchedPackets returns how many packets have travelled with switched addresses to mobile nodes and from them.
func (a *HomeAgent) SwitchedPackets() (to, from uint64) {
	return a.switching.out.Load(), a.switching.in.Load()
}

// openSwitching opens the flows of zero-overhead tunnelling, if any is granted.
func (a *HomeAgent) openSwitching(under link.Link) error {
	if !a.cfg.ZeroOverhead.Granted() {
		return nil
	}
	for i, s := range switchedKinds {
		spec := link.FlowSpec{Protocol: packet.ProtocolESP}
		switch s {
		case tunnel.SwitchedIKE:
			spec = link.FlowSpec{Protocol: packet.ProtocolUDP, Port: s.Port(), Signalling: link.SignallingAll}
		case tunnel.SwitchedNATT:
			spec = link.FlowSpec{Protocol: packet.ProtocolUDP, Port: s.Port(), Unsummed: true, Signalling: link.SignallingNATTraversal}
		}
		f, err := under.Open(spec, whenReady(a.ready, &a.drops, func(b *packet.Batch) { a.receiveSwitched(b, s) }))
		if err != nil {
			return fmt.Errorf("zero-overhead tunnelling needs ESP and UDP 500 and 4500 of address %v for itself: %w", a.cfg.Address, err)
		}
		a.switching.flows[i] = f
		a.out[exitOf(s)] = tunnelPath{path: f.Path(link.Protected)}
	}
	return nil
}

// closeSwitching closes them.
func (a *HomeAgent) closeSwitching() error {
	var errs []error
	for _, f := range a.switching.flows {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// checkSwitching refuses default destinations that the policy would not let pass.
func (c HomeAgentConfig) checkSwitching() error {
	for _, d := range c.ZeroOverhead.Destinations {
		if len(c.PermittedGateways) > 0 && !slices.Contains(c.PermittedGateways, d) {
			return fmt.Errorf("%w: default destination %v of zero-overhead tunnelling is none of the permitted gateways %v", homeagent.ErrConfig, d, c.PermittedGateways)
		}
	}
	return nil
}

// Check says what is wrong with the configuration, nil for nothing. Errors wrap homeagent.ErrConfig.
func (c HomeAgentConfig) Check() error {
	if _, err := homeagent.New(c.Config); err != nil {
		return err
	}
	return errors.Join(c.checkSwitching(), c.checkBroadcasts())
}

// switchedMTU returns the longest packet in octets that reaches the care-of address of a tunnel with switched addresses: what
// the tunnel carries, and its header.
func (a *HomeAgent) switchedMTU(now time.Duration, t *homeagent.Tunnel) int {
	return t.State.MTU.Of(now, a.out[exitIPIP].mtu) + tunnel.IPIP.TotalOverhead()
}

// enterSwitched sends one packet for the home address with switched addresses if it qualifies: it is from the default
// destination, and fits. Otherwise it returns NotDropped, and the packet is to be tunnelled.
func (a *HomeAgent) enterSwitched(now time.Duration, t *homeagent.Tunnel, p *packet.Buf, out *exits) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if ip.Src() != t.Switched {
		return packet.NotDropped
	}
	s := tunnel.SwitchedFrom(ip)
	if s == tunnel.NotSwitched {
		return packet.NotDropped
	}
	most := a.switchedMTU(now, t)
	if p.Super() {
		if p.SegmentLen() > most {
			return packet.NotDropped
		}
		segments := packet.GetBatch()
		p.CutTo(segments)
		p.Release()
		for _, q := range segments.Bufs {
			if r := a.enterSwitched(now, t, q, out); r != packet.Delivered {
				a.drops.Count(r, 1)
				q.Release()
			}
		}
		segments.Forget()
		return packet.Delivered
	}
	if p.Len() > most {
		if !ip.DontFragment() {
			return packet.NotDropped
		}
		if a.errors.allow(now) {
			if e := tunnel.ICMPError(a.cfg.Address, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, uint16(most), ip); e != nil {
				a.sendICMP(e)
			}
		}
		return packet.DropTooBig
	}
	if r := tunnel.SwitchOut(p, s, t.Remote.Addr()); r != packet.NotDropped {
		return r
	}
	out[exitOf(s)].Append(p)
	a.switching.out.Add(1)
	return packet.Delivered
}

// receiveSwitched takes what has come as s with switched addresses and gives it to the host to forward with the addresses that
// it has. The care-of address of a live binding is all that is believed (RFC 3024 §4.3.2); what the packets hold authenticates
// itself to the gateway.
func (a *HomeAgent) receiveSwitched(b *packet.Batch, s tunnel.Switched) {
	var careOf netip.Addr
	var binding *homeagent.Switched
	b.Keep(&a.drops, func(p *packet.Buf) packet.DropReason {
		if from := p.Peer.Addr(); from != careOf {
			careOf, binding = from, a.table.Switched(from)
		}
		if binding == nil {
			return packet.DropWrongTunnelPeer
		}
		if p.Len() > maxSwitched {
			return packet.DropTooBig
		}
		tunnel.SwitchIn(p, s, binding.Home, binding.Tunnel.Switched, uint16(a.switching.id.Add(1)))
		if !a.policy.Load().allows(packet.IPv4(p.Bytes()), binding.Tunnel.Switched, 2) {
			return packet.DropPolicy
		}
		return packet.NotDropped
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	n := b.Len()
	a.switching.in.Add(uint64(n))
	if err := a.device.Write(b); err != nil {
		a.drops.Count(packet.DropSendFailed, n)
	}
}

// maxSwitched is the longest payload in octets that the headers find room in front of.
const maxSwitched = packet.LargeSize - packet.IPv4Len - packet.UDPLen

// handleSwitchedError learns the MTU on the way to a care-of address, and tells the default destination what happened to its
// packet (RFC 2003 §4, of a tunnel that is none).
func (a *HomeAgent) handleSwitchedError(now link.Instant, e tunnel.SwitchedError) {
	if !a.errors.allow(now.Boot) { // anybody can send them
		return
	}
	s := a.table.Switched(e.CareOf)
	if s == nil {
		return
	}
	mtu := 0
	if e.TooBig {
		s.Tunnel.State.MTU.Learn(now.Boot, e.MTU-tunnel.IPIP.TotalOverhead())
		mtu = a.switchedMTU(now.Boot, s.Tunnel)
	}
	a.sendICMP(e.Translate(a.cfg.Address, s.Home, s.Tunnel.Switched, mtu))
}
