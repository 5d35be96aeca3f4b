package mobilenode

import (
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

type stamp = auth.Stamp

// transmit queues a request of the running series and arms the retransmission.
func (m *Machine) transmit(now link.Instant) {
	if m.repeat(now) {
		return
	}
	s, err := m.cfg.Association.NextIdentification(now, m.random)
	if err != nil {
		m.die(err)
		return
	}
	r := request{
		stamp: s, sentAt: now.Boot, series: m.series.number,
		purpose: m.series.purpose, offer: m.offer, lifetime: m.lifetime,
		careOf: m.cfg.CareOfAddress, home: m.home, homeAgent: m.homeAgent,
	}
	if m.switching && r.purpose == register {
		r.zero = m.cfg.ZeroOverhead
	}
	if s, ok := m.supports(now, r.purpose); ok {
		r.support = &s
	}
	switch r.purpose {
	case register:
		if m.cfg.AtHome { // RFC 5944 App. C.3
			r.lifetime, r.careOf, r.offer = 0, m.cfg.HomeAddress, offerIPIP
		}
	case deregister:
		r.lifetime = 0
	case deregisterAll:
		r.lifetime, r.careOf, r.offer = 0, m.home, offerIPIP
	}
	payload, err := m.encode(r)
	if err != nil {
		m.die(err)
		return
	}
	if m.cfg.Association.ReplayProtection() == auth.Nonces {
		r.payload = payload
	}
	m.send(now, payload, r.purpose)
	if len(m.outstanding) == maxOutstanding {
		m.outstanding = append(m.outstanding[:0], m.outstanding[1:]...)
	}
	m.outstanding = append(m.outstanding, r)
}

// repeatTime is how long after its first transmission a request is sent again unchanged, as nonces want it (RFC 5944 §3.6.3). Its reply
// counts from that first one, and is no proof of inside when it comes late (REQUIREMENTS DET-4): so it must not be too long.
const repeatTime = 3 * time.Second

// repeat sends the newest request again as it is, where replay protection is by nonces, and reports whether it has.
func (m *Machine) repeat(now link.Instant) bool {
	if len(m.outstanding) == 0 {
		return false
	}
	r := m.outstanding[len(m.outstanding)-1]
	if r.payload == nil || r.series != m.series.number || r.denied || now.Since(r.sentAt) > repeatTime || !m.cfg.Association.Repeatable(r.stamp) {
		return false
	}
	m.send(now, slices.Clone(r.payload), r.purpose)
	return true
}

// forbidRepetition has the next transmission be a new request, because what is to be asked for has changed.
func (m *Machine) forbidRepetition() {
	for i := range m.outstanding {
		m.outstanding[i].payload = nil
	}
}

// send queues a transmission and arms the next one.
func (m *Machine) send(now link.Instant, payload []byte, p purpose) {
	ttl := uint8(64)
	switch {
	case m.reverseTunnel:
		ttl = 255 // RFC 3024 §3.2
	case m.throughForeignAgent():
		ttl = 1 // RFC 5944 App. C.1
	}
	m.transmits.Push(Transmit{To: m.destination(), TTL: ttl, Payload: payload})
	m.series.transmissions++
	m.lastSent.at, m.lastSent.purpose, m.lastSent.valid = now.Boot, p, true
	m.arm(timerRetransmit, now.Boot+m.cfg.Retransmission.interval(m.series.transmissions))
}

// encode builds the message of r. The order of extensions is that of RFC 5944 §3.6.1.3: what the home agent uses, its
// authentication, what the foreign agent uses, its authentication.
func (m *Machine) encode(r request) ([]byte, error) {
	var flags wire.Flags
	if m.cfg.Simultaneous && r.purpose == register && !m.cfg.AtHome {
		flags |= wire.FlagSimultaneous
	}
	if m.cfg.Broadcasts && r.purpose == register && !m.cfg.AtHome {
		flags |= wire.FlagBroadcast
	}
	// RFC 5944 App. C.3 deregisters all bindings without D.
	if m.coLocated() && r.purpose != deregisterAll && !m.cfg.AtHome {
		flags |= wire.FlagDecapsulation
	}
	if m.reverseTunnel && !m.cfg.AtHome {
		flags |= wire.FlagReverseTunnel
	}
	switch r.offer {
	case offerMinimal:
		flags |= wire.FlagMinimal
	case offerGRE:
		flags |= wire.FlagGRE
	}
	identification, err := m.identification(r)
	if err != nil {
		return nil, err
	}
	msg := wire.RegistrationRequest{
		Flags: flags, Lifetime: r.lifetime,
		HomeAddress: r.home, HomeAgent: r.homeAgent, CareOfAddress: r.careOf,
		Identification: r.stamp.Identification, Extensions: identification,
	}
	if r.offer.udp() {
		msg.Extensions = append(msg.Extensions, wire.UDPTunnelRequest{
			Force: r.offer == offerForcedUDP, ThroughForeignAgent: m.cfg.halfBinds(), Encapsulation: packet.ProtocolIPIP,
		}.Extension())
	}
	if r.zero.asked() {
		msg.Extensions = append(msg.Extensions, wire.ZeroOverheadRequest(r.zero.Vendor, r.zero.Destination))
	}
	if r.support != nil {
		msg.Extensions = append(msg.Extensions, r.support.Extension())
	}
	b, err := msg.Append(make([]byte, 0, 128))
	if err != nil {
		return nil, err
	}
	b = m.cfg.Association.AppendExtension(b, wire.ExtMobileHomeAuthentication)
	b = m.answerChallenge(b)
	if m.cfg.EncapsulatingDelivery && m.reverseTunnel {
		if b, err = wire.EncapsulatingDelivery().Append(b); err != nil {
			return nil, err
		}
	}
	if m.cfg.ForeignAssociation != nil {
		b = m.cfg.ForeignAssociation.AppendExtension(b, wire.ExtMobileForeignAuthentication)
	}
	return b, nil
}
