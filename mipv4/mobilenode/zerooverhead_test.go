package mobilenode

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// testVendor is the private enterprise number for documentation (RFC 5612).
const testVendor = 32473

var testGateway = netip.MustParseAddr("192.0.2.4")

func confirming(vendor uint32, d netip.Addr) func(*wire.RegistrationReply) {
	return func(m *wire.RegistrationReply) {
		m.Extensions = append(m.Extensions, wire.ZeroOverheadReply(vendor, d))
	}
}

func withSwitching(t *testing.T) *node {
	cfg := direct(t)
	cfg.ZeroOverhead = ZeroOverhead{Vendor: testVendor, Destination: testGateway}
	return newNode(t, cfg)
}

// Re-registrations ask again, deregistrations do not, and every question stands where the mobile node vouches for it.
//
// Shows: MEC-D (the question in the request)
func TestZeroOverheadAsked(t *testing.T) {
	n := withSwitching(t)
	n.Register(at(0))
	for i := range 2 {
		r := n.request()
		covered, _, _ := r.Extensions.Authorized()
		j := covered.Index(wire.ExtVendorNormal)
		if j < 0 || r.Extensions.Count(wire.ExtVendorNormal) != 1 {
			t.Fatalf("request %d: extensions %+v", i, r.Extensions)
		}
		if d, ok := wire.ParseZeroOverheadRequest(covered[j], testVendor); !ok || d != testGateway {
			t.Fatalf("request %d asks for %v, %v", i, d, ok)
		}
		n.handle(0, n.answer(r, 0, confirming(testVendor, testGateway)))
		if v := event[Accepted](n).Reply; v.Tunnel() != (Tunnel{Switched: testGateway}) {
			t.Fatalf("reply %d: %+v", i, v.Tunnel())
		}
		n.HandleTimeout(at(545 * time.Second))
	}
	n.requests()
	n.Deregister(at(546 * time.Second))
	if r := n.request(); r.Extensions.Count(wire.ExtVendorNormal) != 0 {
		t.Errorf("the deregistration asks: %+v", r.Extensions)
	}
}

// A reply whose critical extension is not the one that was asked for counts as a denial: the machine asks without the mechanism.
//
// Shows: MEC-D (a confirmation that was not asked for or is malformed rejects the reply, RFC 3115 §2.3)
func TestStrangeConfirmations(t *testing.T) {
	short := wire.VendorCritical{Vendor: testVendor, Type: wire.ZeroOverheadType, Value: []byte{1, 2}}.Extension()
	for name, change := range map[string]func(*wire.RegistrationReply){
		"another vendor":      confirming(1, testGateway),
		"another destination": confirming(testVendor, homeAgent),
		"cut short":           func(m *wire.RegistrationReply) { m.Extensions = append(m.Extensions, short) },
		"twice": func(m *wire.RegistrationReply) {
			confirming(testVendor, testGateway)(m)
			confirming(testVendor, testGateway)(m)
		},
	} {
		n := withSwitching(t)
		n.Register(at(0))
		n.handle(0, n.answer(n.request(), 0, change))
		if e := event[Refused](n); !e.Retrying {
			t.Errorf("%s: %+v", name, e)
		}
		if _, bound := n.Binding(); bound {
			t.Errorf("%s: bound", name)
		}
		r := n.request()
		if r.Extensions.Count(wire.ExtVendorNormal) != 0 {
			t.Errorf("%s: asked again", name)
		}
		n.handle(0, n.answer(r, 0, nil))
		if v := event[Accepted](n).Reply; v.Tunnel() != (Tunnel{}) {
			t.Errorf("%s: %+v", name, v.Tunnel())
		}
	}
}

// Who asked for nothing takes the binding back that it does not understand, and believes nobody who is not the home agent.
//
// Shows: MEC-D (a confirmation that nobody asked for)
func TestUnaskedConfirmation(t *testing.T) {
	n := newNode(t, direct(t))
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), 0, confirming(testVendor, testGateway)))
	if e := event[Refused](n); e.Retrying {
		t.Errorf("%+v", e)
	}
	if r := n.request(); !r.Deregistration() {
		t.Errorf("sent: %+v", r)
	}
	n = withSwitching(t)
	n.Register(at(0))
	r := n.request()
	if err := n.HandleReply(at(0), n.answer(r, 0, nil, wire.ZeroOverheadReply(testVendor, testGateway))); !errors.Is(err, ErrCritical) {
		t.Errorf("put behind the authenticator: %v", err)
	}
	n.none("after a reply that is discarded")
	n.handle(0, n.answer(r, 0, confirming(testVendor, testGateway)))
	if v := event[Accepted](n).Reply; v.Tunnel().Switched != testGateway {
		t.Errorf("%+v", v.Tunnel())
	}
}

// UDP tunnelling and zero-overhead tunnelling exclude each other.
func TestBothTunnelsGranted(t *testing.T) {
	cfg := direct(t)
	cfg.Encapsulation, cfg.ZeroOverhead = EncapsulationAuto, ZeroOverhead{Vendor: testVendor, Destination: testGateway}
	n := newNode(t, cfg)
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), 0, func(m *wire.RegistrationReply) {
		withUDP(wire.UDPTunnelReply{})(m)
		confirming(testVendor, testGateway)(m)
	}))
	if e := event[Refused](n); !e.Retrying {
		t.Errorf("%+v", e)
	}
	if r := n.request(); r.Extensions.Count(wire.ExtVendorNormal) != 0 {
		t.Error("asked again")
	}
}
