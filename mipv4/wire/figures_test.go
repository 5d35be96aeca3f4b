package wire

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// figures are the extensions as the figures of their standards draw them, put together by hand. Each type that this package knows
// has at least one.
var figures = []struct {
	octets string
	ours   func() (Extension, error)
}{
	{"00 # RFC 5944 §2.1.3: one octet", made(Extension{Type: ExtPadding})},
	{"20 14 00000400 000102030405060708090a0b0c0d0e0f # RFC 5944 §3.5.2: type, length, SPI, authenticator",
		authentication(ExtMobileHomeAuthentication)},
	{"21 14 00000400 000102030405060708090a0b0c0d0e0f # §3.5.3", authentication(ExtMobileForeignAuthentication)},
	{"22 14 00000400 000102030405060708090a0b0c0d0e0f # §3.5.4", authentication(ExtForeignHomeAuthentication)},
	{"24 01 0014 00000002 000102030405060708090a0b0c0d0e0f # RFC 4721 §5: type, sub-type, length, SPI, authenticator", func() (Extension, error) {
		p := AppendMobileAAAHeader(nil, CHAPSPI, 16)
		return Extension{Type: ExtensionType(p[0]), Data: append(append([]byte{p[1]}, p[4:]...), sixteen...)}, nil
	}},
	{"26 00 0008 00007ed9 0007 aabb # RFC 3115 §2.1: type, reserved, length, vendor, vendor's type, value",
		made(VendorCritical{Vendor: 32473, Type: 7, Value: []byte{0xaa, 0xbb}}.Extension())},
	{"2c 06 00 40 8000 006e # RFC 3519 §3.2: type, length, sub-type, code, F, keepalive",
		made(UDPTunnelReply{Code: UDPTunnelDeclined, Forced: true, KeepAlive: 110 * time.Second}.Extension())},
	{"2d 02 00 42 # RFC 4636 §3: type, length, sub-type, status", made(ForeignAgentError(66))},
	{"82 00 # RFC 3024 §3.3: type, length", made(EncapsulatingDelivery())},
	{"83 07 6d6e40612e6362 # RFC 2794 §2: type, length, mn@a.cb", func() (Extension, error) { return NAI("mn@a.cb") }},
	{"84 04 01020304 # RFC 4721 §4: type, length, challenge", func() (Extension, error) { return Challenge([]byte{1, 2, 3, 4}) }},
	{"86 0c 0000 00007ed9 0001 c0000204 # RFC 3115 §2.2: type, length, reserved, vendor, vendor's type, value",
		made(ZeroOverheadRequest(32473, netip.MustParseAddr("192.0.2.4")))},
	{"89 06 8000 eeabdc10 # RFC 3543 §3.2: type, length, I, timestamp", made(RevocationSupport{Inform: true, Timestamp: 0xeeabdc10}.Extension())},
	{"8b 01 0004 c0000214 # RFC 4433 §3.4: type, sub-type, length, address", func() (Extension, error) {
		return DynamicHomeAgent(RequestedHomeAgent, netip.MustParseAddr("192.0.2.20"))
	}},
	{"90 06 00 00 c0 2f 0000 # RFC 3519 §3.1: type, length, sub-type, reserved, F and R, encapsulation, reserved",
		made(UDPTunnelRequest{Force: true, ThroughForeignAgent: true, Encapsulation: 47}.Extension())},
	{"95 02 00 00 # RFC 5265 §3.4: type, length, sub-type, reserved", made(TrustedNetworksConfigured())},
}

var sixteen = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func made(e Extension) func() (Extension, error) {
	return func() (Extension, error) { return e, nil }
}

func authentication(t ExtensionType) func() (Extension, error) {
	p := append(AppendAuthenticationHeader(nil, t, 1024, 16), sixteen...)
	return made(Extension{Type: ExtensionType(p[0]), Data: p[2:]})
}

// Every extension is written as its figure draws it, and read back from there behind either message.
//
// Shows: MIP-2, MIP-7, MIP-9, MIP-10, GDL-4 (formats)
func TestFigures(t *testing.T) {
	drawn := make(map[ExtensionType]bool)
	for _, f := range figures {
		want := octets(t, f.octets)
		e, err := f.ours()
		if err != nil {
			t.Fatalf("%s: %v", f.octets, err)
		}
		drawn[e.Type] = true
		if got, err := e.Append(nil); err != nil || !bytes.Equal(got, want) || e.Len() != len(want) {
			t.Errorf("%v is written as %x (%v), %d octets, want %x", e.Type, got, err, e.Len(), want)
		}
		for name, fixed := range map[string][]byte{"request": octets(t, goldenRequest)[:RequestLen], "reply": octets(t, goldenReply)[:ReplyLen]} {
			p := append(bytes.Clone(fixed), want...)
			x, err := extensionsOf(p)
			if err != nil || len(x) != 1 || x[0].Type != e.Type || !bytes.Equal(x[0].Data, e.Data) {
				t.Errorf("%v behind a %s is read as %+v, %v", e.Type, name, x, err)
			}
		}
	}
	for i := range 256 {
		if e := ExtensionType(i); e.Known() && !drawn[e] {
			t.Errorf("%v (%d) is known and has no figure here: put its octets together by hand from its standard", e, i)
		}
	}
}

// extensionsOf returns the extensions of a request or a reply.
func extensionsOf(p []byte) (Extensions, error) {
	if typ, _ := TypeOf(p); typ == TypeRegistrationRequest {
		m, err := ParseRegistrationRequest(p)
		if err != nil {
			return nil, err
		}
		return m.Extensions, nil
	}
	m, err := ParseRegistrationReply(p)
	if err != nil {
		return nil, err
	}
	return m.Extensions, nil
}
