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

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

const enterpriseName = "wiki." + NameCanary + ".corp.example."

// namesWorld is the lab with name servers everywhere: inside on the correspondent, and one on the router of each network
// outside, which answers every name.
type namesWorld struct {
	*World
	resolver *Resolver
	inside   *NameServer
	cafe     *NameServer
	office   *NameServer
	judge    *NameJudge
}

var (
	insideAnswer = netip.MustParseAddr("10.0.1.77")
	cafeAnswer   = netip.MustParseAddr("203.0.113.66")
)

func withDNS(c *config.Config) {
	c.DNS = config.DNS{Mode: "auto", Domains: []string{"corp.example"}, Search: true, Listen: netip.MustParseAddr("127.0.77.53")}
	c.Gateway.RequestDNS = true
}

func newNamesWorld(t *testing.T, seed uint64, change func(*config.Config)) *namesWorld {
	t.Helper()
	n := &namesWorld{}
	var lab *simnet.Lab
	n.resolver = NewResolver(func() *simnet.Host { return lab.Laptop })
	n.World = world(t, Options{
		Seed: seed, Lab: func(l *simnet.Lab) { lab = l }, Start: []client.Option{n.resolver.Option()},
		Client: func(c *config.Config) {
			withDNS(c)
			if change != nil {
				change(c)
			}
		},
		Gateway: func(c *agent.GatewayConfig) {
			c.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53"), simnet.LabCorrespondent}
			c.Domains = []ike.Domain{{Name: "lab.example"}, {Name: "sales"}}
		},
	})
	start := func(h *simnet.Host, at string, answers func(string) []netip.Addr) *NameServer {
		s, err := StartNameServer(h, netip.MustParseAddr(at), answers)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	n.inside = start(n.Correspondent, simnet.LabCorrespondent.String(), func(name string) []netip.Addr {
		if strings.Contains(name, "missing.corp.example.") || strings.HasSuffix(name, ".com.corp.example.") {
			return nil
		}
		return []netip.Addr{insideAnswer}
	})
	everything := func(string) []netip.Addr { return []netip.Addr{cafeAnswer} }
	n.cafe = start(n.CafeNAT, "192.168.1.1", everything)
	n.office = start(n.Firewall, "10.0.2.1", everything)
	n.judge = WatchNames(n.External()...)
	t.Cleanup(n.judge.Stop)
	return n
}

// lookup checks what a name is resolved to; "" for nothing.
func (n *namesWorld) lookup(t *testing.T, name, want string) {
	t.Helper()
	a, err := n.resolver.Lookup(name)
	got := ""
	if err == nil {
		got = a.String()
	}
	if got != want {
		t.Errorf("%s: %q (%v), expected %q", name, got, err, want)
	}
}

// Shows: HST-3 (split DNS in each place: the enterprise's names inside, by the servers that the gateway has told of, also after
// a change to direct access; others outside; a server of the gateway's outside the enterprise's prefixes is not asked)
func TestNamesEverywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNamesWorld(t, 61, nil)
		n.lookup(t, enterpriseName, "") // no network at all
		n.Plug(n.Eth0, n.Cafe)
		if _, err := n.UntilMode(time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
		n.lookup(t, enterpriseName, insideAnswer.String())
		n.lookup(t, "www.example.com.", cafeAnswer.String())
		n.lookup(t, "host.missing.corp.example.", "") // asked with the search lists behind it, too
		s, err := n.Client.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if d := s.DNS; d == nil || d.By != n.resolver.Name() || !slices.Equal(d.Servers, []netip.Addr{simnet.LabCorrespondent}) || d.Inside == 0 || d.Outside == 0 || d.Refused == 0 {
			t.Errorf("status: %+v", s.DNS)
		}
		n.Plug(n.Eth0, n.Office)
		if _, err := n.UntilMode(time.Minute, "c"); err != nil {
			t.Fatal(err)
		}
		n.lookup(t, enterpriseName, insideAnswer.String())
		n.lookup(t, "www.example.com.", cafeAnswer.String())
		if !slices.Contains(n.office.Asked(), "www.example.com.") {
			t.Errorf("the office's server was asked %v", n.office.Asked())
		}
		n.Plug(n.Eth0, n.Hotspot) // an interface without an address knows no server of its own
		if _, err := n.UntilMode(time.Minute, "fvc"); err != nil {
			t.Fatal(err)
		}
		n.lookup(t, enterpriseName, insideAnswer.String())
		n.lookup(t, "www.example.com.", "")
		for _, name := range append(n.cafe.Asked(), n.office.Asked()...) {
			if strings.Contains(name, "corp.example") {
				t.Errorf("asked outside: %s", name)
			}
		}
		if leaks, frames := n.judge.Leaks(); len(leaks) != 0 || frames == 0 {
			t.Errorf("%d of %d frames outside hold an enterprise name", len(leaks), frames)
		}
		if err := n.Client.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		n.Plug(n.Eth0, n.Cafe)
		time.Sleep(5 * time.Second)
		n.lookup(t, enterpriseName, cafeAnswer.String()) // the host's own ways again; so the judge would have seen it
		if leaks, _ := n.judge.Leaks(); len(leaks) == 0 {
			t.Error("the judge sees nothing: nothing was tested")
		}
	})
}

// Shows: IKE-4 (split DNS, RFC 8598), HST-3. Domains that the gateway tells of are resolved inside alone from then on, unless the
// configuration has them not taken; a top-level domain is not taken from it.
func TestDomainsOfTheGateway(t *testing.T) {
	t.Parallel()
	for _, taken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newNamesWorld(t, 63, func(c *config.Config) { c.DNS.GatewayDomains = taken })
			n.Plug(n.Eth0, n.Cafe)
			if _, err := n.UntilMode(time.Minute, "cvc"); err != nil {
				t.Fatal(err)
			}
			want := cafeAnswer.String()
			if taken {
				want = insideAnswer.String()
			}
			n.lookup(t, "host.lab.example.", want)
			n.lookup(t, "lab.example.", want)
			n.lookup(t, "otherlab.example.", cafeAnswer.String())
			n.lookup(t, "www.sales.", cafeAnswer.String())
			if s, err := n.Client.Status(context.Background()); err != nil || slices.Contains(s.DNS.Domains, "lab.example") != taken || slices.Contains(s.DNS.Domains, "sales") {
				t.Errorf("status: %+v, %v", s.DNS, err)
			}
			if taken {
				if asked := n.cafe.Asked(); slices.ContainsFunc(asked, func(name string) bool { return strings.HasSuffix(name, ".lab.example.") }) {
					t.Errorf("the café's server was asked %v", asked)
				}
			}
		})
	}
}

// Shows: HST-3, HST-2 (no enterprise name on any external wire in any state: roaming, the gateway dead, the laptop blocked, asleep,
// the daemon killed, restarted, restarted without coming up)
func TestNoEnterpriseNameOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNamesWorld(t, 62, nil)
		stop, done := make(chan struct{}), make(chan struct{})
		var asked, answered atomic.Int64
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(37 * time.Millisecond):
				}
				asked.Add(1)
				if a, err := n.resolver.Lookup(enterpriseName); err == nil {
					answered.Add(1)
					if a != insideAnswer {
						t.Errorf("answered with %v", a)
						return
					}
				}
			}
		}()
		run := func(up bool) {
			t.Helper()
			if n.Client != nil {
				if err := n.Client.Close(); err != nil { // nothing is taken back
					t.Fatal(err)
				}
			}
			cfg := ClientConfig()
			withDNS(cfg)
			cfg.UpAtStart = up
			var err error
			if n.Client, err = client.Start(n.Laptop, cfg, zap.NewNop(), n.resolver.Option()); err != nil {
				t.Fatal(err)
			}
		}
		until := func(mode string) {
			t.Helper()
			if _, err := n.UntilMode(2*time.Minute, mode); err != nil {
				t.Fatal(err)
			}
			before := answered.Load()
			time.Sleep(10 * time.Second)
			if answered.Load() == before {
				t.Errorf("no enterprise name is resolved in mode %s", mode)
			}
		}
		for _, w := range []struct {
			wire *simnet.Wire
			mode string
		}{{n.Cafe, "cvc"}, {n.Office, "c"}, {n.Hotspot, "fvc"}, {n.Cafe, "cvc"}} {
			n.Plug(n.Eth0, w.wire)
			until(w.mode)
		}
		n.Laptop.AdvanceBoot(time.Hour)
		until("cvc")
		if err := n.VPNGateway.Close(); err != nil { // dead for good
			t.Fatal(err)
		}
		n.VPNGateway = nil
		n.Plug(n.Eth0, n.Hotspot)
		time.Sleep(3 * time.Minute)
		n.Plug(n.Eth0, n.Cafe)
		if _, err := n.Until(5*time.Minute, func(s control.Status) bool { return s.State != control.StateConnected }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		before := answered.Load()
		time.Sleep(20 * time.Second)
		if answered.Load() != before {
			t.Error("an enterprise name was answered without a gateway")
		}
		n.lookup(t, "www.example.com.", cafeAnswer.String())

		if err := n.Client.Close(); err != nil { // killed
			t.Fatal(err)
		}
		n.Client = nil
		time.Sleep(20 * time.Second)
		n.lookup(t, "www.example.com.", "") // nobody answers
		run(false)                          // a daemon that is down: names that are not the enterprise's are resolved again
		time.Sleep(20 * time.Second)
		n.lookup(t, "www.example.com.", cafeAnswer.String())
		n.Plug(n.Eth0, n.Office)
		run(true)
		time.Sleep(time.Minute)
		close(stop)
		<-done
		leaks, frames := n.judge.Leaks()
		if len(leaks) != 0 {
			t.Errorf("%d frames outside hold an enterprise name, the first from %s: %x", len(leaks), leaks[0].Sender, leaks[0].Packet)
		}
		if asked.Load() < 1000 || answered.Load() < 300 || frames == 0 {
			t.Errorf("%d asked, %d answered, %d frames: too little was tested", asked.Load(), answered.Load(), frames)
		}
		t.Logf("%d lookups, %d answered, %d frames on external wires, %d leaks", asked.Load(), answered.Load(), frames, len(leaks))
		for _, name := range n.cafe.Asked() {
			if strings.Contains(name, "corp.example") {
				t.Errorf("asked at the café: %s", name)
			}
		}
	})
}

// Shows: HST-3 (full DNS: every name inside, none outside; and a daemon without [dns] leaves the resolver alone, or gives back
// what one with it has left)
func TestFullNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNamesWorld(t, 63, func(c *config.Config) {
			c.DNS.Full = true
			c.DNS.Servers = []netip.Addr{simnet.LabCorrespondent}
		})
		n.lookup(t, "www.example.com.", "") // nothing is connected yet
		n.Plug(n.Eth0, n.Office)
		if _, err := n.UntilMode(time.Minute, "c"); err != nil {
			t.Fatal(err)
		}
		n.lookup(t, "www.example.com.", insideAnswer.String())
		n.Plug(n.Eth0, n.Cafe)
		if _, err := n.UntilMode(time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
		n.lookup(t, "www.example.com.", insideAnswer.String())
		if q := n.cafe.Asked(); len(q) != 0 {
			t.Errorf("the café's server was asked %v", q)
		}
		if err := n.Client.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		cfg := ClientConfig()
		cfg.UpAtStart = false
		if n.Client, err = client.Start(n.Laptop, cfg, zaptest.NewLogger(t), n.resolver.Option()); err != nil {
			t.Fatal(err)
		}
		if standing, err := n.resolver.Standing(); err != nil || standing {
			t.Errorf("a daemon without [dns] leaves the settings of another: %v, %v", standing, err)
		}
		if err := n.Client.Up(context.Background()); err != nil {
			t.Fatal(err)
		}
		s, err := n.Client.Status(context.Background())
		if err != nil || s.DNS != nil || n.resolver.Sets() != 1 {
			t.Errorf("without [dns]: %+v, %d times set, %v", s.DNS, n.resolver.Sets(), err)
		}
	})
}
