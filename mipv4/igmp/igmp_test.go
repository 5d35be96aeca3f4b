package igmp

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	hostA  = netip.MustParseAddr("10.0.8.100")
	hostB  = netip.MustParseAddr("10.0.8.101")
	groupA = netip.MustParseAddr("239.1.2.3")
	groupB = netip.MustParseAddr("232.1.1.1")
	groupC = netip.MustParseAddr("232.2.2.2")
)

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The messages are put together by hand from RFC 3376 §4.1 and §4.2, RFC 2236 §2 and RFC 1112.
var messages = []struct {
	name, message string
	want          []Report
}{
	{"version 1", "1200fcfaef010203", []Report{{groupA, true}}},
	{"version 2", "1600f8faef010203", []Report{{groupA, true}}},
	{"version 2, leave", "1700f7faef010203", []Report{{groupA, false}}},
	{"version 3, change to exclude none", "2200e8f90000000104000000ef010203", []Report{{groupA, true}}},
	{"version 3, change to include none", "2200e9f90000000103000000ef010203", []Report{{groupA, false}}},
	{"version 3, what is no group", "2200cef70000000104000000" + "0a000107", nil},
	// Exclude one source, with a word of auxiliary data; allow a source; block one; include one; a type that nobody knows.
	{"version 3, of all kinds", "22004e1600000005" + "02010001ef0102030a000107deadbeef" + "05000001e80101010a000107" +
		"06000001ef0909090a000107" + "03000001e80202020a000107" + "09000000ef010204", []Report{{groupA, true}, {groupB, true}, {groupC, true}}},
}

const generalQuery = "1164ec1e00000000027d0000"

// Shows: MIP-11 (IGMP reports of all three versions, and queries)
func TestMessages(t *testing.T) {
	for _, c := range messages {
		m := octets(t, c.message)
		if got, err := ParseReports(m); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
		m[5] ^= 1
		if _, err := ParseReports(m); !errors.Is(err, ErrMessage) {
			t.Errorf("%s, damaged: %v", c.name, err)
		}
	}
	if got := AppendReport(nil, []Report{{groupA, true}}); hex.EncodeToString(got) != messages[3].message {
		t.Errorf("a report is %x, want %s", got, messages[3].message)
	}
	if got := AppendQuery(nil); hex.EncodeToString(got) != generalQuery {
		t.Errorf("a query is %x, want %s", got, generalQuery)
	}
	if group, err := ParseQuery(octets(t, generalQuery)); err != nil || group.IsValid() {
		t.Errorf("the query is read as %v, %v, want one that is general", group, err)
	}
	if group, err := ParseQuery(octets(t, "1164fd95ef010203")); err == nil || group.IsValid() {
		t.Errorf("a damaged query is read as %v, %v", group, err)
	}
	if group, err := ParseQuery(octets(t, "1164fd96ef010203")); err != nil || group != groupA {
		t.Errorf("a query of version 2 is read as %v, %v, want one about %v", group, err, groupA)
	}
	for _, short := range []string{"", "1600f8", "2200ddfe00000001"} {
		if _, err := ParseReports(octets(t, short)); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %v", short, err)
		}
	}
}

// Shows: MIP-11 (IGMP stays on its link and bears the router alert option, RFC 3376 §4)
func TestPacket(t *testing.T) {
	p := Packet(hostA, AllReports, octets(t, messages[3].message))
	defer p.Release()
	want := "46c00028" + "00000000" + "01023196" + "0a000864" + "e0000016" + "94040000" + messages[3].message
	if got := hex.EncodeToString(p.Bytes()); got != want {
		t.Errorf("the packet is\n%s, want\n%s", got, want)
	}
	if ip := packet.IPv4(p.Bytes()); !ip.Valid() || !ip.ChecksumOK() {
		t.Error("the header is not right")
	}
}

func FuzzMessages(f *testing.F) {
	for _, c := range messages {
		f.Add(octets(f, c.message))
	}
	f.Add(octets(f, generalQuery))
	f.Fuzz(func(t *testing.T, m []byte) {
		if list, err := ParseReports(m); err == nil {
			if again, err := ParseReports(AppendReport(nil, list)); err != nil || !slices.Equal(again, list) {
				t.Errorf("%v is read again as %v, %v", list, again, err)
			}
		} else if !errors.Is(err, ErrMessage) {
			t.Errorf("error %v", err)
		}
		if group, err := ParseQuery(m); err != nil && !errors.Is(err, ErrMessage) || group.IsValid() && err != nil {
			t.Errorf("query %v, error %v", group, err)
		}
	})
}

// fixture is a router and a clock.
type fixture struct {
	t   *testing.T
	now time.Duration
	Router
}

func (f *fixture) instant() link.Instant { return link.Instant{Boot: f.now} }

func (f *fixture) report(host netip.Addr, list ...Report) {
	f.t.Helper()
	if err := f.HandleReport(f.instant(), host, AppendReport(nil, list)); err != nil {
		f.t.Fatal(err)
	}
}

// until advances to each deadline up to end and returns when which hosts are asked.
func (f *fixture) until(end time.Duration) (asked []time.Duration) {
	for {
		for _, ok := f.PollQuery(); ok; _, ok = f.PollQuery() {
			asked = append(asked, f.now)
		}
		due, ok := f.Deadline()
		if !ok || due > end {
			f.now = end
			return asked
		}
		f.now = due
		f.HandleTimeout(f.instant())
	}
}

func (f *fixture) members(group netip.Addr, want ...netip.Addr) {
	f.t.Helper()
	if got := f.Members(group); !slices.Equal(got, want) {
		f.t.Errorf("members of %v: %v, want %v", group, got, want)
	}
}

// changed wants that the members of exactly these groups have changed, in this order.
func (f *fixture) changed(want ...netip.Addr) {
	f.t.Helper()
	var got []netip.Addr
	for g, ok := f.PollChange(); ok; g, ok = f.PollChange() {
		got = append(got, g)
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("changed: %v, want %v", got, want)
	}
}

// Shows: MIP-11 (membership is soft state: it lasts for 260 s after a report, is asked for every 125 s, and goes with the host)
func TestRouter(t *testing.T) {
	f := &fixture{t: t}
	f.Listen(f.instant(), hostA)
	f.Listen(f.instant(), hostA)
	f.Listen(f.instant(), hostB)
	start := StartupInterval
	want := []time.Duration{0, 0, start, start, start + QueryInterval, start + QueryInterval}
	if got := f.until(200 * time.Second); !slices.Equal(got, want) {
		t.Errorf("queries at %v, want %v", got, want)
	}
	f.report(hostA, Report{groupA, true}, Report{AllReports, true})
	f.report(hostB, Report{groupA, true}, Report{groupB, true})
	f.report(hostA, Report{groupA, true})
	f.members(groupA, hostA, hostB)
	f.members(groupB, hostB)
	f.members(AllReports)
	f.changed(groupA, groupA, groupB)

	reported := f.now
	f.until(reported + 100*time.Second)
	f.report(hostA, Report{groupA, true})
	f.until(reported + MembershipInterval - 1)
	f.members(groupA, hostA, hostB)
	f.until(reported + MembershipInterval)
	f.members(groupA, hostA)
	f.members(groupB)
	f.until(reported + 100*time.Second + MembershipInterval - 1)
	f.members(groupA, hostA)
	f.report(hostA, Report{groupB, true}, Report{groupA, false})
	f.members(groupA)
	f.report(hostA, Report{groupA, false})
	f.until(f.now + 1)
	for range 2 { // what has ended by itself, in no order
		f.PollChange()
	}
	f.changed(groupB, groupA)

	f.Forget(hostA)
	f.Forget(hostA)
	f.members(groupB)
	f.changed(groupB)
	if err := f.HandleReport(f.instant(), hostA, octets(t, messages[0].message)); !errors.Is(err, ErrHost) {
		t.Errorf("a report of a host that has gone: %v", err)
	}
	f.Forget(hostB)
	if at, ok := f.Deadline(); ok {
		t.Errorf("a deadline at %v without hosts", at)
	}
}

// Shows: MIP-11 (what a host reports is bounded, and what it sends that is no report changes nothing)
func TestRouterBounds(t *testing.T) {
	f := &fixture{t: t}
	f.Listen(f.instant(), hostA)
	var all []Report
	group := groupA
	for range MaxGroups + 10 {
		all = append(all, Report{group, true})
		group = group.Next()
	}
	if err := f.HandleReport(f.instant(), hostA, AppendReport(nil, all)); !errors.Is(err, ErrTooMany) {
		t.Errorf("%d groups: %v", len(all), err)
	}
	f.members(all[MaxGroups-1].Group, hostA)
	f.members(all[MaxGroups].Group)
	f.report(hostA, Report{all[0].Group, false}, all[MaxGroups])
	f.members(all[MaxGroups].Group, hostA)
	if err := f.HandleReport(f.instant(), hostA, octets(t, generalQuery)); !errors.Is(err, ErrMessage) {
		t.Errorf("a query of a host's: %v", err)
	}
	f.members(all[1].Group, hostA)
	f.until(MembershipInterval)
	f.members(all[1].Group)
	f.members(all[MaxGroups].Group)
}
