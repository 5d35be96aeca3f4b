package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: AGT-6 (a running home agent's bindings, counters and another configuration; no binding is lost by it).
func TestHomeAgentIsAdministered(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		log, logs := observed()
		a, err := StartHomeAgent(l.InternalHA, cfg, log)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.up(enterprise)
		echo(t, l.Correspondent, service)
		flows := func() bool { return exchange(t, l.Laptop, simnet.LabHomeAddress, service, 1000) }
		if !flows() {
			t.Fatal("no data before the reload")
		}
		if b := a.Bindings(netip.PrefixFrom(simnet.LabHomeAddress, 32)); len(b) != 1 || b[0].CareOfAddress != l.Eth0.Address().Addr() || b[0].Granted != 600 || b[0].Left > 600*time.Second || a.Len() != 1 {
			t.Fatalf("bindings %+v", b)
		}
		in, out := a.TunnelTraffic()
		if in.Packets != 1 || out.Packets != 1 || in.Octets != 1000+packet.IPv4Len+packet.UDPLen || out != in {
			t.Errorf("tunnel traffic %+v, %+v, want a packet of 1028 octets each way", in, out)
		}
		if r := a.Registrations(); r.Replies[wire.CodeAcceptedSimultaneousUnsupported] != 1 || len(r.Replies) != 1 || len(r.Discarded) != 0 {
			t.Errorf("registrations %+v", r)
		}

		again := internal(t)
		again.MobileNodes = append(again.MobileNodes, homeagent.MobileNode{HomeAddress: simnet.LabHomeAddress.Next(), Associations: []*auth.SecurityAssociation{association(t, 1002)}})
		again.HomeNetworks = append(again.HomeNetworks, netip.MustParsePrefix("10.0.7.0/24"))
		if dropped, err := a.Reload(again); err != nil || dropped != 0 || !flows() || a.Len() != 1 {
			t.Fatalf("%d dropped, %v, %d bindings", dropped, err, a.Len())
		}
		for _, bad := range []struct {
			change func(*HomeAgentConfig)
			want   error
		}{
			{func(c *HomeAgentConfig) { c.Device = "other" }, ErrRestart},
			{func(c *HomeAgentConfig) { c.Address = c.Address.Next() }, ErrRestart},
			{func(c *HomeAgentConfig) { c.HomeNetworks = nil }, homeagent.ErrConfig},
		} {
			wrong := internal(t)
			bad.change(&wrong)
			if _, err := a.Reload(wrong); !errors.Is(err, bad.want) || !flows() {
				t.Errorf("error %v, want %v, and data goes on", err, bad.want)
			}
		}
		again.PermittedGateways = []netip.Addr{simnet.LabGateway}
		if _, err := a.Reload(again); err != nil || flows() {
			t.Errorf("%v; what the policy of the new configuration forbids must not pass", err)
		}
		if _, err := a.Reload(internal(t)); err != nil || !flows() {
			t.Errorf("%v; what the policy of the old one permits must pass again", err)
		}

		if d := a.Drop(simnet.LabHomeAddress); d != 1 || a.Len() != 0 || flows() {
			t.Errorf("%d bindings dropped, %d left", d, a.Len())
		}
		n.register()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Accepted); !ok {
			t.Errorf("the mobile node may not come back: %+v", e)
		}
		gone := internal(t)
		gone.MobileNodes = again.MobileNodes[1:]
		if d, err := a.Reload(gone); err != nil || d != 1 {
			t.Errorf("%d bindings dropped of a mobile node that is struck off, %v", d, err)
		}
		n.register()
		n.wait(5 * time.Second)
		if r := a.Registrations(); r.Discarded["unknown_mobile_node"] == 0 {
			t.Errorf("registrations %+v", r)
		}
		for _, want := range []string{"binding registered", "binding dropped", "home agent has another configuration"} {
			if logs.FilterMessage(want).Len() == 0 {
				t.Errorf("%q is not logged", want)
			}
		}
	})
}

// Shows: AGT-6 (a log entry about a denial names the mobile node, the code and the cause).
func TestHomeAgentLogsDenials(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		log, logs := observed()
		cfg := internal(t)
		cfg.MobileNodes[0].Associations = []*auth.SecurityAssociation{association(t, 1007)}
		a, err := StartHomeAgent(l.InternalHA, cfg, log)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.register()
		n.wait(5 * time.Second)
		entries := logs.FilterMessage("registration denied").All()
		if len(entries) == 0 {
			t.Fatalf("no denial is logged: %v", logs.All())
		}
		about := entries[0].ContextMap()
		if about["home_address"] != simnet.LabHomeAddress.String() || about["code"] != uint8(wire.CodeMobileNodeAuthentication) || about["error"] == nil {
			t.Errorf("the entry says %v", about)
		}
		if r := a.Registrations(); r.Replies[wire.CodeMobileNodeAuthentication] == 0 {
			t.Errorf("registrations %+v", r)
		}
	})
}

// Shows: AGT-6 (a running foreign agent's visitors, counters and another configuration).
func TestForeignAgentIsAdministered(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		startHomeAgent(t, l.InternalHA, internal(t))
		a := startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.OfficeFA)
		s, heard, ad := agentOn(t, l.Laptop, l.Eth0.Index())
		n := viaForeignAgent(t, l.Laptop, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
		n.up(enterprise)
		echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 500) {
			t.Fatal("no data")
		}
		if v := a.VisitorList(netip.Prefix{}); len(v) != 1 || v[0].Visitor.Home != simnet.LabHomeAddress || v[0].Visitor.HomeAgent != simnet.LabInternalHA || a.Visitors() != 1 {
			t.Fatalf("visitors %+v", v)
		}
		if in, out := a.TunnelTraffic(); in.Packets != 1 || out.Packets != 1 || in.Octets != 500+packet.IPv4Len+packet.UDPLen {
			t.Errorf("tunnel traffic %+v, %+v", in, out)
		}
		if r := a.Registrations(); r.Replies[wire.CodeAcceptedSimultaneousUnsupported] != 1 {
			t.Errorf("registrations %+v", r)
		}
		cfg := a.cfg
		cfg.MaxVisitors = 7
		if d, err := a.Reload(cfg); err != nil || d != 0 || !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 500) {
			t.Errorf("%d dropped, %v", d, err)
		}
		cfg.CareOfAddress = simnet.LabExternalHA
		if _, err := a.Reload(cfg); !errors.Is(err, ErrRestart) {
			t.Errorf("another care-of address: %v", err)
		}
		cfg.Interface = "other"
		if _, err := a.Reload(cfg); !errors.Is(err, ErrRestart) {
			t.Errorf("another interface: %v", err)
		}
		cfg = a.cfg
		cfg.MaxLifetime = time.Millisecond
		if _, err := a.Reload(cfg); !errors.Is(err, foreignagent.ErrConfig) {
			t.Errorf("a mistake: %v", err)
		}
		if d := a.Drop(simnet.LabHomeAddress); d != 1 || a.Visitors() != 0 || exchange(t, l.Laptop, simnet.LabHomeAddress, service, 500) {
			t.Errorf("%d dropped", d)
		}
	})
}
