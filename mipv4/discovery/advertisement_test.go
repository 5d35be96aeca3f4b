package discovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
	"mipvpn/tun/packet"
)

var octets = dissect.Octets

// sealed returns p with its ICMP checksum computed.
func sealed(p []byte) []byte {
	p = bytes.Clone(p)
	if len(p) >= 4 {
		p[2], p[3] = 0, 0
		binary.BigEndian.PutUint16(p[2:], packet.Checksum(p, 0))
	}
	return p
}

// golden follows RFC 5944 App. G.1. The checksum was computed by another program.
const golden = `
09 10 CKSUM # type 9, code 16
01 02 001e  # one address of two words, lifetime 30 s
ac100501 00000007 # 172.16.5.1, preference 7
10 0e 0102  # mobility agent, length 6 + 2*4, sequence 258
0708 9100   # registration lifetime 1800 s, R F T
c0000228 c0000229 # care-of addresses
13 01 18    # prefix lengths: /24
00          # padding to an even length
`

func goldenOctets(t testing.TB) []byte { return octets(t, strings.Replace(golden, "CKSUM", "ec4a", 1)) }

func advertisement() *Advertisement {
	return &Advertisement{
		Code: CodeMobileTraffic, Lifetime: 30 * time.Second,
		Routers:              []Router{{netip.MustParseAddr("172.16.5.1"), 7}},
		Sequence:             258,
		RegistrationLifetime: 1800,
		Flags:                FlagRegistrationRequired | FlagForeignAgent | FlagReverseTunnel,
		CareOfAddresses:      []netip.Addr{netip.MustParseAddr("192.0.2.40"), netip.MustParseAddr("192.0.2.41")},
		PrefixLengths:        []uint8{24},
	}
}

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Shows: MIP-5 (formats, one-byte padding)
func TestAdvertisementGolden(t *testing.T) {
	p := goldenOctets(t)
	a, err := ParseAdvertisement(p)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(advertisement(), a, equalAddr); d != "" {
		t.Errorf("parsed (-want +got):\n%s", d)
	}
	b, err := advertisement().Append([]byte("front"))
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]byte("front"), p...); !bytes.Equal(b, want) {
		t.Errorf("appended\n%x, want\n%x", b, want)
	}
	if n := a.Networks(); len(n) != 1 || n[0] != netip.MustParsePrefix("172.16.5.0/24") {
		t.Errorf("Networks() = %v", n)
	}
	if a.Flags.String() != "RFT" || Flags(0).String() != "-" || !a.Flags.Has(FlagForeignAgent) || a.Flags.Has(FlagBusy) {
		t.Errorf("flags are %v", a.Flags)
	}
}

func TestEveryPrefix(t *testing.T) {
	p := goldenOctets(t)
	for n := range p {
		_, err := ParseAdvertisement(sealed(p[:n]))
		switch {
		// Whole up to the end of the routers, the agent extension, the prefix lengths.
		case n == 16:
			if !errors.Is(err, ErrNotAgent) {
				t.Errorf("%d octets: %v, want ErrNotAgent", n, err)
			}
		case n == 32, n == 35:
			if err != nil {
				t.Errorf("%d octets: %v", n, err)
			}
		default:
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%d octets: %v, want ErrMalformed", n, err)
			}
		}
	}
}

// Shows: MIP-5, MIP-10
func TestAdvertisementRefused(t *testing.T) {
	const head, agent = "0900 0000 0002 001e ", "10 0a 0001 0708 1000 c0000228 "
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"no router address", head + agent, nil},
		{"padding in the middle", head + "00 00" + agent, nil},
		{"reserved bits", head + "10 0a 0001 0708 121f c0000228", nil},
		{"unknown extension from 128 up", head + "c8 02 abcd" + agent, nil},
		{"unknown extension below 128", head + agent + "14 00", ErrUnknownExtension},
		{"solicitation", "0a00 0000 00000000", ErrMalformed},
		{"unknown code", "0901 0000 0002 001e " + agent, ErrMalformed},
		{"entries of one word", "0900 0000 0101 001e ac100501" + agent, ErrMalformed},
		{"entries of three words", "0900 0000 0103 001e ac100501 00000000 ffffffff" + agent, nil},
		{"entry size 0 and no entries", "0900 0000 0000 001e " + agent, nil},
		{"length not 6 + 4 N", head + "10 0b 0001 0708 1000 c0000228 00", ErrMalformed},
		{"agent extension too short", head + "10 04 0001 0708", ErrMalformed},
		{"two agent extensions", head + agent + agent, ErrMalformed},
		{"foreign agent without care-of address", head + "10 06 0001 0708 1000", ErrMalformed},
		{"home agent without care-of address", head + "10 06 0001 0708 2000", nil},
		{"more prefix lengths than routers", head + agent + "13 01 18", ErrMalformed},
		{"prefix lengths of no routers", head + agent + "13 00", nil},
		{"prefix lengths twice", head + agent + "13 00 13 00", ErrMalformed},
		{"prefix length 33", "0900 0000 0102 001e ac100501 00000000" + agent + "13 01 21", ErrMalformed},
		{"255 addresses in 8 octets", "0900 0000 ff02 001e", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseAdvertisement(sealed(octets(t, c.hex))); !errors.Is(err, c.want) {
				t.Errorf("found %v, want %v", err, c.want)
			}
		})
	}
	p := goldenOctets(t)
	p[20]++
	if _, err := ParseAdvertisement(p); !errors.Is(err, ErrMalformed) {
		t.Errorf("wrong checksum: %v, want ErrMalformed", err)
	}
}

func TestAdvertisementAppendRefuses(t *testing.T) {
	for name, change := range map[string]func(*Advertisement){
		"IPv6 care-of address":         func(a *Advertisement) { a.CareOfAddresses[1] = netip.MustParseAddr("2001:db8::1") },
		"no router address":            func(a *Advertisement) { a.Routers[0].Address = netip.Addr{} },
		"too many care-of addresses":   func(a *Advertisement) { a.CareOfAddresses = make([]netip.Addr, 63) },
		"too many routers":             func(a *Advertisement) { a.Routers, a.PrefixLengths = make([]Router, 256), nil },
		"prefix lengths do not fit":    func(a *Advertisement) { a.PrefixLengths = []uint8{24, 24} },
		"no prefix length for the one": func(a *Advertisement) { a.PrefixLengths = []uint8{} },
	} {
		a := advertisement()
		change(a)
		if b, err := a.Append([]byte("kept")); !errors.Is(err, ErrMalformed) || string(b) != "kept" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// Shows: MIP-5 (rollover)
func TestNextSequence(t *testing.T) {
	for n, want := range map[uint16]uint16{0: 1, 255: 256, 0xfffe: 0xffff, 0xffff: 256} {
		if got := NextSequence(n); got != want {
			t.Errorf("%d is followed by %d, want %d", n, got, want)
		}
	}
}

// Shows: MIP-5
func TestSolicitation(t *testing.T) {
	p := AppendSolicitation([]byte{0xff})[1:]
	if want := octets(t, "0a 00 f5ff 00000000"); !bytes.Equal(p, want) {
		t.Errorf("%x, want %x", p, want)
	}
	if err := CheckSolicitation(p); err != nil {
		t.Error(err)
	}
	if err := CheckSolicitation(sealed(append(p, 1, 2, 3, 4))); err != nil {
		t.Errorf("octets behind: %v", err)
	}
	for n := range p {
		if err := CheckSolicitation(sealed(p[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{
		"checksum": {10, 0, 0xf5, 0xfe, 0, 0, 0, 0},
		"code":     sealed([]byte{10, 1, 0, 0, 0, 0, 0, 0}),
		"type":     sealed([]byte{9, 0, 0, 0, 0, 0, 0, 0}),
	} {
		if err := CheckSolicitation(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
}

// Whatever the octets, an advertisement is parsed or refused; one that is parsed is written and parsed to the same.
func FuzzAdvertisement(f *testing.F) {
	f.Add(goldenOctets(f)[4:], uint8(16))
	f.Add(octets(f, "0002 001e 10 0a 0001 0708 1000 c0000228 13 00 00"), uint8(0))
	f.Add([]byte{0xff, 2, 0, 0}, uint8(0))
	f.Fuzz(func(t *testing.T, rest []byte, code uint8) {
		a, err := ParseAdvertisement(sealed(append([]byte{9, code, 0, 0}, rest...)))
		if err != nil {
			return
		}
		b, err := a.Append(nil)
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		if len(b)%2 != 0 {
			t.Fatalf("%d octets", len(b))
		}
		again, err := ParseAdvertisement(b)
		if err != nil || !cmp.Equal(a, again, equalAddr) {
			t.Fatalf("%+v came back as %+v, %v", a, again, err)
		}
	})
}
