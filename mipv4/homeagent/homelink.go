package homeagent

import (
	"net/netip"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// How often a gratuitous ARP is sent, the first time included, and the time between two: broadcasts may be lost, so it is to be
// repeated a small number of times (RFC 5944 §4.6).
const (
	announcements        = 3
	announcementInterval = time.Second
)

// HomeLinkAction is what a home agent has to do on the link of a home network.
type HomeLinkAction struct {
	Kind HomeLinkActionKind
	// Home is the home address that it is about.
	Home netip.Addr
}

// HomeLinkActionKind is one kind of HomeLinkAction.
type HomeLinkActionKind uint8

// What a home agent does on the link of a home network.
const (
	// Intercept: begin to answer ARP requests for the home address, and take what comes for it.
	Intercept HomeLinkActionKind = iota + 1
	// Release: end that.
	Release
	// Announce: broadcast a gratuitous ARP that says that the home address is at the home agent's link-layer address.
	Announce
	// AnnounceReturn: broadcast one that says that it is at the mobile node's own, where that is known.
	AnnounceReturn
)

// String returns the kind as one word for logs.
func (k HomeLinkActionKind) String() string {
	switch k {
	case Intercept:
		return "intercept"
	case Release:
		return "release"
	case Announce:
		return "announce"
	case AnnounceReturn:
		return "announce return"
	}
	return "unknown"
}

// HomeLink is the machine that says what a home agent has to do on the link of a home network as bindings come and go: proxy ARP
// and gratuitous ARP (RFC 5944 §4.6). It is told of bindings, and sends nothing itself. Its zero value knows of no binding.
type HomeLink struct {
	homes   map[netip.Addr]linkState
	waiting []announcement // in the order of their times
	actions queue.FIFO[HomeLinkAction]
	serial  uint64
}

// linkState is where a mobile node is, as far as the link is concerned.
type linkState struct {
	away   bool
	serial uint64 // of the announcements that hold
}

// announcement is a gratuitous ARP that is still to be repeated.
type announcement struct {
	at     time.Duration
	home   netip.Addr
	serial uint64
	left   int
}

// Bound tells that the mobile node has a binding, a first one or another. again says that it was seen on its home link since the
// last such call, so that the nodes there may take it to be at home: then it is announced anew.
func (l *HomeLink) Bound(now link.Instant, home netip.Addr, again bool) {
	s, known := l.homes[home]
	if known && s.away && !again {
		return
	}
	if !s.away {
		l.act(Intercept, home)
	}
	l.announce(now, home, true)
}

// Unbound tells that the mobile node has no binding any more, though nothing says that it is at home: nobody answers for it then.
func (l *HomeLink) Unbound(home netip.Addr) {
	if s := l.homes[home]; s.away {
		l.act(Release, home)
	}
	delete(l.homes, home)
}

// Returned tells that the mobile node has deregistered from its home link. The first time since it was away, or since the machine
// knows of it, that is announced.
func (l *HomeLink) Returned(now link.Instant, home netip.Addr) {
	s, known := l.homes[home]
	if known && !s.away {
		return
	}
	if s.away {
		l.act(Release, home)
	}
	l.announce(now, home, false)
}

// announce sends the first of a series of announcements, in the place of any other series for the address.
func (l *HomeLink) announce(now link.Instant, home netip.Addr, away bool) {
	if l.homes == nil {
		l.homes = make(map[netip.Addr]linkState)
	}
	l.serial++
	l.homes[home] = linkState{away: away, serial: l.serial}
	l.again(now.Boot, announcement{home: home, serial: l.serial, left: announcements})
}

// again does one announcement and has it repeated while any are left.
func (l *HomeLink) again(now time.Duration, a announcement) {
	kind := AnnounceReturn
	if l.homes[a.home].away {
		kind = Announce
	}
	l.act(kind, a.home)
	if a.left--; a.left > 0 {
		a.at = now + announcementInterval
		l.waiting = append(l.waiting, a)
	}
}

func (l *HomeLink) act(kind HomeLinkActionKind, home netip.Addr) {
	l.actions.Push(HomeLinkAction{kind, home})
}

// HandleTimeout repeats what is due.
func (l *HomeLink) HandleTimeout(now link.Instant) {
	for len(l.waiting) > 0 && l.waiting[0].at <= now.Boot {
		a := l.waiting[0]
		l.waiting = l.waiting[1:]
		if s, known := l.homes[a.home]; known && s.serial == a.serial {
			l.again(now.Boot, a)
		}
	}
}

// Deadline returns the boot time at which HandleTimeout wants to be called, and false while nothing is to be repeated.
func (l *HomeLink) Deadline() (time.Duration, bool) {
	if len(l.waiting) == 0 {
		return 0, false
	}
	return l.waiting[0].at, true
}

// PollAction returns the next thing to do, in the order in which things are to be done.
func (l *HomeLink) PollAction() (HomeLinkAction, bool) { return l.actions.Pop() }
