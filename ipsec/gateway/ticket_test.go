package gateway

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

func ticketState(t testing.TB) ike.TicketState {
	t.Helper()
	return ike.TicketState{
		Initiator: identity(t, "laptop@example.com"), Responder: identity(t, "vpn.example.com"),
		Encryption: suite.AESGCM256, PRF: suite.PRFHMACSHA256, Group: suite.GroupCurve25519, Secret: bytes.Repeat([]byte{7}, 32),
	}
}

// Shows: IKE-5
func TestTickets(t *testing.T) {
	now := link.Instant{Boot: time.Hour}
	k := newTickets(rand.Reader, 4*time.Hour)
	want := ticketState(t)
	ticket, life, err := k.Grant(now, want)
	if err != nil || life != 4*time.Hour {
		t.Fatalf("life %v, %v", life, err)
	}
	if bytes.Contains(ticket, want.Secret[:8]) || bytes.Contains(ticket, []byte("laptop")) {
		t.Error("the ticket can be read")
	}
	got, err := k.Redeem(now, ticket)
	if err != nil {
		t.Fatal(err)
	}
	if got.Initiator != want.Initiator || got.Responder != want.Responder || got.Encryption != want.Encryption ||
		got.PRF != want.PRF || got.Group != want.Group || !bytes.Equal(got.Secret, want.Secret) {
		t.Errorf("got %+v", got)
	}
	for i := range ticket {
		bad := bytes.Clone(ticket)
		bad[i] ^= 0x40
		if _, err := k.Redeem(now, bad); err == nil {
			t.Errorf("octet %d changed: taken", i)
		}
		if _, err := k.Redeem(now, ticket[:i]); err == nil {
			t.Errorf("cut to %d octets: taken", i)
		}
	}
	if _, err := newTickets(rand.Reader, time.Hour).Redeem(now, ticket); err == nil {
		t.Error("another gateway takes the ticket")
	}
	if _, err := k.Redeem(now.Add(4*time.Hour), ticket); err == nil {
		t.Error("an expired ticket is taken")
	}
	// One whose key has been replaced since is taken, one of two keys ago is not.
	fresh, _, err := k.Grant(now.Add(23*time.Hour), want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Redeem(now.Add(25*time.Hour), fresh); err != nil {
		t.Errorf("a ticket by the key before: %v", err)
	}
	if err := k.Spend(fresh); err != nil {
		t.Fatal(err)
	}
	if k.Spend(fresh) == nil {
		t.Error("spent twice")
	}
	if _, err := k.Redeem(now.Add(25*time.Hour), fresh); err == nil {
		t.Error("a spent ticket is taken")
	}
	k.prune(now.Add(30 * time.Hour))
	if len(k.spent) != 0 {
		t.Error("an expired ticket is remembered as spent")
	}
}

// A client that was away resumes from another address: it keeps its inner address, the old session goes without a word, and nobody
// else is given the address.
//
// Shows: IKE-5, IKE-8
func TestResumeReplacesTheOldSession(t *testing.T) {
	cfg := config(t, 2)
	cfg.Pool = netip.MustParsePrefix("10.0.9.8/31")
	n := newNet(t, cfg)
	before := n.client(0, func(c *ike.InitiatorConfig) { c.RequestTicket = true })
	n.connect(before)
	first, _ := last[ike.Established](before.events)
	ticket := before.m.Suspend(n.now)
	if ticket == nil {
		t.Fatal("no ticket")
	}
	n.advance(10 * time.Second)
	again := n.client(0, func(c *ike.InitiatorConfig) { c.Ticket, c.RequestTicket = ticket, true })
	n.connect(again)
	second, _ := last[ike.Established](again.events)
	if !second.Resumed || first.Configuration.Addresses[0] != second.Configuration.Addresses[0] {
		t.Errorf("resumed %t, addresses %v and %v", second.Resumed, first.Configuration.Addresses, second.Configuration.Addresses)
	}
	if s := n.g.Sessions(); len(s) != 1 {
		t.Errorf("sessions %+v", s)
	}
	other := n.client(1, nil)
	n.connect(other)
	if e, _ := last[ike.Established](other.events); e.Configuration.Addresses[0] == second.Configuration.Addresses[0] {
		t.Errorf("two clients have the address %v", e.Configuration.Addresses[0])
	}
	n.advance(2 * time.Minute)
	if len(n.g.Sessions()) != 2 {
		t.Errorf("sessions %+v", n.g.Sessions())
	}
}

// A client that comes anew with INITIAL_CONTACT keeps its address to itself too.
//
// Shows: IKE-9
func TestReplacedSessionGivesNoAddressAway(t *testing.T) {
	cfg := config(t, 2)
	cfg.Pool = netip.MustParsePrefix("10.0.9.8/31")
	n := newNet(t, cfg)
	n.connect(n.client(0, nil))
	again := n.client(0, func(c *ike.InitiatorConfig) { c.InitialContact = true })
	n.connect(again)
	mine, _ := last[ike.Established](again.events)
	other := n.client(1, func(c *ike.InitiatorConfig) { c.WantedAddress = mine.Configuration.Addresses[0] })
	n.connect(other)
	if e, _ := last[ike.Established](other.events); e.Configuration.Addresses[0] == mine.Configuration.Addresses[0] {
		t.Errorf("two clients have the address %v", e.Configuration.Addresses[0])
	}
}

// Shows: IKE-5 (a gateway that does not resume)
func TestNoResumption(t *testing.T) {
	cfg := config(t, 1)
	cfg.NoResumption = true
	n := newNet(t, cfg)
	c := n.client(0, func(c *ike.InitiatorConfig) { c.RequestTicket = true })
	n.connect(c)
	if ticket := c.m.Suspend(n.now); ticket != nil {
		t.Error("a ticket although none are made")
	}
}

func FuzzRedeem(f *testing.F) {
	k := newTickets(rand.Reader, time.Hour)
	ticket, _, err := k.Grant(link.Instant{Boot: time.Hour}, ticketState(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ticket)
	f.Add([]byte{ticketVersion, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := k.Redeem(link.Instant{Boot: time.Hour}, b); err == nil && !bytes.Equal(b, ticket) {
			t.Error("a ticket that was not granted is taken")
		}
		if s, err := readTicket(b); err == nil && (s.Initiator.Data == "" && s.Initiator.Type == 0 && len(b) < 14) {
			t.Errorf("%d octets make a ticket", len(b))
		}
	})
}
