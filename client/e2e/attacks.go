package e2e

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// access are the wires that the laptop attaches to.
func (a *Adversary) access() []*simnet.Wire { return append(a.external(), a.w.Office, a.w.OfficeFA) }

// external are those of them that lie outside.
func (a *Adversary) external() []*simnet.Wire { return []*simnet.Wire{a.w.Cafe, a.w.Hotspot} }

// between puts the adversary in the middle of the wires: for each registration message act returns what takes its place.
func (a *Adversary) between(wires []*simnet.Wire, act func(simnet.Frame, registrationMessage) []simnet.Relay) (stop func()) {
	var stops []func()
	for _, w := range wires {
		stops = append(stops, w.Intercept(func(f simnet.Frame) []simnet.Relay {
			m, ok := registrationIn(f)
			if !ok {
				return []simnet.Relay{f.Relay()}
			}
			return act(f, m)
		}))
	}
	return func() { each(stops) }
}

// onReplies is between for the i-HA's replies alone.
func (a *Adversary) onReplies(k Attack, act func(simnet.Frame, registrationMessage) []simnet.Relay) (stop func()) {
	return a.between(a.access(), func(f simnet.Frame, m registrationMessage) []simnet.Relay {
		if !m.answers(simnet.LabInternalHA) {
			return []simnet.Relay{f.Relay()}
		}
		a.count(k, 1)
		return act(f, m)
	})
}

// onQuestions is between for the laptop's requests to the i-HA from outside: they pass, and answers make more.
func (a *Adversary) onQuestions(k Attack, answers func(registrationMessage) [][]byte) (stop func()) {
	return a.between(a.external(), func(f simnet.Frame, m registrationMessage) []simnet.Relay {
		out := []simnet.Relay{f.Relay()}
		if !m.asks(simnet.LabInternalHA) {
			return out
		}
		for _, payload := range answers(m) {
			out = append(out, m.reflect(f, payload))
		}
		a.count(k, len(out)-1)
		return out
	})
}

func (a *Adversary) forge() func() {
	wrong := association(InternalSPI, bytes.Repeat([]byte{0x99}, 16))
	return a.onQuestions(AttackForge, func(m registrationMessage) [][]byte { return append(forgeries(m.request, wrong), m.payload) })
}

func (a *Adversary) replay() func() {
	return a.onQuestions(AttackReplay, func(m registrationMessage) [][]byte {
		a.mu.Lock()
		defer a.mu.Unlock()
		out := slices.Clone(a.heard)
		for _, old := range a.heard {
			// The old reply with the Identification of this request, which its authenticator does not cover.
			p := slices.Clone(old)
			copy(p[12:20], m.payload[16:24]) // RFC 5944 §3.3, §3.4
			out = append(out, p)
		}
		return out
	})
}

// forgeries returns replies to the request that claim to be the i-HA's and to prove inside, made without its key. wrong is
// a security association with another one.
func forgeries(request *wire.RegistrationRequest, wrong *auth.SecurityAssociation) [][]byte {
	tnc := wire.TrustedNetworksConfigured()
	reply := func(identification wire.Identification, e ...wire.Extension) []byte {
		m := wire.RegistrationReply{
			Lifetime: request.Lifetime, HomeAddress: request.HomeAddress, HomeAgent: request.HomeAgent,
			Identification: identification, Extensions: e,
		}
		b, err := m.Append(nil)
		if err != nil {
			panic(err) // made here
		}
		return b
	}
	forged := [][]byte{
		reply(request.Identification, tnc), // not authenticated
		wrong.AppendExtension(reply(request.Identification, tnc), wire.ExtMobileHomeAuthentication), // another key
		wrong.AppendExtension(reply(request.Identification+1<<32, tnc), wire.ExtMobileHomeAuthentication),
	}
	zero := wrong.AppendExtension(reply(request.Identification, tnc), wire.ExtMobileHomeAuthentication)
	clear(zero[len(zero)-16:]) // no authenticator at all
	twice := wrong.AppendExtension(zero, wire.ExtMobileHomeAuthentication)
	return append(forged, zero, twice, twice[:len(twice)-7])
}

func (a *Adversary) delay() func() {
	return a.onReplies(AttackDelay, func(f simnet.Frame, _ registrationMessage) []simnet.Relay {
		late := f.Relay()
		late.Delay = time.Duration(a.chance(8000)) * time.Millisecond
		return []simnet.Relay{late}
	})
}

func (a *Adversary) silence() func() {
	return a.onReplies(AttackSilence, func(simnet.Frame, registrationMessage) []simnet.Relay { return nil })
}

func (a *Adversary) corrupt() func() {
	return a.onReplies(AttackCorrupt, func(f simnet.Frame, m registrationMessage) []simnet.Relay {
		bit := a.chance(8 * len(m.payload))
		r := f.Relay()
		r.Packet = m.with(flipped(m.payload, bit))
		out := []simnet.Relay{r}
		for _, p := range rearranged(m.payload) {
			r.Packet = m.with(p)
			out = append(out, r)
		}
		return out
	})
}

// flipped returns p with one bit changed.
func flipped(p []byte, bit int) []byte {
	q := slices.Clone(p)
	q[bit/8] ^= 0x80 >> (bit % 8)
	return q
}

// rearranged returns a genuine reply with its Trusted Networks Configured extension stripped, moved behind the
// authenticator, there twice, and there twice with the authenticator between, with other codes, and cut short.
func rearranged(p []byte) [][]byte {
	reply, err := wire.ParseRegistrationReply(p)
	if err != nil {
		return nil
	}
	tnc := wire.TrustedNetworksConfigured()
	at := reply.Extensions.Index(wire.ExtTrustedNetworksConfigured)
	build := func(change func(*wire.RegistrationReply)) []byte {
		m := *reply
		m.Extensions = slices.Clone(reply.Extensions)
		change(&m)
		b, err := m.Append(nil)
		if err != nil {
			panic(err) // was read before
		}
		return b
	}
	var out [][]byte
	if at >= 0 {
		out = append(out,
			build(func(m *wire.RegistrationReply) { m.Extensions = slices.Delete(m.Extensions, at, at+1) }),
			build(func(m *wire.RegistrationReply) { m.Extensions = append(slices.Delete(m.Extensions, at, at+1), tnc) }),
		)
	}
	out = append(out, build(func(m *wire.RegistrationReply) { m.Extensions = slices.Insert(m.Extensions, 0, tnc) }))
	for _, code := range []wire.Code{wire.CodeAcceptedSimultaneousUnsupported, 2, wire.CodeProhibited, wire.CodeIdentificationMismatch, 255} {
		if code != reply.Code {
			out = append(out, build(func(m *wire.RegistrationReply) { m.Code = code }))
		}
	}
	return append(out, p[:len(p)-1], p[:wire.ReplyLen])
}

func (a *Adversary) cross() func() {
	wires := make(map[string]*simnet.Wire)
	for _, w := range a.access() {
		wires[w.Name()] = w
	}
	// Where each interface of the laptop last asked the i-HA, all under the network's mutex.
	type asker struct {
		frame simnet.Frame
		m     registrationMessage
	}
	last := make(map[packet.HardwareAddr]asker)
	return a.between(a.access(), func(f simnet.Frame, m registrationMessage) []simnet.Relay {
		if m.asks(simnet.LabInternalHA) {
			last[f.Source] = asker{f, m}
		}
		out := []simnet.Relay{f.Relay()}
		if !m.answers(simnet.LabInternalHA) {
			return out
		}
		for hardware, other := range last {
			if hardware == f.Destination {
				continue
			}
			r := other.m.reflect(other.frame, m.payload)
			r.On = wires[other.frame.Wire]
			out = append(out, r)
			a.count(AttackCross, 1)
		}
		return out
	})
}

func (a *Adversary) rewrite() func() {
	return a.between(a.access(), func(f simnet.Frame, m registrationMessage) []simnet.Relay {
		r := f.Relay()
		if m.outbound && m.request != nil {
			// The next address on the network, which is nobody's, or the next port.
			src := netip.AddrPortFrom(m.ip.Src(), m.udp.SrcPort()+1)
			if a.chance(2) == 0 {
				src = netip.AddrPortFrom(m.ip.Src().Next(), m.udp.SrcPort())
			}
			r.Packet = datagram(src, netip.AddrPortFrom(m.ip.Dst(), m.udp.DstPort()), m.payload)
			a.count(AttackRewrite, 1)
		}
		return []simnet.Relay{r}
	})
}

// neighbourInterval is how often the neighbour attack changes its mind.
const neighbourInterval = 3 * time.Second

func (a *Adversary) neighbour() func() {
	w := a.w
	at, router := w.Cafe, netip.MustParseAddr("192.168.1.1")
	if a.chance(2) == 0 {
		at, router = w.Office, netip.MustParseAddr("10.0.2.1")
	}
	a.nic.Attach(at)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(neighbourInterval)
		defer tick.Stop()
		for by := a.nic; ; {
			at.Spoof(router, by)
			a.count(AttackNeighbour, 1)
			if by == nil {
				by = a.nic
			} else {
				by = nil
			}
			select {
			case <-tick.C:
			case <-done:
				at.Spoof(router, nil)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		a.nic.Detach()
	}
}

// officeRange is a DHCP server that hands out the office's addresses.
var officeRange = simnet.AddressPool{First: netip.MustParsePrefix("10.0.2.100/24"), Gateway: netip.MustParseAddr("10.0.2.1")}

// cafeRange is the café's own.
var cafeRange = simnet.AddressPool{First: netip.MustParsePrefix("192.168.1.100/24"), Gateway: netip.MustParseAddr("192.168.1.1")}

func (a *Adversary) lease() func() {
	a.router.Attach(a.w.Cafe)
	change := func(p simnet.AddressPool) {
		a.w.Cafe.SetPool(&p)
		for _, c := range []*simnet.NIC{a.w.Wlan0, a.w.Eth0} {
			if c.Wire() == a.w.Cafe {
				c.RenewLease()
			}
		}
		a.count(AttackLease, 1)
	}
	change(officeRange)
	return func() {
		change(cafeRange)
		a.router.Detach()
	}
}
