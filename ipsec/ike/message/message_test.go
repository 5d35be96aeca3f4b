package message

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mipvpn/ipsec/suite"
)

// golden joins lines of hex, each of which may end in a comment behind a semicolon.
func golden(t testing.TB, text string) []byte {
	t.Helper()
	var out []byte
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, ";")
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

var diffOptions = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// cases pair octets, laid out by the figures of RFC 7296 §3, with their meaning.
var cases = []struct {
	name  string
	first PayloadType
	hex   string
	want  []Payload
}{
	// The two proposals that RFC 7296 §3.3 draws, its SPIs among them.
	{"SA", TypeSA, `
00 00 00 88                      ; next payload none, length 136
02 00 00 50 01 03 04 07          ; Figure 7: more, length 80, number 1, ESP, SPI size 4, 7 transforms
05 23 57 bb                      ; SPI
03 00 00 0c 01 00 00 0c 80 0e 00 80 ; Figure 8: ENCR_AES_CBC, Figure 9: key length 128
03 00 00 0c 01 00 00 0c 80 0e 00 c0 ; 192
03 00 00 0c 01 00 00 0c 80 0e 01 00 ; 256
03 00 00 08 03 00 00 02          ; AUTH_HMAC_SHA1_96
03 00 00 08 03 00 00 05          ; AUTH_AES_XCBC_96
03 00 00 08 05 00 00 01          ; ESN
00 00 00 08 05 00 00 00          ; no ESN, last
00 00 00 34 02 03 04 04          ; last, length 52, number 2, ESP, 4 transforms
35 a1 d6 f2
03 00 00 0c 01 00 00 13 80 0e 00 80 ; AES-GCM with an 8 octet ICV, 128
03 00 00 0c 01 00 00 13 80 0e 01 00 ; 256
03 00 00 08 05 00 00 01
00 00 00 08 05 00 00 00`, []Payload{SA{[]Proposal{
		{1, ProtocolESP, []byte{0x05, 0x23, 0x57, 0xbb}, []Transform{
			NewTransform(TransformEncryption, 12, 128), NewTransform(TransformEncryption, 12, 192), NewTransform(TransformEncryption, 12, 256),
			NewTransform(TransformIntegrity, 2, 0), NewTransform(TransformIntegrity, 5, 0),
			NewTransform(TransformESN, 1, 0), NewTransform(TransformESN, 0, 0),
		}},
		{2, ProtocolESP, []byte{0x35, 0xa1, 0xd6, 0xf2}, []Transform{
			NewTransform(TransformEncryption, 19, 128), NewTransform(TransformEncryption, 19, 256),
			NewTransform(TransformESN, 1, 0), NewTransform(TransformESN, 0, 0),
		}},
	}}}},
	{"SA with a long attribute", TypeSA, `
00 00 00 1c 00 00 00 18 01 01 00 01
00 00 00 10 02 00 00 05 00 63 00 04 de ad be ef ; attribute 99, AF=0, 4 octets`, []Payload{SA{[]Proposal{
		{1, ProtocolIKE, nil, []Transform{{TransformPRF, 5, []Attribute{{Type: 99, Data: []byte{0xde, 0xad, 0xbe, 0xef}}}}}},
	}}}},
	{"KE and Nonce", TypeKE, `
28 00 00 0c 00 1f 00 00 01 02 03 04 ; Figure 10: next Nonce, group 31
00 00 00 14 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f ; Figure 15`, []Payload{
		KE{31, []byte{1, 2, 3, 4}}, Nonce{[]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
	}},
	{"identities", TypeIDi, `
24 00 00 0d 03 00 00 00 61 40 62 2e 63 ; Figure 11: RFC822 a@b.c
00 00 00 0c 01 00 00 00 c0 00 02 01    ; IPv4 192.0.2.1`, []Payload{
		IDi{Identity{IDRFC822Addr, "a@b.c"}}, IDr{Identity{IDIPv4Addr, "\xc0\x00\x02\x01"}},
	}},
	{"AUTH, CERT, CERTREQ, V, EAP", TypeAuth, `
25 00 00 0a 02 00 00 00 aa bb ; Figure 14: shared key MIC
26 00 00 07 04 30 00          ; Figure 12: X.509
2b 00 00 06 04 0b             ; Figure 13
30 00 00 05 7a                ; Figure 18
00 00 00 09 01 05 00 05 01    ; Figure 24: an EAP request`, []Payload{
		Auth{AuthSharedKeyMIC, []byte{0xaa, 0xbb}}, Cert{4, []byte{0x30, 0}}, CertReq{4, []byte{11}}, VendorID{[]byte{0x7a}},
		EAP{[]byte{1, 5, 0, 5, 1}},
	}},
	{"notifies", TypeNotify, `
29 00 00 0c 03 04 40 09 01 02 03 04 ; Figure 16: ESP, SPI of 4, REKEY_SA
00 00 00 0a 00 00 00 11 00 13       ; INVALID_KE_PAYLOAD, group 19`, []Payload{
		Notify{ProtocolESP, RekeySA, []byte{1, 2, 3, 4}, nil}, Notify{ProtocolNone, InvalidKEPayload, nil, []byte{0, 19}},
	}},
	{"deletes", TypeDelete, `
2a 00 00 10 03 04 00 02 00 00 01 00 ff ff ff ff ; Figure 17: ESP, two SPIs
00 00 00 08 01 00 00 00                         ; IKE, none`, []Payload{
		Delete{ProtocolESP, []uint32{256, 0xffffffff}}, Delete{Protocol: ProtocolIKE},
	}},
	{"selectors", TypeTSi, `
2d 00 00 20 02 00 00 00                         ; Figure 19: two
07 00 00 10 00 00 ff ff 0a 00 00 00 0a 00 ff ff ; Figure 20: IPv4, any
f0 06 00 08 de ad be ef                         ; an unknown type
00 00 00 30 01 00 00 00
08 11 00 28 00 35 00 35 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 ff ff`, []Payload{
		TSi{Selectors{
			{Type: TSIPv4AddrRange, EndPort: 65535, Start: netip.MustParseAddr("10.0.0.0"), End: netip.MustParseAddr("10.0.255.255")},
			{Type: 240, Protocol: 6, Unknown: []byte{0xde, 0xad, 0xbe, 0xef}},
		}},
		TSr{Selectors{
			{Type: TSIPv6AddrRange, Protocol: 17, StartPort: 53, EndPort: 53, Start: netip.MustParseAddr("2001:db8::"), End: netip.MustParseAddr("2001:db8::ffff")},
		}},
	}},
	{"configuration", TypeConfiguration, `
00 00 00 1c 02 00 00 00          ; Figure 22: CFG_REPLY
00 01 00 04 c0 00 02 ca          ; Figure 23: INTERNAL_IP4_ADDRESS 192.0.2.202 (RFC 7296 §2.19)
00 02 00 04 ff ff ff 00          ; INTERNAL_IP4_NETMASK
00 03 00 00                      ; INTERNAL_IP4_DNS, empty`, []Payload{Configuration{CFGReply, []ConfigurationAttribute{
		{InternalIP4Address, []byte{192, 0, 2, 202}}, {InternalIP4Netmask, []byte{255, 255, 255, 0}}, {InternalIP4DNS, nil},
	}}}},
	{"unknown", 200, `
c9 80 00 06 01 02 ; critical
00 00 00 04`, []Payload{Unknown{200, true, []byte{1, 2}}, Unknown{201, false, nil}}},
	{"encrypted", TypeEncrypted, `
21 00 00 08 01 02 03 04 ; Figure 21: its next payload is the first inside`, []Payload{Encrypted{TypeSA, []byte{1, 2, 3, 4}}}},
	{"nothing", NoNextPayload, ``, nil},
}

func TestPayloads(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wire := golden(t, c.hex)
			got, err := ParsePayloads(c.first, wire)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, diffOptions); d != "" {
				t.Error(d)
			}
			again, err := AppendPayloads([]byte("prefix"), c.want)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff("prefix"+string(wire), string(again)); d != "" {
				t.Error(d)
			}
			for n := range wire { // each prefix is an error that says where
				var perr *ParseError
				if _, err := ParsePayloads(c.first, wire[:n]); !errors.As(err, &perr) || !errors.Is(err, ErrMalformed) {
					t.Errorf("first %d octets: %v", n, err)
				}
			}
			if c.first != NoNextPayload {
				if _, err := ParsePayloads(c.first, append(wire, 0)); !errors.Is(err, ErrMalformed) {
					t.Errorf("an octet too many: %v", err)
				}
			}
		})
	}
}

func TestHeader(t *testing.T) {
	wire := golden(t, `
01 02 03 04 05 06 07 08 ; Figure 4: initiator's SPI
11 12 13 14 15 16 17 18 ; responder's SPI
00 20 25 28             ; next payload, version 2.0, INFORMATIONAL, response by the original initiator
00 00 00 2a 00 00 00 1c ; message ID 42, length 28`)
	m, err := Parse(wire)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		InitiatorSPI: 0x0102030405060708, ResponderSPI: 0x1112131415161718, Exchange: Informational,
		Flags: FlagInitiator | FlagResponse, MessageID: 42, Length: 28,
	}
	if m.Header != want || !m.Header.Response() || !m.Header.FromInitiator() {
		t.Errorf("%+v", m.Header)
	}
	if again, err := m.Append(nil); err != nil || !cmp.Equal(wire, again) {
		t.Errorf("%x, %v", again, err)
	}
	for n := range wire {
		if _, err := Parse(wire[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("first %d octets: %v", n, err)
		}
	}
	wire[17] = 0x30
	if h, err := ParseHeader(wire); !errors.Is(err, ErrVersion) || h.MessageID != 42 {
		t.Errorf("version 3: %+v, %v", h, err)
	}
	wire[17], wire[27] = 0x21, 29
	if _, err := Parse(wire); !errors.Is(err, ErrMalformed) {
		t.Errorf("wrong length: %v", err)
	}
}

// What no peer may send (RFC 7296 §3), by the field that is wrong.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name, field string
		first       PayloadType
		hex         string
	}{
		{"payload length 3", "Payload Length", TypeVendorID, "00 00 00 03"},
		{"payload length beyond the end", "Payload Length", TypeVendorID, "00 00 00 05"},
		{"second SA", "Next Payload", TypeVendorID, "21 00 00 04 21 00 00 14 00 00 00 10 01 01 00 01 00 00 00 08 02 00 00 05 00 00 00 14 00 00 00 10 01 01 00 01 00 00 00 08 02 00 00 05"},
		{"SA without proposals", "Proposals", TypeSA, "00 00 00 04"},
		{"number of transforms", "Num Transforms", TypeSA, "00 00 00 14 00 00 00 10 01 01 00 02 00 00 00 08 02 00 00 05"},
		{"no last proposal", "Last Substruc", TypeSA, "00 00 00 14 02 00 00 10 01 01 00 01 00 00 00 08 02 00 00 05"},
		{"no last transform", "Last Substruc", TypeSA, "00 00 00 14 00 00 00 10 01 01 00 01 03 00 00 08 02 00 00 05"},
		{"SPI beyond the proposal", "SPI Size", TypeSA, "00 00 00 0c 00 00 00 08 01 01 08 00"},
		{"short nonce", "Nonce Data", TypeNonce, "00 00 00 13 000102030405060708090a0b0c0d0e"},
		{"IPv4 identity of 3 octets", "Identification Data", TypeIDi, "00 00 00 0b 01 00 00 00 c0 00 02"},
		{"selector range upside down", "Ending Address", TypeTSi, "00 00 00 18 01 00 00 00 07 00 00 10 00 00 ff ff 0a 00 00 02 0a 00 00 01"},
		{"no selectors", "Number of TSs", TypeTSi, "00 00 00 08 00 00 00 00"},
		{"more selectors announced", "Number of TSs", TypeTSi, "00 00 00 18 02 00 00 00 07 00 00 10 00 00 ff ff 0a 00 00 01 0a 00 00 01"},
		{"delete of IKE with an SPI", "SPI Size", TypeDelete, "00 00 00 10 01 08 00 01 01 02 03 04 05 06 07 08"},
		{"delete with fewer SPIs", "SPI Size", TypeDelete, "00 00 00 0c 03 04 00 02 00 00 01 00"},
		{"notify SPI beyond the end", "SPI Size", TypeNotify, "00 00 00 08 03 04 40 09"},
		{"configuration value beyond the end", "Length", TypeConfiguration, "00 00 00 0c 02 00 00 00 00 01 00 04"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParsePayloads(c.first, golden(t, c.hex))
			var perr *ParseError
			if !errors.As(err, &perr) || perr.Field != c.field {
				t.Errorf("%v, want an error about %s", err, c.field)
			}
		})
	}
	many := strings.Repeat("2b 00 00 04", maxPayloads) + "00 00 00 04"
	if _, err := ParsePayloads(TypeVendorID, golden(t, many)); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d payloads: %v", maxPayloads+1, err)
	}
}

func TestTooLong(t *testing.T) {
	big := VendorID{make([]byte, 65532)}
	if _, err := AppendPayloads(nil, []Payload{big}); !errors.Is(err, ErrTooLong) {
		t.Errorf("payload: %v", err)
	}
	c, err := suite.AESGCM128.NewCipher(make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AppendProtected(nil, Header{}, []Payload{VendorID{make([]byte, 65520)}}, c, 1); !errors.Is(err, ErrTooLong) {
		t.Errorf("SK: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	for in, want := range map[string]Identity{
		"192.0.2.1":       {IDIPv4Addr, "\xc0\x00\x02\x01"},
		"2001:db8::1":     {IDIPv6Addr, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		"vpn.example.com": {IDFQDN, "vpn.example.com"},
		"a@example.com":   {IDRFC822Addr, "a@example.com"},
	} {
		got, err := NewIdentity(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %v (%#v), %v", in, got, got, err)
		}
	}
	if id, err := NewIdentity("@gateway"); err != nil || id != (Identity{IDFQDN, "gateway"}) {
		t.Errorf("%v, %v", id, err)
	}
	for _, in := range []string{"", "@"} {
		if _, err := NewIdentity(in); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
	if s := (Identity{IDFQDN, "a\nb"}).String(); s != `a\nb` {
		t.Errorf("control characters: %q", s)
	}
}

// Protection with padding (AES-CBC, AES-CTR of the capture's tests) and without; all changes are noticed.
func TestProtected(t *testing.T) {
	gcm, err := suite.AESGCM256.NewCipher(make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	h := Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: Informational, Flags: FlagInitiator, MessageID: 3}
	for name, c := range map[string]suite.Cipher{"GCM": gcm, "CBC": newTestCBC(t)} {
		for n := range 40 {
			ps := []Payload{VendorID{make([]byte, n)}, Notify{Message: InitialContact}}
			if n == 0 {
				ps = nil
			}
			wire, err := AppendProtected(nil, h, ps, c, uint64(n+1))
			if err != nil {
				t.Fatal(err)
			}
			m, verified, err := Open(append([]byte(nil), wire...), c)
			if err != nil || !verified {
				t.Fatalf("%s %d: %v", name, n, err)
			}
			if d := cmp.Diff(ps, m.Payloads, diffOptions); d != "" {
				t.Errorf("%s %d: %s", name, n, d)
			}
			for i := range wire {
				broken := append([]byte(nil), wire...)
				broken[i] ^= 0x40
				if _, verified, err := Open(broken, c); verified || err == nil {
					t.Fatalf("%s %d: octet %d changed: verified %t, error %v", name, n, i, verified, err)
				}
			}
			for i := range wire {
				if _, verified, err := Open(append([]byte(nil), wire[:i]...), c); verified || err == nil {
					t.Fatalf("%s %d: first %d octets: verified %t, error %v", name, n, i, verified, err)
				}
			}
		}
	}
	clear, err := (&Message{Header: h, Payloads: []Payload{VendorID{}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, verified, err := Open(clear, gcm); verified || !errors.Is(err, ErrMalformed) {
		t.Errorf("without SK: verified %t, error %v", verified, err)
	}
}

// FuzzParse: any octets give a value or an error; a value survives encoding and decoding.
func FuzzParse(f *testing.F) {
	for _, wire := range readCapture(f) {
		f.Add(wire)
	}
	for _, c := range cases {
		b, err := AppendPayloads(Header{NextPayload: c.first, Exchange: IKESAInit}.append(nil), c.want)
		if err != nil {
			f.Fatal(err)
		}
		b[26], b[27] = byte(len(b)>>8), byte(len(b))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(wire)
		if err != nil {
			t.Fatalf("%v\n%x", err, wire)
		}
		again.Header.Length, m.Header.Length = 0, 0
		if d := cmp.Diff(m, again, diffOptions); d != "" {
			t.Fatal(d)
		}
	})
}

// FuzzOpen: the contents of an SK payload are any octets that a peer encrypts.
func FuzzOpen(f *testing.F) {
	c, err := suite.AESGCM128.NewCipher(make([]byte, 20))
	if err != nil {
		f.Fatal(err)
	}
	for _, cs := range cases {
		f.Add(uint8(cs.first), golden(f, cs.hex), uint8(3))
	}
	f.Fuzz(func(t *testing.T, first uint8, text []byte, pad uint8) {
		if len(text) > 60000 {
			return
		}
		h := Header{Exchange: Informational, NextPayload: TypeEncrypted}
		b := append(h.append(nil), first, 0, 0, 0)
		b = append(b, make([]byte, c.IVLen())...)
		b = append(append(b, text...), make([]byte, int(pad))...)
		b = append(b, pad)
		b = append(b, make([]byte, c.ICVLen())...)
		putLength(b, HeaderLen)
		b[25], b[26], b[27] = byte(len(b)>>16), byte(len(b)>>8), byte(len(b))
		c.Seal(b[:HeaderLen+4], b[HeaderLen+4:], 1)
		m, verified, err := Open(b, c)
		if !verified {
			t.Fatalf("not verified: %v", err)
		}
		want, werr := ParsePayloads(PayloadType(first), text)
		if (err == nil) != (werr == nil) {
			t.Fatalf("%v, but the contents alone: %v", err, werr)
		}
		if err == nil && !cmp.Equal(want, m.Payloads, diffOptions) {
			t.Fatal(cmp.Diff(want, m.Payloads, diffOptions))
		}
	})
}
