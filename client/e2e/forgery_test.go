package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// attacker sends frames of its making on a wire, with any source address, and sees all that the wire carries.
type attacker struct {
	nic    *simnet.NIC
	frames link.Frames
	sent   atomic.Int64
}

// intrude puts an attacker on the wire. It gives each frame of others to see, from a goroutine of its own, until the test
// ends.
func intrude(t *testing.T, w *World, on *simnet.Wire, see func(*attacker, simnet.Frame)) *attacker {
	t.Helper()
	host := w.NewHost("attacker")
	nic := host.AddNIC(simnet.NICConfig{Name: "eth0"})
	nic.Attach(on)
	frames, err := host.OpenFrames(nic.Index(), (*packet.Batch).Release)
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{nic: nic, frames: frames}
	seen := make(chan simnet.Frame, 1<<12)
	stop := on.Tap(func(f simnet.Frame) {
		if !strings.HasPrefix(f.Sender, "attacker/") {
			select {
			case seen <- f:
			default:
			}
		}
	})
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case f := <-seen:
				see(a, f)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		close(done)
		<-ended
		if err := frames.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// send sends a UDP datagram in a frame to the hardware address.
func (a *attacker) send(to packet.HardwareAddr, src, dst netip.AddrPort, payload []byte) {
	b := packet.From(payload)
	packet.PushUDP(b, src, dst)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	b.Hardware = to
	if err := a.frames.Out(link.Protected).Send(packet.One(b)); err == nil {
		a.sent.Add(1)
	}
}

// Shows: DET-3 (forged replies, and true ones of elsewhere and before, open nothing)
func TestForgedAndReplayedRepliesOpenNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 50})
		clear, r := watchClear(w), watchRegistrations(w)
		k := talk(t, w, 500*time.Millisecond)
		// At the office first: an accomplice there notes what the i-HA says to the laptop.
		w.Plug(w.Wlan0, w.Office)
		if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		genuine := r.replies(simnet.LabInternalHA, w.Office)
		if len(genuine) < 2 {
			t.Fatalf("%d genuine replies", len(genuine))
		}
		internal := netip.AddrPortFrom(simnet.LabInternalHA, wire.Port)
		wrong := association(InternalSPI, otherKey)
		var answered atomic.Int64
		a := intrude(t, w, w.Cafe, func(a *attacker, f simnet.Frame) {
			ip := packet.IPv4(f.Packet)
			if !strings.HasPrefix(f.Sender, "laptop/") || !isRegistration(ip) || ip.Dst() != simnet.LabInternalHA {
				return
			}
			u := packet.UDP(ip.Payload())
			request, err := wire.ParseRegistrationRequest(u.Payload())
			if err != nil {
				return
			}
			answered.Add(1)
			laptop := netip.AddrPortFrom(ip.Src(), u.SrcPort())
			for _, m := range genuine {
				a.send(f.Source, internal, laptop, m.udp.Payload())
			}
			for _, p := range forgeries(request, wrong) {
				a.send(f.Source, internal, laptop, p)
			}
			a.send(f.Source, internal, laptop, u.Payload()) // its own request, reflected
		})
		w.Plug(w.Wlan0, w.Cafe)
		synctest.Wait()
		before := clear.on(w.External()...)
		end := time.Now().Add(25 * time.Minute) // two probes of the i-HA among them
		for time.Now().Before(end) {
			time.Sleep(time.Second)
			s, err := w.Client.Status(context.Background())
			if err != nil || s.Proof.Verdict == control.VerdictInside || s.Mode == "c" {
				t.Fatalf("mode %q, verdict %s (%s), %v", s.Mode, s.Proof.Verdict, s.Proof.Reason, err)
			}
		}
		k.works(t, 5*time.Second)
		if n := clear.on(w.External()...); n != 0 || before != 0 {
			t.Errorf("%d frames of user data in the clear at the café", n)
		}
		if answered.Load() < 4 || a.sent.Load() < 8*answered.Load() {
			t.Errorf("%d requests were answered with %d forgeries: nothing was tested", answered.Load(), a.sent.Load())
		}
	})
}

// Shows: DET-3, DET-14 (the extension counts only in front of the authenticator that covers it)
func TestExtensionAddedOnTheWayIsNoProof(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"behind the authenticator": func(p []byte) []byte {
			b, err := wire.TrustedNetworksConfigured().Append(slices.Clone(p))
			if err != nil {
				panic(err) // made here
			}
			return b
		},
		"in front of the authenticator": func(p []byte) []byte {
			b, err := wire.TrustedNetworksConfigured().Append(slices.Clone(p[:wire.ReplyLen]))
			if err != nil {
				panic(err) // made here
			}
			return append(b, p[wire.ReplyLen:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 51, InternalHA: func(c *agent.HomeAgentConfig) { c.Internal, c.TrustedNetworks = false, nil }})
				clear := watchClear(w)
				talk(t, w, 100*time.Millisecond)
				gateway := w.Firewall.Name() + "/office0"
				var changed atomic.Int64
				a := intrude(t, w, w.Office, func(a *attacker, f simnet.Frame) {
					ip := packet.IPv4(f.Packet)
					if f.Sender != gateway || ip.Protocol() != packet.ProtocolUDP {
						return
					}
					u := packet.UDP(ip.Payload())
					p := u.Payload()
					if ip.Src() == simnet.LabInternalHA && isRegistration(ip) {
						p = change(p)
						changed.Add(1)
					}
					a.send(f.Destination, netip.AddrPortFrom(ip.Src(), u.SrcPort()), netip.AddrPortFrom(ip.Dst(), u.DstPort()), p)
				})
				// The attacker stands between the office's router and the laptop.
				w.Office.Impair(simnet.Impairment{Loss: 1})
				w.Office.ImpairFrom(a.nic, simnet.Impairment{})
				w.Office.ImpairFrom(w.Eth0, simnet.Impairment{})
				w.Plug(w.Eth0, w.Office)
				for range 60 {
					time.Sleep(time.Second)
					s, err := w.Client.Status(context.Background())
					if err != nil || s.Proof.Verdict == control.VerdictInside || s.Mode == "c" {
						t.Fatalf("mode %q, verdict %s (%s), %v", s.Mode, s.Proof.Verdict, s.Proof.Reason, err)
					}
				}
				if changed.Load() == 0 {
					t.Error("no reply was changed")
				}
				clear.none(t)
			})
		})
	}
}

// Shows: DET-4 (a reply later than five seconds)
func TestReplyAfterFiveSecondsIsNoProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 52})
		clear, r := watchClear(w), watchRegistrations(w)
		talk(t, w, 100*time.Millisecond)
		w.Core.Impair(simnet.Impairment{Latency: 2600 * time.Millisecond})
		w.Plug(w.Eth0, w.Office)
		for range 120 {
			time.Sleep(time.Second)
			s, err := w.Client.Status(context.Background())
			if err != nil || s.Proof.Verdict == control.VerdictInside || s.Mode == "c" {
				t.Fatalf("mode %q, verdict %s (%s), %v", s.Mode, s.Proof.Verdict, s.Proof.Reason, err)
			}
		}
		if n := len(r.replies(simnet.LabInternalHA, w.Office)); n == 0 {
			t.Error("no reply arrived, so that nothing was tested")
		}
		clear.none(t)
	})
}
