package gateway

import (
	"errors"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
)

// Shows: IKE-5 (reauthentication make-before-break, RFC 7296 §2.8.3, RFC 4478). The gateway says how long an authentication is good
// for; the client authenticates anew beside the old IKE SA, gets the same address, has both child SAs for a while, and deletes the old
// one. A client that does not is closed.
func TestReauthentication(t *testing.T) {
	cfg := config(t, 1)
	cfg.IKE.Lifetimes.Authentication = time.Hour
	n := newNet(t, cfg)
	old := n.client(0, nil)
	n.connect(old)
	began := n.now.Boot
	for n.now.Boot < began+time.Hour {
		n.advance(time.Minute)
		if _, ok := last[ike.ReauthenticationDue](old.events); ok {
			break
		}
	}
	due, ok := last[ike.ReauthenticationDue](old.events)
	if !ok || due.By != began+time.Hour || n.now.Boot > began+56*time.Minute || n.now.Boot < began+45*time.Minute {
		t.Fatalf("after %v: %+v, want it due between 49 and 55 minutes", n.now.Boot-began, due)
	}
	first, _ := last[ike.Established](old.events)
	next := n.client(0, nil)
	n.connect(next)
	second, _ := last[ike.Established](next.events)
	if first.Configuration.Addresses[0] != second.Configuration.Addresses[0] {
		t.Errorf("the address was %v and is %v", first.Configuration.Addresses, second.Configuration.Addresses)
	}
	if len(n.g.byInbound) != 2 || old.m.Err() != nil {
		t.Errorf("%d child SAs at the gateway, the old machine: %v", len(n.g.byInbound), old.m.Err())
	}
	old.m.Delete(n.now)
	old.pump()
	n.settle()
	if !errors.Is(old.closed(), ike.ErrDeleted) || len(n.g.byInbound) != 1 || len(n.g.Sessions()) != 1 {
		t.Errorf("old closed with %v; %d child SAs, sessions %+v", old.closed(), len(n.g.byInbound), n.g.Sessions())
	}
	began = n.now.Boot
	n.advance(70 * time.Minute)
	if !errors.Is(next.closed(), ike.ErrDeletedByPeer) || len(n.g.sessions) != 0 {
		t.Errorf("a client that does not authenticate anew: %v after %v", next.closed(), n.now.Boot-began)
	}
}

// A session that has replaced another of its peer and is deleted first leaves the former in its place, for as long as that may last.
func TestTheFormerSessionStays(t *testing.T) {
	cfg := config(t, 1)
	cfg.Session = time.Hour
	n := newNet(t, cfg)
	old, next := n.client(0, nil), n.client(0, nil)
	n.connect(old)
	n.connect(next)
	next.m.Delete(n.now)
	next.pump()
	n.settle()
	n.advance(time.Minute)
	if old.closed() != nil || len(n.g.Sessions()) != 1 || len(n.g.byInbound) != 1 {
		t.Fatalf("the former: %v; sessions %+v", old.closed(), n.g.Sessions())
	}
	third := n.client(0, nil) // and is itself replaced as ever, with its address
	n.connect(third)
	first, _ := last[ike.Established](old.events)
	second, _ := last[ike.Established](third.events)
	if first.Configuration.Addresses[0] != second.Configuration.Addresses[0] {
		t.Errorf("the address was %v and is %v", first.Configuration.Addresses, second.Configuration.Addresses)
	}
	n.advance(time.Minute)
	if old.closed() == nil || third.closed() != nil {
		t.Errorf("the former %v, its successor %v", old.closed(), third.closed())
	}
	third.m.Delete(n.now)
	third.pump()
	n.settle()

	n.connect(n.client(0, nil))
	keeps, gone := n.client(0, nil), n.client(0, nil)
	n.connect(keeps)
	n.connect(gone)
	gone.m.Delete(n.now)
	gone.pump()
	n.settle()
	n.advance(61 * time.Minute)
	if keeps.closed() == nil {
		t.Error("the former session lasts longer than it may")
	}
}

// A gateway asks for the authentication at once (RFC 4478 §2); a peer that authenticates again and again has two sessions at most.
func TestReauthenticationOnDemand(t *testing.T) {
	n := newNet(t, config(t, 1))
	c := n.client(0, nil)
	n.connect(c)
	if err := n.g.RequireAuthentication(n.now, n.g.Sessions()[0].ID, 0); err != nil {
		t.Fatal(err)
	}
	n.settle()
	n.advance(30 * time.Second)
	if _, ok := last[ike.ReauthenticationDue](c.events); !ok {
		t.Error("the client was not told")
	}
	n.advance(time.Minute)
	if c.closed() == nil {
		t.Error("the IKE SA is still there")
	}
	for range 6 {
		n.connect(n.client(0, nil))
		n.settle()
		alive := 0
		for _, s := range n.g.sessions {
			if s.machine.Err() == nil {
				alive++
			}
		}
		if alive > 2 {
			t.Fatalf("%d sessions of one peer live", alive)
		}
	}
	if err := n.g.RequireAuthentication(n.now, 999, 0); !errors.Is(err, ErrUnknownSPI) {
		t.Error(err)
	}
}
