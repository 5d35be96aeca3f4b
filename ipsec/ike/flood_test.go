package ike

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Shows: IKE-10. A peer that is authenticated creates child SAs without end: what it can have is bounded, and the machine lives.
func TestCreateFlood(t *testing.T) {
	p := established(t, 360, onlyGroup(suite.GroupCurve25519))
	for i := range 100 {
		host := []esp.Selector{esp.AddrSelector(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}))}
		if err := p.a.m.CreateChild(p.now, []esp.Selector{esp.AddrSelector(assigned)}, host); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.driveFor(time.Second)
	}
	if n := len(p.b.m.children); n != 32 || count[ChildFailed](p.a.events) != 69 {
		t.Errorf("%d child SAs, %d refused", n, count[ChildFailed](p.a.events))
	}
	if f, _ := find[ChildFailed](p.a.events); !errors.Is(f.Err, &NotifyError{Type: message.NoAdditionalSAs}) {
		t.Error(f.Err)
	}
	p.drive()
	p.agree(32)
}

// Shows: IKE-10. Child SAs and IKE SAs are rekeyed over and over, faster than the old ones end: a bounded number is kept.
func TestRekeyFlood(t *testing.T) {
	for _, c := range commands[:2] {
		p := established(t, 361, onlyGroup(suite.GroupCurve25519), func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.MaxChildren = 4 })
		children, sas := 0, 0
		for range 60 {
			newest := p.a.m.children[len(p.a.m.children)-1]
			err := p.a.m.RekeyIKE(p.now)
			if c.name == "rekey child" {
				err = p.a.m.RekeyChild(p.now, newest.id)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.driveFor(20 * time.Millisecond)
			children, sas = max(children, len(p.b.m.children)), max(sas, len(p.b.m.sas))
		}
		if children > 16 || sas > maxSAs {
			t.Errorf("%s: up to %d child SAs and %d IKE SAs", c.name, children, sas)
		}
		p.driveFor(5 * time.Minute)
		p.agree(1)
	}
}

// Shows: IKE-10. Deletes of thousands of child SAs that are not there, thousands of notifies, unknown payloads and configuration
// attributes in one authentic message: nothing changes, nothing grows, and the answer is short.
func TestPayloadFlood(t *testing.T) {
	spis := make([]uint32, 10000)
	for i := range spis {
		spis[i] = uint32(i + 300)
	}
	many := func(n int, p message.Payload) (out []message.Payload) {
		for range n {
			out = append(out, p)
		}
		return out
	}
	cp := message.Configuration{Kind: message.CFGRequest}
	for range 5000 {
		cp.Attributes = append(cp.Attributes, message.ConfigurationAttribute{Type: message.InternalIP4Address})
	}
	for name, flood := range map[string][]message.Payload{
		"deletes":      {message.Delete{Protocol: message.ProtocolESP, SPIs: spis}},
		"many deletes": many(120, message.Delete{Protocol: message.ProtocolESP, SPIs: spis[:10]}),
		"AH":           many(120, message.Delete{Protocol: message.ProtocolAH, SPIs: spis[:10]}),
		"notifies":     many(120, message.Notify{Message: message.InitialContact}),
		"unknown":      many(120, message.Notify{Message: 40000, Data: []byte("what is this")}),
		"payloads":     many(120, message.Unknown{PayloadType: 200}),
		"windows":      many(120, message.Notify{Message: message.SetWindowSize, Data: binary.BigEndian.AppendUint32(nil, 1<<31)}),
		"rekeys":       many(120, message.Notify{Protocol: message.ProtocolESP, Message: message.RekeySA, SPI: []byte{1, 2, 3, 4}}),
		"cookies":      many(120, message.Notify{Message: message.Cookie, Data: make([]byte, 64)}),
		"config":       {cp},
		"errors":       many(120, message.Notify{Message: message.NoProposalChosen}),
	} {
		t.Run(name, func(t *testing.T) {
			p := established(t, 362)
			if err := p.a.m.CheckLiveness(p.now); err != nil {
				t.Fatal(err)
			}
			p.drain()
			f := p.queue[0]
			p.rewrite(&f, func([]message.Payload) []message.Payload { return flood })
			p.queue = nil
			answers := len(p.seen)
			err := p.b.m.HandleDatagram(p.now, Datagram{Local: f.Remote, Remote: f.Local, Payload: f.Payload})
			p.drain()
			if err != nil || len(p.seen) != answers+1 || len(p.seen[answers].Payload) > 1000 {
				t.Fatalf("%v; %d answers", err, len(p.seen)-answers)
			}
			p.drive()
			p.agree(1)
			if count[ChildRemoved](p.a.events)+count[ChildRemoved](p.b.events) != 0 {
				t.Error("child SAs were removed")
			}
		})
	}
}

// Shows: IKE-10. A notification without protection changes nothing, whatever its type and whatever the machine is waiting for: at most
// the peer is asked whether it lives (RFC 7296 §2.21).
func TestForgedNotifies(t *testing.T) {
	types := []message.NotifyType{1, 4, 5, 7, 9, 11, 14, 17, 24, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 8888}
	for n := message.NotifyType(16384); n < 16450; n++ {
		types = append(types, n)
	}
	for _, state := range append([]command{{"nothing", func(*pair, *end) error { return nil }}}, commands...) {
		t.Run(state.name, func(t *testing.T) {
			p := established(t, 363, onlyGroup(suite.GroupCurve25519))
			if err := state.do(p, p.a); err != nil {
				t.Fatal(err)
			}
			p.drain()
			held := p.queue
			p.queue = nil
			before := fmtState(p.a.m)
			sent := len(p.seen)
			s := p.a.m.current
			for _, n := range types {
				for _, kind := range []message.ExchangeType{message.IKESAInit, message.IKEAuth, message.CreateChildSA, message.Informational, message.IKESessionResume} {
					for id := range uint32(4) {
						for _, flags := range []message.Flags{0, message.FlagResponse} {
							h := message.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: kind, Flags: flags, MessageID: id}
							wire, err := (&message.Message{Header: h, Payloads: []message.Payload{
								message.Notify{Protocol: message.ProtocolESP, Message: n, SPI: binary.BigEndian.AppendUint32(nil, p.a.m.children[0].out), Data: make([]byte, 16)}}}).Append(nil)
							if err != nil {
								t.Fatal(err)
							}
							_ = p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire})
							if got := fmtState(p.a.m); got != before && state.name != "nothing" || p.a.m.Err() != nil {
								t.Fatalf("%v %v, flags %v, message ID %d: %v is %v now (%v)", kind, n, flags, id, before, got, p.a.m.Err())
							}
						}
					}
				}
			}
			p.drain()
			if more := len(p.seen) - sent; more > 1 {
				t.Errorf("%d datagrams were sent", more)
			}
			p.queue = append(held, p.queue...)
			p.drive()
			switch state.name {
			case "delete IKE":
				if !errors.Is(p.a.m.Err(), ErrDeleted) || !errors.Is(p.b.m.Err(), ErrDeletedByPeer) {
					t.Errorf("A %v, B %v", p.a.m.Err(), p.b.m.Err())
				}
			case "delete child":
				p.agree(0)
			default:
				p.agree(1)
			}
		})
	}
}

// fmtState is what of a machine must not be changed.
func fmtState(m *Machine) string {
	out := ""
	for _, s := range m.sas {
		out += s.String()
		if s.exchange != nil {
			out += " " + s.exchange.kind.String()
		}
	}
	for _, c := range m.children {
		out += " " + message.ProtocolESP.String() + string(rune('0'+c.state))
	}
	return out
}
