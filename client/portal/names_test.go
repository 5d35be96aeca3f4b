package portal

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

var names = Names{Forbidden: forbidden, Domains: []string{"corp.example", ".Intra.Example."}}

func query(t testing.TB, id uint16, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET})); err != nil {
		t.Fatal(err)
	}
	p, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reply answers a query with the addresses, behind an alias.
func reply(t testing.TB, q []byte, addresses ...string) []byte {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(q); err != nil {
		t.Fatal(err)
	}
	m.Response = true
	alias := dnsmessage.MustNewName("alias.example.")
	m.Answers = append(m.Answers, dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.CNAMEResource{CNAME: alias},
	})
	for _, a := range addresses {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: alias, Class: dnsmessage.ClassINET, TTL: 300}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// told reads what the browser is told.
func told(t testing.TB, answer []byte, id uint16) (code dnsmessage.RCode, addresses []string) {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatal(err)
	}
	if !m.Response || m.ID != id || len(m.Questions) != 1 || len(m.Authorities)+len(m.Additionals) > 0 {
		t.Errorf("answer %v", m.GoString())
	}
	for _, r := range m.Answers {
		a, ok := r.Body.(*dnsmessage.AResource)
		if !ok || r.Header.TTL > uint32(MaxTTL.Seconds()) || r.Header.Name != m.Questions[0].Name {
			t.Errorf("record %v", r.GoString())
			continue
		}
		addresses = append(addresses, netip.AddrFrom4(a.A).String())
	}
	return m.RCode, addresses
}

// Shows: HST-5, HST-3
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    dnsmessage.Type
		forward bool
		code    dnsmessage.RCode
	}{
		{"portal.example.", dnsmessage.TypeA, true, dnsmessage.RCodeSuccess},
		{"notcorp.example.", dnsmessage.TypeA, true, dnsmessage.RCodeSuccess},
		{"portal.example.", dnsmessage.TypeAAAA, false, dnsmessage.RCodeSuccess},
		{"portal.example.", dnsmessage.TypeTXT, false, dnsmessage.RCodeSuccess},
		{"corp.example.", dnsmessage.TypeA, false, dnsmessage.RCodeNameError},
		{"secret.host.CORP.example.", dnsmessage.TypeA, false, dnsmessage.RCodeNameError},
		{"intra.example.", dnsmessage.TypeA, false, dnsmessage.RCodeNameError},
	} {
		asked := query(t, 77, c.name, c.kind)
		q, forward, err := names.Query(asked)
		if err != nil || forward != c.forward {
			t.Errorf("%s %v: forwarded %v, %v", c.name, c.kind, forward, err)
			continue
		}
		if forward {
			if !slices.Equal(q.Message(), asked) || q.Name() != c.name {
				t.Errorf("%s: sent on as %x", c.name, q.Message())
			}
			continue
		}
		answer, err := q.Refusal(false)
		if err != nil {
			t.Fatal(err)
		}
		if code, addresses := told(t, answer, 77); code != c.code || len(addresses) > 0 {
			t.Errorf("%s %v: told %v %v", c.name, c.kind, code, addresses)
		}
	}
	// What is in an answer beside the addresses, and addresses that are forbidden, are not told.
	asked := query(t, 5, "portal.example.", dnsmessage.TypeA)
	q, _, err := names.Query(asked)
	if err != nil {
		t.Fatal(err)
	}
	answer, addresses, err := q.Answer(reply(t, asked, "203.0.113.5", "10.0.1.20", "192.0.2.20", "127.0.0.1", "203.0.113.6", "224.0.0.1", "0.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"203.0.113.5", "203.0.113.6"}
	if code, got := told(t, answer, 5); code != 0 || !slices.Equal(got, want) || len(addresses) != 2 {
		t.Errorf("told %v %v, learnt %v", code, got, addresses)
	}
	failed, err := q.Refusal(true)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := told(t, failed, 5); code != dnsmessage.RCodeServerFailure {
		t.Errorf("nobody answers: told %v", code)
	}
	// Messages that answer something else.
	other := query(t, 5, "other.example.", dnsmessage.TypeA)
	for name, m := range map[string][]byte{
		"another name": reply(t, other, "203.0.113.9"), "another number": reply(t, query(t, 6, "portal.example.", dnsmessage.TypeA), "203.0.113.9"),
		"a query": asked, "nothing": nil, "cut": reply(t, asked, "203.0.113.9")[:40],
	} {
		if _, learnt, err := q.Answer(m); !errors.Is(err, ErrNotTheAnswer) || len(learnt) > 0 {
			t.Errorf("%s: learnt %v, %v", name, learnt, err)
		}
	}
	if _, _, err := names.Query(reply(t, asked)); !errors.Is(err, ErrNotAQuery) {
		t.Errorf("an answer as a query: %v", err)
	}
}

func FuzzNamesQuery(f *testing.F) {
	f.Add(query(f, 1, "portal.example.", dnsmessage.TypeA))
	f.Add(query(f, 1, "corp.example.", dnsmessage.TypeAAAA))
	f.Fuzz(func(t *testing.T, message []byte) {
		q, forward, err := names.Query(message)
		if err != nil {
			return
		}
		if forward {
			var m dnsmessage.Message
			if err := m.Unpack(q.Message()); err != nil || len(m.Questions) != 1 || len(m.Answers)+len(m.Authorities)+len(m.Additionals) > 0 || names.forbids(q.Name()) {
				t.Errorf("sent on: %x (%v)", q.Message(), err)
			}
		}
		for _, failed := range []bool{false, true} {
			if answer, err := q.Refusal(failed); err == nil {
				told(t, answer, q.header.ID)
			}
		}
	})
}

func FuzzNamesAnswer(f *testing.F) {
	asked := query(f, 5, "portal.example.", dnsmessage.TypeA)
	q, _, err := names.Query(asked)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(f, asked, "203.0.113.5", "10.0.1.20"))
	f.Fuzz(func(t *testing.T, message []byte) {
		answer, addresses, err := q.Answer(message)
		if err != nil {
			return
		}
		for _, a := range addresses {
			if !forbidden.Admits(a) {
				t.Errorf("learnt %v", a)
			}
		}
		if _, got := told(t, answer, 5); len(got) != len(addresses) || len(got) > maxRecords {
			t.Errorf("told %v, learnt %v", got, addresses)
		}
	})
}
