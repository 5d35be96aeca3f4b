package ike

import (
	"crypto/sha1" //nolint:gosec // RFC 7296 §2.23 defines the digest, which protects nothing
	"crypto/subtle"
	"encoding/binary"
	"net/netip"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// natTask is NAT detection in IKE_SA_INIT (RFC 7296 §2.23), both roles.
type natTask struct{}

// natDigest is the data of NAT_DETECTION_*_IP: SHA-1 of SPIs, address and port.
func natDigest(spiI, spiR uint64, a netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint64(nil, spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	b = append(b, a.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	sum := sha1.Sum(b) //nolint:gosec // see the import
	return sum[:]
}

// payloads returns the two notifies of a message from local to remote.
func (natTask) payloads(s *ikeSA, local, remote netip.AddrPort) []message.Payload {
	return []message.Payload{
		message.Notify{Message: message.NATDetectionSourceIP, Data: natDigest(s.spiI, s.spiR, local)},
		message.Notify{Message: message.NATDetectionDestinationIP, Data: natDigest(s.spiI, s.spiR, remote)},
	}
}

// detect compares the notifies with the addresses that the message was seen with. supported is false when there are none.
func (natTask) detect(s message.Header, ps []message.Payload, at Datagram) (nat NAT, supported bool) {
	source, destination := natDigest(s.InitiatorSPI, s.ResponderSPI, at.Remote), natDigest(s.InitiatorSPI, s.ResponderSPI, at.Local)
	var sources, destinations int
	nat = NAT{Local: true, Remote: true}
	for _, p := range ps {
		n, ok := p.(message.Notify)
		switch {
		case ok && n.Message == message.NATDetectionSourceIP:
			sources++
			// There may be several, of which one must fit.
			nat.Remote = nat.Remote && subtle.ConstantTimeCompare(n.Data, source) == 0
		case ok && n.Message == message.NATDetectionDestinationIP:
			destinations++
			nat.Local = nat.Local && subtle.ConstantTimeCompare(n.Data, destination) == 0
		}
	}
	if sources == 0 || destinations == 0 {
		return NAT{}, false
	}
	return nat, true
}

func (t *natTask) needed(*Machine) bool { return true }

func (t *natTask) request(_ link.Instant, m *Machine, x *exchange) error {
	if m.cfg.prohibitsNATs() {
		return nil
	}
	ps, err := m.natPayloads(x.sa)
	x.add(ps...)
	return err
}

// natPayloads returns the notifies of a request of ours over the path in use.
func (m *Machine) natPayloads(s *ikeSA) ([]message.Payload, error) {
	ps := natTask{}.payloads(s, m.local, m.remote)
	if m.initiator != nil && m.initiator.ForceUDPEncapsulation && !m.tcp {
		false20, err := m.random(sha1.Size)
		if err != nil {
			return nil, err
		}
		ps[0] = message.Notify{Message: message.NATDetectionSourceIP, Data: false20}
	}
	return ps, nil
}

// setNAT takes over what was found out about NATs on the path in use.
func (m *Machine) setNAT(now link.Instant, nat NAT) {
	m.nat = nat
	m.encapsulate = nat.Local || nat.Remote || m.initiator != nil && m.initiator.ForceUDPEncapsulation
	m.encapsulate = m.encapsulate && !m.tcp
	m.startKeepalive(now)
}

func (t *natTask) response(now link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	nat, supported := t.detect(in.Header, in.Payloads, m.arrived)
	if !supported {
		return nil
	}
	m.natTraversal = true
	m.setNAT(now, nat)
	if m.tcp {
		return nil // it passes NATs as it is (RFC 9329 §6.5)
	}
	if m.remote.Port() == portNATT {
		m.mobike.seenAs = seenAs(in)
	} else if m.encapsulate || m.cfg.MOBIKE != nil { // RFC 4555 §3.3: with MOBIKE always
		m.local = netip.AddrPortFrom(m.local.Addr(), portNATT)
		m.remote = netip.AddrPortFrom(m.remote.Addr(), portNATT)
	}
	return nil
}

func (t *natTask) abandon(link.Instant, *Machine) {}

// answer is the responder's part: it compares and adds its own notifies, if the initiator sent such.
func (t *natTask) answer(m *Machine, s *ikeSA, in *message.Message) []message.Payload {
	nat, supported := t.detect(in.Header, in.Payloads, m.arrived)
	if !supported || m.cfg.prohibitsNATs() {
		return nil
	}
	m.natTraversal = true
	m.nat, m.encapsulate = nat, (nat.Local || nat.Remote) && !m.arrived.TCP
	return t.payloads(s, m.arrived.Local, m.arrived.Remote)
}

// startKeepalive arms the keepalives of an end behind a NAT (RFC 3948 §4, RFC 7296 §2.23).
func (m *Machine) startKeepalive(now link.Instant) {
	m.keepaliveAt = 0
	if m.nat.Local && !m.tcp && m.cfg.Keepalive > 0 { // RFC 9329 §6.6
		m.keepaliveAt = now.Boot + m.keepaliveInterval()
	}
}
