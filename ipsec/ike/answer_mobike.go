package ike

import (
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// answerMOBIKE is the answering end of RFC 4555 in an INFORMATIONAL request. after, when not nil, is to be called when the
// response is on its way.
func (m *Machine) answerMOBIKE(now link.Instant, s *ikeSA, in *message.Message) (out []message.Payload, after func()) {
	if !m.mobike.on {
		return nil, nil
	}
	if n, ok := message.FindNotify(in.Payloads, message.Cookie2); ok && len(n.Data) >= 8 && len(n.Data) <= 64 {
		out = append(out, message.Notify{Message: message.Cookie2, Data: n.Data})
	}
	_, update := message.FindNotify(in.Payloads, message.UpdateSAAddresses)
	list := slices.ContainsFunc(in.Payloads, isAddressNotify)
	stale := s.serial < m.mobike.newest // a later IKE SA has brought a newer one
	if (update || list) && m.translated(in.Payloads) {
		return append(out, message.Notify{Message: message.UnexpectedNATDetected}), nil
	}
	if update && m.responder != nil && !stale {
		if ok := m.cfg.MOBIKE.Acceptable; ok != nil && !ok(m.arrived.Local.Addr(), m.arrived.Remote.Addr()) {
			return append(out, message.Notify{Message: message.UnacceptableAddresses}), nil
		}
		m.mobike.newest = s.serial
		at := m.arrived.path()
		nat, detected := (natTask{}).detect(in.Header, in.Payloads, m.arrived)
		after = func() { m.updated(now, at, nat, detected) }
	}
	if list && !stale {
		m.mobike.newest = s.serial
		m.takePeers(in.Payloads, m.arrived.Remote.Addr())
		if m.initiator != nil {
			at := m.arrived.path()
			after = func() { m.peersChanged(now, at) }
		}
	}
	if _, detect := message.FindNotify(in.Payloads, message.NATDetectionSourceIP); detect && m.natTraversal {
		out = append(out, natTask{}.payloads(s, m.arrived.Local, m.arrived.Remote)...)
	}
	return out, after
}

func isAddressNotify(p message.Payload) bool {
	n, ok := p.(message.Notify)
	return ok && (n.Message == message.AdditionalIP4Address || n.Message == message.AdditionalIP6Address || n.Message == message.NoAdditionalAddresses)
}

// updated is the responder's side of an address update that is acceptable (RFC 4555 §3.5): what is outstanding goes the new
// way, and the child SAs do, before or after the initiator has answered from there.
func (m *Machine) updated(now link.Instant, at path, nat NAT, detected bool) {
	moved := at != m.path()
	m.use(at)
	m.mobike.updated, m.mobike.formerly = at, path{}
	if detected && m.natTraversal {
		m.setNAT(now, nat)
	}
	if m.isProven(m.remote) || m.cfg.MOBIKE.Routability != CheckBefore {
		m.updateEndpoints(m.isProven(m.remote))
	}
	if moved {
		m.repeatOutstanding(now)
	}
	m.proveRemote(now)
}

// peersChanged is the initiator's side of a list of addresses: it leaves an address that the peer does not have any more. The
// list came over the path at, so that one works.
func (m *Machine) peersChanged(now link.Instant, at path) {
	b := &m.mobike
	b.refused = nil
	if slices.Contains(b.peers, m.remote.Addr()) || !m.running() || slices.Contains(m.cfg.MOBIKE.from(m.local.Addr()), m.remote.Addr()) {
		return
	}
	to := m.paths()
	if slices.Contains(b.addresses, at.local.Addr()) {
		to = []path{at}
	}
	if len(to) != 0 {
		m.moveTo(now, to[0])
	}
}

// mappingTask is a liveness check that also shows whether a NAT on the way has changed its mapping (RFC 4555 §3.8).
type mappingTask struct{ livenessTask }

func (t *mappingTask) request(_ link.Instant, m *Machine, x *exchange) error {
	nat, err := m.natPayloads(x.sa)
	x.add(nat...)
	return err
}

func (t *mappingTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if seen := seenAs(in); !x.spread && seen != nil && !slices.Equal(seen, m.mobike.seenAs) {
		if m.mobike.seenAs != nil && x.sa.serial == m.mobike.seenBy {
			m.mappingLost()
		}
		m.moveTo(now, m.path())
	}
	m.keep.asked = 0
	return nil
}

// liveness returns the task that asks whether the peer lives. An initiator behind a NAT asks with it how the peer sees its
// endpoint.
func (m *Machine) liveness() task {
	if m.mobike.on && m.initiator != nil && m.natTraversal && m.nat.Local {
		return &mappingTask{}
	}
	return &livenessTask{}
}

// seenAs returns what the peer's NAT_DETECTION_DESTINATION_IP says of our endpoint, nil when there is none.
func seenAs(in *message.Message) []byte {
	n, ok := message.FindNotify(in.Payloads, message.NATDetectionDestinationIP)
	if !ok {
		return nil
	}
	return n.Data
}
