package gateways

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/tun/link"
)

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

func addrs(list ...int) (out []netip.Addr) {
	for _, n := range list {
		out = append(out, addr(n))
	}
	return out
}

// Shows: IKE-5, GDL-7. What is tried when: steps are separated by spaces: a number begins an attempt that is to go to this address,
// with "!" behind it where no pause is due before the next; "up", "none" (nothing to try), "+N" minutes pass, "name=1,2" is
// resolved, "to=N" redirects.
func TestOrder(t *testing.T) {
	one, two, three := Peer{Address: addr(1)}, Peer{Address: addr(2)}, Peer{Address: addr(3)}
	for name, tc := range map[string]struct {
		peers []Peer
		steps string
	}{
		"one":                             {[]Peer{one}, "1 1 1 up 1 1"},
		"in order, then a pause":          {[]Peer{one, two, three}, "1! 2! 3 1! 2! 3 1!"},
		"the one that works stays":        {[]Peer{one, two, three}, "1! 2! up 2! 3! 1 2!"},
		"back to the first after a while": {[]Peer{one, two}, "1! 2 up +29 2! up +1 1! up +60 1!"},
		"back, and it is still dead":      {[]Peer{one, two}, "1! 2 up +30 1! 2 up +29 2!"},
		"a name":                          {[]Peer{{Name: "a"}}, "none a=4,5 4! 5 4! up 4!"},
		"a name and an address":           {[]Peer{{Name: "a"}, two}, "2 a=4,5 4! 5 2! up 2!"},
		"a name leads elsewhere":          {[]Peer{{Name: "a"}}, "a=4 4 up a=5 5 up a=6,5 5!"},
		"a name leads nowhere any more":   {[]Peer{{Name: "a"}, two}, "a=4 4! up a= 2 up 2"},
		"one address under two names":     {[]Peer{{Name: "a"}, {Name: "b"}, one}, "a=1,2 b=2 1! 2 1!"},
		"sent elsewhere":                  {[]Peer{one, two}, "1! up to=9 9! up 1! up"},
		"sent elsewhere, in vain":         {[]Peer{one, two}, "1! up to=9 9! 1! 2 1!"},
	} {
		l, now := New(tc.peers, 30*time.Minute), link.Instant{Boot: time.Hour}
		for i, step := range strings.Fields(tc.steps) {
			where := fmt.Sprintf("%s, step %d (%s)", name, i+1, step)
			var n int
			key, value, assigned := strings.Cut(step, "=")
			switch {
			case step == "up":
				l.Up()
			case step == "none":
				if a, ok := l.Begin(now); ok {
					t.Fatalf("%s: %v", where, a)
				}
			case step[0] == '+':
				_, _ = fmt.Sscan(step[1:], &n)
				now = now.Add(time.Duration(n) * time.Minute)
			case key == "to":
				_, _ = fmt.Sscan(value, &n)
				l.Redirected(addr(n))
			case assigned:
				var list []netip.Addr
				for _, s := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
					_, _ = fmt.Sscan(s, &n)
					list = append(list, addr(n))
				}
				l.Resolved(key, list)
				if l.Known(key) != (len(list) > 0) {
					t.Fatalf("%s: known %t", where, l.Known(key))
				}
			default:
				_, _ = fmt.Sscan(strings.TrimSuffix(step, "!"), &n)
				if a, ok := l.Begin(now); !ok || a != addr(n) || l.Current() != a {
					t.Fatalf("%s: tries %v, %t", where, a, ok)
				}
				if !l.Failing() {
					t.Fatalf("%s: it is up already", where)
				}
				if another := l.Another(); another != strings.HasSuffix(step, "!") {
					t.Fatalf("%s: another %t", where, another)
				}
			}
		}
	}
	l := New([]Peer{{Name: "a"}, one, {Name: "b"}, {Name: "a"}}, 0)
	if got := l.Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names %v", got)
	}
	l.Resolved("b", addrs(1, 7))
	if got := l.NamesOf(addr(7)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("names of an address %v", got)
	}
	if got := l.NamesOf(addr(8)); len(got) != 0 {
		t.Errorf("names of another address %v", got)
	}
	if got := l.Addresses(); !slices.Equal(got, addrs(1, 7)) {
		t.Errorf("addresses %v", got)
	}
}
