package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// straight lets the VPN stand straight on an interface where the gateway follows.
func straight(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismAuto }

// mobike gives the gateway MOBIKE.
func mobike(c *agent.GatewayConfig) { c.IKE.MOBIKE = &ike.MOBIKE{} }

// straightWorld starts a world with both, and a second network behind a NAT of its own.
func straightWorld(t *testing.T, seed uint64, change ...func(*Options)) (w *World, bistro *simnet.Wire) {
	t.Helper()
	o := Options{Seed: seed, Client: straight, Gateway: mobike, Lab: func(l *simnet.Lab) {
		bistro, _ = l.AddCafe("bistro", netip.MustParseAddr("192.0.2.70"), netip.MustParsePrefix("192.168.7.100/24"), simnet.NATConfig{})
	}}
	for _, f := range change {
		f(&o)
	}
	return world(t, o), bistro
}

// from collects the addresses that IKE SAs are begun from.
func from(t *testing.T, w *World) func() []string {
	events, stop := w.Client.Subscribe()
	t.Cleanup(stop)
	var all []string
	return func() []string {
		for {
			select {
			case e := <-events:
				if _, at, found := strings.Cut(e.Message, "setting up the VPN with gateway "+simnet.LabGateway.String()+" from "); found {
					all = append(all, at)
				}
			default:
				return all
			}
		}
	}
}

// kinds names the layers of a status, from the interface up.
func kinds(s control.Status) string {
	var all []string
	for _, l := range s.Layers {
		all = append(all, l.Kind)
	}
	return strings.Join(all, " ")
}

// keptSession runs change under a session that is judged, and wants it to go on after.
func keptSession(t *testing.T, w *World, change func()) {
	t.Helper()
	s, err := StartSession(w)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	change()
	time.Sleep(3 * time.Second)
	upBefore, downBefore := s.Octets()
	time.Sleep(5 * time.Second)
	up, down := s.Octets()
	if up-upBefore < 100*chunk || down-downBefore < 100*chunk {
		t.Errorf("after the change %d octets up and %d down in 5 s", up-upBefore, down-downBefore)
	}
	if _, _, err := s.Finish(); err != nil {
		t.Error(err)
	}
}

// carry takes the laptop's wireless interface to another network, as a person does: out of the one, and a moment later into the other. It
// returns when the laptop has noticed, so that the mode before is not taken for the new one.
func carry(w *World, to *simnet.Wire) {
	w.Unplug(w.Wlan0)
	time.Sleep(200 * time.Millisecond)
	w.Plug(w.Wlan0, to)
	time.Sleep(200 * time.Millisecond)
}

// reach waits for a mode.
func reach(t *testing.T, w *World, mode string) control.Status {
	t.Helper()
	s, err := w.UntilMode(40*time.Second, mode)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Shows: MOD-vc, MEC-C (cold start: IKE begins from the x-HoA, and the same IKE SA moves to the interface, make before break; the next
// one with this gateway begins on the interface)
func TestModeVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := straightWorld(t, 601)
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		began := from(t, w)
		s := reach(t, w, "vc")
		if k := kinds(s); k != "underlay vpn i-mip" {
			t.Errorf("layers %s", k)
		}
		if !strings.Contains(s.ModeReason, "follows") {
			t.Errorf("reason %q", s.ModeReason)
		}
		d, err := w.Client.Detect(t.Context(), false)
		if err != nil || d.Mode != "vc" || d.ModeReason != s.ModeReason {
			t.Errorf("detection says mode %q because %q, %v", d.Mode, d.ModeReason, err)
		}
		use(t, w)
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		reach(t, w, "vc")
		use(t, w)
		if got := began(); !slices.Equal(got, []string{simnet.LabExternalHomeAddress.String(), "192.168.1.100"}) {
			t.Errorf("IKE began from %v", got)
		}
		judge(t, j)
	})
}

// Shows: MOD-vc, MOD-keep, MEC-C (roams behind NATs and without one, inside and back, through a foreign agent and back: one IKE SA)
func TestRoamsInVC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 602)
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		first := spis(reach(t, w, "vc"))
		keptSession(t, w, func() {
			for i, at := range []struct {
				wire *simnet.Wire
				mode string
			}{
				{bistro, "vc"}, {w.Campus, "vc"}, {w.Office, "c"}, {w.Cafe, "vc"}, {w.Hotspot, "fvc"}, {bistro, "vc"},
				{w.OfficeFA, "f"}, {w.Hotspot, "fvc"}, {w.Cafe, "vc"},
			} {
				carry(w, at.wire)
				s := reach(t, w, at.mode)
				if comp := spis(s); comp != "" && comp != first {
					t.Errorf("stop %d: SPIs %s, %s at first", i, comp, first)
				}
				time.Sleep(4 * time.Second)
			}
		})
		judge(t, j)
	})
}

// Shows: MOD-vc, GDL-5 (a move from outside to outside: one exchange of IKE, and no new child SA)
func TestMoveInVCIsOneExchange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := straightWorld(t, 603)
		w.Plug(w.Wlan0, w.Cafe)
		before := reach(t, w, "vc")
		time.Sleep(5 * time.Second)
		count := &signalling{}
		defer w.TapAll(count.look)()
		w.Plug(w.Wlan0, w.Campus)
		after, err := w.Until(20*time.Second, func(s control.Status) bool {
			return s.State == control.StateConnected && s.Mode == "vc" && len(s.Layers) > 0 && s.Layers[0].Local.String() == "203.0.113.100"
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		use(t, w)
		if a, b := spis(before), spis(after); a != b {
			t.Errorf("SPIs %s before, %s after", a, b)
		}
		if n := count.ike(); n == 0 || n > 2 { // the update, and the list of our addresses
			t.Errorf("%d IKE messages of the laptop for a move", n)
		}
	})
}

// Shows: MOD-vc, DET-18, DET-8 (the x-HA dies while it is not needed: nothing is noticed; a start without it: vc all the same, with the
// gate closed; inside the i-HA wins; and it is used again when it is back)
func TestExternalHomeAgentDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, bistro := straightWorld(t, 604)
		j := Watch(append(w.External(), bistro)...)
		w.Plug(w.Wlan0, w.Cafe)
		reach(t, w, "vc")
		k := talk(t, w, 50*time.Millisecond)
		time.Sleep(3 * time.Second)
		k.reset()
		w.ExternalHA.NIC("eth0").Detach()
		time.Sleep(15 * time.Minute)
		if sent, answered, _ := k.counts(); answered < sent-2 {
			t.Errorf("%d of %d packets answered after the x-HA died", answered, sent)
		}
		for _, at := range []struct {
			wire *simnet.Wire
			mode string
		}{{bistro, "vc"}, {w.Office, "c"}, {w.Cafe, "vc"}} {
			carry(w, at.wire)
			reach(t, w, at.mode)
			k.works(t, 10*time.Second)
		}
		if err := w.Client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := reach(t, w, "vc")
		if !strings.Contains(s.ModeReason, "x-HA does not answer") {
			t.Errorf("reason %q", s.ModeReason)
		}
		k.works(t, 10*time.Second)
		w.ExternalHA.NIC("eth0").Attach(w.Internet)
		w.Plug(w.Wlan0, w.Hotspot)
		reach(t, w, "fvc")
		k.works(t, 10*time.Second)
		judge(t, j)
	})
}
