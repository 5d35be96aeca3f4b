package interop

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

var (
	clientAddr  = netip.MustParseAddr("192.0.2.77")
	gatewayAddr = netip.MustParseAddr("192.0.2.10")
	innerAddr   = netip.MustParseAddr("10.0.1.30") // the gateway's own, inside
	insideAddr  = netip.MustParseAddr("10.0.1.20") // behind the gateway
	echoService = netip.AddrPortFrom(insideAddr, 7)
	key         = []byte("a pre-shared key of the interoperation tests")
)

// lab is a client's namespace, charon as gateway, and a host behind it with an echo service.
type lab struct {
	t       *testing.T
	outside *os.File
	daemon  *charon.Daemon
}

func newLab(t *testing.T, extra, extraDaemon string) *lab {
	t.Helper()
	if err := charon.Available(); err != nil {
		t.Skip(err)
	}
	outside, gate, inside := netnstest.New(t), netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, outside, "eth0", netip.PrefixFrom(clientAddr, 24), gate, "out", netip.PrefixFrom(gatewayAddr, 24))
	netnstest.Wire(t, inside, "eth0", netip.PrefixFrom(insideAddr, 24), gate, "in", netip.PrefixFrom(innerAddr, 24))
	netnstest.Inside(t, gate, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	netnstest.Inside(t, inside, func() error {
		pool := netnstest.IPNet(netip.MustParsePrefix("10.0.9.0/24"))
		if err := netlink.RouteAdd(&netlink.Route{Dst: pool, Gw: innerAddr.AsSlice()}); err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(echoService))
		if err != nil {
			return err
		}
		t.Cleanup(func() { conn.Close() })
		go echo(conn)
		return nil
	})
	d, err := charon.Start(charon.Options{Configuration: "../../configs/strongswan", Extra: extra, ExtraDaemon: extraDaemon, Dir: t.TempDir(), Launch: charon.In(gate),
		Secrets: []charon.Secret{{Name: "laptop", Owners: []string{"laptop@corp.example", "gateway.corp.example"}, Key: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("charon:\n%s", d.Tail(150))
		}
	})
	return &lab{t, outside, d}
}

func echo(conn *net.UDPConn) {
	p := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(p)
		if err != nil {
			return
		}
		if _, err := conn.WriteToUDPAddrPort(p[:n], from); err != nil {
			return
		}
	}
}

func identity(t testing.TB, s string) ike.Identity {
	t.Helper()
	id, err := message.NewIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (l *lab) config() ike.InitiatorConfig {
	return ike.InitiatorConfig{
		Config: ike.Config{LocalID: identity(l.t, "laptop@corp.example")},
		Local:  netip.AddrPortFrom(clientAddr, esp.PortIKE), Remote: netip.AddrPortFrom(gatewayAddr, esp.PortIKE),
		RemoteID: identity(l.t, "gateway.corp.example"), PSK: key, RequestAddress: true, RequestDNS: true,
		ForceUDPEncapsulation: true,
	}
}

// connect brings a client up and sends data through it.
func (l *lab) connect(change func(*ike.InitiatorConfig)) *client {
	l.t.Helper()
	cfg := l.config()
	if change != nil {
		change(&cfg)
	}
	c := newClient(l.t, l.outside, cfg)
	c.start()
	up := wait[ike.Established](c)
	if len(up.Configuration.Addresses) != 1 || !netip.MustParsePrefix("10.0.9.0/24").Contains(up.Configuration.Addresses[0]) ||
		len(up.Configuration.DNS) == 0 || !up.UDPEncapsulation || up.RemoteID != identity(l.t, "gateway.corp.example") {
		l.t.Fatalf("established with %+v", up)
	}
	l.t.Logf("IKE SA: %s", up.Suite)
	l.t.Logf("child SA: %s", wait[ike.ChildInstalled](c).Suite)
	c.data()
	return c
}

// data sends packets of several lengths through the child SA and expects the answers.
func (c *client) data() {
	c.t.Helper()
	c.ping(innerAddr, 56)
	for _, n := range []int{0, 1, 2, 3, 1300} {
		c.ping(insideAddr, n)
	}
	c.udp(echoService, "through the child SA and back")
}

// gone waits until charon has no IKE SA.
func (l *lab) gone() {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		out, err := l.daemon.Swanctl("--list-sas")
		if err != nil {
			l.t.Fatal(err)
		}
		if strings.TrimSpace(out) == "" {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("charon still has\n%s", out)
		}
	}
}

// Shows: IKE-1, IKE-3, IKE-4, IKE-6, IKE-9, GDL-1 (strongSwan). Each algorithm of IKE and ESP, with data both ways.
func TestCharonAlgorithms(t *testing.T) {
	l := newLab(t, "", "")
	for _, p := range []struct {
		name  string
		ike   suite.Encryption
		prf   suite.PRF
		group suite.Group
		child suite.Encryption
	}{
		{"AES-256, Curve25519", suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.AESGCM256},
		{"AES-128, P-256", suite.AESGCM128, suite.PRFHMACSHA256, suite.GroupP256, suite.AESGCM128},
		{"AES-256, SHA-384, P-384", suite.AESGCM256, suite.PRFHMACSHA384, suite.GroupP384, suite.AESGCM256},
		{"ChaCha20-Poly1305", suite.ChaCha20Poly1305, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.ChaCha20Poly1305},
		{"AES-256, MODP", suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupMODP2048, suite.ChaCha20Poly1305},
	} {
		t.Run(p.name, func(t *testing.T) {
			l := &lab{t, l.outside, l.daemon}
			c := l.connect(func(cfg *ike.InitiatorConfig) {
				cfg.Proposals = ike.Proposals{Encryption: []suite.Encryption{p.ike}, PRFs: []suite.PRF{p.prf},
					Groups: []suite.Group{p.group}, ChildEncryption: []suite.Encryption{p.child}}
			})
			c.command(func(now link.Instant) error { c.machine.Delete(now); return nil })
			if end := wait[ike.Closed](c); !errors.Is(end.Err, ike.ErrDeleted) {
				t.Errorf("closed with %v", end.Err)
			}
			l.gone()
		})
	}
}

// Shows: IKE-6. charon's kernel-libipsec pretends to be behind a NAT, so ESP goes in UDP also when the client does not ask.
func TestCharonForcesEncapsulation(t *testing.T) {
	l := newLab(t, "", "")
	l.connect(func(cfg *ike.InitiatorConfig) { cfg.ForceUDPEncapsulation = false })
}

// Shows: IKE-1 (INVALID_KE_PAYLOAD). The client's first group is not the one that charon takes.
func TestCharonAsksForAnotherGroup(t *testing.T) {
	l := newLab(t, "", "")
	l.connect(func(cfg *ike.InitiatorConfig) {
		cfg.Proposals.Groups = []suite.Group{suite.GroupP384, suite.GroupCurve25519}
	})
	if log := l.daemon.Tail(500); !strings.Contains(log, "N(INVAL_KE)") {
		t.Errorf("charon sent no INVALID_KE_PAYLOAD:\n%s", log)
	}
}

// Shows: IKE-5, GDL-1 (strongSwan). Child and IKE SA are rekeyed by us and by charon; data passes after each.
func TestCharonRekeys(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "")
	c := l.connect(nil)
	var first ike.ChildID
	c.command(func(link.Instant) error { first = c.using.child; return nil })

	c.command(func(now link.Instant) error { return c.machine.RekeyChild(now, first) })
	if next := wait[ike.ChildInstalled](c); next.Replaces != first {
		t.Errorf("the new child SA replaces %d, want %d", next.Replaces, first)
	}
	c.data()

	c.command(func(now link.Instant) error { return c.machine.RekeyIKE(now) })
	wait[ike.IKERekeyed](c)
	c.data()

	l.rekeyChild(c)

	if _, err := l.daemon.Swanctl("--rekey", "--ike", "mobile"); err != nil {
		t.Fatal(err)
	}
	wait[ike.IKERekeyed](c)
	c.data()

	// Once more by each end on the IKE SA that charon began.
	c.command(func(now link.Instant) error { return c.machine.RekeyChild(now, c.using.child) })
	wait[ike.ChildInstalled](c)
	c.data()
	l.rekeyChild(c)

	// Of five child SAs four end, when packets in flight have had their time.
	removed := 0
	for _, e := range c.seen {
		if _, ok := e.(ike.ChildRemoved); ok {
			removed++
		}
	}
	for ; removed < 4; removed++ {
		wait[ike.ChildRemoved](c)
	}
	c.data()
	c.command(func(link.Instant) error {
		if len(c.children) != 1 || c.inbound.Len() != 1 {
			return fmt.Errorf("%d child SAs, %d inbound SPIs are left", len(c.children), c.inbound.Len())
		}
		return nil
	})
}

// rekeyChild has charon rekey the child SA, and sends data through the new one at once.
func (l *lab) rekeyChild(c *client) {
	l.t.Helper()
	if _, err := l.daemon.Swanctl("--rekey", "--child", "enterprise"); err != nil {
		l.t.Fatal(err)
	}
	wait[ike.ChildInstalled](c)
	c.data()
}

// Shows: IKE-5 (DPD). We ask charon, and charon asks us.
func TestCharonLiveness(t *testing.T) {
	t.Parallel()
	l := newLab(t, "connections { mobile { dpd_delay = 1s } }", "")
	c := l.connect(nil)
	c.command(func(now link.Instant) error { return c.machine.CheckLiveness(now) })
	wait[ike.Alive](c)
	for deadline := time.Now().Add(patience); ; {
		log := l.daemon.Tail(1000)
		if i := strings.Index(log, "sending DPD request"); i >= 0 && strings.Contains(log[i:], "parsed INFORMATIONAL response") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("charon's DPD request was not answered")
		}
		// charon asks only when nothing passes, so this only asks charon in its turn.
		if _, err := l.daemon.Swanctl("--list-sas"); err != nil {
			t.Fatal(err)
		}
	}
	c.data()
}

// Shows: IKE-5 (session resumption). charon grants no tickets, and takes no offence at being asked for one.
func TestCharonGrantsNoTicket(t *testing.T) {
	l := newLab(t, "", "")
	c := l.connect(func(cfg *ike.InitiatorConfig) { cfg.RequestTicket = true })
	c.command(func(now link.Instant) error {
		if c.machine.Resumable(now) {
			return errors.New("charon has granted a ticket: see that it is resumed with")
		}
		return nil
	})
	c.data()
}

// Shows: IKE-5 (DELETE). charon closes the IKE SA.
func TestCharonDeletes(t *testing.T) {
	l := newLab(t, "", "")
	c := l.connect(nil)
	if _, err := l.daemon.Swanctl("--terminate", "--ike", "mobile"); err != nil {
		t.Fatal(err)
	}
	if end := wait[ike.Closed](c); !errors.Is(end.Err, ike.ErrDeletedByPeer) {
		t.Errorf("closed with %v", end.Err)
	}
}

// Shows: IKE-10. What charon refuses ends with the standard's name for it.
func TestCharonRefuses(t *testing.T) {
	l := newLab(t, "", "")
	for name, p := range map[string]struct {
		change func(*ike.InitiatorConfig)
		want   error
	}{
		"wrong key": {func(c *ike.InitiatorConfig) { c.PSK = []byte("another") }, &ike.NotifyError{Type: message.AuthenticationFailed}},
		"unknown identity": {func(c *ike.InitiatorConfig) { c.LocalID = identity(t, "laptop@elsewhere.example") },
			&ike.NotifyError{Type: message.AuthenticationFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := l.config()
			p.change(&cfg)
			cfg.Retransmission = ike.Retransmission{Initial: 50 * time.Millisecond, RefusedTries: 4}
			c := newClient(t, l.outside, cfg)
			c.start()
			if end := wait[ike.Closed](c); !errors.Is(end.Err, p.want) {
				t.Errorf("closed with %v, want %v", end.Err, p.want)
			}
		})
	}
}

// Shows: IKE-1 (COOKIE). charon asks for a cookie once strangers have left IKE SAs half open.
func TestCharonAsksForACookie(t *testing.T) {
	l := newLab(t, "", "charon { cookie_threshold = 2\n cookie_threshold_ip = 2 }")
	netnstest.Inside(t, l.outside, func() error {
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(gatewayAddr, esp.PortIKE)))
		if err != nil {
			return err
		}
		defer conn.Close()
		for range 2 {
			m, err := ike.NewInitiator(l.config(), rand.Reader)
			if err != nil {
				return err
			}
			if err := m.Start(link.Instant{Boot: time.Hour}); err != nil {
				return err
			}
			first, ok := m.PollTransmit()
			if !ok {
				return errors.New("no first message")
			}
			if _, err := conn.Write(first.Payload); err != nil {
				return err
			}
			// The answer shows that the half-open IKE SA is there.
			if _, err := conn.Read(make([]byte, 65536)); err != nil {
				return err
			}
		}
		return nil
	})
	l.connect(nil)
	if log := l.daemon.Tail(500); !strings.Contains(log, "N(COOKIE)") {
		t.Errorf("charon sent no COOKIE:\n%s", log)
	}
}
