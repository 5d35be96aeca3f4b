package ipsec

import (
	"context"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/client/vpn/transport"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// dialLimit is how long connecting may take.
const dialLimit = 20 * time.Second

// inTCP is a tunnel's way over TCP (RFC 9329), where there is one.
type inTCP struct {
	choice *transport.Choice // nil where TCP is not to be had
	cancel context.CancelFunc
	stream *stack.Stream // nil without a connection
	// rival asks the gateway in TCP, with an IKE_SA_INIT of its own (RFC 9329 §5.1), while the tunnel's machine asks in UDP.
	rival *ike.Machine
	said  []ike.Event // by the rival
	// silent is why the machine in UDP has ended while the rival goes on.
	silent error
	used   bool // data goes in TCP
	gone   bool // the tunnel is closed
	again  bool // the transport is to be chosen anew when the tunnel is parked no more
}

// startTCP begins to decide between UDP and TCP on the bearer that IKE uses, and reports whether UDP is asked.
func (t *tunnel) startTCP(now link.Instant) bool {
	a := t.access
	if b, ok := a.bearer(t.at); !ok || b.DialTCP == nil || a.cfg.Gateway.TCP == config.TCPOff {
		return true
	}
	t.tcp.choice = transport.New(transport.Config{TCPOnly: t.onlyTCP()})
	t.tcp.choice.Start(now)
	t.serve(now)
	return !t.onlyTCP()
}

// onlyTCP tells whether the bearer that IKE uses is to be used with TCP alone.
func (t *tunnel) onlyTCP() bool {
	b, ok := t.access.bearer(t.at)
	return ok && b.DialTCP != nil && t.access.cfg.Gateway.TCP == config.TCPOnly
}

// arrive has the transport chosen anew where the tunnel has come to: the gateway is being told in UDP where the tunnel is, and
// asked in TCP too when that is not answered. A connection belongs to the network that it was made in.
func (t *tunnel) arrive(now link.Instant) {
	t.leaveTCP()
	t.tcp.choice, t.tcp.again = nil, t.parked
	if t.established && !t.parked && t.follows == vpn.FollowsUpdates {
		t.startTCP(now)
	}
}

// heardFrom takes note of an authentic message of the gateway: where the tunnel has come to it shows which transport works.
func (t *tunnel) heardFrom(now link.Instant, m stack.Message) {
	if t.established && m.Local.Addr() == t.at && (m.TCP || !t.onlyTCP()) {
		t.heardOver(now, m.TCP)
	}
}

// serve does what the choice wants.
func (t *tunnel) serve(now link.Instant) {
	c := t.tcp.choice
	for w, ok := c.PollWant(); ok; w, ok = c.PollWant() {
		switch w {
		case transport.Dial:
			t.dialTCP()
		case transport.LeaveTCP:
			t.leaveTCP()
		case transport.TryUDP:
			if err := t.machine.TryUDP(now); err != nil {
				t.access.Log.Debug("the tunnel stays in TCP", zap.Error(err))
			}
		case transport.LeaveUDP:
			// The rival has taken the machine's place.
		}
	}
}

// dialTCP connects to the gateway.
func (t *tunnel) dialTCP() {
	a, choice := t.access, t.tcp.choice
	bearer, ok := a.bearer(t.at)
	if !ok {
		return // it is gone, and with it the choice
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	t.tcp.cancel = cancel
	a.background.Go(func() {
		defer cancel()
		conn, err := bearer.DialTCP(ctx, netip.AddrPortFrom(a.gatewayOf(bearer), a.cfg.Gateway.TCPPort))
		told := make(chan struct{})
		once := false // of the client's goroutine
		for {
			a.Run(func(now link.Instant) {
				if !once {
					once = true
					t.dialled(now, dialling{choice, bearer}, conn, err)
					close(told)
				}
			})
			select {
			case <-told:
				return
			case <-a.stop:
				if conn != nil {
					_ = conn.Close()
				}
				return
			case <-time.After(time.Second): // the client was too busy
			}
		}
	})
}

// dialling is an attempt to connect: for which choice, and by which bearer.
type dialling struct {
	choice *transport.Choice
	bearer vpn.Bearer
}

// dialled takes a connection.
func (t *tunnel) dialled(now link.Instant, d dialling, conn net.Conn, err error) {
	a, w := t.access, &t.tcp
	switch {
	case err != nil:
		if !w.gone && w.choice == d.choice {
			a.Log.Debug("no TCP connection to the gateway", zap.Error(err))
			w.choice.HandleBroken(now)
			t.serve(now)
		}
		return
	case a.closed || w.gone || w.choice != d.choice || !w.choice.HandleDialled():
		_ = conn.Close()
		return
	}
	var s *stack.Stream
	s = a.flows.OpenStream(conn, d.bearer.Link.MTU(), func(err error) {
		a.Run(func(now link.Instant) { t.streamEnded(now, s, err) })
	})
	t.closeStream()
	w.stream = s
	if w.choice.TCP() || t.established {
		if err := t.machine.UseTCP(now, s.Local(), s.Remote()); err != nil {
			a.Log.Debug("the tunnel does not go on in another TCP connection", zap.Error(err))
		}
		return
	}
	if err := t.startRival(now, s); err != nil {
		a.Log.Warn("IKE in TCP cannot start", zap.Error(err))
		t.streamEnded(now, s, err)
	}
}

// startRival asks the gateway in TCP.
func (t *tunnel) startRival(now link.Instant, s *stack.Stream) error {
	cfg, err := t.access.ikeConfig()
	if err != nil {
		return err
	}
	cfg.InitialContact, cfg.RequestTicket = t.first, t.access.cfg.Gateway.Park == config.ParkResume
	cfg.SentESP = t.sentESP
	cfg.TCP, cfg.Local, cfg.Remote = true, s.Local(), s.Remote()
	m, err := ike.NewInitiator(cfg, t.access.Random)
	if err != nil {
		return err
	}
	t.tcp.rival, t.tcp.said = m, nil
	return m.Start(now)
}

// streamEnded takes note that a connection has ended.
func (t *tunnel) streamEnded(now link.Instant, s *stack.Stream, err error) {
	w := &t.tcp
	if w.gone || s == nil || w.stream != s {
		return
	}
	t.access.Log.Debug("the TCP connection to the gateway has ended", zap.Error(err))
	t.closeStream()
	w.rival = nil
	if w.choice != nil {
		w.choice.HandleBroken(now)
		t.serve(now)
	}
	if w.silent != nil {
		t.emit(vpn.Closed{Err: asSilence(w.silent)})
	}
}

// leaveTCP ends what there is of TCP.
func (t *tunnel) leaveTCP() {
	if t.tcp.cancel != nil {
		t.tcp.cancel()
	}
	t.tcp.rival = nil
	t.closeStream()
}

// closeStream closes the connection once what was sent has left.
func (t *tunnel) closeStream() {
	if s := t.tcp.stream; s != nil {
		t.tcp.stream = nil
		t.access.background.Go(func() { _ = s.Close() })
	}
}

// beyondInit tells whether a message shows that the one who sends it has had an answer to IKE_SA_INIT.
func beyondInit(payload []byte) bool {
	h, err := message.ParseHeader(payload)
	return err == nil && h.Exchange != message.IKESAInit && h.Exchange != message.IKESessionResume
}

// asksDriver tells whether a machine asks for what AUTH needs: it has had an answer to IKE_SA_INIT, and says nothing more before
// it has that.
func asksDriver(e ike.Event) bool {
	switch e.(type) {
	case ike.SignatureWanted, ike.TrustWanted, ike.EAPReceived:
		return true
	}
	return false
}

// pollRival sends what the rival has to say. Its first answer, before the one to the machine in UDP, gives it that one's place.
func (t *tunnel) pollRival(now link.Instant) {
	w := &t.tcp
	for w.rival != nil {
		e, ok := w.rival.PollEvent()
		if !ok {
			break
		}
		if w.said = append(w.said, e); asksDriver(e) {
			t.rivalAnswered(now)
		}
	}
	for w.rival != nil {
		m, ok := w.rival.PollTransmit()
		if !ok {
			break
		}
		if beyondInit(m.Payload) {
			t.rivalAnswered(now)
		}
		t.send(m)
	}
	if r := w.rival; r != nil && r.Err() != nil {
		t.streamEnded(now, w.stream, r.Err())
	}
}

// rivalAnswered gives the rival the machine's place.
func (t *tunnel) rivalAnswered(now link.Instant) {
	w := &t.tcp
	said := w.said
	t.machine, w.rival, w.said, w.silent = w.rival, nil, nil, nil
	w.choice.HandleAnswer(now, true)
	t.serve(now)
	for _, e := range said {
		t.handle(now, e)
	}
}

// heardOver takes note that the machine has had its first answer.
func (t *tunnel) heardOver(now link.Instant, tcp bool) {
	if t.tcp.choice != nil {
		t.tcp.choice.HandleAnswer(now, tcp)
		t.serve(now)
	}
}

// moved has data take the way that the IKE machine says: the gateway has another address now, a NAT has come or gone, or it is
// another transport. To an endpoint that has not answered yet nothing is sent: this end has moved there by itself, and the
// answer is near.
func (t *tunnel) moved(now link.Instant, u ike.EndpointUpdate) {
	if u.Number() <= t.endpoints.Number() {
		return
	}
	if u.Local().Addr() != t.at {
		t.at = u.Local().Addr()
		t.arrive(now)
		t.useKeepalive(now)
	}
	if !u.Proven() {
		return
	}
	t.endpoints, t.outer = u, u.Local().Addr()
	for id, c := range t.children {
		if u.Concerns(id) {
			c.udp = u.UDPEncapsulation()
		}
	}
	t.udp, t.tcp.used = u.UDPEncapsulation(), u.TCP()
	if t.tcp.choice != nil {
		t.tcp.choice.HandleMoved(now, u.TCP())
		t.serve(now)
	}
	if t.access.used == t {
		t.access.apply()
	}
	t.emit(vpn.Ready{Moved: true})
}

// waitsForTCP keeps the end of the machine in UDP to itself while the rival is still asking.
func (t *tunnel) waitsForTCP(err error) bool {
	if t.tcp.rival == nil {
		return false
	}
	t.tcp.silent = err
	return true
}
