package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// tunnelsAskedFor returns what the laptop has asked the home agent for since the last call: "forced", "asked" or "none" a
// request.
func tunnelsAskedFor(t *testing.T, r *register, agent netip.Addr, seen *int) string {
	t.Helper()
	all := r.requests(agent)
	var s []string
	for _, m := range all[*seen:] {
		i := m.request.Extensions.Index(wire.ExtUDPTunnelRequest)
		if i < 0 {
			s = append(s, "none")
			continue
		}
		u, err := wire.ParseUDPTunnelRequest(m.request.Extensions[i])
		switch {
		case err != nil:
			t.Fatal(err)
		case u.Force:
			s = append(s, "forced")
		default:
			s = append(s, "asked")
		}
	}
	*seen = len(all)
	return strings.Join(s, " ")
}

// layer returns the layer of that kind.
func layer(s control.Status, kind string) control.Layer {
	i := slices.IndexFunc(s.Layers, func(l control.Layer) bool { return l.Kind == kind })
	if i < 0 {
		return control.Layer{}
	}
	return s.Layers[i]
}

// With home agents that refuse forced UDP tunnelling the first registration with the i-HA takes two questions, and every later
// one takes one. Behind a NAT, where the x-HA sees the laptop from everywhere, UDP is used all the same. An agent that has been upgraded is found by the first
// renewal after the time that refusals are believed.
//
// Shows: MIP-7 (refusals remembered, for all registrations with the agent), MIP-4
func TestRefusalOfForcedTunnelIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refuses := func(c *agent.HomeAgentConfig) { c.NoForcedUDPTunnel = true }
		w := world(t, Options{Seed: 401, Log: zap.NewNop(), InternalHA: refuses, ExternalHA: refuses})
		events, unsubscribe := w.Client.Subscribe()
		defer unsubscribe()
		r := watchRegistrations(w)
		var internal, external int
		visit := func(p place, wantInternal, wantExternal string) control.Status {
			t.Helper()
			w.Plug(w.Wlan0, p.wire(w))
			s, err := w.UntilMode(20*time.Second, p.mode)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if got := tunnelsAskedFor(t, r, simnet.LabInternalHA, &internal); got != wantInternal && wantInternal != "" {
				t.Errorf("%s: the i-HA was asked %s, want %s", p.name, got, wantInternal)
			}
			got := tunnelsAskedFor(t, r, simnet.LabExternalHA, &external)
			got = strings.Join(slices.Compact(strings.Fields(got)), " ") // deregistrations inside, retransmissions
			if got != wantExternal {
				t.Errorf("%s: the x-HA was asked %s, want %s", p.name, got, wantExternal)
			}
			return s
		}
		s := visit(officePlace, "forced asked", "forced")
		l := layer(s, "i-mip")
		if l.Encapsulation != "ipip" || !strings.Contains(l.Why, "129") {
			t.Errorf("layer %+v", l)
		}
		if l := layer(visit(cafePlace, "", "forced"), "x-mip"); l.Encapsulation != "udp" || l.Why != "asked for, and granted" {
			t.Errorf("layer %+v", l)
		}
		s = visit(officePlace, "asked", "forced")
		if l := layer(s, "i-mip"); l.Encapsulation != "ipip" {
			t.Errorf("layer %+v", l)
		}
		told := 0
		for len(events) > 0 {
			if e := <-events; e.Kind == "encapsulation" {
				told++
				t.Log(e.Message)
			}
		}
		if told != 4 { // the i-HA's, straight and through the VPN, the x-HA's, and the VPN's
			t.Errorf("%d events tell of an encapsulation", told)
		}

		if err := w.RestartInternalHA(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mobilenode.RefusalTime - time.Hour)
		tunnelsAskedFor(t, r, simnet.LabInternalHA, &internal)
		time.Sleep(time.Hour + 2*time.Minute)
		if got := tunnelsAskedFor(t, r, simnet.LabInternalHA, &internal); !strings.HasPrefix(got, "asked") || !strings.HasSuffix(got, "forced") {
			t.Errorf("around the end of its time a refusal was asked about so: %s", got)
		}
		s, err := w.UntilMode(time.Second, "c")
		if l := layer(s, "i-mip"); err != nil || l.Encapsulation != "udp" || l.Why != "asked for, and granted without a NAT" {
			t.Errorf("layer %+v, %v", l, err)
		}
		use(t, w)
	})
}
