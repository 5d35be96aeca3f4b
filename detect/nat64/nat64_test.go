package nat64

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mipvpn/detect/resolve/query"
)

// Shows: IKE-6. RFC 6052 §2.4, the table of examples.
func TestEmbed(t *testing.T) {
	four := netip.MustParseAddr("192.0.2.33")
	for prefix, want := range map[string]string{
		"2001:db8::/32":          "2001:db8:c000:221::",
		"2001:db8:100::/40":      "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":      "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56":  "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64":  "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96":  "2001:db8:122:344::192.0.2.33",
		"2001:db8:122:344::1/96": "",
		"2001:db8::/33":          "",
		"2001:db8:0:0:100::/96":  "",
		"10.0.0.0/32":            "",
	} {
		p := netip.MustParsePrefix(prefix)
		got, err := Embed(p, four)
		if want == "" {
			if !errors.Is(err, ErrPrefix) {
				t.Errorf("%s: %v, %v", prefix, got, err)
			}
			continue
		}
		if err != nil || got != netip.MustParseAddr(want) {
			t.Errorf("%s: %v, want %s (%v)", prefix, got, want, err)
		}
		if back, ok := Extract(p, got); !ok || back != four {
			t.Errorf("%s: back to %v, %t", prefix, back, ok)
		}
	}
	for _, a := range []string{"10.0.0.1", "192.168.1.1", "100.64.0.1", "192.0.2.33"} {
		if _, err := Embed(WellKnown, netip.MustParseAddr(a)); !errors.Is(err, ErrAddress) {
			t.Errorf("%s behind the well-known prefix: %v", a, err)
		}
	}
	if got, err := Embed(WellKnown, netip.MustParseAddr("8.8.4.4")); err != nil || got != netip.MustParseAddr("64:ff9b::808:404") {
		t.Errorf("%v, %v", got, err)
	}
	for _, a := range []string{"224.0.0.1", "0.0.0.0", "127.0.0.1", "2001:db8::1"} {
		if _, err := Embed(netip.MustParsePrefix("2001:db8::/32"), netip.MustParseAddr(a)); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, ok := Extract(WellKnown, netip.MustParseAddr("2001:db8::1")); ok {
		t.Error("out of another prefix")
	}
}

// Shows: IKE-6. RFC 7050 §3.
func TestPrefixes(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"well-known", []string{"64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171"}, []string{"64:ff9b::/96"}},
		{"two prefixes in order", []string{"2001:db8:2::c000:ab", "2001:db8:1::c000:aa"}, []string{"2001:db8:2::/96", "2001:db8:1::/96"}},
		{"32", []string{"2001:db8:c000:aa::"}, []string{"2001:db8::/32"}},
		{"40", []string{"2001:db8:1c0:0:aa::"}, []string{"2001:db8:100::/40"}},
		{"48", []string{"2001:db8:122:c000:0:aa00::"}, []string{"2001:db8:122::/48"}},
		{"56", []string{"2001:db8:122:3c0:0:aa::"}, []string{"2001:db8:122:300::/56"}},
		{"64", []string{"2001:db8:122:344:c0:0:aa00::"}, []string{"2001:db8:122:344::/64"}},
		{"a captive portal", []string{"2001:db8::1", "192.0.2.1", "::ffff:192.0.0.170"}, nil},
		{"twice in one address", []string{"2001:db8:c000:aa::c000:aa"}, nil},
		{"twice in one, and once in the next", []string{"2001:db8:c000:aa::c000:aa", "2001:db8:c000:aa::c000:ab"}, []string{"2001:db8::/32"}},
		{"none", nil, nil},
	} {
		var in []netip.Addr
		for _, a := range tc.in {
			in = append(in, netip.MustParseAddr(a))
		}
		var got []string
		for _, p := range Prefixes(in) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// answering answers queries for Name with the records given.
func answering(t *testing.T, rcode int, records ...string) Exchange {
	return func(_ context.Context, message []byte) ([]byte, error) {
		var q dns.Msg
		if err := q.Unpack(message); err != nil {
			t.Fatal(err)
		}
		if len(q.Question) != 1 || q.Question[0].Name != Name || q.Question[0].Qtype != dns.TypeAAAA || q.CheckingDisabled {
			t.Fatalf("asked %v", q.Question)
		}
		var a dns.Msg
		a.SetRcode(&q, rcode)
		for _, r := range records {
			rr, err := dns.NewRR(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Answer = append(a.Answer, rr)
		}
		return a.Pack()
	}
}

// Shows: IKE-6
func TestLearn(t *testing.T) {
	ctx := context.Background()
	got, ttl, err := Learn(ctx, answering(t, dns.RcodeSuccess, "ipv4only.arpa. 600 IN AAAA 2001:db8:64::c000:aa", "ipv4only.arpa. 500 IN AAAA 2001:db8:64::c000:ab"))
	if err != nil || len(got) != 1 || got[0] != netip.MustParsePrefix("2001:db8:64::/96") || ttl != 500*time.Second {
		t.Errorf("%v for %v, %v", got, ttl, err)
	}
	if got, ttl, err := Learn(ctx, answering(t, dns.RcodeSuccess)); err != nil || len(got) != 0 || ttl < time.Second {
		t.Errorf("no DNS64: %v for %v, %v", got, ttl, err)
	}
	if got, _, err := Learn(ctx, answering(t, dns.RcodeNameError)); err != nil || len(got) != 0 {
		t.Errorf("no such name: %v, %v", got, err)
	}
	var failed *query.ServerError
	if _, _, err := Learn(ctx, answering(t, dns.RcodeServerFailure)); !errors.As(err, &failed) {
		t.Errorf("server failure: %v", err)
	}
	silent := errors.New("silent")
	if _, _, err := Learn(ctx, func(context.Context, []byte) ([]byte, error) { return nil, silent }); !errors.Is(err, silent) {
		t.Errorf("no answer: %v", err)
	}
	if _, _, err := Learn(ctx, func(context.Context, []byte) ([]byte, error) { return []byte{1, 2}, nil }); !errors.Is(err, query.ErrMalformed) {
		t.Errorf("garbage: %v", err)
	}
}

// advertisement is a router advertisement with options, in hexadecimal.
func advertisement(t testing.TB, options string) []byte {
	b, err := hex.DecodeString("8600000040000708" + "0000000000000000" + options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Shows: IKE-6. RFC 8781 §4, Figure 1.
func TestAdvertised(t *testing.T) {
	const source = "0101020000000001"
	for _, tc := range []struct {
		name, options string
		want          []Advertised
	}{
		{"96 bits, 600 s", source + "26020258" + "0064ff9b0000000000000000", []Advertised{{WellKnown, 600 * time.Second}}},
		{"48 bits, the longest lifetime", "2602fffb" + "20010db80122000000000000", []Advertised{{netip.MustParsePrefix("2001:db8:122::/48"), 65528 * time.Second}}},
		{"32 bits, taken back", "26020005" + "20010db8ffff000000000000", []Advertised{{netip.MustParsePrefix("2001:db8::/32"), 0}}},
		{"unknown code", "26020006" + "0064ff9b0000000000000000", nil},
		{"code 7", "26020007" + "0064ff9b0000000000000000", nil},
		{"another length", "26030258" + "0064ff9b0000000000000000" + "0000000000000000", nil},
		{"octet 8 is not zero", "26020258" + "20010db80000000001000000", nil},
		{"two", "26020008" + "0064ff9b0000000000000000" + "26020009" + "20010db80001000200000000",
			[]Advertised{{WellKnown, 8 * time.Second}, {netip.MustParsePrefix("2001:db8:1:2::/64"), 8 * time.Second}}},
		{"none", source, nil},
	} {
		got, err := Prefixes64(advertisement(t, tc.options))
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v (%v)", tc.name, got, tc.want, err)
		}
	}
	for name, options := range map[string]string{"length 0": "2600", "cut off": "26020258", "one octet": "26"} {
		if got, err := Prefixes64(advertisement(t, options)); !errors.Is(err, ErrAdvertisement) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzPrefixes64(f *testing.F) {
	f.Add(advertisement(f, "26020258"+"0064ff9b0000000000000000"))
	f.Add([]byte{134})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := Prefixes64(b)
		if err != nil && (!errors.Is(err, ErrAdvertisement) || list != nil) {
			t.Fatalf("%v, %v", list, err)
		}
		for _, a := range list {
			if _, err := Embed(a.Prefix, netip.MustParseAddr("8.8.8.8")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzPrefixes(f *testing.F) {
	f.Add(netip.MustParseAddr("64:ff9b::192.0.0.170").AsSlice())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		for _, p := range Prefixes([]netip.Addr{a}) {
			if four, ok := Extract(p, a); !ok || !slices.Contains(wellKnownAddresses, four) {
				t.Fatalf("%v from %v holds %v", p, a, four)
			}
		}
	})
}
