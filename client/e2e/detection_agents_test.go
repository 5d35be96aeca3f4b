package e2e

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// datagramOf returns an IPv4 packet with a UDP datagram.
func datagramOf(src, dst netip.AddrPort, payload []byte) []byte {
	b := packet.From(payload)
	defer b.Release()
	packet.PushUDP(b, src, dst)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	return append([]byte(nil), b.Bytes()...)
}

// asked remembers where the laptop's last request to each home agent came from.
type asked struct {
	mu   sync.Mutex
	from map[netip.Addr]netip.AddrPort
	hits int
}

// note takes account of a request of the laptop.
func (a *asked) note(ip packet.IPv4, q *wire.RegistrationRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from == nil {
		a.from = make(map[netip.Addr]netip.AddrPort)
	}
	a.from[q.HomeAgent] = netip.AddrPortFrom(ip.Src(), packet.UDP(ip.Payload()).SrcPort())
}

// others returns where the other home agent's reply is waited for.
func (a *asked) others(agent netip.Addr) (netip.AddrPort, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	other := simnet.LabInternalHA
	if agent == other {
		other = simnet.LabExternalHA
	}
	p, ok := a.from[other]
	if ok {
		a.hits++
	}
	return p, ok
}

// Shows: DET-15 (both requests go through one foreign agent; identification values and source ports keep them apart)
func TestBothRequestsThroughOneForeignAgent(t *testing.T) {
	t.Parallel()
	for _, at := range places[1:4:4] {
		if at.mode == "cvc" {
			continue
		}
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 100})
				r := watchRegistrations(w)
				k := talk(t, w, 500*time.Millisecond)
				connected(t, w, at)
				k.works(t, 30*time.Second)
				internal, external := r.straight(simnet.LabInternalHA, at.wire(w), 0), r.straight(simnet.LabExternalHA, at.wire(w), 0)
				if len(internal) == 0 || len(external) == 0 {
					t.Fatalf("%d requests to the i-HA, %d to the x-HA", len(internal), len(external))
				}
				i, x := internal[0], external[0]
				if i.at != x.at || i.ip.Dst() != x.ip.Dst() || i.hardware != x.hardware {
					t.Errorf("requests at %v and %v to %v and %v: they have to go together to one agent", i.at, x.at, i.ip.Dst(), x.ip.Dst())
				}
				seen := make(map[wire.Identification]bool)
				ports := map[uint16]bool{}
				for _, m := range append(internal, external...) {
					if seen[m.request.Identification] {
						t.Errorf("identification %v twice", m.request.Identification)
					}
					seen[m.request.Identification] = true
				}
				for _, m := range internal {
					ports[m.udp.SrcPort()] = true
				}
				for _, m := range external {
					if ports[m.udp.SrcPort()] {
						t.Errorf("both registrations use port %d", m.udp.SrcPort())
					}
				}
			})
		})
	}
}

// A foreign agent that keeps one entry for a mobile node's hardware address may give each reply to the wrong port, or every
// reply to both.
//
// Shows: DET-15, DET-3 (crossed replies), DET-1
func TestForeignAgentThatCrossesReplies(t *testing.T) {
	t.Parallel()
	for _, at := range []place{{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}, hotspotPlace, officePlace, cafePlace} {
		for _, swap := range []bool{true, false} {
			name := at.name + ", both to both"
			if swap {
				name = at.name + ", swapped at first"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 101})
					clear := watchClear(w)
					a := &asked{}
					replies := 0
					at.wire(w).Intercept(func(f simnet.Frame) []simnet.Relay {
						ip, request, reply := registrationOf(f.Packet)
						own := []simnet.Relay{f.Relay()}
						if request != nil && strings.HasPrefix(f.Sender, "laptop/") {
							a.note(ip, request)
						}
						if reply == nil {
							return own
						}
						to, ok := a.others(reply.HomeAgent)
						if !ok {
							return own
						}
						replies++
						u := packet.UDP(ip.Payload())
						crossed := f.Relay()
						crossed.Packet = datagramOf(netip.AddrPortFrom(ip.Src(), u.SrcPort()), to, u.Payload())
						if swap {
							if replies <= 4 {
								return []simnet.Relay{crossed}
							}
							return own
						}
						return append([]simnet.Relay{crossed}, own...) // the wrong one first
					})
					k := talk(t, w, 500*time.Millisecond)
					w.Plug(w.Wlan0, at.wire(w))
					if _, err := w.UntilMode(30*time.Second, at.mode); err != nil {
						t.Fatal(err)
					}
					k.works(t, time.Minute)
					if n := clear.on(w.External()...); n != 0 {
						t.Errorf("%d frames in the clear outside", n)
					}
					s, err := w.Client.Status(context.Background())
					if err != nil || s.Mode != at.mode || len(s.Problems) != 0 {
						t.Errorf("mode %q, problems %v, %v", s.Mode, s.Problems, err)
					}
					if a.hits < 1 {
						t.Errorf("%d replies were crossed", a.hits)
					}
				})
			})
		}
	}
}

// The foreign agent answers for both home agents by itself, in the clear and without a key: denials, and acceptances with
// the extension of trusted networks.
//
// Shows: DET-15, DET-3 (the foreign agent that answers for both)
func TestForeignAgentThatAnswersForBoth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code     wire.Code
		at       place
		instead  bool // the home agents are not asked
		connects bool
	}{
		"accepts and relays, hotspot":   {wire.CodeAccepted, hotspotPlace, false, true},
		"accepts alone, hotspot":        {wire.CodeAccepted, hotspotPlace, true, false},
		"denies and relays, hotspot":    {wire.CodeFAProhibited, hotspotPlace, false, true},
		"denies alone, hotspot":         {wire.CodeFAProhibited, hotspotPlace, true, false},
		"denies and relays, office FA":  {wire.CodeFAProhibited, place{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}, false, true},
		"accepts and relays, office FA": {wire.CodeAccepted, place{"office FA", func(w *World) *simnet.Wire { return w.OfficeFA }, "f"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 102})
				clear := watchClear(w)
				var answers int
				c.at.wire(w).Intercept(func(f simnet.Frame) []simnet.Relay {
					ip, request, _ := registrationOf(f.Packet)
					if request == nil || !strings.HasPrefix(f.Sender, "laptop/") {
						return []simnet.Relay{f.Relay()}
					}
					m := request.Reply(c.code, request.Lifetime)
					m.Extensions = append(m.Extensions, wire.TrustedNetworksConfigured())
					p, err := m.Append(nil)
					if err != nil {
						panic(err) // made here
					}
					answers++
					u := packet.UDP(ip.Payload())
					forged := simnet.Relay{Source: f.Destination, Destination: f.Source,
						Packet: datagramOf(netip.AddrPortFrom(ip.Dst(), u.DstPort()), netip.AddrPortFrom(ip.Src(), u.SrcPort()), p)}
					if c.instead {
						return []simnet.Relay{forged}
					}
					return []simnet.Relay{f.Relay(), forged}
				})
				k := talk(t, w, 500*time.Millisecond)
				w.Plug(w.Wlan0, c.at.wire(w))
				if c.connects {
					if _, err := w.UntilMode(time.Minute, c.at.mode); err != nil {
						t.Fatal(err)
					}
					k.works(t, time.Minute)
				} else {
					for range 60 {
						time.Sleep(time.Second)
						s, err := w.Client.Status(context.Background())
						if err != nil || s.State == control.StateConnected || s.Proof.Verdict == control.VerdictInside {
							t.Fatalf("state %s, verdict %s, %v", s.State, s.Proof.Verdict, err)
						}
					}
					clear.none(t)
				}
				if n := clear.on(w.External()...); n != 0 {
					t.Errorf("%d frames in the clear outside", n)
				}
				if answers < 2 {
					t.Errorf("%d requests were answered", answers)
				}
			})
		})
	}
}
