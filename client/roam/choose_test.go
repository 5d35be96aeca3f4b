package roam

import (
	"slices"
	"strings"
	"testing"

	"mipvpn/stack"
)

// Shows: MEC-C, MOD-vc, DET-18 (which mode is chosen, what the VPN may stand on, and why)
func TestChoose(t *testing.T) {
	follows, not, unknown := Mechanisms{Following: Follows}, Mechanisms{Following: FollowsNot}, Mechanisms{}
	on := func(m Mechanisms, g Ground) Mechanisms { m.Ground = g; return m }
	out := situation{verdict: Outside, external: ExternalBound}
	with := func(change func(*situation)) situation { s := out; change(&s); return s }
	for _, c := range []struct {
		name string
		s    situation
		want string // mode, grounds, and a word of the reason
	}{
		{"inside", with(func(s *situation) { s.verdict = Inside }), "c - inside"},
		{"inside by a foreign agent", with(func(s *situation) { s.verdict, s.foreignAgent = Inside, true }), "f - inside"},
		{"nothing known of the gateway", with(func(s *situation) { s.known = unknown }), "cvc x not known yet"},
		{"nothing known, and it stands straight", with(func(s *situation) { s.known = on(unknown, GroundInterface) }), "vc i not known yet"},
		{"it follows, nothing stands", with(func(s *situation) { s.known = follows }), "vc ix follows"},
		{"it follows, the tunnel is on the x-HoA", with(func(s *situation) { s.known = on(follows, GroundExternal) }), "cvc ix not answered straight"},
		{"it follows, the tunnel has moved", with(func(s *situation) { s.known = on(follows, GroundInterface) }), "vc ix follows"},
		{"it does not follow", with(func(s *situation) { s.known = not }), "cvc x does not follow"},
		{"it cannot be reached straight", with(func(s *situation) { s.known, s.mute = follows, true }), "cvc x straight"},
		{"foreign agent", with(func(s *situation) { s.known, s.foreignAgent = on(follows, GroundInterface), true }), "fvc x foreign agent"},
		{"off", with(func(s *situation) { s.known, s.update = follows, Forbidden }), "cvc x off"},
		{"always, not known", with(func(s *situation) { s.update = Demanded }), "vc! i always"},
		{"always, known", with(func(s *situation) { s.known, s.update = follows, Demanded }), "vc i asked for"},
		{"always, does not follow", with(func(s *situation) { s.known, s.update = not, Demanded }), "vc! i always"},
		{"always, foreign agent", with(func(s *situation) { s.foreignAgent, s.update = true, Demanded }), "! - always"},
		{"the x-HA is silent", situation{verdict: Unreachable, external: ExternalSilent}, "vc i does not answer"},
		{"the x-HA is silent, off", situation{verdict: Unreachable, external: ExternalSilent, update: Forbidden}, "! - off"},
		{"the x-HA is silent, and the gateway does not follow", situation{verdict: Outside, external: ExternalSilent, known: not}, "vc i each change"},
		{"the x-HA is silent, foreign agent", situation{foreignAgent: true, external: ExternalSilent}, "! - does not answer"},
		{"no x-HA", situation{verdict: Outside, external: ExternalNone, known: follows}, "vc i no x-HA"},
		{"vc pinned", with(func(s *situation) { s.pin = stack.ModeVC }), "vc i asked for"},
		{"vc pinned, inside", with(func(s *situation) { s.verdict, s.pin = Inside, stack.ModeVC }), "vc i asked for"},
		{"vc pinned, does not follow", with(func(s *situation) { s.pin, s.known = stack.ModeVC, not }), "cvc x mode vc is pinned"},
		{"vc pinned, off", with(func(s *situation) { s.pin, s.update = stack.ModeVC, Forbidden }), "cvc x mode vc is pinned"},
		{"cvc pinned", with(func(s *situation) { s.pin, s.known = stack.ModeCVC, on(follows, GroundInterface) }), "cvc x pin"},
		{"cvc pinned, the x-HA is silent", situation{pin: stack.ModeCVC, verdict: Unreachable, external: ExternalSilent}, "! - does not answer"},
		{"c pinned, outside", with(func(s *situation) { s.pin = stack.ModeC }), " - pinned"},
		{"vf pinned, no agent", with(func(s *situation) { s.pin, s.known = stack.ModeVF, follows }), "vc i not the foreign agent"},
		{"vf pinned, and had", with(func(s *situation) {
			s.pin, s.known = stack.ModeVF, Mechanisms{Follows, GroundInterface, true}
		}), "vf i asked for"},
		{"the gateway's agent", with(func(s *situation) { s.known = Mechanisms{FollowsNot, GroundExternal, true} }), "cvf x foreign agent of"},
		{"both agents", with(func(s *situation) { s.foreignAgent, s.known = true, Mechanisms{Follows, GroundExternal, true} }), "fvf x foreign agent of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := choose(c.s)
			want := strings.SplitN(c.want, " ", 3)
			mode := string(got.Mode)
			if got.Barred {
				mode += "!"
			}
			grounds := ""
			for _, g := range got.Grounds {
				grounds += map[Ground]string{GroundInterface: "i", GroundExternal: "x"}[g]
			}
			if grounds == "" {
				grounds = "-"
			}
			if mode != want[0] || grounds != want[1] || !strings.Contains(got.Why, want[2]) {
				t.Errorf("mode %q on %q because %q, want %q", mode, grounds, got.Why, c.want)
			}
		})
	}
}

// Shows: MEC-C, MOD-switch (what holds in all situations: nothing in the clear without a proof, nothing without the x-HA where that is
// forbidden or through a foreign agent, nothing with it where it is forbidden, and always a reason)
func TestChooseInvariants(t *testing.T) {
	modes := append([]stack.Mode{stack.ModeNone}, stack.Modes()...)
	n := 0
	each := func(s situation) {
		n++
		got := choose(s)
		fail := func(what string) { t.Errorf("%+v: %+v: %s", s, got, what) }
		comp, ok := got.Mode.Composition()
		pinned, isPinned := s.pin.Composition()
		direct, external := slices.Contains(got.Grounds, GroundInterface), slices.Contains(got.Grounds, GroundExternal)
		switch {
		case got.Why == "":
			fail("no reason")
		case !ok && (len(got.Grounds) != 0):
			fail("grounds without a mode")
		case !ok:
			return
		}
		switch {
		case comp.VPN != (len(got.Grounds) > 0):
			fail("a VPN without ground, or the other way round")
		case !comp.VPN && s.verdict != Inside:
			fail("in the clear without a proof")
		case !comp.VPN && s.noPlaintext:
			fail("in the clear where the system cannot do that safely")
		case isPinned && pinned.VPN != comp.VPN:
			fail("the pin says otherwise of the VPN")
		case comp.ForeignAgent != s.foreignAgent && (comp.ExternalMIP || !comp.VPN):
			fail("not the interface's attachment")
		case !comp.VPN:
			return
		case s.foreignAgent && (!comp.ExternalMIP || direct):
			fail("straight from a foreign agent's link")
		case s.update == Forbidden && (!comp.ExternalMIP || direct):
			fail("endpoint updates are forbidden")
		case isPinned && pinned.ExternalMIP && direct:
			fail("the pin wants the x-HoA")
		case s.update == Demanded && !got.Barred && (comp.ExternalMIP || external || s.known.Following != Follows):
			fail("endpoint updates are demanded")
		case external && (s.external == ExternalNone || s.external == ExternalSilent):
			fail("on the x-HoA without an x-HA")
		case comp.ExternalMIP && !external || !comp.ExternalMIP && !direct:
			fail("the mode is not of its grounds")
		case direct && external && s.known.Following != Follows:
			fail("the gateway is not known to follow")
		case s.known.Following == FollowsNot && direct && !got.Barred && s.external != ExternalNone && s.external != ExternalSilent:
			fail("a gateway that does not follow, straight from the interface")
		case s.pin == stack.ModeNone && !s.foreignAgent && s.update == Shown && got.Barred:
			fail("barred by nobody")
		case comp.GatewayAgent != s.known.GatewayAgent:
			fail("the gateway's agent")
		}
	}
	for _, fa := range []bool{false, true} {
		for v := Unknown; v <= Inside; v++ {
			for x := ExternalAsked; x <= ExternalNone; x++ {
				for f := FollowingUnknown; f <= Follows; f++ {
					for g := GroundNone; g <= GroundInterface; g++ {
						for u := Shown; u <= Forbidden; u++ {
							for _, pin := range modes {
								for bits := range 16 {
									each(situation{fa, bits&4 != 0, v, x, bits&1 != 0, Mechanisms{f, g, bits&2 != 0}, u, pin, bits&8 != 0})
								}
							}
						}
					}
				}
			}
		}
	}
	if n != 2*5*4*3*3*3*9*16 {
		t.Errorf("%d situations", n)
	}
}
