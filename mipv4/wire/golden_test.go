package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
)

var octets = dissect.Octets

// goldenRequest follows RFC 5944 App. G.2 with RFC 3519 §3.1, an unknown skippable extension, padding, and what a
// mobile node adds for a foreign agent. The authenticators are arbitrary octets.
const goldenRequest = `
01              # type 1
a2              # S, D, T
0708            # lifetime 1800 s
c6336464        # home address 198.51.100.100
c0000214        # home agent 192.0.2.20
c0a80132        # care-of address 192.168.1.50
eb1b4c00 12345678 # identification
90 06 00 ff c0 04 0000   # UDP Tunnel Request, reserved 1 set, F, R, IP-in-IP
c8 03 aabbcc    # unknown, 200
20 14 00000400 000102030405060708090a0b0c0d0e0f # Mobile-Home Authentication, SPI 1024
82 00           # encapsulating delivery style
00              # padding
21 08 00000500 deadbeef # Mobile-Foreign Authentication, SPI 1280
`

func request() *RegistrationRequest {
	return &RegistrationRequest{
		Flags:          FlagSimultaneous | FlagDecapsulation | FlagReverseTunnel,
		Lifetime:       1800,
		HomeAddress:    netip.MustParseAddr("198.51.100.100"),
		HomeAgent:      netip.MustParseAddr("192.0.2.20"),
		CareOfAddress:  netip.MustParseAddr("192.168.1.50"),
		Identification: 0xeb1b4c0012345678,
		Extensions: Extensions{
			{Type: ExtUDPTunnelRequest, Data: []byte{0, 0xff, 0xc0, 4, 0, 0}},
			{Type: 200, Data: []byte{0xaa, 0xbb, 0xcc}},
			{Type: ExtMobileHomeAuthentication, Data: []byte{0, 0, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
			{Type: ExtEncapsulatingDelivery, Data: []byte{}},
			{Type: ExtPadding},
			{Type: ExtMobileForeignAuthentication, Data: []byte{0, 0, 5, 0, 0xde, 0xad, 0xbe, 0xef}},
		},
	}
}

// goldenReply follows RFC 5944 App. G.3 with RFC 5265 §3.4 and RFC 3519 §3.2.
const goldenReply = `
03              # type 3
00              # code 0
0258            # lifetime 600 s
0a000864        # home address 10.0.8.100
0a00010a        # home agent 10.0.1.10
eb1b4c00 12345678 # identification
95 02 00 00     # Trusted Networks Configured
2c 06 00 00 8000 006e # UDP Tunnel Reply, F, keepalive 110 s
20 14 00000400 000102030405060708090a0b0c0d0e0f # Mobile-Home Authentication, SPI 1024
2d 02 00 42     # FA Error, status 66
`

func reply() *RegistrationReply {
	return &RegistrationReply{
		Code: CodeAccepted, Lifetime: 600,
		HomeAddress:    netip.MustParseAddr("10.0.8.100"),
		HomeAgent:      netip.MustParseAddr("10.0.1.10"),
		Identification: 0xeb1b4c0012345678,
		Extensions: Extensions{
			TrustedNetworksConfigured(),
			UDPTunnelReply{Forced: true, KeepAlive: 110 * time.Second}.Extension(),
			{Type: ExtMobileHomeAuthentication, Data: []byte{0, 0, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
			ForeignAgentError(CodeFAInsufficientResources),
		},
	}
}

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Shows: MIP-1, MIP-10 (an unknown extension in 128-255 is skipped, and kept for those who relay)
func TestRequestGolden(t *testing.T) {
	golden := octets(t, goldenRequest)
	m, err := ParseRegistrationRequest(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(request(), m, equalAddr); d != "" {
		t.Errorf("parsed (-want +got):\n%s", d)
	}
	b, err := request().Append([]byte("in front"))
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]byte("in front"), golden...); !bytes.Equal(b, want) {
		t.Errorf("appended\n%x\nwant\n%x", b, want)
	}
	if m.Len() != len(golden) {
		t.Errorf("Len() = %d, want %d", m.Len(), len(golden))
	}
	if got, want := m.Offset(2), 24+8+5; got != want {
		t.Errorf("Mobile-Home Authentication at octet %d, want %d", got, want)
	}
	if got, want := m.Offset(5), 24+8+5+22+2+1; got != want {
		t.Errorf("Mobile-Foreign Authentication at octet %d, want %d", got, want)
	}
	covered, rest, ok := m.Extensions.Authorized()
	if !ok || len(covered) != 3 || len(rest) != 3 || cap(covered) != 3 {
		t.Errorf("Authorized() = %d, %d extensions, %v, want 3, 3, true with no room behind", len(covered), len(rest), ok)
	}
	clear(golden)
	if d := cmp.Diff(request(), m, equalAddr); d != "" {
		t.Errorf("the message changed with the input (-want +got):\n%s", d)
	}
}

// Shows: MIP-1
func TestReplyGolden(t *testing.T) {
	golden := octets(t, goldenReply)
	m, err := ParseRegistrationReply(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(reply(), m, equalAddr); d != "" {
		t.Errorf("parsed (-want +got):\n%s", d)
	}
	b, err := reply().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("appended\n%x\nwant\n%x", b, golden)
	}
	if m.Len() != len(golden) {
		t.Errorf("Len() = %d, want %d", m.Len(), len(golden))
	}
	if got, want := m.Offset(2), 20+4+8; got != want {
		t.Errorf("Mobile-Home Authentication at octet %d, want %d", got, want)
	}
}

// fixedPart holds, for a prefix of the golden messages, whether it ends where a message may end.
func endsWhole(x Extensions, fixed, n int) bool {
	for i := range x {
		if fixed+x.offset(i) == n {
			return true
		}
	}
	return fixed+x.Len() == n
}

func TestEveryPrefix(t *testing.T) {
	req, rep := octets(t, goldenRequest), octets(t, goldenReply)
	for n := range req {
		m, err := ParseRegistrationRequest(req[:n:n])
		if whole := endsWhole(request().Extensions, RequestLen, n); whole != (err == nil) {
			t.Errorf("request of %d octets: %v, %v", n, m, err)
		} else if !whole && !errors.Is(err, ErrTruncated) {
			t.Errorf("request of %d octets: %v, want ErrTruncated", n, err)
		}
	}
	for n := range rep {
		m, err := ParseRegistrationReply(rep[:n:n])
		if whole := endsWhole(reply().Extensions, ReplyLen, n); whole != (err == nil) {
			t.Errorf("reply of %d octets: %v, %v", n, m, err)
		} else if !whole && !errors.Is(err, ErrTruncated) {
			t.Errorf("reply of %d octets: %v, want ErrTruncated", n, err)
		}
	}
}

// Shows: MIP-10 (an unknown extension in 0-127 discards the message)
func TestUnknownExtension(t *testing.T) {
	fixed := octets(t, goldenReply)[:ReplyLen]
	for typ := range 256 {
		for _, tail := range [][]byte{{byte(typ), 0}, {byte(typ), 7, 1, 2, 3, 4, 5, 6, 7}} {
			m, err := ParseRegistrationReply(append(fixed[:ReplyLen:ReplyLen], tail...))
			e := ExtensionType(typ)
			switch {
			case typ == 0: // padding: the next octet begins an extension of its own
			case e.Known():
				if errors.Is(err, ErrUnknownExtension) {
					t.Errorf("known type %v: %v", e, err)
				}
			case typ < 128:
				var pe *ParseError
				if !errors.Is(err, ErrUnknownExtension) || !errors.As(err, &pe) || pe.Offset != ReplyLen {
					t.Errorf("unknown type %d: %v, want ErrUnknownExtension at octet %d", typ, err, ReplyLen)
				}
			default:
				if err != nil || len(m.Extensions) != 1 || !bytes.Equal(m.Extensions[0].Data, tail[2:]) {
					t.Errorf("unknown skippable type %d: %v, %v", typ, m, err)
				}
			}
		}
	}
}

func TestMalformedExtensions(t *testing.T) {
	fixed := octets(t, goldenReply)[:ReplyLen]
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"authentication without SPI", "20 03 000001", ErrExtension},
		{"UDP tunnel reply too short", "2c 05 00 00 0000 00", ErrExtension},
		{"UDP tunnel reply with another sub-type", "2c 06 01 00 0000 0000", ErrExtension},
		{"FA error with another sub-type", "2d 02 01 42", ErrExtension},
		{"FA error too long", "2d 03 00 42 00", ErrExtension},
		{"length beyond the end", "95 03 00 00", ErrTruncated},
		{"type alone", "95", ErrTruncated},
		{"TNC of another sub-type", "95 02 01 00", nil},
		{"TNC too short", "95 01 00", nil},
		{"UDP tunnel request too short", "90 01 00", nil},
		{"padding alone", "00 00 00", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseRegistrationReply(append(fixed[:ReplyLen:ReplyLen], octets(t, c.hex)...))
			if !errors.Is(err, c.want) {
				t.Errorf("found %v, want %v", err, c.want)
			}
		})
	}
}

func TestWrongType(t *testing.T) {
	if _, err := ParseRegistrationRequest(octets(t, goldenReply)); !errors.Is(err, ErrMessageType) {
		t.Errorf("a reply as request: %v, want ErrMessageType", err)
	}
	if _, err := ParseRegistrationReply(octets(t, goldenRequest)); !errors.Is(err, ErrMessageType) {
		t.Errorf("a request as reply: %v, want ErrMessageType", err)
	}
	if _, ok := TypeOf(nil); ok {
		t.Error("an empty message has a type")
	}
	if typ, ok := TypeOf(octets(t, goldenReply)); !ok || typ != TypeRegistrationReply {
		t.Errorf("TypeOf = %v, %v", typ, ok)
	}
}

func TestAppendRefuses(t *testing.T) {
	b := []byte("kept")
	m := request()
	m.CareOfAddress = netip.MustParseAddr("2001:db8::1")
	if got, err := m.Append(b); !errors.Is(err, ErrNotIPv4) || !bytes.Equal(got, b) {
		t.Errorf("IPv6 care-of address: %q, %v", got, err)
	}
	m = request()
	m.Extensions[1].Data = make([]byte, 256)
	if got, err := m.Append(b); !errors.Is(err, ErrExtension) || !bytes.Equal(got, b) {
		t.Errorf("256 octets of data: %q, %v", got, err)
	}
	r := reply()
	r.HomeAddress = netip.Addr{}
	got, err := r.Append(nil)
	if err != nil || !bytes.Equal(got[4:8], make([]byte, 4)) {
		t.Errorf("no home address: %x, %v, want 0.0.0.0", got, err)
	}
	r.Extensions = Extensions{{Type: ExtPadding, Data: []byte{1}}}
	if _, err := r.Append(nil); !errors.Is(err, ErrExtension) {
		t.Errorf("padding with data: %v", err)
	}
}

func TestReplyTo(t *testing.T) {
	m := request()
	want := &RegistrationReply{
		Code: CodeRequestedLifetimeTooLong, Lifetime: 300,
		HomeAddress: m.HomeAddress, HomeAgent: m.HomeAgent, Identification: m.Identification,
	}
	if d := cmp.Diff(want, m.Reply(CodeRequestedLifetimeTooLong, 300), equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	m.Lifetime = 0
	if !m.Deregistration() || m.DeregistersAll() || !m.CoLocated() {
		t.Error("a deregistration of one binding is not seen as such")
	}
	m.CareOfAddress = m.HomeAddress
	if !m.DeregistersAll() {
		t.Error("a deregistration of all bindings is not seen as such")
	}
}
