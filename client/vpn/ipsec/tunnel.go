package ipsec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/vpn"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// tunnel is an IKE SA with its child SAs.
type tunnel struct {
	access    *access
	machine   *ike.Machine
	events    []vpn.Event
	committed bool
	children  map[ike.ChildID]*child
	current   ike.ChildID // the one that packets leave through, 0 for none
	sealed    uint64      // ESP packets that child SAs have sent which are gone
	parked    bool
	dummyAt   time.Duration // boot time of the next dummy packet, 0 for none yet
	udp       bool          // as of the child SA before
	ended     bool          // without the IKE machine
	// established is set from ike.Established on, whose endpoints are local and remote; endpoints is the last update of them. at is
	// our address that IKE uses, outer the one that packets leave from.
	established   bool
	local, remote netip.AddrPort
	endpoints     ike.EndpointUpdate
	at, outer     netip.Addr
	follows       vpn.Following
	// proveAt is the boot time from which it is found out whether the gateway follows packets, renewAt the one at which a tunnel is
	// asked for in which that can be; 0 for neither.
	proveAt, renewAt time.Duration
	probeAt          time.Duration // not before it another vpn.Probe
	pretends         bool          // to be behind a NAT
	// tryAt is the boot time of the next trial of preferred bearers, tryPause the time from that to the one after it.
	tryAt, tryPause time.Duration
	ctx             context.Context // ends with the tunnel
	cancel          context.CancelFunc
	// eap is the method of the round of EAP that is under way, nil without one; round counts those that are over.
	eap          *eap.Machine
	round        int
	toldPassword bool
	// What status tells.
	gateway, identity, suite string
	keyExchanges             []string
	downgraded, ppk          bool
	first                    bool // no other tunnel with this gateway may live
	tcp                      inTCP
	now                      link.Instant // of the latest call
}

var _ vpn.Tunnel = (*tunnel)(nil)

// child is a child SA pair.
type child struct {
	open     *esp.Inbound
	seal     *esp.Outbound
	seen     uint64 // packets that had been received when HandleTimeout last looked
	arrived  uint64 // those of them whose endpoint the IKE machine knows
	overhead int
	udp      bool
	agent    bool // it goes through the foreign agent in the gateway
	// What status tells.
	suite     string
	selectors []string
	narrowed  bool
}

// HandleTimeout implements vpn.Tunnel. The IKE machine hears before which child SAs have received: the peer lives, and a child SA
// that waited for it may be used.
func (t *tunnel) HandleTimeout(now link.Instant) {
	t.now = now
	for _, c := range t.children {
		if n := c.open.Usage().Packets; n != c.seen {
			c.seen = n
			t.machine.HandleTraffic(now, c.open.SPI())
		}
		t.noteArrival(now, c)
	}
	t.access.drain(now)
	t.machine.HandleTimeout(now)
	t.sendDummy(now)
	t.tryPreferred(now)
	t.proveFollowing(now)
	if w := &t.tcp; w.choice != nil {
		if w.rival != nil {
			w.rival.HandleTimeout(now)
		}
		w.choice.HandleTimeout(now)
		t.serve(now)
	}
}

// Deadline implements vpn.Tunnel.
func (t *tunnel) Deadline() (time.Duration, bool) {
	first, ok := t.machine.Deadline()
	sooner := func(at time.Duration, some bool) {
		if some && (!ok || at < first) {
			first, ok = at, true
		}
	}
	if w := &t.tcp; w.choice != nil {
		sooner(w.choice.Deadline())
		if w.rival != nil {
			sooner(w.rival.Deadline())
		}
	}
	sooner(t.dummyDeadline())
	sooner(t.access.drainDeadline())
	sooner(t.tryDeadline())
	sooner(t.followDeadline())
	return first, ok
}

// PollEvent implements vpn.Tunnel. Security associations are installed here, before Flush sends the message that announces
// them (RFC 7296 §2.8).
func (t *tunnel) PollEvent(now link.Instant) (vpn.Event, bool) {
	t.now = now
	t.pollRival(now)
	for len(t.events) == 0 {
		if t.ended {
			return nil, false
		}
		e, ok := t.machine.PollEvent()
		if !ok {
			return nil, false
		}
		t.handle(now, e)
	}
	e := t.events[0]
	t.events = slices.Delete(t.events, 0, 1)
	return e, true
}

func (t *tunnel) emit(e vpn.Event) { t.events = append(t.events, e) }

// handle takes an event of the IKE machine.
func (t *tunnel) handle(now link.Instant, e ike.Event) {
	if asksDriver(e) {
		t.heardOver(now, t.tcp.stream != nil && t.tcp.choice != nil && t.tcp.choice.TCP())
	}
	switch e := e.(type) {
	case ike.Established:
		t.up(now, e)
	case ike.ChildInstalled:
		t.install(e)
	case ike.ChildActivated:
		t.use(e.ID)
	case ike.ChildRemoved:
		t.removed(now, e)
	case ike.KeepaliveLearned:
		t.access.protocol.patience.learn(t.network(), e.Interval)
	case ike.PathRefused:
		t.access.Log.Info("the gateway refuses to be reached by a way", zap.Stringer("from", e.Local), zap.Stringer("to", e.Remote), zap.Error(e.Err))
	case ike.PeerAddresses:
		if err := t.access.flows.Listen(e.Addresses); err != nil {
			t.access.Log.Debug("addresses of the gateway", zap.Error(err))
		}
	case ike.ChildFailed:
		t.emit(vpn.Trouble{What: "no child SA", Err: e.Err})
	case ike.Refused:
		t.emit(vpn.Trouble{What: "refuses", Err: e.Err})
	case ike.PuzzleWanted:
		t.solve(e.Puzzle)
	case ike.ReauthenticationDue:
		t.emit(vpn.Renew{})
	case ike.IKERekeyed:
		t.keyExchanges, t.downgraded = e.KeyExchanges, e.Downgraded
		t.emit(vpn.Rekeyed{})
	case ike.SignatureWanted:
		t.sign(e)
	case ike.TrustWanted:
		t.trust(e, now)
	case ike.EAPReceived:
		t.receiveEAP(now, e)
	case ike.Alive:
		t.emit(vpn.Alive{})
	case ike.EndpointChanged:
		t.moved(now, e.Update)
	case ike.Following:
		t.foundOut(now, e.Follows)
	case ike.ESPWanted:
		t.showWhere(e.Answer)
	case ike.Redirected:
		t.follow(now, e.To)
	case ike.Closed:
		if t.waitsForTCP(e.Err) {
			return
		}
		if r, ok := errors.AsType[*ike.RedirectError](e.Err); ok && t.follow(now, r.To) {
			e.Err = nil
		}
		t.emit(vpn.Closed{Err: asSilence(e.Err)})
	}
}

// maxPuzzle is the hardest puzzle that is solved for a gateway under attack, in bits: a few seconds of one core.
const maxPuzzle = 20

// solve answers ike.PuzzleWanted.
func (t *tunnel) solve(p ike.Puzzle) {
	t.beside(func(ctx context.Context) func(link.Instant) {
		solution, err := p.Solve(func() bool { return ctx.Err() != nil })
		return func(now link.Instant) { t.answered(t.machine.Solved(now, solution, err)) }
	})
}

func (t *tunnel) up(now link.Instant, e ike.Established) {
	address := slices.IndexFunc(e.Configuration.Addresses, netip.Addr.Is4)
	if address < 0 {
		t.emit(vpn.Trouble{What: "cannot be used", Err: ike.ErrConfiguration})
		t.machine.Delete(now)
		return
	}
	t.udp, t.tcp.used, t.suite, t.identity = e.UDPEncapsulation, e.TCP, e.Suite, e.RemoteID.String()
	t.keyExchanges, t.downgraded, t.ppk = e.KeyExchanges, e.Downgraded, e.PPK
	t.established, t.local, t.remote, t.at, t.outer = true, e.Local, e.Remote, e.Local.Addr(), e.Local.Addr()
	t.beginFollowing(now, e)
	how := "up"
	if e.Resumed {
		how = "resumed with its ticket"
		t.gateway = "a ticket of the IKE SA before (RFC 5723)"
	}
	up := vpn.Up{
		Address: e.Configuration.Addresses[address], Agent: e.Advertisement, DNS: e.Configuration.DNS,
		How: fmt.Sprintf("IKE SA with gateway %v %s (%s)", e.RemoteID, how, e.Suite),
	}
	for _, d := range e.Configuration.Domains {
		up.Domains = append(up.Domains, d.Name)
	}
	t.emit(up)
	t.settle(now)
}

// install takes a new child SA pair into the data path.
func (t *tunnel) install(e ike.ChildInstalled) {
	inbound, err := esp.NewInbound(e.Inbound)
	if err == nil {
		var outbound *esp.Outbound
		if outbound, err = esp.NewOutbound(e.Outbound, t.access.Drops); err == nil {
			c := &child{open: inbound, seal: outbound, overhead: esp.Overhead(e.Outbound.Encryption), udp: e.UDPEncapsulation, agent: e.GatewayAgent, suite: e.Suite}
			c.selectors, c.narrowed = t.access.granted(e.Outbound.Remote)
			t.children[e.ID] = c
			t.access.flows.Install(inbound)
		}
	}
	e.Inbound.Wipe()
	e.Outbound.Wipe()
	if err != nil {
		t.emit(vpn.Trouble{What: "the child SA cannot be used", Err: err})
		return
	}
	if !e.Standby {
		t.use(e.ID)
	}
	if e.Replaces != 0 {
		t.emit(vpn.Rekeyed{Child: true})
	}
}

// use sends through the child SA from now on.
func (t *tunnel) use(id ike.ChildID) {
	c := t.children[id]
	if c == nil {
		return
	}
	moved := t.udp != c.udp
	t.current, t.udp = id, c.udp
	if interval := t.access.cfg.Gateway.DummyInterval; interval > 0 && t.dummyAt == 0 {
		t.dummyAt = t.now.Boot + interval
	}
	if t.access.used == t {
		t.access.apply()
	}
	t.emit(vpn.Ready{Moved: moved})
}

// removed forgets a child SA. When it was the one in use another one takes its place, if there is one.
func (t *tunnel) removed(now link.Instant, e ike.ChildRemoved) {
	c := t.children[e.ID]
	if c == nil {
		return
	}
	t.access.flows.Remove(c.open.SPI())
	t.sealed += c.seal.Sent()
	delete(t.children, e.ID)
	if t.current == e.ID {
		t.current = 0
		var newest ike.ChildID
		for id := range t.children {
			newest = max(newest, id)
		}
		if newest != 0 {
			t.use(newest)
		} else if t.access.used == t {
			t.access.apply()
		}
	}
	if len(t.children) == 0 {
		t.machine.Delete(now) // an IKE SA without a child SA carries nothing: begin anew
	}
}

// Flush implements vpn.Tunnel.
func (t *tunnel) Flush() bool {
	busy := false
	for {
		m, ok := t.machine.PollTransmit()
		if !ok {
			return busy
		}
		busy = true
		t.send(m)
	}
}

func (t *tunnel) send(m ike.Transmit) {
	var err error
	if !t.established && beyondInit(m.Payload) && !m.Keepalive {
		t.heardOver(t.now, m.TCP)
	}
	switch {
	case !m.TCP && t.onlyTCP():
		return
	case m.Keepalive:
		err = t.access.flows.SendKeepalive(m.Local, m.Remote.Addr())
	default:
		if h, herr := message.ParseHeader(m.Payload); herr == nil && h.Exchange == message.IKEAuth {
			t.committed = true
		}
		switch s := t.tcp.stream; {
		case !m.TCP:
			err = t.access.flows.Send(m.Local, m.Remote.Addr(), m.Payload)
		case s == nil:
			err = net.ErrClosed // it is sent again in the next connection
		default:
			err = s.Send(m.Payload)
		}
	}
	if err != nil {
		t.access.Log.Debug("IKE message not sent", zap.Error(err))
	}
}

// Park implements vpn.Tunnel.
func (t *tunnel) Park() bool {
	if err := t.machine.Park(); err != nil {
		t.access.Log.Debug("parking the IKE SA", zap.Error(err))
		return false
	}
	t.parked = true
	return true
}

// Unpark implements vpn.Tunnel.
func (t *tunnel) Unpark(now link.Instant) {
	t.parked = false
	t.machine.Unpark(now)
	if t.established { // preferred bearers came while nothing could be sent
		t.tryPause, t.tryAt = tryFirst, now.Boot+tryAwake
	}
	if t.tcp.again {
		t.arrive(now)
	}
}

// CheckLiveness implements vpn.Tunnel.
func (t *tunnel) CheckLiveness(now link.Instant) error { return t.machine.CheckLiveness(now) }

// Suspend implements vpn.Tunnel, by a ticket of RFC 5723.
func (t *tunnel) Suspend(now link.Instant) vpn.Ticket {
	if !t.machine.Resumable(now) {
		return nil
	}
	return t.machine.Suspend(now)
}

// Close implements vpn.Tunnel.
func (t *tunnel) Close(now link.Instant, tell bool) {
	t.cancel()
	if t.eap != nil {
		t.eap.Close()
		t.eap = nil
	}
	if tell && t.machine.Err() == nil {
		t.machine.Unpark(now)
		t.machine.Delete(now)
		t.Flush()
	}
	a := t.access
	t.tcp.gone = true
	t.leaveTCP()
	for _, c := range t.children {
		a.flows.Remove(c.open.SPI())
	}
	if i := slices.Index(a.tunnels, t); i >= 0 {
		a.tunnels = slices.Delete(a.tunnels, i, i+1)
	}
	if a.used == t {
		a.used = nil
		a.apply()
	}
}

// Bearer implements vpn.Tunnel.
func (t *tunnel) Bearer() netip.Addr { return t.outer }

// Follows implements vpn.Tunnel: by MOBIKE.
func (t *tunnel) Follows() vpn.Following { return t.follows }

// Carries implements vpn.Tunnel.
func (t *tunnel) Carries() bool { return t.current != 0 }

// ThroughAgent implements vpn.Tunnel.
func (t *tunnel) ThroughAgent() bool {
	c := t.children[t.current]
	return c != nil && c.agent
}

// Received implements vpn.Tunnel.
func (t *tunnel) Received() uint64 {
	var n uint64
	for _, c := range t.children {
		n += c.open.Usage().Packets
	}
	return n
}

// Committed implements vpn.Tunnel: a gateway may take the IKE SA for established once it has seen IKE_AUTH.
func (t *tunnel) Committed() bool { return t.committed }
