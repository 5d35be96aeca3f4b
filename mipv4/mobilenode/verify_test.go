package mobilenode

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// TNC counts only before the authenticator, where the home agent vouches for it.
//
// Shows: DET-3
func TestPositionOfTNC(t *testing.T) {
	tnc := wire.TrustedNetworksConfigured()
	for _, c := range []struct {
		name   string
		change func(*wire.RegistrationReply)
		behind []wire.Extension
		want   bool
	}{
		{"before", withTNC, nil, true},
		{"before, with others", func(m *wire.RegistrationReply) {
			m.Extensions = wire.Extensions{{Type: 200, Data: []byte{1}}, tnc, {Type: wire.ExtPadding}}
		}, nil, true},
		{"before and behind", withTNC, []wire.Extension{tnc}, true},
		{"none", nil, nil, false},
		{"behind", nil, []wire.Extension{tnc}, false},
		{"of another sub-type", func(m *wire.RegistrationReply) {
			m.Extensions = wire.Extensions{{Type: wire.ExtTrustedNetworksConfigured, Data: []byte{1, 0}}}
		}, nil, false},
		{"of another length", func(m *wire.RegistrationReply) {
			m.Extensions = wire.Extensions{{Type: wire.ExtTrustedNetworksConfigured, Data: []byte{0, 0, 0}}}
		}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, viaAgent(t))
			n.Register(at(0))
			n.handle(0, n.answer(n.request(), wire.CodeAccepted, c.change, c.behind...))
			if v := event[Accepted](n).Reply; v.TrustedNetwork() != c.want {
				t.Errorf("TrustedNetwork() = %v", v.TrustedNetwork())
			}
		})
	}
}

// An attacker who moves TNC in front of the authenticator breaks it.
//
// Shows: DET-3
func TestTNCInsertedByOthers(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	p := n.answer(n.request(), wire.CodeAccepted, nil)
	forged := append(bytes.Clone(p[:wire.ReplyLen]), 0x95, 2, 0, 0)
	forged = append(forged, p[wire.ReplyLen:]...)
	if err := n.HandleReply(at(0), forged); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("found %v, want ErrNotAuthenticated", err)
	}
	n.none("forged")
}

// The reply says where its request left from, whatever else is true of it: a reply through the VPN, or of another epoch,
// is told apart by that.
//
// Shows: DET-1, DET-3
func TestOrigin(t *testing.T) {
	for _, o := range []Origin{{}, {Interface: 4, Epoch: 8, Direct: true}, {Interface: 4, Epoch: 9, Direct: false}} {
		c := direct(t)
		c.Origin = o
		if v := newNode(t, c).registered(0, withTNC); v.Origin() != o || !v.TrustedNetwork() {
			t.Errorf("origin %+v, want %+v", v.Origin(), o)
		}
	}
}

// Shows: DET-17
func TestStrongKey(t *testing.T) {
	for _, c := range []struct {
		a    auth.Algorithm
		key  string
		want bool
	}{
		{auth.HMACMD5, "sixteen octets!!", true}, {auth.HMACMD5, "fifteen octets!", false},
		{auth.KeyedMD5, "sixteen octets!!", false}, {auth.KeyedMD5, "more than sixteen octets", false},
		{auth.HMACSHA256, "sixteen octets!!", true}, {auth.HMACSHA1, "short", false},
	} {
		cfg := direct(t)
		cfg.Association = associate(t, 1024, c.a, c.key)
		n := newNode(t, cfg)
		n.peer = associate(t, 1024, c.a, c.key)
		if v := n.registered(0, withTNC); v.StrongKey() != c.want {
			t.Errorf("%v with %q: StrongKey() = %v", c.a, c.key, v.StrongKey())
		}
	}
}

// Every bit of an accepting reply matters up to the end of the authenticator.
//
// Shows: MIP-2, MIP-3, DET-3
func TestEveryBitOfTheReply(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	p := n.answer(n.request(), wire.CodeAccepted, withTNC)
	for i := range 8 * len(p) {
		bad := bytes.Clone(p)
		bad[i/8] ^= 1 << (i % 8)
		if err := n.HandleReply(at(0), bad); err == nil {
			t.Fatalf("bit %d of octet %d changed and nobody noticed", i%8, i/8)
		}
		for _, e := range n.all() { // a code that says denial may be reported, but as unverified
			if _, ok := e.(Unverified); !ok {
				t.Fatalf("bit %d of octet %d: event %+v", i%8, i/8, e)
			}
		}
	}
	for k := range p {
		if err := n.HandleReply(at(0), p[:k]); err == nil {
			t.Fatalf("the first %d octets are taken for a reply", k)
		}
	}
	n.none("forged replies")
	n.handle(0, p)
	event[Accepted](n)
	if err := n.HandleReply(at(0), p); !errors.Is(err, ErrNotOutstanding) {
		t.Errorf("the same reply again: %v, want ErrNotOutstanding", err)
	}
	n.none("replay")
}

func TestRepliesRefused(t *testing.T) {
	other := netip.MustParseAddr("10.0.9.9")
	for _, c := range []struct {
		name string
		make func(n *node, r sent) []byte
		want error
	}{
		{"empty", func(*node, sent) []byte { return nil }, wire.ErrTruncated},
		{"its own request", func(_ *node, r sent) []byte { return r.Payload }, wire.ErrMessageType},
		{"another home address", func(n *node, r sent) []byte {
			return n.answer(r, 0, func(m *wire.RegistrationReply) { m.HomeAddress = other })
		}, ErrNotOutstanding},
		{"another home agent", func(n *node, r sent) []byte {
			return n.answer(r, 0, func(m *wire.RegistrationReply) { m.HomeAgent = other })
		}, ErrMismatch},
		{"another low half", func(n *node, r sent) []byte {
			return n.answer(r, 0, func(m *wire.RegistrationReply) { m.Identification ^= 1 })
		}, ErrNotOutstanding},
		{"another high half", func(n *node, r sent) []byte {
			return n.answer(r, 0, func(m *wire.RegistrationReply) { m.Identification ^= 1 << 32 })
		}, ErrMismatch},
		{"no authenticator", func(n *node, r sent) []byte { return n.deny(r, 0, 600) }, ErrNotAuthenticated},
		{"authenticator twice", func(n *node, r sent) []byte {
			return n.peer.AppendExtension(n.answer(r, 0, withTNC), wire.ExtMobileHomeAuthentication)
		}, ErrNotAuthenticated},
		{"authenticator of another kind", func(n *node, r sent) []byte {
			return n.peer.AppendExtension(n.deny(r, 0, 600), wire.ExtForeignHomeAuthentication)
		}, ErrNotAuthenticated},
		{"wrong key", func(n *node, r sent) []byte {
			n.peer = associate(n.t, 1024, auth.HMACMD5, "sixteen octets!?")
			return n.answer(r, 0, withTNC)
		}, auth.ErrAuthenticator},
		{"wrong SPI", func(n *node, r sent) []byte {
			n.peer = associate(n.t, 1025, auth.HMACMD5, sharedKey)
			return n.answer(r, 0, withTNC)
		}, auth.ErrSPI},
		{"wrong algorithm", func(n *node, r sent) []byte {
			n.peer = associate(n.t, 1024, auth.KeyedMD5, sharedKey)
			return n.answer(r, 0, withTNC)
		}, auth.ErrAuthenticator},
		{"unknown extension that must not be skipped", func(n *node, r sent) []byte {
			return n.answer(r, 0, func(m *wire.RegistrationReply) { m.Extensions = wire.Extensions{{Type: 127}} })
		}, wire.ErrUnknownExtension},
		{"code 2", func(n *node, r sent) []byte { return n.deny(r, 2, 600) }, ErrNotAuthenticated},
		{"denial by a foreign agent that was not asked", func(n *node, r sent) []byte {
			return n.answer(r, wire.CodeFAInsufficientResources, nil)
		}, ErrMismatch},
		{"denial without authenticator", func(n *node, r sent) []byte { return n.deny(r, 129, 0) }, ErrNotAuthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, direct(t))
			n.Register(at(0))
			r := n.request()
			deadline, _ := n.Deadline()
			if err := n.HandleReply(at(time.Millisecond), c.make(n, r)); !errors.Is(err, c.want) {
				t.Errorf("found %v, want %v", err, c.want)
			}
			for _, e := range n.all() {
				if _, ok := e.(Unverified); !ok {
					t.Errorf("event %+v", e)
				}
			}
			if now, _ := n.Deadline(); now != deadline || n.State() != StateRegistering || len(n.requests()) != 0 {
				t.Errorf("the machine has changed: state %v, deadline %v", n.State(), now)
			}
			// The genuine reply is still taken.
			n.peer = associate(t, 1024, auth.HMACMD5, sharedKey)
			n.handle(time.Millisecond, n.answer(r, 0, nil))
			event[Accepted](n)
		})
	}
}

// What a home agent with another key says cannot be acted on, but is shown, once a request.
func TestUnverifiedDenial(t *testing.T) {
	n := newNode(t, direct(t))
	n.peer = associate(t, 1024, auth.HMACMD5, "another key, too")
	n.Register(at(0))
	p := n.answer(n.request(), wire.CodeMobileNodeAuthentication, nil)
	for range 3 {
		if err := n.HandleReply(at(0), p); !errors.Is(err, auth.ErrAuthenticator) {
			t.Errorf("found %v", err)
		}
	}
	e := event[Unverified](n)
	if e.Code != wire.CodeMobileNodeAuthentication || !errors.Is(e.Err, auth.ErrAuthenticator) {
		t.Errorf("event %+v", e)
	}
	if times, _ := n.step(time.Second); len(times) != 1 {
		t.Error("the machine has given up on what it could not verify")
	}
}

// A reply that is kept back beyond the lifetime that it grants is worth nothing.
//
// Shows: DET-4 (late replies)
func TestReplyAfterItsLifetime(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	r := n.request()
	p := n.answer(r, 0, func(m *wire.RegistrationReply) { m.Lifetime = 10 })
	if err := n.HandleReply(at(10*time.Second), p); !errors.Is(err, ErrNotOutstanding) {
		t.Errorf("found %v, want ErrNotOutstanding", err)
	}
	n.none("late")
	n.handle(10*time.Second-1, p)
	if v := event[Accepted](n).Reply; v.SentAt() != boot(0) || v.ReceivedAt() != boot(10*time.Second-1) {
		t.Errorf("sent at %v, received at %v", v.SentAt(), v.ReceivedAt())
	}
}

// Requests are remembered in bounds; the oldest goes first.
func TestOutstandingIsBounded(t *testing.T) {
	c := direct(t)
	c.Retransmission = Retransmission{Max: time.Second, Count: 100}
	n := newNode(t, c)
	n.Register(at(0))
	first := n.request()
	_, more := n.step(maxOutstanding * time.Second)
	if err := n.HandleReply(at(20*time.Second), n.answer(first, 0, nil)); !errors.Is(err, ErrNotOutstanding) {
		t.Errorf("the oldest of %d: %v", 1+len(more), err)
	}
	if len(n.outstanding) != maxOutstanding {
		t.Errorf("%d requests are remembered", len(n.outstanding))
	}
	n.handle(20*time.Second, n.answer(more[0], 0, nil))
	event[Accepted](n)
}

// Any octets leave the machine intact, and none make a verified reply.
func FuzzHandleReply(f *testing.F) {
	n := newNode(f, viaAgent(f))
	n.Register(at(0))
	r := n.request()
	f.Add(n.answer(r, 0, withTNC)[:40])
	f.Add(n.deny(r, wire.CodeRequestedLifetimeTooLong, 5))
	f.Add(n.answer(r, wire.CodeIdentificationMismatch, nil)[:30])
	f.Fuzz(func(t *testing.T, p []byte) {
		n := newNode(t, viaAgent(t))
		n.Register(at(0))
		n.request()
		_ = n.HandleReply(at(time.Millisecond), p)
		for _, e := range n.all() {
			switch e := e.(type) {
			case Unverified:
			case Refused:
				if !e.ByForeignAgent {
					t.Fatalf("%x makes %+v", p, e)
				}
			default:
				t.Fatalf("%x makes %+v", p, e)
			}
		}
		if n.Err() != nil || n.State() == StateRegistered {
			t.Fatalf("%x: %v, state %v", p, n.Err(), n.State())
		}
		n.requests() // what is sent after a forged denial is still well formed
	})
}
