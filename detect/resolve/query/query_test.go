package query

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"mipvpn/tun/link"
)

func random(seed uint64) io.Reader { return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}) }

func at(d time.Duration) link.Instant { return link.Instant{Boot: time.Hour + d} }

func server(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53)
}

func newExchange(t *testing.T, servers ...netip.AddrPort) *Exchange {
	t.Helper()
	q, err := NewQuery("gw.corp.example.", TypeA)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(q, 0x1234)
	x, err := NewExchange(ExchangeConfig{Query: q, Servers: servers}, random(1))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func transmit(t *testing.T, m interface{ PollTransmit() (Transmit, bool) }) Transmit {
	t.Helper()
	out, ok := m.PollTransmit()
	if !ok {
		t.Fatal("nothing is transmitted")
	}
	if more, ok := m.PollTransmit(); ok {
		t.Fatalf("a second transmission at once: %+v", more)
	}
	return out
}

// answer makes an answer to what was transmitted.
func answer(t *testing.T, out Transmit, code int, change func(*dns.Msg)) []byte {
	t.Helper()
	var m, a dns.Msg
	if err := m.Unpack(out.Payload); err != nil {
		t.Fatal(err)
	}
	a.SetRcode(&m, code)
	if change != nil {
		change(&a)
	}
	p, err := a.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withA(name string, ttl uint32, addr ...string) func(*dns.Msg) {
	return func(m *dns.Msg) {
		for _, a := range addr {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.ParseIP(a)})
		}
	}
}

// Shows: HST-3 (an answer counts only if it is one to what was sent: RFC 1035 §7.3, RFC 5452 §9)
func TestExchangeRejects(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(p []byte) []byte
	}{
		{"another ID", func(p []byte) []byte { p[0] ^= 1; return p }},
		{"a query", func(p []byte) []byte { p[2] &^= 0x80; return p }},
		{"another operation", func(p []byte) []byte { p[2] |= 0x08; return p }},
		{"no question", func(p []byte) []byte { p[5] = 0; return p }},
		{"two questions", func(p []byte) []byte { p[5] = 2; return p }},
		{"another name", func(p []byte) []byte { p[13] ^= 2; return p }},
		{"another spelling", func(p []byte) []byte { p[13] ^= 0x20; return p }},
		{"another type", func(p []byte) []byte { p[len(p)-3] ^= 1; return p }},
		{"another class", func(p []byte) []byte { p[len(p)-1] ^= 2; return p }},
		{"cut", func(p []byte) []byte { return p[:len(p)-1] }},
		{"a header", func(p []byte) []byte { return p[:12] }},
		{"nothing", func(p []byte) []byte { return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newExchange(t, server(1))
			x.HandleTimeout(at(0))
			out := transmit(t, x)
			right := answer(t, out, RcodeSuccess, nil)
			if err := x.HandleAnswer(at(0), out.Number, tc.change(bytes.Clone(right))); !errors.Is(err, ErrRejected) {
				t.Errorf("error %v", err)
			}
			if a, ok := x.PollEvent(); ok {
				t.Fatalf("answered: %+v", a)
			}
			for _, number := range []int{-1, 1, 100} {
				if err := x.HandleAnswer(at(0), number, right); !errors.Is(err, ErrRejected) {
					t.Errorf("to transmission %d: error %v", number, err)
				}
			}
			if err := x.HandleAnswer(at(0), out.Number, right); err != nil {
				t.Fatalf("the right one: %v", err)
			}
			a, ok := x.PollEvent()
			if !ok || a.Err != nil || a.Rcode != RcodeSuccess {
				t.Fatalf("answer %+v, %v", a, ok)
			}
			if q, err := ParseQuestion(append([]byte{a.Message[0], a.Message[1], 0, 0}, a.Message[4:]...)); err != nil || q.ID != 0x1234 {
				t.Errorf("question %+v, %v", q, err)
			}
			if !bytes.Contains(a.Message, []byte("\x02gw\x04corp\x07example\x00")) {
				t.Errorf("the spelling of the query has not been put back: %q", a.Message)
			}
			if _, armed := x.Deadline(); armed {
				t.Error("a timer after the end")
			}
		})
	}
}

// Shows: HST-3 (retransmission over the servers, each with an ID and a spelling of its own)
func TestExchangeRetransmits(t *testing.T) {
	x := newExchange(t, server(1), server(2))
	wantAt := []time.Duration{0, 1, 2, 4, 6, 10}
	spellings, ids := map[string]bool{}, map[string]bool{}
	for k, s := range wantAt {
		now := at(s * time.Second)
		due, armed := x.Deadline()
		if !armed || k > 0 && due != now.Boot {
			t.Fatalf("transmission %d: due %v, expected %v", k, due, now.Boot)
		}
		if k > 0 {
			x.HandleTimeout(link.Instant{Boot: now.Boot - 1})
			if out, ok := x.PollTransmit(); ok {
				t.Fatalf("transmission %d too early: %+v", k, out)
			}
		}
		x.HandleTimeout(now)
		out := transmit(t, x)
		if out.Number != k || out.Server != server(byte(1+k%2)) {
			t.Errorf("transmission %d: number %d to %v", k, out.Number, out.Server)
		}
		ids[string(out.Payload[:2])] = true
		spellings[string(out.Payload[12:])] = true
		if k >= 4 && !bytes.Contains(out.Payload, []byte("gw\x04corp\x07example")) {
			t.Errorf("transmission %d of the last round spells the name %q", k, out.Payload)
		}
	}
	if len(ids) != 6 || len(spellings) != 5 {
		t.Errorf("%d IDs and %d spellings in six transmissions, the last two of which spell alike", len(ids), len(spellings))
	}
	x.HandleTimeout(at(14 * time.Second))
	if a, ok := x.PollEvent(); !ok || !errors.Is(a.Err, ErrNoAnswer) {
		t.Errorf("answer %+v, %v", a, ok)
	}
}

// Shows: HST-3 (a late answer to an earlier transmission counts; a server that fails is not asked again)
func TestExchangeOverServers(t *testing.T) {
	x := newExchange(t, server(1), server(2))
	x.HandleTimeout(at(0))
	first := transmit(t, x)
	if err := x.HandleAnswer(at(0), first.Number, answer(t, first, RcodeServerFailure, nil)); err != nil {
		t.Fatal(err)
	}
	second := transmit(t, x) // at once
	if second.Server != server(2) {
		t.Fatalf("then %v is asked", second.Server)
	}
	x.HandleTimeout(at(time.Second))
	third := transmit(t, x)
	if third.Server != server(2) || third.Number != 3 {
		t.Fatalf("then %v is asked as %d", third.Server, third.Number)
	}
	if err := x.HandleAnswer(at(time.Second), second.Number, answer(t, second, RcodeNameError, nil)); err != nil {
		t.Fatal(err)
	}
	if a, ok := x.PollEvent(); !ok || a.Rcode != RcodeNameError {
		t.Errorf("answer %+v, %v", a, ok)
	}

	x = newExchange(t, server(1))
	x.HandleTimeout(at(0))
	only := transmit(t, x)
	if err := x.HandleAnswer(at(0), only.Number, answer(t, only, RcodeRefused, nil)); err != nil {
		t.Fatal(err)
	}
	if a, ok := x.PollEvent(); !ok || a.Rcode != RcodeRefused || a.Err != nil {
		t.Errorf("answer %+v, %v", a, ok)
	}
}

func TestExchangeFlooded(t *testing.T) {
	x := newExchange(t, server(1))
	x.HandleTimeout(at(0))
	out := transmit(t, x)
	wrong := answer(t, out, RcodeSuccess, nil)
	wrong[1] ^= 1
	for range maxRejected {
		if err := x.HandleAnswer(at(0), 0, wrong); !errors.Is(err, ErrRejected) {
			t.Fatal(err)
		}
	}
	if _, ok := x.PollEvent(); ok {
		t.Fatal("ended too early")
	}
	_ = x.HandleAnswer(at(0), 0, wrong)
	if a, ok := x.PollEvent(); !ok || !errors.Is(a.Err, ErrFlooded) {
		t.Errorf("answer %+v, %v", a, ok)
	}
}

func TestExchangeNeeds(t *testing.T) {
	q, err := NewQuery("gw.corp.example.", TypeA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewExchange(ExchangeConfig{Query: q}, random(1)); !errors.Is(err, ErrNoServers) {
		t.Errorf("without servers: %v", err)
	}
	if _, err := NewExchange(ExchangeConfig{Query: q[:5], Servers: []netip.AddrPort{server(1)}}, random(1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("without a question: %v", err)
	}
	x, err := NewExchange(ExchangeConfig{Query: q, Servers: []netip.AddrPort{server(1)}}, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	x.HandleTimeout(at(0))
	if a, ok := x.PollEvent(); !ok || !errors.Is(a.Err, io.EOF) || !errors.Is(x.Err(), io.EOF) {
		t.Errorf("without random numbers: %+v, %v", a, ok)
	}
}

// cname adds an alias.
func cname(name, target string, ttl uint32) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ttl}, Target: target})
	}
}

func soa(ttl, minimum uint32) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Ns = append(m.Ns, &dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
			Ns: "a.example.", Mbox: "b.example.", Minttl: minimum})
	}
}

func all(f ...func(*dns.Msg)) func(*dns.Msg) {
	return func(m *dns.Msg) {
		for _, g := range f {
			g(m)
		}
	}
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// Shows: HST-3 (addresses, aliases, negative answers and how long they hold)
func TestLookup(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}).String()
	}
	var manyLeft []netip.Addr
	for _, a := range many[:MaxAddresses] {
		manyLeft = append(manyLeft, netip.MustParseAddr(a))
	}
	var round, long []func(*dns.Msg)
	for i := range 20 {
		from, to := "n"+string(rune('a'+i))+".example.", "n"+string(rune('a'+i+1))+".example."
		if i == 0 {
			from = "gw.corp.example."
		}
		long = append(long, cname(from, to, 60))
	}
	round = append(round, cname("gw.corp.example.", "x.example.", 60), cname("x.example.", "gw.corp.example.", 60))
	for _, tc := range []struct {
		name   string
		code   int
		answer func(*dns.Msg)
		want   Result
	}{
		{"one", RcodeSuccess, withA("gw.corp.example.", 300, "192.0.2.10"), Result{Addresses: addrs("192.0.2.10"), TTL: 300 * time.Second}},
		{"spelling", RcodeSuccess, withA("GW.corp.Example.", 300, "192.0.2.10"), Result{Addresses: addrs("192.0.2.10"), TTL: 300 * time.Second}},
		{"several in order", RcodeSuccess, withA("gw.corp.example.", 300, "192.0.2.10", "192.0.2.9", "192.0.2.10"),
			Result{Addresses: addrs("192.0.2.10", "192.0.2.9"), TTL: 300 * time.Second}},
		{"too many", RcodeSuccess, withA("gw.corp.example.", 300, many...), Result{Addresses: manyLeft, TTL: 300 * time.Second}},
		{"short", RcodeSuccess, withA("gw.corp.example.", 0, "192.0.2.10"), Result{Addresses: addrs("192.0.2.10"), TTL: MinTTL}},
		{"long", RcodeSuccess, withA("gw.corp.example.", 1<<31-1, "192.0.2.10"), Result{Addresses: addrs("192.0.2.10"), TTL: MaxTTL}},
		{"of another name", RcodeSuccess, withA("gw.evil.example.", 300, "192.0.2.66"), Result{Err: ErrNoAddress}},
		{"aliases, in any order", RcodeSuccess, all(withA("c.example.", 300, "192.0.2.10"), cname("b.example.", "C.example.", 60),
			cname("gw.corp.example.", "B.example.", 200)), Result{Addresses: addrs("192.0.2.10"), TTL: time.Minute}},
		{"aliases that go round", RcodeSuccess, all(round...), Result{Err: ErrAliases}},
		{"too many aliases", RcodeSuccess, all(long...), Result{Err: ErrAliases}},
		{"no such name", RcodeNameError, soa(3600, 30), Result{Err: ErrNoName, TTL: 30 * time.Second}},
		{"no such name, for ever", RcodeNameError, soa(1<<31-1, 1<<31-1), Result{Err: ErrNoName, TTL: MaxNegativeTTL}},
		{"no such name, unsaid how long", RcodeNameError, nil, Result{Err: ErrNoName}},
		{"no data", RcodeSuccess, soa(20, 3600), Result{Err: ErrNoAddress, TTL: 20 * time.Second}},
		{"addresses that no host has", RcodeSuccess, withA("gw.corp.example.", 300, "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "0.1.2.3", "240.0.0.1"),
			Result{Err: ErrNoAddress}},
		{"one that a host has among them", RcodeSuccess, withA("gw.corp.example.", 300, "127.0.0.1", "192.0.2.10"),
			Result{Addresses: addrs("192.0.2.10"), TTL: 300 * time.Second}},
		{"failure", RcodeServerFailure, nil, Result{Err: &ServerError{RcodeServerFailure}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := NewLookup("GW.corp.example", []netip.AddrPort{server(1)}, random(2))
			if err != nil {
				t.Fatal(err)
			}
			l.HandleTimeout(at(0))
			out := transmit(t, l)
			if err := l.HandleAnswer(at(0), out.Number, answer(t, out, tc.code, tc.answer)); err != nil {
				t.Fatal(err)
			}
			got, ok := l.PollEvent()
			if !ok {
				t.Fatal("no result")
			}
			if failed, is := errors.AsType[*ServerError](got.Err); is {
				if want, is := errors.AsType[*ServerError](tc.want.Err); !is || *want != *failed {
					t.Errorf("error %v", got.Err)
				}
			} else if !errors.Is(got.Err, tc.want.Err) {
				t.Errorf("error %v", got.Err)
			}
			if d := cmp.Diff(tc.want.Addresses, got.Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || got.TTL != tc.want.TTL {
				t.Errorf("addresses %v for %v", got.Addresses, got.TTL)
			}
		})
	}
}

// Shows: HST-3 (an alias whose end the server did not add is asked for, within the same bounds)
func TestLookupFollows(t *testing.T) {
	l, err := NewLookup("gw.corp.example", []netip.AddrPort{server(1)}, random(3))
	if err != nil {
		t.Fatal(err)
	}
	l.HandleTimeout(at(0))
	first := transmit(t, l)
	if err := l.HandleAnswer(at(0), first.Number, answer(t, first, RcodeSuccess, cname("gw.corp.example.", "gw.cloud.example.", 40))); err != nil {
		t.Fatal(err)
	}
	second := transmit(t, l)
	if q, err := ParseQuestion(second.Payload); err != nil || q.Name != "gw.cloud.example." || second.Number == first.Number {
		t.Fatalf("then %+v is asked as %d, %v", q, second.Number, err)
	}
	if err := l.HandleAnswer(at(0), first.Number, answer(t, second, RcodeSuccess, withA("gw.cloud.example.", 300, "192.0.2.66"))); !errors.Is(err, ErrRejected) {
		t.Errorf("an answer to the wrong transmission: %v", err)
	}
	if err := l.HandleAnswer(at(0), second.Number, answer(t, second, RcodeSuccess, withA("gw.cloud.example.", 300, "192.0.2.10"))); err != nil {
		t.Fatal(err)
	}
	got, ok := l.PollEvent()
	if !ok || len(got.Addresses) != 1 || got.TTL != 40*time.Second {
		t.Errorf("result %+v, %v", got, ok)
	}

	l, err = NewLookup("gw.corp.example", []netip.AddrPort{server(1)}, random(4))
	if err != nil {
		t.Fatal(err)
	}
	l.HandleTimeout(at(0))
	for n := 0; ; n++ {
		if e, ok := l.PollEvent(); ok {
			if !errors.Is(e.Err, ErrAliases) || n != maxAliases+1 {
				t.Errorf("after %d questions: %+v", n, e)
			}
			break
		}
		out := transmit(t, l)
		var m dns.Msg
		if err := m.Unpack(out.Payload); err != nil {
			t.Fatal(err)
		}
		if err := l.HandleAnswer(at(0), out.Number, answer(t, out, RcodeSuccess, cname(m.Question[0].Name, "x."+lower(m.Question[0].Name), 60))); err != nil {
			t.Fatal(err)
		}
	}
}

// Shows: HST-3 (of a truncated answer what is there is used)
func TestLookupTruncated(t *testing.T) {
	l, err := NewLookup("gw.corp.example", []netip.AddrPort{server(1)}, random(5))
	if err != nil {
		t.Fatal(err)
	}
	l.HandleTimeout(at(0))
	out := transmit(t, l)
	p := answer(t, out, RcodeSuccess, all(withA("gw.corp.example.", 300, "192.0.2.10"), func(m *dns.Msg) { m.Truncated = true }))
	if err := l.HandleAnswer(at(0), out.Number, p); err != nil {
		t.Fatal(err)
	}
	if got, ok := l.PollEvent(); !ok || got.Err != nil || len(got.Addresses) != 1 {
		t.Errorf("result %+v, %v", got, ok)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"corp.example": "corp.example.", "CORP.Example.": "corp.example.", "_ldap._tcp.corp.example": "_ldap._tcp.corp.example.", "a": "a.",
		"": "", ".": "", "a..b": "", ".a": "", "a b": "", "a\x00b": "", "ä.example": "", `a\.b`: "", strings.Repeat("a", 64) + ".b": "",
		strings.Repeat("a.", 127) + "b": "", strings.Repeat("a.", 126) + "b": strings.Repeat("a.", 126) + "b.",
	} {
		got, err := Canonical(in)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// Shows: HST-3 (which names are the enterprise's, and which only spell one)
func TestDomains(t *testing.T) {
	d := Domains{"corp.example.", "10.in-addr.arpa."}
	for name, want := range map[string][2]bool{
		"corp.example.": {true, false}, "wiki.corp.example.": {true, false}, "a.b.corp.example.": {true, false},
		"xcorp.example.": {}, "example.": {}, "corp.example.com.": {false, true}, "wiki.corp.example.hotel.example.": {false, true},
		"wiki.corp.example.corp.example.": {true, false}, "wiki.xcorp.example.hotel.example.": {}, "20.1.0.10.in-addr.arpa.": {true, false},
		"20.1.0.110.in-addr.arpa.": {},
	} {
		if got := [2]bool{d.Contain(name), d.Within(name)}; got != want {
			t.Errorf("%s: contained, within: %v, expected %v", name, got, want)
		}
	}
}

func TestReverseDomains(t *testing.T) {
	for in, want := range map[string]Domains{
		"10.0.0.0/8": {"10.in-addr.arpa."}, "10.0.0.0/16": {"0.10.in-addr.arpa."}, "172.16.0.0/14": {"16.172.in-addr.arpa.", "17.172.in-addr.arpa.",
			"18.172.in-addr.arpa.", "19.172.in-addr.arpa."}, "10.0.1.20/32": {"20.1.0.10.in-addr.arpa."}, "10.0.1.20/31": {"20.1.0.10.in-addr.arpa.", "21.1.0.10.in-addr.arpa."},
		"0.0.0.0/0": {"in-addr.arpa."}, "2001:db8::/32": nil,
	} {
		if d := cmp.Diff(want, ReverseDomains(netip.MustParsePrefix(in))); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
	if n := len(ReverseDomains(netip.MustParsePrefix("128.0.0.0/1"))); n != 128 {
		t.Errorf("%d domains for half of all addresses", n)
	}
}

// TestGolden reads a query as RFC 1035 §4.1 draws it, written by hand.
func TestGolden(t *testing.T) {
	message, err := hex.DecodeString(
		"abcd" + // ID
			"0100" + // flags: RD
			"0001" + "0000" + "0000" + "0000" + // one question
			"03777777" + "076578616d706c65" + "00" + // www.example.
			"0001" + "0001") // A, IN
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuestion(message)
	if want := (Question{ID: 0xabcd, Name: "www.example.", Type: 1, Class: 1, length: 17}); err != nil || q != want {
		t.Fatalf("%+v, %v", q, err)
	}
	failure, err := Failure(append(message, "additional"...), RcodeServerFailure)
	if err != nil {
		t.Fatal(err)
	}
	want := "abcd" + "8182" + "0001" + "0000" + "0000" + "0000" + "03777777" + "076578616d706c65" + "00" + "0001" + "0001"
	if got := hex.EncodeToString(failure); got != want {
		t.Errorf("failure\n%s, expected\n%s", got, want)
	}
	for n := range message {
		if _, err := ParseQuestion(message[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("the first %d octets: %v", n, err)
		}
	}
}

// TestFit shows that an answer that does not fit is cut to its question.
func TestFit(t *testing.T) {
	message, err := NewQuery("gw.corp.example.", TypeA)
	if err != nil {
		t.Fatal(err)
	}
	var m, a dns.Msg
	if err := m.Unpack(message); err != nil {
		t.Fatal(err)
	}
	a.SetReply(&m)
	for i := range 40 {
		withA("gw.corp.example.", 300, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())(&a)
	}
	big, err := a.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Unpack(Fit(message, big)); err != nil || !a.Truncated || len(a.Answer) != 0 || len(a.Question) != 1 {
		t.Errorf("cut to %v, %v", &a, err)
	}
	m.SetEdns0(4096, false)
	if message, err = m.Pack(); err != nil {
		t.Fatal(err)
	}
	if got := Fit(message, big); !bytes.Equal(got, big) {
		t.Errorf("an answer of %d octets was cut though 4096 fit", len(big))
	}
}

// FuzzParseQuestion shows that any octets are a question or an error, and that a failure to it can be read.
func FuzzParseQuestion(f *testing.F) {
	q, err := NewQuery("gw.corp.example.", TypeA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Add(append(bytes.Clone(q[:12]), 0xc0, 12, 0, 1, 0, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseQuestion(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		p, err := Failure(b, RcodeServerFailure)
		if err != nil {
			t.Fatal(err)
		}
		p[2] &^= 0x80
		if again, err := ParseQuestion(p); err != nil || again != got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
		if d := (Domains{"corp.example."}); d.Contain(got.Name) && d.Within(got.Name) {
			t.Fatalf("%q is both", got.Name)
		}
		Fit(b, p)
	})
}

// FuzzLookup shows that whatever a server sends, behind the right header and question, ends in a bounded result.
func FuzzLookup(f *testing.F) {
	f.Add([]byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 10})
	f.Add([]byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, []byte{0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12})
	f.Add([]byte{0x83, 0x80, 0, 1, 255, 255, 0, 0, 0, 0}, []byte{0xc0, 12, 0, 1})
	f.Fuzz(func(t *testing.T, header, rest []byte) {
		l, err := NewLookup("gw.corp.example", []netip.AddrPort{server(1)}, random(6))
		if err != nil {
			t.Fatal(err)
		}
		for now := at(0); ; {
			l.HandleTimeout(now)
			for steps := 0; ; steps++ {
				out, ok := l.PollTransmit()
				if !ok {
					break
				}
				if steps > maxAliases*DefaultRounds+1 {
					t.Fatal("no end of questions")
				}
				p := append(bytes.Clone(out.Payload[:2]), header...)
				if len(header) >= 10 {
					p = append(p, out.Payload[12:]...)
				}
				_ = l.HandleAnswer(now, out.Number, append(p, rest...))
			}
			if r, ok := l.PollEvent(); ok {
				if (r.Err == nil) != (len(r.Addresses) > 0) || len(r.Addresses) > MaxAddresses || r.TTL > MaxTTL || r.TTL < 0 {
					t.Fatalf("result %+v", r)
				}
				for _, a := range r.Addresses {
					if !usable(a) {
						t.Fatalf("address %v", a)
					}
				}
				return
			}
			due, armed := l.Deadline()
			if !armed || due <= now.Boot {
				t.Fatalf("no event, and the next timeout is %v, %v", due, armed)
			}
			now.Boot = due
		}
	})
}
