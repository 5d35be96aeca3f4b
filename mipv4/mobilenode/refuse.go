package mobilenode

import (
	"fmt"
	"net/netip"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// maxResyncs bounds the requests of one series that leave at once after resynchronisation.
const maxResyncs = 2

// maxMends bounds the requests of one series that are mended after a denial and sent at once, so that an agent that
// denies everything is asked at the pace of retransmission.
const maxMends = 6

// advice says what to do about a denial that nothing mends.
var advice = map[wire.Code]string{
	wire.CodeFAProhibited:                 "the foreign agent's policy excludes this mobile node",
	wire.CodeFAInsufficientResources:      "the foreign agent is full",
	wire.CodeFAMobileNodeAuthentication:   "check key and SPI shared with the foreign agent",
	wire.CodeFAHomeAgentAuthentication:    "key or SPI between foreign agent and home agent differ",
	wire.CodeFAPoorlyFormedRequest:        "the foreign agent cannot read the request; one of before RFC 2344 knows no reverse tunnelling (T bit)",
	wire.CodeFAPoorlyFormedReply:          "the foreign agent cannot read the home agent's reply",
	wire.CodeFAReverseTunnelUnavailable:   "the foreign agent offers no reverse tunnelling",
	wire.CodeFATooDistant:                 "the request did not come from the foreign agent's own link",
	wire.CodeFAInvalidCareOfAddress:       "the foreign agent no longer offers this care-of address",
	wire.CodeFARegistrationTimeout:        "the home agent did not answer the foreign agent",
	wire.CodeFADeliveryStyle:              "the foreign agent offers direct delivery only",
	wire.CodeFAHomeNetworkUnreachable:     "the foreign agent has no route to the home agent",
	wire.CodeFAHomeAgentHostUnreachable:   "the foreign agent cannot reach the home agent",
	wire.CodeFAHomeAgentPortUnreachable:   "no home agent listens at that address",
	wire.CodeFAHomeAgentUnreachable:       "the foreign agent cannot reach the home agent",
	wire.CodeFANonzeroHomeAgentRequired:   "the foreign agent does not find a home agent by itself",
	wire.CodeFANonzeroHomeAddressRequired: "the foreign agent serves nobody without a home address: register another way first",
	wire.CodeFAMissingNAI:                 "the home agent's reply has no NAI",
	wire.CodeFAMissingHomeAgent:           "the home agent's reply names no home agent",
	wire.CodeFAMissingHomeAddress:         "the home agent's reply has no home address",
	wire.CodeFAUnknownChallenge:           "the foreign agent does not know the challenge that was answered: an advertisement was missed",
	wire.CodeFAMissingChallenge:           "the foreign agent wants its challenge answered: configure what is shared with it or with the AAA server",
	wire.CodeFAStaleChallenge:             "the challenge had been answered before",
	wire.CodeFABadAAAAuthentication:       "the foreign agent's AAA server does not accept the secret: compare it and the NAI",
	wire.CodeFAWrongChallenge:             "the home agent's reply has another challenge than the request",
	wire.CodeBadAAAAuthentication:         "the home agent's AAA server does not accept the secret: compare it and the NAI",
	wire.CodeProhibited:                   "the home agent's policy excludes this registration",
	wire.CodeInsufficientResources:        "the home agent is full",
	wire.CodeMobileNodeAuthentication:     "check key, SPI, algorithm and home address",
	wire.CodeForeignAgentAuthentication:   "key or SPI between foreign agent and home agent differ",
	wire.CodeIdentificationMismatch:       "the home agent's clock was taken over",
	wire.CodePoorlyFormedRequest:          "the home agent cannot read the request; one of before RFC 2344 knows no reverse tunnelling (T bit)",
	wire.CodeUnknownHomeAgent:             "check the configured home agent address",
	wire.CodeReverseTunnelUnavailable:     "the home agent offers no reverse tunnelling",
	wire.CodeEncapsulationUnavailable:     "the home agent does not offer this encapsulation",
	wire.CodeFAEncapsulationUnavailable:   "the foreign agent does not offer this encapsulation",
	wire.CodeUDPEncapsulationUnavailable:  "the home agent does not offer IP-in-UDP",
	wire.CodeInvalidHomeAgentAddress:      "the configured home agent address is the foreign agent's own",
}

// refusal tells of a denial.
func refusal(code wire.Code, agent netip.Addr, byForeignAgent, retrying bool, why string) Refused {
	return Refused{
		Code: code, ByForeignAgent: byForeignAgent, Retrying: retrying,
		Err: &RegistrationError{Code: code, Agent: agent, ByForeignAgent: byForeignAgent, Advice: why},
	}
}

// homeDenial takes an authenticated denial by the home agent of request i, which vouches for covered. Only the newest request's counts: an older
// one's says nothing of what has been asked since (and resynchronisation must not go by it, RFC 5944 §5.7.1).
func (m *Machine) homeDenial(now link.Instant, i int, reply *wire.RegistrationReply, covered wire.Extensions) error {
	if i != len(m.outstanding)-1 {
		return fmt.Errorf("%w: code %v", ErrSuperseded, reply.Code)
	}
	r := m.answered(i)
	// The series may have ended already, by Stop or unanswered: then nothing is sent again.
	current := m.series.active && r.series == m.series.number
	why := advice[reply.Code]
	mended, wait := false, false
	switch code := reply.Code; code {
	case wire.CodeIdentificationMismatch:
		if m.cfg.Association.ReplayProtection() == auth.Nonces {
			if !current {
				return nil // an earlier request with the same nonce has had its answer
			}
			why = "the home agent's nonce was taken over"
		}
		m.cfg.Association.Resynchronize(now, r.stamp, reply.Identification)
		m.series.resyncs++
		mended, wait = m.series.resyncs <= maxResyncs, true
	case wire.CodeUnknownHomeAgent:
		if mended = usable(reply.HomeAgent) && reply.HomeAgent != r.homeAgent; mended {
			m.homeAgent = reply.HomeAgent
			if m.cfg.DynamicHomeAgent == HomeAgentResolved {
				m.requested = reply.HomeAgent
			}
			why = fmt.Sprintf("it gives its address as %v", reply.HomeAgent)
		}
	case wire.CodeReverseTunnelMandatory:
		if mended = !m.reverseTunnel; mended {
			m.reverseTunnel = true
			why = "reverse tunnelling is asked for now"
		}
	case wire.CodeReasonUnspecified, wire.CodeProhibited, wire.CodePoorlyFormedRequest,
		wire.CodeUDPEncapsulationUnavailable, wire.CodeEncapsulationUnavailable:
		if other, ok := m.offerOther(r, code); ok {
			mended, why = true, other
		}
		if !mended && m.anyHome(r) {
			mended, why = true, "another home address is asked for"
		}
	case wire.CodeRedirectHomeAgent:
		mended, why = m.redirect(r, covered)
	case wire.CodeInsufficientResources:
		wait = true
	}
	m.deny(now, reply.Code, m.denier(reply, r), false, current, mended, wait, why)
	return nil
}

// denier returns the address to name in a denial by the home agent.
func (m *Machine) denier(reply *wire.RegistrationReply, r request) netip.Addr {
	if usable(reply.HomeAgent) {
		return reply.HomeAgent
	}
	return r.homeAgent
}

// foreignDenial takes a denial by the foreign agent of request i. It need not be authenticated, so the request stays
// outstanding: a reply of the home agent to it still counts. challenged says that the denial has a challenge that can be answered.
func (m *Machine) foreignDenial(now link.Instant, i int, reply *wire.RegistrationReply, challenged bool) error {
	if !m.throughForeignAgent() {
		return fmt.Errorf("%w: code %v of a foreign agent, but none was asked", ErrMismatch, reply.Code)
	}
	r := m.outstanding[i]
	if i != len(m.outstanding)-1 || r.denied {
		return fmt.Errorf("%w: code %v", ErrSuperseded, reply.Code)
	}
	m.outstanding[i].denied = true
	current := m.series.active && r.series == m.series.number
	why := advice[reply.Code]
	mended, wait := false, false
	switch code := reply.Code; {
	case code == wire.CodeRequestedLifetimeTooLong:
		if mended = reply.Lifetime > 0 && reply.Lifetime < r.lifetime && r.purpose == register; mended {
			m.lifetime = reply.Lifetime
			why = fmt.Sprintf("%d s are asked for now", reply.Lifetime)
		}
	case code == wire.CodeFANonzeroHomeAgentRequired, code == wire.CodeFAPoorlyFormedRequest:
		if mended = m.nameHomeAgent(); mended {
			why = fmt.Sprintf("home agent %v is named now", m.homeAgent)
		}
	case code == wire.CodeFAReverseTunnelMandatory:
		if mended = !m.reverseTunnel; mended {
			m.reverseTunnel = true
			why = "reverse tunnelling is asked for now"
		}
	case code >= wire.CodeFAUnknownChallenge && code <= wire.CodeFAStaleChallenge:
		if mended = challenged; mended {
			why = "the challenge of the denial is answered now"
		}
		wait = m.credentials() // for the next advertisement
	case code == wire.CodeFAEncapsulationUnavailable:
		why, mended = m.offerOther(r, code)
	case code == wire.CodeFAInsufficientResources, code == wire.CodeFARegistrationTimeout, code == wire.CodeFAPoorlyFormedReply,
		code >= 80 && code <= 95, code >= wire.CodeFAGFAUnreachable && code <= wire.CodeFAGFAPortUnreachable:
		wait = true
	}
	m.deny(now, reply.Code, m.cfg.ForeignAgent, true, current, mended, wait, why)
	return nil
}

// deny reports a denial and goes on from it: a mended request leaves at once, a denial that may pass is waited out at
// the pace of retransmission, any other ends the series.
func (m *Machine) deny(now link.Instant, code wire.Code, agent netip.Addr, byForeignAgent, current, mended, wait bool, why string) {
	e := refusal(code, agent, byForeignAgent, current && (mended || wait), why)
	if (code == wire.CodeUnknownHomeAgent || code == wire.CodeRedirectHomeAgent) && mended {
		if e.HomeAgent = m.homeAgent; code == wire.CodeRedirectHomeAgent {
			e.HomeAgent = m.requested
		}
	}
	m.events.Push(e)
	switch {
	case !current:
	case mended && m.series.mends < maxMends:
		m.series.mends++
		m.series.transmissions = 0
		m.transmit(now)
	case mended, wait:
		// The retransmission timer is running.
	default:
		m.endSeries()
	}
}

// notHonoured takes a reply by which the home agent accepts request i and the foreign agent does not: the binding is
// taken back (RFC 4636 §5).
func (m *Machine) notHonoured(now link.Instant, i int, status wire.Code) error {
	r := m.answered(i)
	if r.series == m.series.number {
		m.endSeries()
	}
	m.events.Push(refusal(status, m.cfg.ForeignAgent, true, false, advice[status]))
	if r.purpose == register {
		m.unbind()
		m.start(now, deregister)
	}
	return nil
}
