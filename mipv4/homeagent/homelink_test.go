package homeagent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/tun/link"
)

// actions returns what the machine wants done.
func actions(l *HomeLink) (all []HomeLinkActionKind) {
	for a, ok := l.PollAction(); ok; a, ok = l.PollAction() {
		all = append(all, a.Kind)
	}
	return all
}

// Shows: AGT-1 (what is done on an on-link home network as a mobile node goes and comes, RFC 5944 §4.6).
func TestHomeLink(t *testing.T) {
	var (
		l    HomeLink
		now  link.Instant
		home = netip.MustParseAddr("10.1.0.50")
	)
	want := func(what string, kinds ...HomeLinkActionKind) {
		t.Helper()
		if got := actions(&l); !slices.Equal(got, kinds) {
			t.Errorf("%s: %v, want %v", what, got, kinds)
		}
	}
	// later lets the time come that the machine waits for.
	later := func() bool {
		at, ok := l.Deadline()
		if ok {
			now = now.Add(at - now.Boot)
			l.HandleTimeout(now)
		}
		return ok
	}
	l.Bound(now, home, false)
	want("away", Intercept, Announce)
	l.Bound(now, home, false)
	want("renewed")
	later()
	want("a second after", Announce)
	l.HandleTimeout(now)
	want("too early")
	later()
	want("two seconds after", Announce)
	if later() {
		t.Error("a fourth announcement is to come")
	}
	l.Bound(now, home, true)
	want("seen at home meanwhile", Announce)
	l.Returned(now, home)
	want("returned", Release, AnnounceReturn)
	l.Returned(now, home)
	want("the proof at home is repeated")
	later() // what was to be announced before is due as well, and does not hold any more
	want("a second after", AnnounceReturn)
	l.Bound(now, home, false)
	want("away again", Intercept, Announce)
	l.Unbound(home)
	want("expired", Release)
	for later() {
	}
	want("nothing is announced after that")
	l.Unbound(home)
	want("expired twice")
	l.Returned(now, home)
	want("at home without a binding, as after a restart", AnnounceReturn)
}

// Announcements of many mobile nodes come at their times.
func TestHomeLinkOrder(t *testing.T) {
	var l HomeLink
	home := netip.MustParseAddr("10.1.0.1")
	for i := range 100 {
		l.Bound(link.Instant{Boot: time.Duration(i) * time.Millisecond}, home, false)
		home = home.Next()
	}
	if n := len(actions(&l)); n != 200 {
		t.Errorf("%d actions, want 200", n)
	}
	l.HandleTimeout(link.Instant{Boot: announcementInterval + 49*time.Millisecond})
	if n := len(actions(&l)); n != 50 {
		t.Errorf("%d actions, want those of the first 50", n)
	}
	if at, ok := l.Deadline(); !ok || at != announcementInterval+50*time.Millisecond {
		t.Errorf("next at %v, %t", at, ok)
	}
}
