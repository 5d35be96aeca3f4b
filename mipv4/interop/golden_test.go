package interop

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/internal/dissect"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// exchange is a request and its reply, put together by hand from the figures of RFC 5944 §3.3, §3.4 and §3.5 and RFC 3519 §3.1 and
// §3.2. The authenticators were computed by OpenSSL over the octets up to the SPI, for instance
//
//	openssl dgst -md5 -mac HMAC -macopt hexkey:7369787465656e206f63746574732030
//
// The keys are "sixteen octets 0" to 3, those of secrets, and "foreign and home".
type exchange struct {
	name           string
	at             time.Duration
	source         string
	request, reply string
	code           wire.Code
	left           int // home addresses with a binding afterwards
}

var exchanges = []exchange{{
	name: "co-located, in UDP, HMAC-MD5", source: "10.0.2.50:5000", code: 1, left: 1,
	request: `
		01                      # type
		22                      # D, T
		0258                    # lifetime 600 s
		0a000864 0a00010a 0a000232 # home address, home agent, care-of address
		eeabdc10 40000000       # identification: 2026-11-21 09:00:00.25 UTC
		90 06 00 00 80 04 0000  # UDP Tunnel Request: sub-type, reserved, F, IP, reserved
		20 14 000003e8 53fe092bbbe6f9bef4cbd26d797ccd8c # Mobile-Home Authentication, SPI 1000`,
	reply: `
		03 01 0258              # type, code 1, lifetime
		0a000864 0a00010a eeabdc10 40000000 # home address, home agent, identification
		2c 06 00 00 8000 0000   # UDP Tunnel Reply: sub-type, code, F, keepalive
		20 14 000003e8 49df97981de5bf97641fa5bc5ef38339`,
}, {
	name: "through a foreign agent, keyed MD5 and HMAC-SHA-256", at: time.Second, source: "10.0.1.40:434", code: 1, left: 1,
	request: `
		01 02 ffff 0a000864 0a00010a 0a000128 eeabdc11 40000000 # T, without end
		20 14 000003e9 a057e41f7131e7a2ce25f4e384eff26c         # Mobile-Home Authentication, SPI 1001
		22 24 000007d0 3e9feb01d56bcf731fb490cd5c4c14db7fc012ef7cc75d0ffba570fcfc5a0f42 # Foreign-Home Authentication, SPI 2000`,
	reply: `
		03 01 0708 0a000864 0a00010a eeabdc11 40000000          # 1800 s are granted
		20 14 000003e9 910e499bace099a3ff3cfee66a395b10
		22 24 000007d0 c305d4ee7be3707168675091af587d9ac387595c522a850459c2b09f794702dc`,
}, {
	name: "an old timestamp, HMAC-SHA-256", at: 3 * time.Second, source: "10.0.2.50:5000", code: 133, left: 1,
	request: `
		01 22 0258 0a000864 0a00010a 0a000232 eeabce00 89abcdef # an hour ago
		20 24 000003eb dcc164603801722709be673b4614fad56478336867286eba843dca3da780bbce`,
	reply: `
		03 85 0258 0a000864 0a00010a
		eeabdc13 89abcdef       # the home agent's time of day, and the lower half of the request's
		20 24 000003eb 930b1a5be533ab7f120c31d78520c24f5f705e9801113f20b3a2a8d130e13dcb`,
}, {
	name: "all bindings are taken back, HMAC-SHA-1", at: 2 * time.Second, source: "10.0.2.50:5000", code: 1, left: 0,
	request: `
		01 22 0000 0a000864 0a00010a 0a000864 eeabdc12 40000000 # lifetime 0, care-of address is the home address
		20 18 000003ea 562f68e38b08dcb222b483e102c64488beb8a053`,
	reply: `
		03 01 0000 0a000864 0a00010a eeabdc12 40000000
		20 18 000003ea f26b2469e505a833620ebd7e401bdbcad9927b73`,
}}

// golden reads hexadecimal with blanks, and comments from '#' to the end of the line.
func golden(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	return unhex(t, b.String())
}

// Octets put together by hand are answered by the home agent with octets put together by hand, authenticators included.
//
// Shows: MIP-1, MIP-2, MIP-7, AGT-1, GDL-4
func TestGoldenExchanges(t *testing.T) {
	foreign := secret{spi: 2000, algorithm: auth.HMACSHA256, key: "foreign and home"}
	ha := newHomeAgent(t, func(c *homeagent.Config) {
		c.ForeignAgents = []homeagent.ForeignAgent{{Address: foreignCoA, Association: foreign.association(t)}}
	}, secrets()...)
	for _, x := range exchanges {
		now := link.Instant{Boot: time.Hour + x.at, Wall: wall.Add(x.at)}
		err := ha.HandleRequest(now, homeagent.Request{Source: netip.MustParseAddrPort(x.source), Payload: golden(t, x.request)})
		var denied *homeagent.Denied
		if accepted := x.code.Accepted(); accepted != (err == nil) || !accepted && (!errors.As(err, &denied) || denied.Code != x.code) {
			t.Fatalf("%s: %v, want code %v", x.name, err, x.code)
		}
		out, ok := ha.PollTransmit()
		if want := golden(t, x.reply); !ok || !bytes.Equal(out.Payload, want) || out.To.String() != x.source {
			t.Errorf("%s: the reply to %v is\n%x, want\n%x", x.name, out.To, out.Payload, want)
		}
		if n := ha.Table().Len(); n != x.left {
			t.Errorf("%s: %d bindings, want %d", x.name, n, x.left)
		}
	}
}

// None of the same octets is accepted with any single bit inverted.
//
// Shows: MIP-2
func TestGoldenWithOneBitInverted(t *testing.T) {
	foreign := secret{spi: 2000, algorithm: auth.HMACSHA256, key: "foreign and home"}
	for _, x := range exchanges {
		p := golden(t, x.request)
		for bit := range 8 * len(p) {
			ha := newHomeAgent(t, func(c *homeagent.Config) {
				c.ForeignAgents = []homeagent.ForeignAgent{{Address: foreignCoA, Association: foreign.association(t)}}
			}, secrets()...)
			bad := bytes.Clone(p)
			bad[bit/8] ^= 0x80 >> (bit % 8)
			now := link.Instant{Boot: time.Hour + x.at, Wall: wall.Add(x.at)}
			err := ha.HandleRequest(now, homeagent.Request{Source: netip.MustParseAddrPort(x.source), Payload: bad})
			if err == nil || ha.Table().Len() != 0 {
				t.Errorf("%s: accepted with bit %d inverted", x.name, bit)
			}
		}
	}
}

// The same octets are to tshark what their comments say.
//
// Shows: GDL-4
func TestGoldenInTshark(t *testing.T) {
	var requests, replies [][]byte
	for _, x := range exchanges {
		requests, replies = append(requests, golden(t, x.request)), append(replies, golden(t, x.reply))
	}
	got := dissect.Fields(t, dissect.MobileIP, requests, "mip.type", "mip.flags", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.coa", "mip.ext.type", "mip.auth.spi")
	want := [][]string{
		{"1", "0x22", "600", "10.0.8.100", "10.0.1.10", "10.0.2.50", "144,32", "0x000003e8"},
		{"1", "0x02", "65535", "10.0.8.100", "10.0.1.10", "10.0.1.40", "32,34", "0x000003e9,0x000007d0"},
		{"1", "0x22", "600", "10.0.8.100", "10.0.1.10", "10.0.2.50", "32", "0x000003eb"},
		{"1", "0x22", "0", "10.0.8.100", "10.0.1.10", "10.0.8.100", "32", "0x000003ea"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	got = dissect.Fields(t, dissect.MobileIPReply, replies, "mip.type", "mip.code", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.ext.type", "mip.auth.spi")
	want = [][]string{
		{"3", "1", "600", "10.0.8.100", "10.0.1.10", "44,32", "0x000003e8"},
		{"3", "1", "1800", "10.0.8.100", "10.0.1.10", "32,34", "0x000003e9,0x000007d0"},
		{"3", "133", "600", "10.0.8.100", "10.0.1.10", "32", "0x000003eb"},
		{"3", "1", "0", "10.0.8.100", "10.0.1.10", "32", "0x000003ea"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("replies (-want +got):\n%s", d)
	}
}
