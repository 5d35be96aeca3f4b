package agent

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/radius"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// authority asks RADIUS servers what a mobility agent wants to know of mobile nodes (RFC 4721 §8). It belongs to the agent's loop.
type authority struct {
	client  *radius.Client
	flow    link.Flow
	asking  map[radius.ID]uint64 // the agent's questions
	verdict func(now link.Instant, id uint64, v auth.Verdict)
	report  func(message string, server netip.AddrPort, err error)
}

// ask asks about one request. The user is called by the NAI, or by the home address where there is none. Other credentials than
// those of CHAP_SPI, which RADIUS does not know, have no answer.
func (a *authority) ask(now link.Instant, q auth.Question) {
	user := q.NAI
	if user == "" {
		user = q.HomeAddress.String()
	}
	if q.Credentials.SPI != wire.CHAPSPI {
		a.verdict(now, q.ID, auth.Unavailable)
		return
	}
	id, err := a.client.Authenticate(now, user, q.HomeAddress.String(), radius.CHAP{
		Identifier: q.Credentials.Identifier, Challenge: q.Credentials.Challenge, Response: q.Credentials.Response,
	})
	if err != nil {
		a.report("RADIUS server not asked", netip.AddrPort{}, err)
		a.verdict(now, q.ID, auth.Unavailable)
		return
	}
	a.asking[id] = q.ID
}

// drain sends what is for the servers, and hands their answers on.
func (a *authority) drain(now link.Instant) {
	for t, ok := a.client.PollTransmit(); ok; t, ok = a.client.PollTransmit() {
		if err := a.flow.Send(t.To, t.Payload); err != nil {
			a.report("RADIUS request could not be sent", t.To, err)
		}
	}
	for e, ok := a.client.PollEvent(); ok; e, ok = a.client.PollEvent() {
		var id radius.ID
		v := auth.Unavailable
		switch e := e.(type) {
		case radius.Accepted:
			clear(e.MSK)
			id, v = e.ID, auth.Granted
		case radius.Failed:
			if id = e.ID; errors.Is(e.Err, radius.ErrRejected) {
				v = auth.Rejected
			}
			a.report("RADIUS server has not accepted a mobile node", netip.AddrPort{}, e.Err)
		default:
			continue
		}
		if question, ok := a.asking[id]; ok {
			delete(a.asking, id)
			a.verdict(now, question, v)
		}
	}
}

// receive returns the receiver of the servers' answers; post has them handled on the loop.
func (a *authority) receive(post func(func(link.Instant))) link.Receiver {
	return func(b *packet.Batch) {
		for _, p := range b.Bufs {
			from, payload := p.Peer, append([]byte(nil), p.Bytes()...)
			post(func(now link.Instant) {
				if err := a.client.HandleDatagram(now, from, payload); err != nil {
					a.report("RADIUS answer rejected", from, err)
				}
			})
		}
		b.Release()
	}
}

// both is a machine and the authority that it asks as one machine for the loop.
type both struct {
	machine
	authority *authority // nil for none
}

// HandleTimeout implements machine.
func (b both) HandleTimeout(now link.Instant) {
	b.machine.HandleTimeout(now)
	if b.authority != nil {
		b.authority.client.HandleTimeout(now)
	}
}

// Deadline implements machine.
func (b both) Deadline() (time.Duration, bool) {
	at, ok := b.machine.Deadline()
	if b.authority == nil {
		return at, ok
	}
	if other, more := b.authority.client.Deadline(); more && (!ok || other < at) {
		return other, true
	}
	return at, ok
}

// openAuthority opens the flow to RADIUS servers. gate keeps what arrives too early away, post has it handled on the agent's loop;
// verdict and report are called there.
func openAuthority(under link.Link, cfg radius.Config, random io.Reader, gate func(link.Receiver) link.Receiver, post func(func(link.Instant)),
	verdict func(link.Instant, uint64, auth.Verdict), report func(string, netip.AddrPort, error)) (*authority, error) {
	client, err := radius.New(cfg, random)
	if err != nil {
		return nil, err
	}
	a := &authority{client: client, asking: make(map[radius.ID]uint64), verdict: verdict, report: report}
	if a.flow, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP}, gate(a.receive(post))); err != nil {
		return nil, err
	}
	return a, nil
}

// close gives the flow back.
func (a *authority) close() error {
	if a == nil {
		return nil
	}
	return a.flow.Close()
}

// serve asks what the agent wants to know, and hands the answers on.
func (a *authority) serve(now link.Instant, poll func() (auth.Question, bool)) {
	if a == nil {
		return
	}
	for q, ok := poll(); ok; q, ok = poll() {
		a.ask(now, q)
	}
	a.drain(now)
}

// openAuthority opens the way to the RADIUS servers, if there are any.
func (a *ForeignAgent) openAuthority(under link.Link) (err error) {
	if a.cfg.RADIUS == nil {
		return nil
	}
	a.authority, err = openAuthority(under, *a.cfg.RADIUS, a.cfg.Random, func(r link.Receiver) link.Receiver { return whenReady(a.ready, a.drops, r) }, a.post,
		func(now link.Instant, id uint64, v auth.Verdict) {
			if err := a.machine.HandleVerdict(now, id, v); err != nil {
				a.reportMessage(now, "registration request", netip.AddrPort{}, err)
			}
		},
		func(message string, server netip.AddrPort, err error) {
			a.report(message, a.clock.Now(), message, server, err)
		})
	return err
}

// openAuthority opens the way to the RADIUS servers, if there are any.
func (a *HomeAgent) openAuthority(under link.Link) (err error) {
	if a.cfg.RADIUS == nil {
		return nil
	}
	a.authority, err = openAuthority(under, *a.cfg.RADIUS, a.cfg.Random, func(r link.Receiver) link.Receiver { return whenReady(a.ready, &a.drops, r) }, a.post,
		func(now link.Instant, id uint64, v auth.Verdict) {
			if err := a.machine.HandleVerdict(now, id, v); err != nil {
				var source netip.AddrPort
				var denied *homeagent.Denied
				if errors.As(err, &denied) {
					source = denied.Source
				}
				a.report(now, source, err)
			}
		},
		func(message string, server netip.AddrPort, err error) {
			if suppressed, due := a.notices.due(message, a.host.Now().Boot); due {
				a.log.Warn(message, zap.Stringer("peer", server), zap.Error(err), zap.Int("suppressed", suppressed))
			}
		})
	return err
}
