package mobilenode

import (
	"bytes"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// SetChallenge takes a challenge that the foreign agent has advertised (RFC 4721 §2); requests from now on answer it. One that was
// answered already is not taken again. The machine copies it.
func (m *Machine) SetChallenge(challenge []byte) {
	if len(challenge) > 0 && !bytes.Equal(challenge, m.answeredChallenge) {
		m.challenge = bytes.Clone(challenge)
	}
}

// credentials reports whether a challenge can be answered (RFC 4721 §3.1).
func (m *Machine) credentials() bool { return m.cfg.AAA != nil || m.cfg.ForeignAssociation != nil }

// answerChallenge appends to a request what stands between what the home agent and what the foreign agent authenticates: the
// challenge, and the Mobile-AAA authentication that covers it (RFC 4721 §3.1).
func (m *Machine) answerChallenge(b []byte) []byte {
	challenge := auth.NoChallenge
	if m.throughForeignAgent() && len(m.challenge) > 0 && m.credentials() {
		if e, err := wire.Challenge(m.challenge); err == nil {
			b = append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...)
			challenge, m.answeredChallenge = m.challenge, m.challenge
		}
	}
	if m.cfg.AAA != nil {
		b = m.cfg.AAA.AppendExtension(b, challenge)
	}
	return b
}

// learnChallenge takes the challenge that the foreign agent puts into its replies for the next request (RFC 4721 §3.3), and reports
// whether that is one to be answered.
func (m *Machine) learnChallenge(reply *wire.RegistrationReply) bool {
	i := reply.Extensions.Index(wire.ExtMobileForeignChallenge)
	if i < 0 || !m.throughForeignAgent() {
		return false
	}
	challenge, err := wire.ParseChallenge(reply.Extensions[i])
	if err != nil {
		return false
	}
	m.SetChallenge(challenge)
	return m.credentials() && bytes.Equal(challenge, m.challenge) && !bytes.Equal(challenge, m.answeredChallenge)
}
