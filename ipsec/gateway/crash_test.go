package gateway

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/queue"
)

func secrets(first ...byte) [][]byte {
	var out [][]byte
	for _, b := range first {
		out = append(out, bytes.Repeat([]byte{b}, 32))
	}
	return out
}

// closed returns what the client's machine has ended with.
func (c *client) closed() error {
	for _, e := range c.events {
		if e, ok := e.(ike.Closed); ok {
			return e.Err
		}
	}
	return nil
}

// Shows: IKE-5 (quick crash detection, RFC 6290). A client learns in one round trip that its gateway has been restarted, also when the IKE SA
// has been rekeyed from either side and when the gateway has a newer secret beside; without the secret it does not believe it.
func TestRestartIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		after  [][]byte
		rekey  func(n *net, c *client)
		notice bool
	}{
		"same secret":   {secrets(1), nil, true},
		"newer secret":  {secrets(2, 1), nil, true},
		"four secrets":  {secrets(4, 3, 2, 1), nil, true},
		"other secret":  {secrets(2), nil, false},
		"none":          {nil, nil, false},
		"client rekeys": {secrets(1), func(n *net, c *client) { _ = c.m.RekeyIKE(n.now); c.pump() }, true},
		"gateway rekeys": {secrets(1), func(n *net, _ *client) {
			if err := n.g.RekeyIKE(n.now, n.g.Sessions()[0].ID); err != nil {
				n.t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, 1)
			cfg.CrashSecrets = secrets(1)
			n := newNet(t, cfg)
			client := n.client(0, nil)
			n.connect(client)
			n.settle()
			if c.rekey != nil {
				c.rekey(n, client)
				n.settle()
				n.advance(time.Second)
				n.settle()
			}
			cfg.CrashSecrets = c.after
			again, err := New(cfg, source(9))
			if err != nil {
				t.Fatal(err)
			}
			n.g = again
			if err := client.m.CheckLiveness(n.now); err != nil {
				t.Fatal(err)
			}
			client.pump()
			n.settle()
			if got := errors.Is(client.closed(), ike.ErrPeerCrashed); got != c.notice {
				t.Errorf("closed with %v, want it noticed: %t", client.closed(), c.notice)
			}
			if !c.notice && client.closed() != nil {
				t.Errorf("closed with %v by what anybody can send", client.closed())
			}
		})
	}
}

// A token of an IKE SA that lives cannot be got out of the gateway, in whichever role the forger claims to be and whatever SPI he
// leaves out (RFC 6290 §9.2); one that a client has got is of no use against another.
func TestTokensOfLiveSAs(t *testing.T) {
	cfg := config(t, 2)
	cfg.CrashSecrets = secrets(1)
	n := newNet(t, cfg)
	client := n.client(0, nil)
	var first message.Header
	n.lose = func(tr ike.Transmit) bool {
		if h, err := message.ParseHeader(tr.Payload); err == nil && h.ResponderSPI != 0 {
			first = h
		}
		return false
	}
	n.connect(client)
	n.settle()
	n.lose = nil
	token := crashToken(cfg.CrashSecrets[0], first.InitiatorSPI, first.ResponderSPI)
	ask := func(h message.Header) []byte {
		wire, err := (&message.Message{Header: h}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		waiting := n.g.transmits
		n.g.transmits = queue.FIFO[ike.Transmit]{}
		_ = n.g.HandleDatagram(n.now, ike.Datagram{Local: netip.AddrPortFrom(gatewayAddr, 500), Remote: netip.AddrPortFrom(client.addr, 500), Payload: wire})
		var out []byte
		for tr, ok := n.g.PollTransmit(); ok; tr, ok = n.g.PollTransmit() {
			out = append(out, tr.Payload...)
		}
		n.g.transmits = waiting
		return out
	}
	for _, flags := range []message.Flags{0, message.FlagInitiator} {
		for _, h := range []message.Header{
			{InitiatorSPI: first.InitiatorSPI, ResponderSPI: first.ResponderSPI},
			{InitiatorSPI: first.ResponderSPI, ResponderSPI: first.InitiatorSPI},
			{InitiatorSPI: first.InitiatorSPI}, {ResponderSPI: first.ResponderSPI},
		} {
			for _, kind := range []message.ExchangeType{message.Informational, message.CreateChildSA, message.IKEAuth} {
				h.Exchange, h.Flags, h.MessageID = kind, flags, 7
				if out := ask(h); bytes.Contains(out, token) {
					t.Errorf("the token was answered to %+v", h)
				}
			}
		}
	}
	lost := message.Header{InitiatorSPI: first.InitiatorSPI, ResponderSPI: first.ResponderSPI ^ 1, Exchange: message.Informational, Flags: message.FlagInitiator}
	if out := ask(lost); !bytes.Contains(out, crashToken(cfg.CrashSecrets[0], lost.InitiatorSPI, lost.ResponderSPI)) {
		t.Errorf("an IKE SA that is not there is answered with %x", out)
	}
	if err := client.m.CheckLiveness(n.now); err != nil {
		t.Fatal(err)
	}
	client.pump()
	n.settle()
	if client.closed() != nil {
		t.Error(client.closed())
	}
}
