package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
)

// goldenChallenge follows the figures of RFC 4721 §4 and §5; the authenticator is arbitrary octets.
const goldenChallenge = `
84 08 0102030405060708  # Mobile-Foreign Challenge
24 01 0014 00000002 000102030405060708090a0b0c0d0e0f # Mobile-AAA Authentication, CHAP_SPI
`

// Shows: MIP-9 (the extensions of RFC 4721)
func TestChallengeGolden(t *testing.T) {
	golden := append(octets(t, goldenReply)[:ReplyLen], octets(t, goldenChallenge)...)
	m, err := ParseRegistrationReply(golden)
	if err != nil || len(m.Extensions) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	c, err := ParseChallenge(m.Extensions[0])
	if err != nil || !bytes.Equal(c, []byte{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("challenge %x, %v", c, err)
	}
	a, err := ParseMobileAAA(m.Extensions[1])
	if err != nil || a.SPI != CHAPSPI || len(a.Authenticator) != 16 || a.Authenticator[15] != 15 {
		t.Errorf("%+v, %v", a, err)
	}
	made, err := Challenge(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := made.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if b = append(AppendMobileAAAHeader(b, CHAPSPI, 16), a.Authenticator...); !bytes.Equal(b, octets(t, goldenChallenge)) {
		t.Errorf("made %x", b)
	}
	if b, err := m.Append(nil); err != nil || !bytes.Equal(b, golden) {
		t.Errorf("came back as %x, %v", b, err)
	}
	if m.Offset(1) != ReplyLen+10 {
		t.Errorf("the second extension is at %d", m.Offset(1))
	}
}

// Shows: MIP-9
func TestMalformedChallenge(t *testing.T) {
	fixed := octets(t, goldenReply)[:ReplyLen]
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"another sub-type", "24 02 0014 00000002 000102030405060708090a0b0c0d0e0f", ErrExtension},
		{"authenticator too short", "24 01 0013 00000002 000102030405060708090a0b0c0d0e", ErrExtension},
		{"no authenticator", "24 01 0000", ErrExtension},
		{"longer than the message", "24 01 0015 00000002 000102030405060708090a0b0c0d0e0f", ErrTruncated},
		{"header cut off", "24 01 00", ErrTruncated},
		{"empty challenge", "84 00", nil}, // skippable: its parser refuses it
	} {
		if _, err := ParseRegistrationReply(append(fixed[:ReplyLen:ReplyLen], octets(t, c.hex)...)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ParseChallenge(Extension{Type: ExtMobileForeignChallenge}); !errors.Is(err, ErrExtension) {
		t.Errorf("empty challenge: %v", err)
	}
	for _, n := range []int{0, 256} {
		if _, err := Challenge(make([]byte, n)); !errors.Is(err, ErrExtension) {
			t.Errorf("challenge of %d octets: %v", n, err)
		}
	}
}

// What the extensions are to tshark.
//
// Shows: MIP-9
func TestChallengeInTshark(t *testing.T) {
	m := request()
	m.Extensions = nil
	p, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := dissect.Fields(t, dissect.MobileIP, [][]byte{append(p, octets(t, goldenChallenge)...)},
		"mip.ext.type", "mip.ext.auth.subtype", "mip.auth.spi", "mip.auth.auth")
	if d := cmp.Diff([][]string{{"132,36", "1", "0x00000002", "000102030405060708090a0b0c0d0e0f"}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
