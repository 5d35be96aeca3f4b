package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/esp"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: MOD-vc, DET-18, DET-7, MOD-keep (no x-HA at all: the VPN goes straight from each network, moves at once, and inside the i-HA
// is found all the same; through a foreign agent nothing goes out)
func TestWithoutExternalHomeAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 610, func(o *Options) {
			o.Client = func(c *config.Config) {
				straight(c)
				c.External = config.HomeAgent{}
			}
		})
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		s := reach(t, w, "vc")
		if !strings.Contains(s.ModeReason, "no x-HA is configured") || len(s.Problems) != 0 {
			t.Errorf("reason %q, problems %v", s.ModeReason, s.Problems)
		}
		first := spis(s)
		if s, err := w.Until(10*time.Second, func(s control.Status) bool { return s.Proof.Verdict == control.VerdictOutside }); err != nil || !strings.Contains(s.Proof.Reason, "VPN gateway answered") {
			t.Errorf("verdict %v, %v", s.Proof, err)
		}
		keptSession(t, w, func() {
			for _, at := range []struct {
				wire *simnet.Wire
				mode string
			}{{bistro, "vc"}, {w.Office, "c"}, {w.Cafe, "vc"}, {w.Campus, "vc"}} {
				carry(w, at.wire)
				if s := reach(t, w, at.mode); at.mode == "vc" && spis(s) != first {
					t.Errorf("SPIs %s, %s at first", spis(s), first)
				}
				time.Sleep(4 * time.Second)
			}
		})
		if s, err := w.Client.Status(t.Context()); err != nil || len(s.Handoffs) == 0 || s.Handoffs[len(s.Handoffs)-1].Outage > 500 {
			t.Errorf("handoffs %v, %v", s.Handoffs, err)
		}
		w.Plug(w.Wlan0, w.Hotspot)
		if _, err := w.Until(20*time.Second, func(s control.Status) bool {
			return s.State == control.StateBlocked
		}); err != nil {
			t.Error(err)
		}
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "vc")
		use(t, w)
		judge(t, j)
	})
}

// deaf takes UDP 500 and 4500 away from a wire until stop is called.
func deaf(on *simnet.Wire) (stop func()) {
	return on.Intercept(func(f simnet.Frame) []simnet.Relay {
		ip := packet.IPv4(f.Packet)
		if ip.Valid() && ip.Protocol() == packet.ProtocolUDP {
			if u := packet.UDP(ip.Payload()); u.Valid() {
				for _, port := range []uint16{u.SrcPort(), u.DstPort()} {
					if port == esp.PortIKE || port == esp.PortNATT {
						return nil
					}
				}
			}
		}
		return []simnet.Relay{f.Relay()}
	})
}

// Shows: MOD-vc, MEC-C (a network that lets UDP 434 through and IKE not: cvc, also where the gateway is known to follow)
func TestGatewayNotReachedStraight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 611, func(o *Options) {
			o.Client = func(c *config.Config) {
				straight(c)
				c.Gateway.TCP = config.TCPOff
			}
		})
		j := Watch(append(w.External(), bistro)...)
		stop := deaf(w.Cafe)
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "cvc")
		use(t, w)
		carry(w, bistro)
		reach(t, w, "vc")
		keptSession(t, w, func() { // what is lost with the interface goes by the x-HoA, and a session that begins there, too
			carry(w, w.Cafe)
			reach(t, w, "cvc")
		})
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := reach(t, w, "cvc")
		if !strings.Contains(s.ModeReason, "not answered straight") {
			t.Errorf("reason %q", s.ModeReason)
		}
		use(t, w)
		stop()
		judge(t, j)
	})
}

// firstPortOnly stands for a gateway that follows nobody: of each address it takes datagrams to port 4500 from the first port alone,
// until stop is called.
func firstPortOnly(on *simnet.Wire) (stop func()) {
	ports := make(map[netip.Addr]uint16)
	return on.Intercept(func(f simnet.Frame) []simnet.Relay {
		ip := packet.IPv4(f.Packet)
		if ip.Valid() && ip.Protocol() == packet.ProtocolUDP && ip.Dst() == simnet.LabGateway {
			if u := packet.UDP(ip.Payload()); u.Valid() && u.DstPort() == esp.PortNATT {
				if first, known := ports[ip.Src()]; known && first != u.SrcPort() {
					return nil
				}
				ports[ip.Src()] = u.SrcPort()
			}
		}
		return []simnet.Relay{f.Relay()}
	})
}

// Shows: MEC-C, MOD-vc, MOD-switch (a gateway that does not follow: cvc in auto, and where vc is pinned, with the reason, after IKE was
// given up that began on the interface; endpoint_update = "always": nothing is carried)
func TestGatewayDoesNotFollow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mode string
		update     config.Mechanism
		want, why  string
		began      int
	}{
		{"auto", "auto", config.MechanismMOBIKE, "cvc", "does not follow", 1},
		{"vc pinned", "vc", config.MechanismMOBIKE, "cvc", "mode vc is pinned and cannot be had", 2},
		{"always", "auto", config.MechanismAlways, "", "always", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, bistro := straightWorld(t, 612, func(o *Options) {
					o.Gateway = nil
					o.Client = func(cfg *config.Config) {
						cfg.Mode, cfg.Mechanisms.EndpointUpdate = c.mode, c.update
					}
				})
				j := Watch(append(w.External(), bistro)...)
				w.Plug(w.Wlan0, w.Cafe)
				began := from(t, w)
				if c.want == "" {
					defer firstPortOnly(w.Internet)()
					if s, err := w.Until(20*time.Second, func(s control.Status) bool {
						return s.State == control.StateBlocked && strings.Contains(s.ModeReason, c.why) && s.VPN != nil && s.VPN.Established
					}); err != nil {
						t.Fatalf("%v; because %q", err, s.ModeReason)
					}
					k := talk(t, w, 50*time.Millisecond)
					time.Sleep(10 * time.Second)
					if _, answered, _ := k.counts(); answered != 0 {
						t.Errorf("%d packets answered", answered)
					}
					return
				}
				s := reach(t, w, c.want)
				if !strings.Contains(s.ModeReason, c.why) {
					t.Errorf("reason %q", s.ModeReason)
				}
				if n := len(began()); n != c.began {
					t.Errorf("%d IKE SAs were begun, expected %d", n, c.began)
				}
				keptSession(t, w, func() {
					carry(w, bistro)
					if s := reach(t, w, c.want); spis(s) == "" {
						t.Error("no SPIs")
					}
				})
				if n := len(began()); n != c.began {
					t.Errorf("%d IKE SAs were begun, %d before a roam", n, c.began)
				}
				judge(t, j)
			})
		})
	}
}

// Shows: MOD-switch, MOD-vc (modes are pinned one after the other and the session goes on; what the configuration forbids is refused)
func TestPinsOfVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := straightWorld(t, 613)
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "vc")
		keptSession(t, w, func() {
			for _, pin := range []string{"cvc", "vc", "auto", "cvc", "auto"} {
				if err := w.Client.SetMode(t.Context(), pin); err != nil {
					t.Fatal(err)
				}
				want := pin
				if pin == "auto" {
					want = "vc"
				}
				reach(t, w, want)
				time.Sleep(2 * time.Second)
			}
		})
		for _, pin := range []string{"vf", "cvf"} {
			if err := w.Client.SetMode(t.Context(), pin); !errors.Is(err, control.ErrRefused) {
				t.Errorf("mode %s is pinned with gateway_agent = \"off\": %v", pin, err)
			}
		}
		if err := w.Client.SetMode(t.Context(), "c"); !errors.Is(err, control.ErrRefused) {
			t.Errorf("mode c is pinned outside: %v", err)
		}
		reach(t, w, "vc")
		judge(t, j)
	})
}

// Shows: MOD-vc, MOD-keep, MOD-prefer (two interfaces: the bearer follows the preferred one, without a gap, and falls back)
func TestTwoInterfacesInVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 614)
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		first := spis(reach(t, w, "vc"))
		k := talk(t, w, 50*time.Millisecond)
		time.Sleep(3 * time.Second)
		on := func(name, mode string) {
			t.Helper()
			s, err := w.Until(30*time.Second, func(s control.Status) bool {
				return s.State == control.StateConnected && s.Interface == name && s.Mode == mode
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := spis(s); got != "" && got != first {
				t.Errorf("SPIs %s, %s at first", got, first)
			}
		}
		k.reset()
		w.Plug(w.Eth0, bistro)
		on("eth0", "vc")
		time.Sleep(5 * time.Second)
		if sent, answered, gap := k.counts(); answered < sent-2 {
			t.Errorf("%d of %d packets answered while the other interface took over, longest gap %v", answered, sent, gap)
		}
		w.Unplug(w.Eth0)
		on("wlan0", "vc")
		k.works(t, 10*time.Second)
		w.Plug(w.Eth0, w.Office)
		on("eth0", "c")
		k.works(t, 10*time.Second)
		w.Unplug(w.Eth0)
		on("wlan0", "vc")
		k.works(t, 10*time.Second)
		judge(t, j)
	})
}
