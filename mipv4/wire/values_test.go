package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// Shows: MIP-7 (formats)
func TestUDPTunnelRequest(t *testing.T) {
	for _, r := range []UDPTunnelRequest{
		{}, {Force: true, Encapsulation: 4}, {ThroughForeignAgent: true, Encapsulation: 47}, {Force: true, ThroughForeignAgent: true, Encapsulation: 55},
	} {
		got, err := ParseUDPTunnelRequest(r.Extension())
		if err != nil || got != r {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
	}
	b, err := UDPTunnelRequest{Force: true, Encapsulation: 4}.Extension().Append(nil)
	if want := octets(t, "90 06 00 00 80 04 0000"); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%x, %v, want %x", b, err, want)
	}
	e := UDPTunnelRequest{}.Extension()
	e.Data[1], e.Data[2] = 0xff, 0x3f // reserved 1 and 2 are ignored
	if got, err := ParseUDPTunnelRequest(e); err != nil || got != (UDPTunnelRequest{}) {
		t.Errorf("reserved 1 and 2 set: %+v, %v", got, err)
	}
	for i := 4; i < 6; i++ { // reserved 3 must be zero
		e := UDPTunnelRequest{}.Extension()
		e.Data[i] = 1
		if _, err := ParseUDPTunnelRequest(e); !errors.Is(err, ErrReserved3) || !errors.Is(err, ErrExtension) {
			t.Errorf("reserved 3 set: %v, want ErrReserved3", err)
		}
	}
	if _, err := ParseUDPTunnelRequest(TrustedNetworksConfigured()); !errors.Is(err, ErrExtension) {
		t.Errorf("another type: %v", err)
	}
}

func TestUDPTunnelReply(t *testing.T) {
	for _, r := range []UDPTunnelReply{
		{}, {Code: UDPTunnelDeclined}, {Code: 63, Forced: true, KeepAlive: 110 * time.Second}, {KeepAlive: 65535 * time.Second},
	} {
		got, err := ParseUDPTunnelReply(r.Extension())
		if err != nil || got != r {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
		if got.Assents() != (r.Code < 64) {
			t.Errorf("code %d: Assents() = %v", r.Code, got.Assents())
		}
	}
	for _, c := range []struct{ in, want time.Duration }{
		{1900 * time.Millisecond, time.Second}, {time.Hour * 24, 65535 * time.Second}, {-time.Second, 0},
	} {
		if got, _ := ParseUDPTunnelReply(UDPTunnelReply{KeepAlive: c.in}.Extension()); got.KeepAlive != c.want {
			t.Errorf("keepalive %v is written as %v, want %v", c.in, got.KeepAlive, c.want)
		}
	}
}

func TestTunnelData(t *testing.T) {
	p := []byte{9, 9, 9, 9, 0x45}
	PutTunnelData(p, 4)
	if want := []byte{4, 4, 0, 0, 0x45}; !bytes.Equal(p, want) {
		t.Errorf("%x, want %x", p, want)
	}
	p[2] = 0xff // reserved, ignored on receipt
	next, payload, ok := ParseTunnelData(p)
	if !ok || next != 4 || !bytes.Equal(payload, []byte{0x45}) {
		t.Errorf("%d, %x, %v", next, payload, ok)
	}
	for n := range TunnelDataLen {
		if _, _, ok := ParseTunnelData(p[:n]); ok {
			t.Errorf("%d octets are taken for a header", n)
		}
	}
	if _, _, ok := ParseTunnelData([]byte{3, 4, 0, 0}); ok {
		t.Error("another message type is taken for data")
	}
}

// Shows: DET-3 (the form of TNC)
func TestTrustedNetworksConfigured(t *testing.T) {
	b, err := TrustedNetworksConfigured().Append(nil)
	if want := octets(t, "95 02 00 00"); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%x, %v, want %x", b, err, want)
	}
	for _, c := range []struct {
		e    Extension
		want bool
	}{
		{TrustedNetworksConfigured(), true},
		{Extension{ExtTrustedNetworksConfigured, []byte{0, 0xff}}, true}, // reserved is ignored
		{Extension{ExtTrustedNetworksConfigured, []byte{1, 0}}, false},
		{Extension{ExtTrustedNetworksConfigured, []byte{0}}, false},
		{Extension{ExtTrustedNetworksConfigured, []byte{0, 0, 0}}, false},
		{Extension{ExtTrustedNetworksConfigured, nil}, false},
		{Extension{148, []byte{0, 0}}, false},
	} {
		if got := IsTrustedNetworksConfigured(c.e); got != c.want {
			t.Errorf("%v %x: %v, want %v", c.e.Type, c.e.Data, got, c.want)
		}
	}
}

func TestNAI(t *testing.T) {
	e, err := NAI("mn@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseNAI(e); err != nil || got != "mn@example.com" {
		t.Errorf("%q, %v", got, err)
	}
	if e.Type != 131 {
		t.Errorf("type %d, want 131", e.Type)
	}
	for _, n := range []int{0, 256} {
		if _, err := NAI(string(make([]byte, n))); !errors.Is(err, ErrExtension) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	if _, err := ParseNAI(Extension{Type: ExtMobileNodeNAI}); !errors.Is(err, ErrExtension) {
		t.Errorf("empty: %v", err)
	}
	if _, err := ParseNAI(Extension{Type: 132, Data: []byte("x")}); !errors.Is(err, ErrExtension) {
		t.Errorf("another type: %v", err)
	}
}

func TestForeignAgentError(t *testing.T) {
	got, err := ParseForeignAgentError(ForeignAgentError(CodeFAPoorlyFormedReply))
	if err != nil || got != CodeFAPoorlyFormedReply {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseForeignAgentError(Extension{Type: ExtForeignAgentError}); !errors.Is(err, ErrExtension) {
		t.Errorf("empty: %v", err)
	}
	if e := EncapsulatingDelivery(); e.Type != 130 || e.Len() != 2 {
		t.Errorf("encapsulating delivery is %v of %d octets", e.Type, e.Len())
	}
}

// Shows: MIP-3 (timestamps)
func TestIdentification(t *testing.T) {
	// 2026-11-21 00:00:00 UTC is 0xeeab5d80 s after 1900, by another program's reckoning.
	at := time.Date(2026, 11, 21, 0, 0, 0, 500_000_000, time.UTC)
	id := IdentificationAt(at)
	if id != 0xeeab5d8080000000 {
		t.Errorf("%v is written as %v", at, id)
	}
	if id.String() != "eeab5d80:80000000" {
		t.Errorf("String() = %s", id)
	}
	for _, at := range []time.Time{
		at, time.Date(2036, 2, 7, 6, 28, 15, 999_999_999, time.UTC), time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC),
		time.Date(2040, 1, 1, 0, 0, 0, 1, time.UTC), time.Unix(0, 123456789).UTC(),
	} {
		if got := IdentificationAt(at).Time(); !got.Equal(at) {
			t.Errorf("%v came back as %v", at, got)
		}
	}
	if got := Identification(0x1111111122222222).WithHigh(0x3333333344444444); got != 0x3333333322222222 {
		t.Errorf("WithHigh = %v", got)
	}
	if id.High() != 0xeeab5d80 || id.Low() != 0x80000000 {
		t.Errorf("halves are %x and %x", id.High(), id.Low())
	}
}

// Shows: MIP-4 (names)
func TestCode(t *testing.T) {
	for _, c := range []struct {
		code     Code
		text     string
		accepted bool
		foreign  bool
	}{
		{0, `0 "registration accepted"`, true, false},
		{1, `1 "registration accepted, but simultaneous mobility bindings unsupported"`, true, false},
		{2, "2 (not assigned)", false, false},
		{66, `66 "insufficient resources"`, false, true},
		{127, "127 (not assigned)", false, true},
		{128, `128 "reason unspecified"`, false, false},
		{133, `133 "registration Identification mismatch"`, false, false},
		{142, `142 "requested UDP tunnel encapsulation unavailable"`, false, false},
		{194, `194 "Invalid Home Agent Address"`, false, true},
		{255, "255 (not assigned)", false, false},
	} {
		if c.code.String() != c.text || c.code.Accepted() != c.accepted || c.code.ByForeignAgent() != c.foreign {
			t.Errorf("code %d is %v, accepted %v, by foreign agent %v", uint8(c.code), c.code, c.code.Accepted(), c.code.ByForeignAgent())
		}
	}
}

func TestNames(t *testing.T) {
	if got := (FlagSimultaneous | FlagDecapsulation | FlagReverseTunnel | FlagReservedX).String(); got != "SDTx" {
		t.Errorf("flags are %q", got)
	}
	if got := Flags(0).String(); got != "-" {
		t.Errorf("no flags are %q", got)
	}
	if got := Flags(0xff).String(); got != "SBDMGrTx" {
		t.Errorf("all flags are %q", got)
	}
	for typ := range 256 {
		e := ExtensionType(typ)
		if named := e.String()[0] != 'e'; named != e.Known() {
			t.Errorf("extension type %d is %q, known %v", typ, e, e.Known())
		}
	}
	for typ, want := range map[MessageType]string{1: "Registration Request", 3: "Registration Reply", 4: "MIP Tunnel Data", 9: "message type 9"} {
		if typ.String() != want {
			t.Errorf("message type %d is %q", typ, typ)
		}
	}
}

func TestParseAuthentication(t *testing.T) {
	b := AppendAuthenticationHeader(nil, ExtForeignHomeAuthentication, 0x01020304, 2)
	if want := octets(t, "22 06 01020304"); !bytes.Equal(b, want) {
		t.Errorf("header %x, want %x", b, want)
	}
	a, err := ParseAuthentication(Extension{Type: ExtForeignHomeAuthentication, Data: append(b[2:], 0xaa, 0xbb)})
	if err != nil || a.SPI != 0x01020304 || !bytes.Equal(a.Authenticator, []byte{0xaa, 0xbb}) {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := ParseAuthentication(Extension{Type: ExtMobileNodeNAI, Data: make([]byte, 20)}); !errors.Is(err, ErrExtension) {
		t.Errorf("another type: %v", err)
	}
}
