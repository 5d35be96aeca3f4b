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
}

// startTCP begins to decide between UDP and TCP, and reports whether UDP is asked.
func (t *tunnel) startTCP(now link.Instant) bool {
	a := t.access
	if a.Bearers[0].DialTCP == nil || a.cfg.Gateway.TCP == config.TCPOff {
		return true
	}
	only := a.cfg.Gateway.TCP == config.TCPOnly
	t.tcp.choice = transport.New(transport.Config{TCPOnly: only})
	t.tcp.choice.Start(now)
	t.serve(now)
	return !only
}

// serve does what the choice wants.
func (t *tunnel) serve(now link.Instant) {
	for w, ok := t.tcp.choice.PollWant(); ok; w, ok = t.tcp.choice.PollWant() {
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
	a := t.access
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	t.tcp.cancel = cancel
	a.background.Go(func() {
		defer cancel()
		conn, err := a.Bearers[0].DialTCP(ctx, netip.AddrPortFrom(a.Gateway, a.cfg.Gateway.TCPPort))
		told := make(chan struct{})
		once := false // of the client's goroutine
		for {
			a.Run(func(now link.Instant) {
				if !once {
					once = true
					t.dialled(now, conn, err)
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

// dialled takes a connection.
func (t *tunnel) dialled(now link.Instant, conn net.Conn, err error) {
	a, w := t.access, &t.tcp
	switch {
	case err != nil:
		if !w.gone {
			a.Log.Debug("no TCP connection to the gateway", zap.Error(err))
			w.choice.HandleBroken(now)
			t.serve(now)
		}
		return
	case a.closed || w.gone || !w.choice.HandleDialled():
		_ = conn.Close()
		return
	}
	var s *stack.Stream
	s = a.flows.OpenStream(conn, a.Bearers[0].Link.MTU(), func(err error) {
		a.Run(func(now link.Instant) { t.streamEnded(now, s, err) })
	})
	t.closeStream()
	w.stream = s
	if w.choice.TCP() {
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
	w.choice.HandleBroken(now)
	t.serve(now)
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
	if u.Number() <= t.endpoints.Number() || !u.Proven() {
		return
	}
	t.endpoints = u
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
