package ike

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// GatewayName says where a gateway is: by its address, or by its name in the DNS. It is comparable.
type GatewayName struct {
	// Address is the zero Addr where there is a Name.
	Address netip.Addr
	// Name is a domain name in lower case without a last dot.
	Name string
}

// String gives the address or the name.
func (g GatewayName) String() string {
	if g.Name != "" {
		return g.Name
	}
	return g.Address.String()
}

// RedirectError ends the machine of an initiator that is to go to another gateway (RFC 5685 §3, §6): a new machine with
// InitiatorConfig.RedirectedFrom and all else as before is to be made, as often as a RedirectLimit allows.
type RedirectError struct{ To GatewayName }

// Error says where to.
func (e *RedirectError) Error() string { return "the gateway redirects to " + e.To.String() }

// Redirected says that an established gateway wants the client to go to another one (RFC 5685 §5). The IKE SA stays until the
// driver deletes it, or the gateway does, so that the new one can be made first.
type Redirected struct{ To GatewayName }

func (Redirected) event() {}

// ErrRedirected is the reason for the end of a responder's machine whose peer has been redirected in IKE_AUTH and has gone.
var ErrRedirected = errors.New("redirected to another gateway")

// RedirectLimit bounds how often a client goes where it is redirected to (RFC 5685 §7): five times in 300 seconds. The zero value
// is ready.
type RedirectLimit struct{ at [5]time.Duration }

// Allow counts a redirection at now and tells whether it may be followed.
func (l *RedirectLimit) Allow(now link.Instant) bool {
	oldest := &l.at[0]
	for i := range l.at {
		if l.at[i] < *oldest {
			oldest = &l.at[i]
		}
	}
	if *oldest != 0 && now.Since(*oldest) < 300*time.Second {
		return false
	}
	*oldest = max(now.Boot, 1)
	return true
}

// The types of gateways' identities (RFC 5685 §9.2).
const (
	gatewayIPv4 = 1
	gatewayIPv6 = 2
	gatewayFQDN = 3
)

// value returns the wire form: type, length, identity.
func (g GatewayName) value() ([]byte, error) {
	switch {
	case g.Name != "":
		name, ok := domainName(g.Name)
		if !ok || g.Address.IsValid() {
			return nil, fmt.Errorf("%w: gateway %q: want a domain name or an address", ErrConfig, g.Name)
		}
		return append([]byte{gatewayFQDN, byte(len(name))}, name...), nil
	case g.Address.Is4():
		return append([]byte{gatewayIPv4, 4}, g.Address.AsSlice()...), nil
	case g.Address.Is6() && !g.Address.Is4In6():
		return append([]byte{gatewayIPv6, 16}, g.Address.AsSlice()...), nil
	}
	return nil, fmt.Errorf("%w: gateway %v: want an address or a name", ErrConfig, g.Address)
}

// readGateway reads a gateway's identity and returns what follows it. An address that is none of a host's is not taken.
func readGateway(b []byte) (g GatewayName, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(b[1]) {
		return g, nil, false
	}
	id, rest := b[2:2+int(b[1])], b[2+int(b[1]):]
	switch {
	case b[0] == gatewayFQDN:
		g.Name, ok = domainName(string(id))
	case b[0] == gatewayIPv4 && len(id) == 4, b[0] == gatewayIPv6 && len(id) == 16:
		g.Address, _ = netip.AddrFromSlice(id)
		ok = !g.Address.Is4In6() && !g.Address.IsUnspecified() && !g.Address.IsMulticast() && !g.Address.IsLoopback()
	}
	return g, rest, ok
}

// redirectTask tells in IKE_SA_INIT that redirections are followed (RFC 5685 §3), or in INFORMATIONAL where to go (§5).
type redirectTask struct{ to []byte }

func (t redirectTask) needed(m *Machine) bool { return t.to == nil || m.running() }

func (t redirectTask) request(_ link.Instant, m *Machine, x *exchange) error {
	switch {
	case t.to != nil:
		x.add(message.Notify{Message: message.Redirect, Data: t.to})
	case m.initiator.RedirectedFrom != (GatewayName{}):
		from, err := m.initiator.RedirectedFrom.value()
		if err != nil {
			return err
		}
		x.add(message.Notify{Message: message.RedirectedFrom, Data: from})
	case m.initiator.FollowRedirects:
		x.add(message.Notify{Message: message.RedirectSupported})
	}
	return nil
}

func (t redirectTask) response(link.Instant, *Machine, *exchange, *message.Message) error { return nil }
func (t redirectTask) abandon(link.Instant, *Machine)                                     {}

// redirection reads a REDIRECT that an initiator is to follow. nonce is the Ni that it must bring in IKE_SA_INIT (§3), nil
// elsewhere, where it must bring none.
func (m *Machine) redirection(in *message.Message, nonce []byte) (GatewayName, bool) {
	if m.initiator == nil || !m.initiator.FollowRedirects {
		return GatewayName{}, false
	}
	n, ok := message.FindNotify(in.Payloads, message.Redirect)
	if !ok {
		return GatewayName{}, false
	}
	to, rest, ok := readGateway(n.Data)
	return to, ok && subtle.ConstantTimeCompare(rest, nonce) == 1
}

// redirectedInAuth returns the error of an IKE_AUTH response of a verified gateway that redirects (§6). pending is set while EAP is
// to follow, when there is no IKE SA to be deleted yet.
func (m *Machine) redirectedInAuth(in *message.Message, pending bool) error {
	to, ok := m.redirection(in, nil)
	switch {
	case !ok:
		return nil
	case pending:
		return fatal(&RedirectError{To: to})
	}
	return fatal(&RedirectError{To: to}, deleteIKE)
}

// noteRedirects remembers whether the peer follows redirections.
func (m *Machine) noteRedirects(in *message.Message) {
	_, supported := message.FindNotify(in.Payloads, message.RedirectSupported)
	_, from := message.FindNotify(in.Payloads, message.RedirectedFrom)
	m.redirects = supported || from
}

// redirectPeer asks the policy of a responder whether the peer is to go elsewhere, and returns the notify that says so.
func (m *Machine) redirectPeer(peer Identity, nonce []byte) ([]message.Payload, error) {
	if m.responder.Redirect == nil || !m.redirects {
		return nil, nil
	}
	to, ok := m.responder.Redirect(peer, m.arrived.Remote)
	if !ok {
		return nil, nil
	}
	data, err := to.value()
	if err != nil {
		return nil, fmt.Errorf("ike: redirect %v: %w", peer, err)
	}
	return []message.Payload{message.Notify{Message: message.Redirect, Data: append(data, nonce...)}}, nil
}

// letGo keeps the IKE SA of a peer that is redirected in IKE_AUTH until that has deleted it, for nothing else.
func (m *Machine) letGo(now link.Instant, s *ikeSA) {
	m.establish(now, s, saEstablished)
	s.rekeyAt, s.expireAt = 0, 0
	m.deleting, m.leaving = true, true
	m.halfOpenAt = now.Boot + lingerTime
	m.forget()
}

// Redirect tells the peer to go to another gateway (RFC 5685 §5). The IKE SA stays: it is to be deleted when the peer has had time
// to go. Errors: ErrClosed; ErrUnexpected for an initiator, and for a peer that has not said that it follows redirections; those
// of a GatewayName that is none wrap ErrConfig.
func (m *Machine) Redirect(now link.Instant, to GatewayName) error {
	data, err := to.value()
	switch {
	case !m.running():
		return fmt.Errorf("ike: redirect: %w", ErrClosed)
	case m.responder == nil || !m.redirects:
		return fmt.Errorf("ike: redirect: %w: the peer does not follow redirections", ErrUnexpected)
	case err != nil:
		return err
	}
	m.enqueue(now, m.current, newExchange(message.Informational, redirectTask{to: data}))
	return m.err
}
