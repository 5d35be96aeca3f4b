package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/interop/debian"
	"mipvpn/ipsec/interop/libreswan"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// plutoSuite is a choice of algorithms with Libreswan's words for it.
type plutoSuite struct {
	ike, esp string
	transforms
}

func plutoSuites() []plutoSuite {
	return []plutoSuite{
		{"aes_gcm256-sha2_256-dh31", "aes_gcm256", choose(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.AESGCM256)},
		{"aes_gcm128-sha2_256-dh19", "aes_gcm128", choose(suite.AESGCM128, suite.PRFHMACSHA256, suite.GroupP256, suite.AESGCM128)},
		{"aes_gcm256-sha2_512-dh21", "aes_gcm256", choose(suite.AESGCM256, suite.PRFHMACSHA512, suite.GroupP521, suite.AESGCM256)},
		{"aes256-sha2_256-dh14", "aes256-sha2_256", choose(suite.AESCBC256SHA256, suite.PRFHMACSHA256, suite.GroupMODP2048, suite.AESCBC256SHA256)},
		{"aes256-sha2_512-dh16", "aes128-sha2_512", choose(suite.AESCBC256SHA512, suite.PRFHMACSHA512, suite.GroupMODP4096, suite.AESCBC128SHA512)},
	}
}

const plutoCommon = `config setup
	uniqueids=no

conn case
	ikev2=insist
	authby=secret
	auto=add
	narrowing=yes
	ikelifetime=4h
`

// plutoGateway is the connection of pluto's as a gateway, plutoClient as a client.
const (
	plutoGateway = `	left=192.0.2.10
	leftid=@gateway.corp.example
	leftsubnet=10.0.0.0/16
	right=%%any
	rightid=laptop@corp.example
	rightaddresspool=10.0.9.1-10.0.9.50
	modecfgdns=10.0.1.1
	encapsulation=yes
	ike=%s
	esp=%s
`
	plutoClient = `	left=192.0.2.77
	leftid=laptop@corp.example
	leftmodecfgclient=yes
	leftsubnet=0.0.0.0/0
	right=192.0.2.10
	rightid=@gateway.corp.example
	rightsubnet=10.0.0.0/16
	encapsulation=yes
	ike=%s
	esp=%s
`
)

// Shows: IKE-1, IKE-3, IKE-4, GDL-1 (Libreswan). IKE with Libreswan in both roles, as far as the kernel goes along: without
// ESP in the kernel pluto gives an IKE SA up when both ends have authenticated each other. So there are no ESP packets.
func TestMatrixLibreswan(t *testing.T) {
	root, err := debian.Libreswan.Prepare()
	if err != nil {
		t.Skip(err)
	}
	table := newTable([]dimension{{name: "peer"}, {name: "we are"}, {name: "suite"}})
	for _, side := range []role{initiator, responder} {
		suites := plutoSuites()
		if !*all {
			suites = suites[:1]
		}
		for _, s := range suites {
			t.Run(fmt.Sprintf("we are %s, %s", side, s.name), func(tt *testing.T) {
				r := &recorder{TB: tt}
				defer table.note([]string{"Libreswan 4.10", string(side), s.name}, r)
				playPluto(r, root, side, s)
			})
		}
	}
	if *all {
		fmt.Println(table)
	}
}

func playPluto(r *recorder, root string, side role, s plutoSuite) {
	r.Helper()
	g := &ground{t: r, client: netnstest.New(r), gate: netnstest.New(r)}
	netnstest.Wire(r, g.client, "eth0", netip.PrefixFrom(clientAddr, 24), g.gate, "out", netip.PrefixFrom(gatewayAddr, 24))
	conf, where := plutoGateway, g.gate
	if side == responder {
		conf, where = plutoClient, g.client
	}
	d, err := libreswan.Start(libreswan.Options{Root: root, Dir: r.TempDir(), Launch: charon.In(where),
		Configuration: plutoCommon + fmt.Sprintf(conf, s.ike, s.esp), Secrets: fmt.Sprintf(": PSK %q\n", key)})
	if err != nil {
		r.Fatal(err)
	}
	var initiating sync.WaitGroup
	r.Cleanup(func() {
		if err := d.Stop(); err != nil {
			r.Error(err)
		}
		initiating.Wait()
		if r.Failed() {
			r.Logf("pluto:\n%s", d.Log())
		}
	})
	game := newGame(r, g, Case{role: side, auth: allAuthentications()[0], suite: s.transforms, nat: noNAT, sizes: usual, config: plain, ppk: noPPK, move: fixed})
	var ours *endpoint
	if side == initiator {
		cfg := game.initiatorConfig()
		game.prove(&cfg)
		c := newClient(r, g.client, cfg)
		c.start()
		ours = c.endpoint
		game.machine = commands{delete: c.machine.Delete}
	} else {
		ours = game.serveAll()
		// The answer is of the child SA, which the kernel may not let it have; what became of the IKE SA is seen at our end.
		initiating.Go(func() {
			if out, err := d.Whack("--initiate", "--name", "case"); err != nil {
				r.Logf("pluto: %v: %s", err, out)
			}
		})
	}
	up, end := settled(ours)
	eventually(r, "pluto has authenticated us and tried to make the child SA", func() (bool, string) {
		log := d.Log()
		return strings.Contains(log, "authenticated") && (strings.Contains(log, "netlink response for Add SA") || strings.Contains(log, "established Child SA")), "it has not"
	})
	if refused := strings.Contains(d.Log(), "netlink response for Add SA"); end != nil && refused && errors.Is(end, ike.ErrConfiguration) || end == nil && refused {
		// Our end has verified pluto's AUTH before it misses the configuration, or has assigned one.
		r.because("IKE alone: the kernel has no ESP, without which pluto gives the IKE SA up")
		return
	}
	want := map[role]string{initiator: gatewayName, responder: clientName}[side]
	if end != nil || up.RemoteID != identity(r, want) || len(up.Configuration.Addresses) != 1 {
		r.Fatalf("established with %+v, closed with %v", up, end)
	}
	ours.command(func(now link.Instant) error { game.machine.delete(now); return nil })
	if end := wait[ike.Closed](ours); !errors.Is(end.Err, ike.ErrDeleted) {
		r.Fatalf("closed with %v", end.Err)
	}
}

// settled waits until the IKE SA is up, or the attempt has ended.
func settled(c *endpoint) (up ike.Established, end error) {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-c.events:
			switch e := h.Event.(type) {
			case ike.Established:
				return e, nil
			case ike.Closed:
				return up, e.Err
			}
		case <-timeout:
			c.t.Fatal("neither established nor closed")
		}
	}
}
