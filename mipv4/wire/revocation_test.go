package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
)

// goldenRevocation follows the figure of RFC 3543 §3.3; the authenticator is arbitrary octets.
const goldenRevocation = `
07              # type 7
00              # reserved
c000            # A, I
0a000864        # home address 10.0.8.100
0a00010a        # home domain address 10.0.1.10
ac100501        # foreign domain address 172.16.5.1
eb1b4c07        # revocation identifier
22 14 00000600 000102030405060708090a0b0c0d0e0f # Foreign-Home Authentication, SPI 1536
`

// goldenAcknowledgment follows the figure of RFC 3543 §3.4.
const goldenAcknowledgment = `
0f              # type 15
00              # reserved
8000            # I
0a000864        # home address 10.0.8.100
eb1b4c07        # revocation identifier
22 14 00000600 000102030405060708090a0b0c0d0e0f # Foreign-Home Authentication, SPI 1536
`

func foreignHome() Extensions {
	return Extensions{{Type: ExtForeignHomeAuthentication, Data: []byte{0, 0, 6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}}
}

func revocation() *Revocation {
	return &Revocation{
		ByHomeAgent: true, Inform: true, HomeAddress: netip.MustParseAddr("10.0.8.100"), HomeDomain: netip.MustParseAddr("10.0.1.10"),
		ForeignDomain: netip.MustParseAddr("172.16.5.1"), Identifier: 0xeb1b4c07, Extensions: foreignHome(),
	}
}

func acknowledgment() *RevocationAcknowledgment {
	return &RevocationAcknowledgment{Inform: true, HomeAddress: netip.MustParseAddr("10.0.8.100"), Identifier: 0xeb1b4c07, Extensions: foreignHome()}
}

// Shows: MIP-9 (the messages and the extension of RFC 3543)
func TestRevocationGolden(t *testing.T) {
	golden := octets(t, goldenRevocation)
	m, err := ParseRevocation(golden)
	if d := cmp.Diff(revocation(), m, equalAddr); err != nil || d != "" {
		t.Fatalf("parsed with %v (-want +got):\n%s", err, d)
	}
	if b, err := m.Append(nil); err != nil || !bytes.Equal(b, golden) || m.Offset(0) != RevocationLen {
		t.Errorf("appended %x, %v", b, err)
	}
	golden = octets(t, goldenAcknowledgment)
	k, err := ParseRevocationAcknowledgment(golden)
	if d := cmp.Diff(acknowledgment(), k, equalAddr); err != nil || d != "" {
		t.Fatalf("parsed with %v (-want +got):\n%s", err, d)
	}
	if b, err := k.Append(nil); err != nil || !bytes.Equal(b, golden) || k.Offset(0) != RevocationAcknowledgmentLen {
		t.Errorf("appended %x, %v", b, err)
	}
	for _, bits := range []byte{0x80, 0x40, 0x3f} { // each bit for itself, and reserved ones
		golden = octets(t, goldenRevocation)
		golden[2] = bits
		m, err := ParseRevocation(golden)
		if err != nil || m.ByHomeAgent != (bits == 0x80) || m.Inform != (bits == 0x40) {
			t.Errorf("bits %#x: %+v, %v", bits, m, err)
		}
	}
}

// Shows: MIP-9
func TestRevocationSupport(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want RevocationSupport
		err  error
	}{
		{"89 06 8000 eb1b4c07", RevocationSupport{Inform: true, Timestamp: 0xeb1b4c07}, nil},
		{"89 06 7fff 00000001", RevocationSupport{Timestamp: 1}, nil}, // reserved bits
		{"89 08 8000 00000001 abcd", RevocationSupport{Inform: true, Timestamp: 1}, nil},
		{"89 05 8000 000000", RevocationSupport{}, ErrExtension},
		{"95 06 8000 eb1b4c07", RevocationSupport{}, ErrExtension},
	} {
		p := octets(t, c.hex)
		got, err := ParseRevocationSupport(Extension{Type: ExtensionType(p[0]), Data: p[2:]})
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.hex, got, err, c.want, c.err)
		}
	}
	if b, err := (RevocationSupport{Inform: true, Timestamp: 0xeb1b4c07}).Extension().Append(nil); err != nil || !bytes.Equal(b, octets(t, "89 06 8000 eb1b4c07")) {
		t.Errorf("made %x, %v", b, err)
	}
	for _, c := range []struct {
		a, b uint32
		want bool
	}{{2, 1, true}, {1, 1, false}, {1, 2, false}, {0, 0xffffffff, true}, {0xffffffff, 0, false}} {
		if got := RevocationAfter(c.a, c.b); got != c.want {
			t.Errorf("%d after %d: %v", c.a, c.b, got)
		}
	}
}

// What the golden messages are to tshark.
//
// Shows: MIP-9
func TestRevocationInTshark(t *testing.T) {
	got := dissect.Fields(t, dissect.MobileIP, [][]byte{octets(t, goldenRevocation)},
		"mip.type", "mip.rev.a", "mip.rev.i", "mip.homeaddr", "mip.rev.hda", "mip.rev.fda", "mip.revid", "mip.ext.type")
	if d := cmp.Diff([][]string{{"7", "1", "1", "10.0.8.100", "10.0.1.10", "172.16.5.1", "3944434695", "34"}}, got); d != "" {
		t.Errorf("revocation (-want +got):\n%s", d)
	}
	got = dissect.Fields(t, dissect.MobileIP, [][]byte{octets(t, goldenAcknowledgment)}, "mip.type", "mip.homeaddr", "mip.revid", "mip.ext.type")
	if d := cmp.Diff([][]string{{"15", "10.0.8.100", "3944434695", "34"}}, got); d != "" {
		t.Errorf("acknowledgement (-want +got):\n%s", d)
	}
	m := request()
	m.Extensions = Extensions{RevocationSupport{Inform: true, Timestamp: 0xeb1b4c07}.Extension()}
	p, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got = dissect.Fields(t, dissect.MobileIP, [][]byte{p}, "mip.ext.type", "mip.ext.len", "mip.ext.rev.i", "mip.ext.rev.tstamp")
	if d := cmp.Diff([][]string{{"137", "6", "1", "3944434695"}}, got); d != "" {
		t.Errorf("support extension (-want +got):\n%s", d)
	}
}

func FuzzRevocation(f *testing.F) {
	f.Add(octets(f, goldenRevocation))
	f.Add(octets(f, goldenAcknowledgment))
	f.Add(octets(f, goldenRevocation)[:RevocationLen-1])
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, err := ParseRevocation(p); err == nil {
			checkExtensions(t, p, RevocationLen, m.Extensions, m.Offset)
			b, err := m.Append(nil)
			again, err2 := ParseRevocation(b)
			if err != nil || err2 != nil || len(b) != len(p) || !cmp.Equal(m, again, equalAddr) {
				t.Fatalf("%x came back as %x, %v, %v", p, b, err, err2)
			}
		}
		if m, err := ParseRevocationAcknowledgment(p); err == nil {
			checkExtensions(t, p, RevocationAcknowledgmentLen, m.Extensions, m.Offset)
			b, err := m.Append(nil)
			again, err2 := ParseRevocationAcknowledgment(b)
			if err != nil || err2 != nil || len(b) != len(p) || !cmp.Equal(m, again, equalAddr) {
				t.Fatalf("%x came back as %x, %v, %v", p, b, err, err2)
			}
		}
	})
}
