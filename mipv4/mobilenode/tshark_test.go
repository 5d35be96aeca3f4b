package mobilenode

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/internal/dissect"
	"mipvpn/mipv4/wire"
)

// What the machine sends is to tshark what it is meant to be, and nothing in it is malformed.
//
// Shows: MIP-1, MIP-2, MIP-7, MIP-8
func TestRequestsInTshark(t *testing.T) {
	forced := direct(t)
	forced.Encapsulation = EncapsulationAuto
	agent := viaAgent(t)
	agent.EncapsulatingDelivery = true
	agent.Association = associate(t, 70000, auth.HMACSHA256, sharedKey)
	agent.ForeignAssociation = associate(t, 300, auth.HMACSHA1, sharedKey)
	gone := direct(t)
	gone.Lifetime = Infinite

	var payloads [][]byte
	for _, c := range []Config{direct(t), forced, agent, gone} {
		n := newNode(t, c)
		n.Register(at(0))
		payloads = append(payloads, n.request().Payload)
	}
	n := newNode(t, gone)
	n.registered(0, nil)
	n.DeregisterAll(at(time.Second))
	payloads = append(payloads, n.request().Payload)

	got := dissect.Fields(t, dissect.MobileIP, payloads,
		"mip.type", "mip.flags", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.coa", "mip.ext.type", "mip.ext.len",
		"mip.auth.spi", "mip.ext.utrq.f", "mip.ext.utrq.encaptype")
	want := [][]string{
		{"1", "0x22", "600", "10.0.8.100", "10.0.1.10", "10.0.2.50", "32", "20", "0x00000400", "", ""},
		{"1", "0x22", "600", "10.0.8.100", "10.0.1.10", "10.0.2.50", "144,32", "6,20", "0x00000400", "1", "4"},
		{"1", "0x02", "600", "10.0.8.100", "10.0.1.10", "10.0.1.40", "32,130,33", "36,0,24", "0x00011170,0x0000012c", "", ""},
		{"1", "0x22", "65535", "10.0.8.100", "10.0.1.10", "10.0.2.50", "32", "20", "0x00000400", "", ""},
		{"1", "0x02", "0", "10.0.8.100", "10.0.1.10", "10.0.8.100", "32", "20", "0x00000400", "", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// The Identification is a time of day to it.
	ident := dissect.Fields(t, dissect.MobileIP, payloads[:1], "mip.ident")[0][0]
	if !strings.Contains(ident, "2026") || !strings.Contains(ident, "09:00:00") {
		t.Errorf("Identification is %q, want %v", ident, wall)
	}
}

// The replies that these tests answer with are replies to tshark too, so that both ends are not wrong the same way.
func TestRepliesInTshark(t *testing.T) {
	n := newNode(t, viaAgent(t))
	n.Register(at(0))
	r := n.request()
	payloads := [][]byte{
		n.answer(r, 0, func(m *wire.RegistrationReply) {
			withTNC(m)
			withUDP(wire.UDPTunnelReply{Forced: true, KeepAlive: 110 * time.Second})(m)
		}),
		n.mismatch(r, 0),
		n.deny(r, wire.CodeFAInsufficientResources, 600),
	}
	got := dissect.Fields(t, dissect.MobileIPReply, payloads,
		"mip.type", "mip.code", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.ext.type", "mip.ext.len", "mip.ext.utrp.code", "mip.ext.utrp.f", "mip.ext.utrp.keepalive")
	want := [][]string{
		{"3", "0", "600", "10.0.8.100", "10.0.1.10", "149,44,32", "2,6,20", "0", "1", "110"},
		{"3", "133", "600", "10.0.8.100", "10.0.1.10", "32", "20", "", "", ""},
		{"3", "66", "600", "10.0.8.100", "10.0.1.10", "", "", "", "", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
