package mobilenode

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// withRevocation adds the home agent's Revocation Support extension.
func withRevocation(stamp uint32) func(*wire.RegistrationReply) {
	return func(m *wire.RegistrationReply) {
		m.Extensions = append(m.Extensions, wire.RevocationSupport{Timestamp: stamp}.Extension())
	}
}

func (n *node) revocation(stamp uint32) wire.Revocation {
	return wire.Revocation{
		ByHomeAgent: true, Inform: true, HomeAddress: n.cfg.HomeAddress, HomeDomain: n.cfg.HomeAgent, ForeignDomain: n.cfg.CareOfAddress, Identifier: stamp,
	}
}

// revoke gives the machine a revocation under the key.
func (n *node) revoke(d time.Duration, v wire.Revocation, a *auth.SecurityAssociation) error {
	n.t.Helper()
	b, err := v.Append(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.HandleReply(at(d), a.AppendExtension(b, wire.ExtMobileHomeAuthentication))
}

// acknowledged takes the acknowledgement that must be sent first.
func (n *node) acknowledged(v wire.Revocation) {
	n.t.Helper()
	tr, ok := n.PollTransmit()
	k, err := wire.ParseRevocationAcknowledgment(tr.Payload)
	if !ok || err != nil || tr.To != netip.AddrPortFrom(n.cfg.HomeAgent, 434) || k.HomeAddress != v.HomeAddress || k.Identifier != v.Identifier {
		n.t.Fatalf("acknowledgement %+v in %+v, %v", k, tr, err)
	}
	if err := n.peer.Verify(tr.Payload, k.Offset(0), wire.ExtMobileHomeAuthentication); err != nil {
		n.t.Error(err)
	}
}

// Shows: MIP-9 (a revocation of the home agent is acknowledged, and the binding asked for anew).
func TestRevoked(t *testing.T) {
	cfg := direct(t)
	cfg.Revocation = true
	n := newNode(t, cfg)
	n.Register(at(0))
	r := n.request()
	if i := r.Extensions.Index(wire.ExtRevocationSupport); i < 0 || i > r.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		t.Fatalf("extensions %+v", r.Extensions)
	}
	n.handle(10*time.Millisecond, n.answer(r, wire.CodeAccepted, withRevocation(100)))
	event[Accepted](n)
	for _, c := range []struct {
		name   string
		change func(*wire.Revocation)
		want   error
	}{
		{"reflected", func(v *wire.Revocation) { v.ByHomeAgent = false }, ErrReplay},
		{"not later than the registration", func(v *wire.Revocation) { v.Identifier = 100 }, ErrReplay},
		{"another home address", func(v *wire.Revocation) { v.HomeAddress = n.cfg.CareOfAddress }, ErrMismatch},
		{"another home agent", func(v *wire.Revocation) { v.HomeDomain = n.cfg.CareOfAddress }, ErrMismatch},
		{"another care-of address", func(v *wire.Revocation) { v.ForeignDomain = n.cfg.HomeAddress }, ErrMismatch},
	} {
		v := n.revocation(101)
		c.change(&v)
		if err := n.revoke(time.Second, v, n.peer); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		n.none(c.name)
	}
	if err := n.revoke(time.Second, n.revocation(101), associate(t, 1024, auth.HMACMD5, "another key")); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("under another key: %v", err)
	}
	unsigned, _ := (&wire.Revocation{ByHomeAgent: true}).Append(nil)
	if err := n.HandleReply(at(time.Second), unsigned); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("without authentication: %v", err)
	}
	if n.State() != StateRegistered {
		t.Fatalf("state %v", n.State())
	}
	v := n.revocation(101)
	if err := n.revoke(2*time.Second, v, n.peer); err != nil {
		t.Fatal(err)
	}
	n.acknowledged(v)
	event[Revoked](n)
	again := n.request()
	if n.State() != StateRegistering || again.Lifetime == 0 {
		t.Errorf("state %v, request %+v", n.State(), again)
	}
	v.Identifier++ // a retransmission: the acknowledgement was lost
	if err := n.revoke(3*time.Second, v, n.peer); err != nil {
		t.Fatal(err)
	}
	n.acknowledged(v)
	n.none("retransmission")
	n.handle(3*time.Second, n.answer(again, wire.CodeAccepted, withRevocation(103)))
	event[Accepted](n)
	if err := n.revoke(3*time.Second, v, n.peer); !errors.Is(err, ErrReplay) {
		t.Errorf("the revocation of the binding before: %v", err)
	}
	if n.State() != StateRegistered {
		t.Errorf("state %v", n.State())
	}
}

// Only what was agreed can be revoked, and only a mobile node that registers directly may agree to it.
func TestRevocationNotAgreed(t *testing.T) {
	cfg := direct(t)
	cfg.Revocation = true
	n := newNode(t, cfg)
	n.registered(0, nil)
	if err := n.revoke(time.Second, n.revocation(101), n.peer); !errors.Is(err, ErrMismatch) {
		t.Errorf("a home agent that has not agreed: %v", err)
	}
	n.none("not agreed")
	cfg = viaAgent(t)
	cfg.Revocation = true
	n = newNode(t, cfg)
	n.Register(at(0))
	if r := n.request(); r.Extensions.Index(wire.ExtRevocationSupport) >= 0 {
		t.Error("revocation support through a foreign agent (RFC 3543 §4.2.1)")
	}
	n = newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	if r.Extensions.Index(wire.ExtRevocationSupport) >= 0 {
		t.Error("revocation support that is not configured")
	}
	n.handle(0, n.answer(r, wire.CodeAccepted, withRevocation(100)))
	event[Accepted](n)
	if err := n.revoke(time.Second, n.revocation(101), n.peer); !errors.Is(err, ErrMismatch) {
		t.Errorf("not configured: %v", err)
	}
}

func FuzzRevocation(f *testing.F) {
	cfg := direct(f)
	cfg.Revocation = true
	n := newNode(f, cfg)
	n.registered(0, withRevocation(100))
	v := n.revocation(101)
	b, err := v.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(associate(f, 1024, auth.HMACMD5, "another key").AppendExtension(b, wire.ExtMobileHomeAuthentication))
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := n.HandleReply(at(time.Second), p); err == nil || n.State() != StateRegistered {
			t.Fatalf("%x was obeyed", p)
		}
	})
}
