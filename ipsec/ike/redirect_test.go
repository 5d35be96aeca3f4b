package ike

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

var (
	elsewhere4    = GatewayName{Address: netip.MustParseAddr("192.0.2.99")}
	elsewhere6    = GatewayName{Address: netip.MustParseAddr("2001:db8::99")}
	elsewhereName = GatewayName{Name: "vpn2.example.com"}
)

// redirecting has the gateway send peers elsewhere, in IKE_SA_INIT or in IKE_AUTH.
func redirecting(to GatewayName, inAuth bool) option {
	return func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.FollowRedirects = true
		r.Redirect = func(peer Identity, from netip.AddrPort) (GatewayName, bool) {
			return to, peer.IsZero() != inAuth && from.Addr() == clientAddr
		}
	}
}

// Shows: IKE-5 (redirect, RFC 5685). A gateway sends its client to another one in IKE_SA_INIT, in IKE_AUTH once both are
// authenticated, and later; a client that does not follow redirections is not told.
func TestRedirect(t *testing.T) {
	for _, to := range []GatewayName{elsewhere4, elsewhere6, elsewhereName} {
		for _, inAuth := range []bool{false, true} {
			p := newPair(t, 340, redirecting(to, inAuth))
			p.lax = true
			p.start()
			p.drive()
			var r *RedirectError
			if !errors.As(p.a.m.Err(), &r) || r.To != to {
				t.Errorf("in IKE_AUTH %t: %v, want it redirected to %v", inAuth, p.a.m.Err(), to)
			}
			if p.a.m.Err() == nil || p.b.m.Err() == nil || count[ChildInstalled](p.b.events)+count[Established](p.b.events)+count[Established](p.a.events) != 0 {
				t.Errorf("in IKE_AUTH %t: something is left\n%s", inAuth, p.trace())
			}
			if at, ok := p.deadline(); ok {
				t.Errorf("a timer runs: %v", at)
			}
		}
		p := established(t, 341, redirecting(GatewayName{Name: "nowhere"}, false), func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.Redirect = nil })
		if err := p.b.m.Redirect(p.now, to); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
		p.agree(1) // it is for the driver to go, and to delete this one
		if got, ok := find[Redirected](p.a.events); !ok || got.To != to {
			t.Errorf("the client was told %+v", got)
		}
	}
	for _, inAuth := range []bool{false, true} {
		p := established(t, 342, redirecting(elsewhere4, inAuth), func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.FollowRedirects = false })
		if err := p.b.m.Redirect(p.now, elsewhere4); !errors.Is(err, ErrUnexpected) {
			t.Error(err)
		}
		if strings.Contains(p.trace(), "REDIRECT") {
			t.Error(p.trace())
		}
	}
	// Who comes from another gateway says so, and follows again.
	p := newPair(t, 343, redirecting(elsewhere4, false), func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.RedirectedFrom = elsewhereName })
	p.start()
	if !strings.Contains(p.trace(), "N(REDIRECTED_FROM)") {
		t.Error(p.trace())
	}
	p.lax = true
	p.drive()
	if !errors.As(p.a.m.Err(), new(*RedirectError)) {
		t.Error(p.a.m.Err())
	}
}

// Shows: IKE-10. A forged or malformed redirection in IKE_SA_INIT is nothing: the true gateway is reached.
func TestForgedRedirect(t *testing.T) {
	p := newPair(t, 344, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.FollowRedirects = true })
	p.start()
	m, err := message.Parse(p.queue[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := message.Find[message.Nonce](m.Payloads)
	wrong := bytes.Clone(nonce.Data)
	wrong[0] ^= 1
	value, err := elsewhere4.value()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"no nonce": value, "wrong nonce": append(bytes.Clone(value), wrong...), "half a nonce": append(bytes.Clone(value), nonce.Data[:16]...),
		"empty": nil, "one octet": {1}, "too long": {1, 200, 1, 2, 3, 4}, "other length": append([]byte{1, 3, 1, 2, 3}, nonce.Data...),
		"unknown type": append([]byte{9, 4, 1, 2, 3, 4}, nonce.Data...), "no name": append([]byte{3, 0}, nonce.Data...),
		"bad name": append([]byte{3, 2, 'a', 0}, nonce.Data...), "unspecified": append([]byte{1, 4, 0, 0, 0, 0}, nonce.Data...),
		"loopback": append([]byte{1, 4, 127, 0, 0, 1}, nonce.Data...), "multicast": append([]byte{1, 4, 224, 0, 0, 1}, nonce.Data...),
	} {
		h := message.Header{InitiatorSPI: m.Header.InitiatorSPI, Exchange: message.IKESAInit, Flags: message.FlagResponse}
		wire, err := (&message.Message{Header: h, Payloads: []message.Payload{message.Notify{Message: message.Redirect, Data: data}}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire})
		if p.a.m.Err() != nil {
			t.Fatalf("%s: %v", name, p.a.m.Err())
		}
	}
	p.drain()
	p.drive()
	p.agree(1)
}

// A client follows five redirections in 300 s (RFC 5685 §7).
func TestRedirectLimit(t *testing.T) {
	var l RedirectLimit
	now := link.Instant{}
	allowed := 0
	for range 100 {
		if l.Allow(now) {
			allowed++
		}
		now = now.Add(time.Second)
	}
	if allowed != 5 {
		t.Errorf("%d were allowed in 100 s", allowed)
	}
	now = now.Add(300 * time.Second)
	if !l.Allow(now) {
		t.Error("none is allowed after 300 s")
	}
}

func FuzzReadGateway(f *testing.F) {
	f.Add([]byte{1, 4, 192, 0, 2, 1, 9, 9})
	f.Add(append([]byte{3, 7}, "a.b.com"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, rest, ok := readGateway(b)
		if !ok {
			return
		}
		value, err := g.value()
		if err != nil || len(value)+len(rest) > len(b) || g.Name == "" && !bytes.Equal(append(value, rest...), b) {
			t.Errorf("%x is %v, which is %x (%v)", b, g, value, err)
		}
	})
}
