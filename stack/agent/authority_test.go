package agent

import (
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"net/netip"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	own "mipvpn/ipsec/radius"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var radiusSecret = []byte("the shared secret")

// serveCHAP is a RADIUS server on the host that knows one user.
func serveCHAP(t *testing.T, host link.Host, at netip.AddrPort, user, password string) {
	t.Helper()
	under, err := host.Underlay(0, at.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var flow link.Flow
	ready := make(chan struct{})
	flow, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: at.Port()}, func(b *packet.Batch) {
		<-ready
		for _, p := range b.Bufs {
			if answer := answerCHAP(t, p.Bytes(), user, password); answer != nil {
				_ = flow.Send(p.Peer, answer)
			}
		}
		b.Release()
	})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	t.Cleanup(func() { _ = flow.Close() })
}

func answerCHAP(t *testing.T, request []byte, user, password string) []byte {
	p, err := radius.Parse(append([]byte(nil), request...), radiusSecret)
	if err != nil {
		t.Error(err)
		return nil
	}
	answer := rfc2865.CHAPPassword_Get(p)
	code := radius.CodeAccessReject
	if len(answer) == 17 {
		sum := md5.Sum(append(append([]byte{answer[0]}, password...), rfc2865.CHAPChallenge_Get(p)...))
		if rfc2865.UserName_GetString(p) == user && hmac.Equal(sum[:], answer[1:]) {
			code = radius.CodeAccessAccept
		}
	}
	r := p.Response(code)
	if err := rfc2869.MessageAuthenticator_Set(r, make([]byte, 16)); err != nil {
		t.Error(err)
	}
	b, err := r.MarshalBinary()
	if err != nil {
		t.Error(err)
		return nil
	}
	h := hmac.New(md5.New, radiusSecret)
	h.Write(b)
	_ = rfc2869.MessageAuthenticator_Set(r, h.Sum(nil))
	b, err = r.Encode()
	if err != nil {
		t.Error(err)
	}
	return b
}

// A foreign agent challenges, a RADIUS server checks the answers, and the home agent's administrator takes the binding back: the
// foreign agent's visitor is gone with it.
//
// Shows: AGT-4, MIP-9 (challenge, Mobile-AAA authentication at RADIUS, revocation, between the parts as they run)
func TestForeignAgentRADIUS(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		fa := association(t, 3001)
		cfg := internal(t)
		cfg.ForeignAgents = []homeagent.ForeignAgent{{Address: simnet.LabInternalFA, Association: association(t, 3001)}}
		h := startHomeAgent(t, l.InternalHA, cfg)
		server := netip.AddrPortFrom(simnet.LabInternalHA, 1812)
		serveCHAP(t, l.InternalHA, server, "mn@corp.example", "secret of the user")
		a, err := StartForeignAgent(l.InternalFA, ForeignAgentConfig{
			Interface: "visit0", RADIUS: &own.Config{Identifier: "fa", Servers: []own.Server{{Address: server, Secret: radiusSecret}}},
			Config: foreignagent.Config{
				CareOfAddress: simnet.LabInternalFA, Challenge: true, Revocation: true,
				HomeAgents: []foreignagent.Peer{{Address: simnet.LabInternalHA, Association: fa}},
			},
		}, nopLog())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
		plug(l, l.OfficeFA)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		if len(ad.Challenge) == 0 {
			t.Fatal("no challenge is advertised")
		}
		register := func(secret string) mobilenode.Event {
			mn := laptop(t, mobilenode.EncapsulationAuto)
			mn.NAI = "mn@corp.example"
			var err error
			if mn.AAA, err = auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key(secret)}); err != nil {
				t.Fatal(err)
			}
			n := viaForeignAgent(t, l.Laptop, s, heard, ad, mn)
			n.register()
			for {
				switch e := n.wait(10 * time.Second).(type) {
				case mobilenode.Refused:
					if !e.Retrying {
						return e
					}
				default:
					return e
				}
			}
		}
		e := register("another secret")
		if r, ok := e.(mobilenode.Refused); !ok || r.Code != wire.CodeFABadAAAAuthentication || a.Table().Len() != 0 {
			t.Fatalf("with another secret: %+v", e)
		}
		if e = register("secret of the user"); a.Table().Len() != 1 {
			t.Fatalf("not accepted: %+v", e)
		}
		time.Sleep(time.Second)
		if n := h.Drop(simnet.LabHomeAddress); n != 1 {
			t.Errorf("%d bindings dropped", n)
		}
		time.Sleep(2 * time.Second)
		if n := a.Table().Len(); n != 0 {
			t.Errorf("%d visitors after the home agent has revoked", n)
		}
	})
}

// A home agent has registrations checked by a RADIUS server: without an answer, with the wrong secret and without one there is no
// binding, with the right secret there is.
//
// Shows: AGT-1, MIP-9 (Mobile-AAA authentication at the home agent by RADIUS, between the parts as they run)
func TestHomeAgentRADIUS(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		server := netip.AddrPortFrom(simnet.LabCorrespondent, 1812)
		cfg := internal(t)
		cfg.MobileNodes[0].NAI = "mn@corp.example"
		cfg.RADIUS = &own.Config{Identifier: "ha", Servers: []own.Server{{Address: server, Secret: radiusSecret}}}
		h := startHomeAgent(t, l.InternalHA, cfg)
		plug(l, l.Office)
		register := func(secret string) (*node, mobilenode.Event) {
			mn := laptop(t, mobilenode.EncapsulationAuto)
			mn.NAI = "mn@corp.example"
			if secret != "" {
				var err error
				if mn.AAA, err = auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key(secret)}); err != nil {
					t.Fatal(err)
				}
			}
			n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), mn)
			time.Sleep(time.Second) // its timestamps are later than those of the node before
			n.register()
			e := n.wait(time.Minute)
			if _, ok := e.(mobilenode.Refused); ok {
				n.loop.close() // it does not try again
			}
			return n, e
		}
		code := func(e mobilenode.Event) wire.Code {
			r, ok := e.(mobilenode.Refused)
			if !ok || h.Len() != 0 {
				t.Fatalf("event %+v, %d bindings", e, h.Len())
			}
			return r.Code
		}
		if _, e := register("secret of the user"); code(e) != wire.CodeInsufficientResources {
			t.Errorf("without a server: %+v", e)
		}
		serveCHAP(t, l.Correspondent, server, "mn@corp.example", "secret of the user")
		if _, e := register("another secret"); code(e) != wire.CodeBadAAAAuthentication {
			t.Errorf("with another secret: %+v", e)
		}
		if _, e := register(""); code(e) != wire.CodeBadAAAAuthentication {
			t.Errorf("without a secret: %+v", e)
		}
		n, e := register("secret of the user")
		accepted, ok := e.(mobilenode.Accepted)
		if !ok || h.Len() != 1 {
			t.Fatalf("event %+v, %d bindings", e, h.Len())
		}
		n.carry(accepted, enterprise)
		echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 500) {
			t.Errorf("no traffic; drops %v", h.Drops().Snapshot())
		}
		counted := h.Registrations()
		if counted.Replies[wire.CodeBadAAAAuthentication] != 2 || counted.Replies[wire.CodeInsufficientResources] == 0 || counted.Discarded["malformed"] != 0 {
			t.Errorf("counted %+v", counted)
		}
		again := cfg
		if _, err := h.Reload(again); err != nil || h.Len() != 1 {
			t.Errorf("reload: %v, %d bindings", err, h.Len())
		}
		again.RADIUS = nil
		if _, err := h.Reload(again); !errors.Is(err, ErrRestart) {
			t.Errorf("reload without RADIUS servers: %v", err)
		}
		n.deregister()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Errorf("not deregistered: %+v", e)
		}
	})
}
