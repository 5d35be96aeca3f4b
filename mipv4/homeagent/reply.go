package homeagent

import (
	"net/netip"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// deny answers the request with a denial and returns it as an error.
func (m *Machine) deny(q *request, code wire.Code, why error) error {
	m.reply(q, code, q.Lifetime, nil, netip.Addr{})
	return &Denied{Code: code, HomeAddress: q.HomeAddress, NAI: q.nai, Source: q.source, Err: why}
}

// answerDuplicate repeats the answer to the request that the binding came from, with what is left of its lifetime.
func (m *Machine) answerDuplicate(now link.Instant, q *request, b *binding) error {
	lifetime := b.granted
	if lifetime != wire.LifetimeInfinite {
		lifetime = uint16(max(0, b.until()-now.Boot) / time.Second)
	}
	q.revocable = b.revocable
	m.reply(q, m.accepted(q.node), lifetime, b.udpReply, b.tunnel.Switched)
	return nil
}

// reply queues the reply to a request, its extensions in the order of RFC 5944 §3.8.3.3. switched is the default destination of
// zero-overhead tunnelling that is confirmed, the zero Addr for none.
func (m *Machine) reply(q *request, code wire.Code, lifetime uint16, udp *wire.UDPTunnelReply, switched netip.Addr) {
	r := q.Reply(code, lifetime)
	r.HomeAgent, r.Identification = m.cfg.Address, m.replyIdentification(q)
	if m.cfg.Internal {
		r.Extensions = append(r.Extensions, wire.TrustedNetworksConfigured()) // in every reply to a trusted network (RFC 5265 §4.3)
	}
	if q.nai != "" { // RFC 2794 §3
		r.Extensions = append(r.Extensions, wire.Extension{Type: wire.ExtMobileNodeNAI, Data: []byte(q.nai)})
	}
	if code == wire.CodeRedirectHomeAgent {
		if e, err := wire.DynamicHomeAgent(wire.RedirectedHomeAgent, m.cfg.RedirectTo); err == nil { // checked to be IPv4
			r.Extensions = append(r.Extensions, e)
		}
	}
	// The answer to a mobile node's UDP Tunnel Request is covered by its authentication; a foreign agent's stands behind.
	if udp != nil && q.CoLocated() {
		r.Extensions = append(r.Extensions, udp.Extension())
	}
	if switched.IsValid() {
		r.Extensions = append(r.Extensions, wire.ZeroOverheadReply(m.cfg.ZeroOverhead.Vendor, switched))
	}
	if q.revocable != nil && q.CoLocated() {
		r.Extensions = append(r.Extensions, q.revocable.support())
	}
	message, err := r.Append(make([]byte, 0, 128))
	if err != nil {
		return // the addresses are IPv4 and the extensions of fixed lengths, so that nothing can fail
	}
	message = q.association.AppendExtension(message, wire.ExtMobileHomeAuthentication)
	if udp != nil && !q.CoLocated() {
		e := udp.Extension()
		message = append(append(message, uint8(e.Type), uint8(len(e.Data))), e.Data...)
	}
	if q.revocable != nil && !q.CoLocated() {
		e := q.revocable.support()
		message = append(append(message, uint8(e.Type), uint8(len(e.Data))), e.Data...)
	}
	message = appendChallenge(message, q)
	if q.foreign != nil {
		message = q.foreign.AppendExtension(message, wire.ExtForeignHomeAuthentication)
	}
	m.transmits.Push(Transmit{To: q.source, Payload: message})
}
