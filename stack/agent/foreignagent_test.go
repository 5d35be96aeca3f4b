package agent

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func nopLog() *zap.Logger { return zap.NewNop() }

func startForeignAgent(t *testing.T, host link.Host, careOf netip.Addr) *ForeignAgent {
	t.Helper()
	a, err := StartForeignAgent(host, ForeignAgentConfig{
		Interface: "visit0", Config: foreignagent.Config{CareOfAddress: careOf},
	}, nopLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Shows: AGT-4, MIP-6, MIP-8, DET-15 (mode f's path: an interface without an address, registrations with i-HA and x-HA at
// once through one agent, traffic both ways with the T bit).
func TestForeignAgent(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		startHomeAgent(t, l.ExternalHA, external(t))
		a := startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.OfficeFA)
		if l.Eth0.Address().IsValid() {
			t.Fatalf("the laptop has the address %v", l.Eth0.Address())
		}
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		if heard.Source != simnet.LabInternalFAVisited || ad.CareOfAddresses[0] != simnet.LabInternalFA || heard.Hardware != l.InternalFAVisited.Hardware() {
			t.Fatalf("advertisement %+v from %v", ad, heard.Source)
		}
		in := viaForeignAgent(t, l.Laptop, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
		out := viaForeignAgent(t, l.Laptop, s, heard, ad, mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001),
		})
		out.register()
		reply := in.up(enterprise)
		if !reply.TrustedNetwork() || reply.CareOfAddress() != simnet.LabInternalFA {
			t.Errorf("TNC %t, care-of address %v", reply.TrustedNetwork(), reply.CareOfAddress())
		}
		if e, ok := out.wait(5 * time.Second).(mobilenode.Accepted); !ok {
			t.Fatalf("the other registration: %+v", e)
		}
		if a.Table().Len() != 2 {
			t.Errorf("%d visitors, want 2", a.Table().Len())
		}
		seen := echo(t, l.Correspondent, service)
		for _, size := range []int{1, 1000, 1452, 1472} {
			if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, size) {
				t.Errorf("%d octets did not come back; drops at the agent %v", size, a.Drops().Snapshot())
				continue
			}
			if from := <-seen; from.Addr() != simnet.LabHomeAddress {
				t.Errorf("the correspondent saw %v", from)
			}
		}
		if _, err := l.Correspondent.Ping(simnet.LabHomeAddress, 100, time.Second); err != nil {
			t.Error(err)
		}
		in.deregister()
		if e, ok := in.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("not deregistered: %+v", e)
		}
		if a.Table().Len() != 1 || a.Table().Reverse(0, simnet.LabHomeAddress, foreignagent.Station{Hardware: l.Eth0.Hardware()}) != nil {
			t.Error("the visitor is still there")
		}
		if exchange(t, l.Laptop, simnet.LabHomeAddress, service, 10) {
			t.Error("a station without registration was served")
		}
	})
}

// Shows: AGT-4 (mode fvc's outer path: a hotspot agent outside, the i-HA out of reach: its denial is passed on).
func TestForeignAgentOutside(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		startHomeAgent(t, l.ExternalHA, external(t))
		startForeignAgent(t, l.ExternalFA, simnet.LabExternalFA)
		l.Plug(l.Wlan0, l.Hotspot)
		time.Sleep(100 * time.Millisecond)
		s, heard, ad := agentOn(t, l.Laptop, l.Wlan0.Index())
		in := viaForeignAgent(t, l.Laptop, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
		out := viaForeignAgent(t, l.Laptop, s, heard, ad, mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001),
		})
		in.register()
		out.up(netip.PrefixFrom(simnet.LabGateway, 32))
		echo(t, l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 4500))
		if !exchange(t, l.Laptop, simnet.LabExternalHomeAddress, netip.AddrPortFrom(simnet.LabGateway, 4500), 1200) {
			t.Error("no traffic through the external home agent")
		}
		for range 3 {
			switch e := in.wait(20 * time.Second).(type) {
			case mobilenode.Accepted:
				t.Fatalf("the i-HA answered outside: %+v", e)
			case mobilenode.Refused:
				if !e.ByForeignAgent {
					t.Errorf("refused by the home agent: %+v", e)
				}
				return
			}
		}
		t.Error("the foreign agent never said that the home agent does not answer")
	})
}

// Shows: MIP-12 (RFC 2003 §3.1 and RFC 5944 §4.2.2: the agent forwards, so it takes one off and says when none is left).
func TestForeignAgentTTL(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		a := startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.OfficeFA)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		n := viaForeignAgent(t, l.Laptop, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
		n.up(enterprise)
		inner := make(chan uint8, 10)
		stop := l.Core.Tap(func(f simnet.Frame) {
			ip := packet.IPv4(f.Packet)
			if ip.Valid() && ip.Protocol() == packet.ProtocolIPIP && ip.Src() == simnet.LabInternalFA {
				inner <- packet.IPv4(ip.Payload()).TTL()
			}
		})
		defer stop()
		send := func(ttl uint8) {
			p := packet.From([]byte("12345678"))
			packet.PushIPv4(p, packet.IPv4Fields{TTL: ttl, Protocol: packet.ProtocolUDP, Src: simnet.LabHomeAddress, Dst: simnet.LabCorrespondent})
			p.Hardware = l.Eth0.Hardware()
			a.receiveFrames(packet.One(p))
			time.Sleep(100 * time.Millisecond)
		}
		send(9)
		if got := <-inner; got != 8 {
			t.Errorf("tunnelled with TTL %d, want 8", got)
		}
		send(1)
		if len(inner) != 0 || a.Drops().Of(packet.DropTTL) != 1 {
			t.Errorf("%d tunnelled, drops %v", len(inner), a.Drops().Snapshot())
		}
	})
}

func TestForeignAgentStartFails(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		for name, cfg := range map[string]ForeignAgentConfig{
			"interface": {Interface: "eth9", Config: foreignagent.Config{CareOfAddress: simnet.LabInternalFA}},
			"care-of":   {Interface: "visit0", Config: foreignagent.Config{CareOfAddress: simnet.LabInternalHA}},
		} {
			if _, err := StartForeignAgent(l.InternalFA, cfg, nopLog()); err == nil {
				t.Errorf("%s: started", name)
			}
		}
	})
}

// Shows: MIP-8, AGT-4 (the encapsulating delivery style, RFC 3024 §5.2: what is not encapsulated is not tunnelled).
func TestEncapsulatingDelivery(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		a := startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.OfficeFA)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		cfg := laptop(t, mobilenode.EncapsulationAuto)
		cfg.EncapsulatingDelivery = true
		n := viaForeignAgent(t, l.Laptop, s, heard, ad, cfg)
		n.register()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Accepted); !ok {
			t.Fatalf("not accepted: %+v", e)
		}
		seen := echo(t, l.Correspondent, service)
		datagram := func(inner netip.Addr) *packet.Buf {
			p := packet.From([]byte("hello"))
			packet.PushUDP(p, netip.AddrPortFrom(inner, 5), service)
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: inner, Dst: service.Addr()})
			p.Hardware = l.Eth0.Hardware()
			return p
		}
		wrap := func(p *packet.Buf) *packet.Buf {
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolIPIP, Src: simnet.LabHomeAddress, Dst: heard.Source})
			return p
		}
		foreign := wrap(datagram(simnet.LabHomeAddress))
		foreign.Hardware = packet.HardwareAddr{2, 9, 9, 9, 9, 9}
		for _, c := range []struct {
			name string
			p    *packet.Buf
			want packet.DropReason
		}{
			{"encapsulated", wrap(datagram(simnet.LabHomeAddress)), packet.NotDropped},
			{"direct", datagram(simnet.LabHomeAddress), packet.DropPolicy},
			{"other inner source", wrap(datagram(netip.MustParseAddr("10.0.8.9"))), packet.DropNotHomeAddress},
			{"other station", foreign, packet.DropNoBinding},
		} {
			before := a.Drops().Of(c.want)
			a.receiveFrames(packet.One(c.p))
			time.Sleep(time.Second)
			if arrived := len(seen); (arrived == 1) != (c.want == packet.NotDropped) {
				t.Errorf("%s: %d arrived, drops %v", c.name, arrived, a.Drops().Snapshot())
			}
			if c.want != packet.NotDropped && a.Drops().Of(c.want) != before+1 {
				t.Errorf("%s: drops %v, want one more for %v", c.name, a.Drops().Snapshot(), c.want)
			}
			for len(seen) > 0 {
				<-seen
			}
		}
	})
}

// An agent with one interface and one address, which is its care-of address too, serves mobile nodes on that link.
func TestForeignAgentWithOneAddress(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.ExternalHA, external(t))
		log, logs := observed()
		a, err := StartForeignAgent(l.ExternalFA, ForeignAgentConfig{
			Interface: "eth0", Config: foreignagent.Config{CareOfAddress: simnet.LabExternalFA},
		}, log)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		plug(l, l.Internet)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		n := viaForeignAgent(t, l.Laptop, s, heard, ad, mobilenode.Config{
			HomeAgent: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, Association: association(t, 2001),
		})
		n.up(netip.PrefixFrom(simnet.LabGateway, 32))
		echo(t, l.Gateway, netip.AddrPortFrom(simnet.LabGateway, 4500))
		if !exchange(t, l.Laptop, simnet.LabExternalHomeAddress, netip.AddrPortFrom(simnet.LabGateway, 4500), 1200) {
			t.Errorf("no traffic; drops %v", a.Drops().Snapshot())
		}
		if w := logs.FilterLevelExact(zap.WarnLevel).All(); len(w) != 0 {
			t.Errorf("warnings %+v", w)
		}
	})
}
