package agent

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// AccountingKind says what an AccountingRecord is about (RFC 2866 §5.1).
type AccountingKind uint8

// The kinds of records.
const (
	AccountingStart   AccountingKind = iota + 1 // the client is connected
	AccountingInterim                           // it still is
	AccountingStop                              // it is not any more: the last record of its session
)

// String returns "start", "interim" or "stop".
func (k AccountingKind) String() string {
	switch k {
	case AccountingStart:
		return "start"
	case AccountingInterim:
		return "interim"
	case AccountingStop:
		return "stop"
	}
	return "unknown"
}

// SessionFigures is what one client's session has come to.
type SessionFigures struct {
	// Session is the gateway's number for it, never used again while the gateway runs.
	Session gateway.SessionID
	// Identity is what the client has proved, Address its inner address and Remote its outer endpoint.
	Identity ike.Identity
	Address  netip.Addr
	// HomeAddress is Address when it is a home address (i-HoA), used through the foreign agent in the gateway; else the zero Addr.
	HomeAddress netip.Addr
	Remote      netip.AddrPort
	// Suite names the algorithms of the IKE SA.
	Suite string
	// Began is when the client was connected, Lasted how long it has been, suspended time included.
	Began  time.Time
	Lasted time.Duration
	// From and To are the inner packets that came from the client and went to it, and their octets.
	From, To esp.Usage
}

// AccountingRecord is one record of a session's accounting.
type AccountingRecord struct {
	Kind AccountingKind
	SessionFigures
	// Cause is why the session has ended, nil in other records.
	Cause error
}

// account is what is kept of a session while it lasts.
type account struct {
	SessionFigures
	began    time.Duration // boot time
	interim  time.Duration // boot time of the next interim record
	from, to esp.Usage     // of child SAs that are gone
}

// accounts keeps the figures of all sessions and makes their records. It belongs to the loop.
type accounts struct {
	tell     func(AccountingRecord) // nil for nobody
	interval time.Duration          // 0 for no interim records
	next     time.Duration          // boot time of the next one, or earlier; 0 for none
	began    uint64                 // sessions, ever
	ended    uint64
	from, to esp.Usage // of the sessions that have ended
	open     map[gateway.SessionID]*account
}

func sum(a, b esp.Usage) esp.Usage {
	return esp.Usage{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes}
}

// begin opens a session's account.
func (a *accounts) begin(now link.Instant, e gateway.Event, suite string) {
	c := &account{began: now.Boot, SessionFigures: SessionFigures{Session: e.Session, Identity: e.Identity, Address: e.Address,
		HomeAddress: e.HomeAddress, Remote: e.Remote, Suite: suite, Began: now.Wall}}
	if a.interval > 0 {
		c.interim = now.Boot + a.interval
		a.schedule(c.interim)
	}
	a.open[e.Session] = c
	a.began++
	a.record(AccountingRecord{Kind: AccountingStart, SessionFigures: c.SessionFigures})
}

// moved notes a session's outer endpoint.
func (a *accounts) moved(session gateway.SessionID, remote netip.AddrPort) {
	if c := a.open[session]; c != nil {
		c.Remote = remote
	}
}

// childGone keeps what a child SA has carried when it is removed.
func (a *accounts) childGone(gone *child) {
	if c := a.open[gone.key.session]; c != nil {
		c.from, c.to = sum(c.from, gone.in.Delivered()), sum(c.to, gone.out.Usage())
	}
}

// end closes a session's account.
func (a *accounts) end(now link.Instant, session gateway.SessionID, live []*child, cause error) {
	c := a.open[session]
	if c == nil {
		return
	}
	delete(a.open, session)
	f := c.figures(now, live)
	a.ended++
	a.from, a.to = sum(a.from, f.From), sum(a.to, f.To)
	a.record(AccountingRecord{Kind: AccountingStop, SessionFigures: f, Cause: cause})
}

// figures returns the figures of a session whose child SAs are live.
func (c *account) figures(now link.Instant, live []*child) SessionFigures {
	f := c.SessionFigures
	f.Lasted = now.Since(c.began)
	f.From, f.To = c.from, c.to
	for _, l := range live {
		f.From, f.To = sum(f.From, l.in.Delivered()), sum(f.To, l.out.Usage())
	}
	return f
}

// handleTimeout makes the interim records that are due.
func (a *accounts) handleTimeout(now link.Instant, live map[gateway.SessionID][]*child) {
	if a.next == 0 || a.next > now.Boot {
		return
	}
	a.next = 0
	for _, id := range slices.Sorted(maps.Keys(a.open)) {
		c := a.open[id]
		if c.interim <= now.Boot {
			c.interim = now.Boot + a.interval
			a.record(AccountingRecord{Kind: AccountingInterim, SessionFigures: c.figures(now, live[id])})
		}
		a.schedule(c.interim)
	}
}

func (a *accounts) schedule(at time.Duration) {
	if a.next == 0 || at < a.next {
		a.next = at
	}
}

func (a *accounts) record(r AccountingRecord) {
	if a.tell != nil {
		a.tell(r)
	}
}

// gatewayTimers are the timers of the gateway: its machine's and those of the interim records.
type gatewayTimers struct{ g *Gateway }

// HandleTimeout does what is due.
func (t gatewayTimers) HandleTimeout(now link.Instant) {
	t.g.machine.HandleTimeout(now)
	if a := t.g.agent; a != nil {
		a.machine.HandleTimeout(now)
	}
	t.g.besideTimeout(now)
	t.g.accounts.handleTimeout(now, t.g.children.bySession)
}

// Deadline returns the earliest boot time at which something is due, false when nothing will be.
func (t gatewayTimers) Deadline() (time.Duration, bool) {
	at, ok := t.g.machine.Deadline()
	if a := t.g.agent; a != nil {
		if next, due := a.machine.Deadline(); due && (!ok || next < at) {
			at, ok = next, true
		}
	}
	if w := t.g.waiting; len(w) > 0 && (!ok || w[0].besideUntil < at) {
		at, ok = w[0].besideUntil, true
	}
	if next := t.g.accounts.next; next != 0 && (!ok || next < at) {
		return next, true
	}
	return at, ok
}

// Figures returns the figures of the connected clients in the order in which they came, nil when the gateway is too busy to say
// or closed.
func (g *Gateway) Figures() []SessionFigures {
	return ask(g, func(now link.Instant) []SessionFigures {
		out := make([]SessionFigures, 0, len(g.accounts.open))
		for _, id := range slices.Sorted(maps.Keys(g.accounts.open)) {
			out = append(out, g.accounts.open[id].figures(now, g.children.bySession[id]))
		}
		return out
	})
}

// GatewayTotals is what a gateway has done since it was started. The numbers never go down, but for those of what is there now.
type GatewayTotals struct {
	// Sessions are the clients that are connected, HalfOpen the IKE SAs whose peer is not authenticated yet.
	Sessions, HalfOpen int
	// Began and Ended count sessions.
	Began, Ended uint64
	// Rejected counts messages that were not taken, by kind.
	Rejected map[string]uint64
	// From and To are the inner packets that came from clients and went to them.
	From, To esp.Usage
}

// Totals returns what the gateway has done, the zero GatewayTotals when it is too busy to say or closed.
func (g *Gateway) Totals() GatewayTotals {
	return ask(g, func(now link.Instant) GatewayTotals {
		a := &g.accounts
		t := GatewayTotals{Sessions: len(a.open), HalfOpen: g.machine.HalfOpen(), Began: a.began, Ended: a.ended,
			Rejected: maps.Clone(g.rejected), From: a.from, To: a.to}
		for id, c := range a.open {
			f := c.figures(now, g.children.bySession[id])
			t.From, t.To = sum(t.From, f.From), sum(t.To, f.To)
		}
		return t
	})
}

// Disconnect closes the sessions of a client and tells it, and returns how many there were.
func (g *Gateway) Disconnect(id ike.Identity) int {
	return ask(g, func(now link.Instant) (n int) {
		for session, c := range g.accounts.open {
			if c.Identity == id && g.machine.Delete(now, session) == nil {
				n++
			}
		}
		return n
	})
}

// maxKinds bounds the kinds of rejected messages that are counted by themselves: peers could make up more.
const maxKinds = 64

// countRejected counts a rejected message.
func (g *Gateway) countRejected(kind string) {
	if _, known := g.rejected[kind]; !known && len(g.rejected) >= maxKinds {
		kind = "other"
	}
	g.rejected[kind]++
}

// ask has the gateway's goroutine answer a question, the zero value when it is too busy or has ended.
func ask[T any](g *Gateway, question func(link.Instant) T) T {
	answer := make(chan T, 1)
	var none T
	if !g.loop.post(func(now link.Instant) { answer <- question(now) }) {
		return none
	}
	select {
	case v := <-answer:
		return v
	case <-g.loop.done:
		return none
	}
}
