package ike

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// ErrPeerCrashed means that the peer has lost its SAs and has proved it by its token (RFC 6290): quick crash detection.
var ErrPeerCrashed = errors.New("the peer has lost its SAs (QCD)")

// crashTask passes tokens for quick crash detection (RFC 6290 §4.2, §4.3), in IKE_AUTH or in an INFORMATIONAL exchange of its
// own: our token, if we make such, and the peer's. An SA keeps the peer's token; the machine whose peer says it in the clear
// ends.
type crashTask struct{}

// Lengths of a token (RFC 6290 §5).
const minToken, maxToken = 16, 128

func (crashTask) needed(*Machine) bool { return true }

func (t crashTask) request(_ link.Instant, m *Machine, x *exchange) error {
	x.add(t.payloads(m, x.sa)...)
	return nil
}

func (crashTask) response(_ link.Instant, _ *Machine, x *exchange, in *message.Message) error {
	x.sa.noteToken(in)
	return nil
}

func (crashTask) abandon(link.Instant, *Machine) {}

// payloads returns our token for s, if there is one.
func (crashTask) payloads(m *Machine, s *ikeSA) []message.Payload {
	if m.cfg.CrashToken == nil {
		return nil
	}
	token := m.cfg.CrashToken(s.spiI, s.spiR)
	if len(token) < minToken || len(token) > maxToken {
		return nil
	}
	return []message.Payload{message.Notify{Protocol: message.ProtocolIKE, Message: message.QCDToken, Data: token}}
}

// noteToken keeps the peer's token for s, which a protected message has brought.
func (s *ikeSA) noteToken(in *message.Message) {
	if n, ok := message.FindNotify(in.Payloads, message.QCDToken); ok && len(n.Data) >= minToken && len(n.Data) <= maxToken {
		s.token = n.Data
	}
}

// renewToken gives the peer our token for an IKE SA of a rekeying that we began (RFC 6290 §4.3).
func (m *Machine) renewToken(s *ikeSA) {
	if m.cfg.CrashToken != nil && s.initiator {
		s.queue = append(s.queue, newExchange(message.Informational, crashTask{}))
	}
}

const (
	// maxTokens is how many tokens of one message are compared (RFC 6290 §4.5: four at least).
	maxTokens = 8
	// maxTokenMessages bounds the messages a second whose tokens are compared (§8.1).
	maxTokenMessages = 50
)

// crashed tells whether the unprotected message in has the token that the peer gave for s.
func (m *Machine) crashed(now link.Instant, s *ikeSA, in *message.Message) bool {
	if len(s.token) == 0 {
		return false
	}
	if m.tokens == 0 || now.Since(m.tokensAt) >= time.Second {
		m.tokensAt, m.tokens = now.Boot, 0
	}
	if m.tokens++; m.tokens > maxTokenMessages {
		return false
	}
	compared, same := 0, 0
	for _, p := range in.Payloads {
		if n, ok := p.(message.Notify); ok && n.Message == message.QCDToken && compared < maxTokens {
			compared++
			same |= subtle.ConstantTimeCompare(n.Data, s.token)
		}
	}
	return same == 1
}

// discard ends an IKE SA that the peer has lost, silently (RFC 6290 §4.5), and the machine with it. One that has been replaced
// the peer may have forgotten in good order.
func (m *Machine) discard(now link.Instant, s *ikeSA) {
	if s != m.current {
		m.shutSA(now, s)
		return
	}
	m.close(now, fmt.Errorf("ike: %w", ErrPeerCrashed))
}
