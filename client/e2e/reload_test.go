package e2e

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// otherExternalHome is another home address of the laptop's at the x-HA.
var otherExternalHome = simnet.LabExternalHomeAddress.Next()

// twoHomes has the x-HA serve both.
func twoHomes(c *agent.HomeAgentConfig) {
	c.MobileNodes = append(c.MobileNodes, homeagent.MobileNode{
		HomeAddress: otherExternalHome, Associations: []*auth.SecurityAssociation{association(ExternalSPI, externalKey)},
	})
}

// changed returns the lab's configuration with another value in it.
func changed(change func(*config.Config)) *config.Config {
	c := ClientConfig()
	change(c)
	return c
}

// reloads are other values, with what is said of them.
var reloads = []struct {
	key     string
	change  func(*config.Config)
	renewed []string
	// outside and inside are the modes afterwards; empty for the ones before.
	outside, inside string
	// agents, if set, has the agents changed at the same time.
	agents func(*testing.T, *World)
}{
	{key: "gateway.give_up", change: func(c *config.Config) { c.Gateway.GiveUp = 20 * time.Second }},
	{key: "detection.t_monitor", change: func(c *config.Config) { c.Detection.Monitor = 50 * time.Second }, renewed: []string{"registrations"}},
	{key: "internal_home_agent.lifetime", change: func(c *config.Config) { c.Internal.Lifetime = 5 * time.Minute }, renewed: []string{"registrations"}},
	{key: "internal_home_agent.encapsulation", change: func(c *config.Config) { c.Internal.Encapsulation = config.EncapsulationIPIP }, renewed: []string{"registrations"}},
	{key: "external_home_agent.lifetime", change: func(c *config.Config) { c.External.Lifetime = 5 * time.Minute }, renewed: []string{"registrations"}},
	{key: "external_home_agent.home_address", change: func(c *config.Config) { c.External.HomeAddress = otherExternalHome }, renewed: []string{"registrations"}},
	{key: "gateway.ike_lifetime", change: func(c *config.Config) { c.Gateway.IKELifetime = 2 * time.Hour }, renewed: []string{"vpn"}},
	{key: "device.mtu", change: func(c *config.Config) { c.Device.MTU = 1300 }, renewed: []string{"host"}},
	{key: "enterprise.prefixes", change: func(c *config.Config) {
		c.Enterprise.Prefixes = append(c.Enterprise.Prefixes, netip.MustParsePrefix("172.30.0.0/16"))
	}, renewed: []string{"host"}},
	{key: "kill_switch.allow_local", change: func(c *config.Config) { c.KillSwitch.AllowLocal = true }, renewed: []string{"host"}},
	{key: "interfaces.prefer", change: func(c *config.Config) { c.Interfaces.Prefer = []string{"eth0"} }, renewed: []string{"registrations"}},
	{key: "mode", change: func(c *config.Config) { c.Mode = "cvc" }, inside: "cvc"},
	{key: "mechanisms.endpoint_update", change: func(c *config.Config) { c.Mechanisms.EndpointUpdate = config.MechanismAuto }, renewed: []string{"registrations", "vpn"}, outside: "vc"},
	{key: "internal_home_agent.key_file", change: func(c *config.Config) { c.Internal.Key = bytes.Repeat([]byte{0x33}, 16) }, renewed: []string{"registrations"},
		agents: func(t *testing.T, w *World) {
			other := internalConfig()
			other.MobileNodes[0].Associations = []*auth.SecurityAssociation{association(InternalSPI, bytes.Repeat([]byte{0x33}, 16))}
			if _, err := w.InternalAgent.Reload(other); err != nil {
				t.Fatal(err)
			}
		}},
}

// Shows: MOD-keep, DET-1 (a configuration is changed under a session that is busy both ways, outside and inside: the session loses
// nothing, what need not be set up anew is not, and nothing leaves in the clear)
func TestReload(t *testing.T) {
	t.Parallel()
	for i, at := range []place{cafePlace, officePlace, hotspotPlace} {
		for k, r := range reloads {
			if r.key == "mode" && at.mode == "fvc" || !sampled(3, i, k) && r.agents == nil {
				continue // a pin to another attachment ends this one
			}
			t.Run(at.name+"/"+r.key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 900 + uint64(i), ExternalHA: twoHomes})
					j := Watch(w.External()...)
					connected(t, w, at)
					s, err := StartSession(w)
					must(t, err)
					time.Sleep(5 * time.Second)
					before, err := w.Client.Status(t.Context())
					must(t, err)
					if r.agents != nil {
						r.agents(t, w)
					}
					doc, err := w.Client.Reload(t.Context(), changed(r.change), false)
					must(t, err)
					if !slices.Equal(doc.Changed, []string{r.key}) || !slices.Equal(doc.Renewed, slices.Clip(append([]string{}, r.renewed...))) {
						t.Errorf("changed %q, set up anew %q, want %q and %q", doc.Changed, doc.Renewed, r.key, r.renewed)
					}
					mode := at.mode
					if r.inside != "" && mode == "c" {
						mode = r.inside
					}
					if r.outside != "" && mode == "cvc" {
						mode = r.outside
					}
					time.Sleep(10 * time.Second)
					after, err := w.UntilMode(30*time.Second, mode)
					must(t, err)
					if a, b := spis(before), spis(after); a != "" && mode == at.mode && r.key != "external_home_agent.home_address" && (a == b) != !slices.Contains(r.renewed, "vpn") {
						t.Errorf("SPIs %s before, %s after", a, b)
					}
					octets, _ := s.Octets()
					time.Sleep(5 * time.Second)
					if more, _ := s.Octets(); more == octets {
						t.Error("the session stands still")
					}
					_, _, err = s.Finish()
					must(t, err)
					if len(after.Problems) > 0 {
						t.Errorf("problems %v", after.Problems)
					}
					if at.mode != "c" {
						judge(t, j)
					}
				})
			})
		}
	}
}

// TestReloadWhileDown takes whatever it is while there is no session.
func TestReloadWhileDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 920, Client: func(c *config.Config) { c.UpAtStart = false }})
		w.Plug(w.Wlan0, w.Cafe)
		doc, err := w.Client.Reload(t.Context(), changed(func(c *config.Config) { c.Device.Name, c.Mode = "mip7", "cvc" }), false)
		must(t, err)
		if !slices.Equal(doc.Changed, []string{"up_at_start", "mode", "device.name"}) {
			t.Errorf("changed %q", doc.Changed)
		}
		must(t, w.Client.Up(t.Context()))
		s, err := w.UntilMode(30*time.Second, "cvc")
		must(t, err)
		if s.Device != "mip7" || s.ModePolicy != "cvc" {
			t.Errorf("device %s, policy %s", s.Device, s.ModePolicy)
		}
	})
}

// Shows: HST-2 (what ends the session is refused with the key's name, and done on demand with the traffic blocked meanwhile)
func TestReloadAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		other := simnet.LabHomeAddress.Next()
		w := world(t, Options{Seed: 921, InternalHA: func(c *agent.HomeAgentConfig) {
			c.MobileNodes = append(c.MobileNodes, homeagent.MobileNode{HomeAddress: other, Associations: []*auth.SecurityAssociation{association(InternalSPI, internalKey)}})
		}})
		j := Watch(w.External()...)
		connected(t, w, cafePlace)
		next := changed(func(c *config.Config) { c.Internal.HomeAddress, c.Device.Name = other, "mip7" })
		_, err := w.Client.Reload(t.Context(), next, false)
		if !errors.Is(err, client.ErrAnew) || !strings.Contains(err.Error(), "device.name, internal_home_agent.home_address") {
			t.Fatalf("%v", err)
		}
		if s, err := w.Client.Status(t.Context()); err != nil || s.HomeAddress != simnet.LabHomeAddress || s.State != control.StateConnected {
			t.Fatalf("refused, and then %s with %v, %v", s.State, s.HomeAddress, err)
		}
		doc, err := w.Client.Reload(t.Context(), next, true)
		must(t, err)
		if !slices.Equal(doc.Renewed, []string{"session"}) {
			t.Errorf("set up anew %q", doc.Renewed)
		}
		s, err := w.UntilMode(30*time.Second, "cvc")
		must(t, err)
		if s.HomeAddress != other || s.Device != "mip7" {
			t.Errorf("%v on %s", s.HomeAddress, s.Device)
		}
		_, err = w.Client.Reload(t.Context(), changed(func(c *config.Config) { *c = *next; c.Control.Socket = "/elsewhere" }), true)
		if !errors.Is(err, client.ErrRestart) || !strings.Contains(err.Error(), "control.socket") {
			t.Errorf("%v", err)
		}
		judge(t, j)
	})
}

// Shows: IKE-9 (a change of another value asks the person for nothing again, and a change of where the password comes from takes the new one)
func TestReloadAsksNothingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		o := c.options(t, 922, []config.Round{config.RoundMSCHAPv2}, nil)
		w := world(t, o)
		w.Plug(w.Wlan0, w.Cafe)
		q := questioned(t, w, time.Minute, func(control.Question) bool { return true })
		must(t, w.Client.AnswerQuestion(q.ID, []byte(userPassword)))
		_, err := w.UntilMode(time.Minute, "cvc")
		must(t, err)
		for _, next := range []func(*config.Config){
			func(c *config.Config) { c.Gateway.ChildLifetime = 30 * time.Minute },
			func(c *config.Config) { c.Device.Name = "mip7" },
		} {
			before, err := w.Client.Status(t.Context())
			must(t, err)
			_, err = w.Client.Reload(t.Context(), changed(func(c *config.Config) { o.Client(c); next(c) }), true)
			must(t, err)
			_, err = w.Until(time.Minute, func(s control.Status) bool {
				return s.State == control.StateConnected && len(s.Questions) == 0 && spis(s) != spis(before)
			})
			must(t, err)
		}
		c.write(t, "password", []byte(userPassword+"\n"))
		_, err = w.Client.Reload(t.Context(), changed(func(cfg *config.Config) {
			o.Client(cfg)
			cfg.Device.Name = "mip7"
			cfg.Authentication.Password = config.SecretSource("file:" + c.dir + "/password")
		}), false)
		must(t, err)
		time.Sleep(time.Minute)
		s, err := w.UntilMode(time.Minute, "cvc")
		must(t, err)
		if len(s.Questions) > 0 || len(s.Problems) > 0 {
			t.Errorf("questions %q, problems %v", s.Questions, s.Problems)
		}
	})
}

// TestReloadNames has names asked for otherwise while the laptop is connected.
func TestReloadNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNamesWorld(t, 923, nil)
		n.Plug(n.Wlan0, n.Cafe)
		_, err := n.UntilMode(time.Minute, "cvc")
		must(t, err)
		doc, err := n.Client.Reload(t.Context(), changed(func(c *config.Config) {
			withDNS(c)
			c.DNS.Domains = []string{"corp.example", "other.example"}
		}), false)
		must(t, err)
		if !slices.Equal(doc.Renewed, []string{"dns"}) {
			t.Errorf("set up anew %q", doc.Renewed)
		}
		s, err := n.Client.Status(t.Context())
		must(t, err)
		if !slices.Contains(s.DNS.Domains, "other.example") || len(s.DNS.Servers) == 0 {
			t.Errorf("%+v", s.DNS)
		}
		time.Sleep(time.Second)
		if a, err := n.resolver.Lookup(enterpriseName); err != nil || a != insideAnswer {
			t.Errorf("%v, %v", a, err)
		}
		at := func(listen string) error {
			_, err := n.Client.Reload(t.Context(), changed(func(c *config.Config) {
				withDNS(c)
				c.DNS.Domains, c.DNS.Listen = []string{"corp.example", "other.example"}, netip.MustParseAddr(listen)
			}), false)
			return err
		}
		taken, err := n.Laptop.ListenUDP(netip.MustParseAddrPort("127.0.0.54:53"))
		must(t, err)
		if err := at("127.0.0.54"); err == nil || !strings.Contains(err.Error(), "dns.listen") {
			t.Errorf("an address that is taken: %v", err)
		}
		must(t, taken.Close())
		if a, err := n.resolver.Lookup("old." + enterpriseName); err != nil || a != insideAnswer {
			t.Errorf("after a change that was refused: %v, %v", a, err)
		}
		must(t, at("127.0.0.54"))
		time.Sleep(time.Second)
		if s, err := n.Client.Status(t.Context()); err != nil || s.DNS.Forwarder != netip.MustParseAddr("127.0.0.54") {
			t.Errorf("%+v, %v", s.DNS, err)
		}
		if a, err := n.resolver.Lookup("new." + enterpriseName); err != nil || a != insideAnswer {
			t.Errorf("at another address: %v, %v", a, err)
		}
		_, err = n.Client.Reload(t.Context(), changed(func(c *config.Config) { withDNS(c); c.DNS.Domains = nil }), false)
		must(t, err)
		if standing, err := n.resolver.Standing(); standing || err != nil {
			t.Errorf("without domains the resolver is still changed (%v)", err)
		}
	})
}
