package ike

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/queue"
)

// spendable gives the ends lifetimes of a million octets and a thousand packets.
func spendable(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
	i.Lifetimes = Lifetimes{IKE: -1, Child: -1, Bytes: 1e6, Packets: 1000}
	r.Lifetimes = i.Lifetimes
}

// Shows: IKE-9 (lifetimes in bytes). A child SA gets its lifetimes in octets and packets, is rekeyed when the driver says
// that the soft one is over, and what carries nothing more ends the IKE SA unless a successor comes.
func TestSpent(t *testing.T) {
	p := established(t, 320, spendable)
	first := p.a.sending().ChildInstalled
	for _, h := range []esp.Parameters{first.Inbound, first.Outbound} {
		if h.RekeyBytes < 9e5 || h.RekeyBytes > 1e6 || h.MaxBytes != 125e4 || h.RekeyPackets < 900 || h.RekeyPackets > 1000 || h.MaxPackets != 1250 {
			t.Errorf("lifetimes of %d octets and %d packets, at most %d and %d", h.RekeyBytes, h.RekeyPackets, h.MaxBytes, h.MaxPackets)
		}
	}
	for _, exhausted := range []bool{false, true} {
		before := p.a.sending()
		for range 3 { // once is enough, and more do no harm
			p.a.m.HandleSpent(p.now, before.Inbound.SPI, exhausted)
			p.b.m.HandleSpent(p.now, before.Outbound.SPI, exhausted)
			p.drain()
		}
		p.drive()
		p.agree(1)
		if p.a.sending().ID == before.ID {
			t.Fatal("not rekeyed")
		}
	}
	installed := count[ChildInstalled](p.a.events)
	p.a.m.HandleSpent(p.now, first.Inbound.SPI, true) // long gone
	p.drain()
	p.drive()
	if n := count[ChildInstalled](p.a.events); n != installed {
		t.Error("an SA that is gone was rekeyed")
	}

	p.lax = true
	p.lose = func(flight) bool { return true }
	began := p.now.Boot
	p.a.m.HandleSpent(p.now, p.a.sending().Inbound.SPI, true)
	p.drain()
	p.driveFor(exhaustedTime + time.Second)
	if !errors.Is(p.a.m.Err(), ErrExpired) {
		t.Errorf("%v after %v, want it expired", p.a.m.Err(), p.now.Boot-began)
	}
}

// Once a spent child SA is replaced, its Delete may be late at either end: the successor carries on.
func TestSpentThenReplaced(t *testing.T) {
	for _, ofA := range []bool{true, false} {
		p := established(t, 321, spendable)
		e := p.b
		if ofA {
			e = p.a
		}
		for _, both := range []*end{p.a, p.b} { // the other one does not rekey, it only knows that it is exhausted
			both.m.HandleSpent(p.now, both.sending().Inbound.SPI, true)
			if both != e {
				both.m.current.queue, both.m.current.exchange, both.m.children[0].rekey = nil, nil, nil
				both.m.transmits = queue.FIFO[Transmit]{}
			}
		}
		p.drain()
		base := p.sent
		p.lose = func(f flight) bool { return f.index > base && p.now.Boot < time.Hour+20*time.Second }
		p.drive()
		p.agree(1)
		if p.a.sending().Replaces == 0 {
			t.Error("not rekeyed")
		}
	}
}

// A parked machine sends nothing for a spent child SA, but does when it is used again.
func TestSpentWhileParked(t *testing.T) {
	p := established(t, 322, spendable)
	if err := p.a.m.Park(); err != nil {
		t.Fatal(err)
	}
	sent := p.sent
	p.a.m.HandleSpent(p.now, p.a.sending().Inbound.SPI, false)
	p.drain()
	p.driveFor(time.Minute)
	if p.sent != sent {
		t.Fatal("parked, it sends")
	}
	p.a.m.Unpark(p.now)
	p.drive()
	p.agree(1)
	if p.a.sending().Replaces == 0 {
		t.Error("not rekeyed")
	}
}

// AES keys have a lifetime of their own.
func TestCipherLifetime(t *testing.T) {
	for e, want := range map[suite.Encryption]uint64{suite.AESGCM256: 1 << 38, suite.AESGCM128: 1 << 38, suite.ChaCha20Poly1305: 0} {
		p := established(t, 323, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			i.Proposals.ChildEncryption = []suite.Encryption{e}
		})
		if got := p.a.sending().Outbound.MaxBytes; got != want {
			t.Errorf("%v: %d octets, want %d", e, got, want)
		}
	}
}

// Shows: IKE-9 (TFC padding, replay window). Both go to the SAs as configured; a peer that says ESP_TFC_PADDING_NOT_SUPPORTED gets no
// padding, in IKE_AUTH and in a rekeying.
func TestTFCAndWindow(t *testing.T) {
	for _, refused := range []bool{false, true} {
		p := newPair(t, 324, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			i.TFCPadding, i.ReplayWindow, r.TFCPadding, r.ReplayWindow = 1200, 65536, 1000, 4096
		})
		p.lax = true
		p.start()
		check := func() {
			t.Helper()
			a, b := p.a.sending(), p.b.sending()
			if a == nil || b == nil {
				t.Fatal(p.trace())
			}
			want := 1200
			if refused {
				want = 0
			}
			if a.Outbound.TFC != want || b.Outbound.TFC != 1000 || a.Inbound.Window != 65536 || b.Inbound.Window != 4096 || a.Inbound.TFC != 0 {
				t.Errorf("refused %t: A %+v, B %+v", refused, a.Outbound.TFC, b.Outbound.TFC)
			}
		}
		step := func() { // the gateway's answers say it
			for len(p.queue) > 0 {
				if f := &p.queue[0]; refused && f.from == p.b && (strings.Contains(f.text, "IKE_AUTH") || strings.Contains(f.text, "CREATE")) {
					p.rewrite(f, func(ps []message.Payload) []message.Payload {
						return append(ps, message.Notify{Message: message.ESPTFCPaddingNotSupported})
					})
				}
				p.next()
			}
		}
		step()
		check()
		if err := p.a.m.RekeyChild(p.now, p.a.sending().ID); err != nil {
			t.Fatal(err)
		}
		p.drain()
		step()
		check()
	}
}
