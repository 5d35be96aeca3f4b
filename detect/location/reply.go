package location

import (
	"mipvpn/mipv4/mobilenode"
	"mipvpn/tun/link"
)

// HandleInternalReply judges a verified reply of the i-HA. When it is a proof, the interface is inside, however late that
// turns out (DET-8). Otherwise the error says why it is none; one of the Err values of this package. A reply that does not
// belong to this interface and epoch, or did not come straight through the interface, changes nothing. One that does, and
// is no proof, voids the proof at hand (DET-12), unless it is merely late.
func (m *Machine) HandleInternalReply(now link.Instant, r mobilenode.VerifiedReply) error {
	return m.internalEvidence(now, evidenceOf(r))
}

// HandleExternalReply takes a verified reply of the x-HA: tentatively outside, unless there is a proof (DET-7, DET-8). The
// error says why it counts for nothing.
func (m *Machine) HandleExternalReply(now link.Instant, r mobilenode.VerifiedReply) error {
	return m.externalEvidence(now, evidenceOf(r))
}

// evidenceOf takes out of a verified reply what detection goes by.
func evidenceOf(r mobilenode.VerifiedReply) evidence {
	o := r.Origin()
	return evidence{
		iface: o.Interface, epoch: o.Epoch, direct: o.Direct,
		agent: r.HomeAgent(), careOf: r.CareOfAddress(), code: uint8(r.Code()),
		sentAt: r.SentAt(), receivedAt: r.ReceivedAt(),
		trustedNetwork: r.TrustedNetwork(), strongKey: r.StrongKey(), nat: r.NAT(), lifetime: r.Lifetime(),
	}
}
