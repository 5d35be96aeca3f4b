package foreignagent

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-7, AGT-4 (RFC 3519 §4.5, §4.9: the request behind the Mobile-Home Authentication extension, none for a co-located care-of
// address; what the home agent says of it settles the tunnel, and keepalives at the interval that it sets)
func TestForeignAgentUDPTunnel(t *testing.T) {
	assent := wire.UDPTunnelReply{Code: wire.UDPTunnelAccepted, KeepAlive: 30 * time.Second}
	for _, c := range []struct {
		name  string
		mode  UDPTunnel
		flags wire.Flags
		reply *wire.UDPTunnelReply
		asked bool
		want  tunnel.Encapsulation
		every time.Duration
	}{
		{"never", UDPTunnelNever, 0, &assent, false, tunnel.IPIP, 0},
		{"where there is a NAT", UDPTunnelNAT, 0, &assent, true, tunnel.UDP, 30 * time.Second},
		{"forced, keepalives left to us", UDPTunnelForced, 0, &wire.UDPTunnelReply{Forced: true}, true, tunnel.UDP, tunnel.DefaultKeepaliveInterval},
		{"forced, keepalives too often", UDPTunnelForced, 0, &wire.UDPTunnelReply{KeepAlive: time.Second}, true, tunnel.UDP, tunnel.MinKeepaliveInterval},
		{"declined", UDPTunnelNAT, 0, &wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined}, true, tunnel.IPIP, 0},
		{"not understood", UDPTunnelNAT, 0, nil, true, tunnel.IPIP, 0},
		{"co-located", UDPTunnelForced, wire.FlagDecapsulation, &assent, false, tunnel.IPIP, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(cfg *Config) { cfg.UDPTunnel = c.mode })
			r := f.request()
			r.Flags |= c.flags
			up, err := wire.ParseRegistrationRequest(f.relayed(f.arrive(r, nil)).Payload)
			if err != nil {
				t.Fatal(err)
			}
			i := up.Extensions.Index(wire.ExtUDPTunnelRequest)
			if (i >= 0) != c.asked || i >= 0 && i < up.Extensions.Index(wire.ExtMobileHomeAuthentication) {
				t.Fatalf("UDP Tunnel Request at %d of %+v, asked for: %t", i, up.Extensions, c.asked)
			}
			if i >= 0 {
				if q, err := wire.ParseUDPTunnelRequest(up.Extensions[i]); err != nil || q.Force != (c.mode == UDPTunnelForced) || q.ThroughForeignAgent || q.Encapsulation != 4 {
					t.Errorf("asked for %+v, %v", q, err)
				}
			}
			message := f.reply(r, 1, 600, func(b []byte) []byte {
				if c.reply == nil {
					return b
				}
				e := c.reply.Extension()
				return append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...)
			})
			if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, wire.Port), message); err != nil {
				t.Fatal(err)
			}
			for _, down := range f.transmits() {
				reply, err := wire.ParseRegistrationReply(down.Payload)
				if err != nil || reply.Extensions.Index(wire.ExtUDPTunnelReply) >= 0 {
					t.Errorf("the mobile node got %+v, %v", reply, err)
				}
			}
			v := f.events()[0].Visitor
			if v.Encapsulation != c.want {
				t.Fatalf("a tunnel of %v, want %v", v.Encapsulation, c.want)
			}
			sent := 0
			for end := f.now.Boot + 5*time.Minute; ; {
				at, ok := f.m.Deadline()
				if !ok || at > end {
					break
				}
				f.advance(at - f.now.Boot)
				f.m.HandleTimeout(f.now)
				for _, k := range f.transmits() {
					if k.To != ToHomeAgent || k.Remote != netip.AddrPortFrom(external, wire.Port) || !tunnel.IsData(k.Payload) {
						t.Errorf("sent %+v", k)
					}
					sent++
				}
			}
			if want := int(5 * time.Minute / max(c.every, time.Second)); c.every > 0 && sent != want || c.every == 0 && sent != 0 {
				t.Errorf("%d keepalives in 5 minutes, one every %v", sent, c.every)
			}
		})
	}
}

// Shows: MIP-7 (RFC 3519 §3.4: the U bit of an agent that does UDP tunnelling behind a NAT, and of no other)
func TestUDPTunnelBit(t *testing.T) {
	for _, behind := range []bool{false, true} {
		f := newFixture(t, func(c *Config) { c.UDPTunnel, c.BehindNAT = UDPTunnelForced, behind })
		ad, err := discovery.ParseAdvertisement(f.m.Advertisement())
		if err != nil || ad.Flags.Has(discovery.FlagUDPTunnel) != behind {
			t.Errorf("behind a NAT: %t, advertised %v, %v", behind, ad.Flags, err)
		}
	}
}

// The mobile node's own request, with the R flag, goes to the home agent as it is and its answer comes back as it is (RFC 3519 §4.5).
//
// Shows: MIP-7
func TestUDPTunnelRequestRelayed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.UDPTunnel, c.BehindNAT, c.RegistrationRequired = UDPTunnelForced, true, true })
	r := f.request()
	r.Flags |= wire.FlagDecapsulation
	r.CareOfAddress = netip.MustParseAddr("172.16.5.77")
	r.Extensions = wire.Extensions{wire.UDPTunnelRequest{ThroughForeignAgent: true, Encapsulation: 4}.Extension()}
	q := f.arrive(r, nil)
	if up := f.relayed(q); !bytes.Equal(up.Payload, q.Payload) {
		t.Errorf("relayed %x, want %x", up.Payload, q.Payload)
	}
	down := r.Reply(wire.CodeAccepted, 600)
	down.Extensions = wire.Extensions{wire.UDPTunnelReply{KeepAlive: 30 * time.Second}.Extension()}
	message, err := down.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	message = f.mn.AppendExtension(message, wire.ExtMobileHomeAuthentication)
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, wire.Port), message); err != nil {
		t.Fatal(err)
	}
	if out := f.transmits(); len(out) != 1 || out[0].To != ToMobileNode || !bytes.Equal(out[0].Payload, message) {
		t.Errorf("passed on %+v, want %x", out, message)
	}
	v := f.events()[0].Visitor
	if !v.CoLocated || v.Encapsulation == tunnel.UDP || f.m.Table().Deliver(homeOut, external) != nil {
		t.Errorf("visitor %+v", v)
	}
	f.advance(5 * time.Minute)
	f.m.HandleTimeout(f.now)
	if out := f.transmits(); len(out) != 0 {
		t.Errorf("keepalives for a tunnel of somebody else: %+v", out)
	}
}
