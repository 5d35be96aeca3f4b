package agent

import (
	"bytes"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/ike"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// kernel is a company of network namespaces: laptop - home agent - correspondent, with a foreign agent as the laptop's
// other way to the home agent.
type kernel struct {
	laptop, homeAgent, foreignAgent, correspondent *os.File
}

var (
	officeAddr = netip.MustParsePrefix("10.0.2.50/24")
	faUpstream = netip.MustParsePrefix("10.0.4.40/24")
)

func newKernel(t *testing.T) *kernel {
	k := &kernel{netnstest.New(t), netnstest.New(t), netnstest.New(t), netnstest.New(t)}
	none := netip.Prefix{}
	netnstest.Wire(t, k.laptop, "eth0", officeAddr, k.homeAgent, "office0", netip.MustParsePrefix("10.0.2.1/24"))
	netnstest.Wire(t, k.laptop, "eth1", none, k.foreignAgent, "visit0", netip.MustParsePrefix("10.0.3.1/24"))
	netnstest.Wire(t, k.foreignAgent, "up0", faUpstream, k.homeAgent, "fa0", netip.MustParsePrefix("10.0.4.1/24"))
	netnstest.Wire(t, k.homeAgent, "core0", netip.MustParsePrefix("10.0.1.10/24"), k.correspondent, "eth0", netip.MustParsePrefix("10.0.1.20/24"))
	all := netip.MustParsePrefix("0.0.0.0/0")
	for ns, by := range map[*os.File]string{k.laptop: "10.0.2.1", k.foreignAgent: "10.0.4.1", k.correspondent: "10.0.1.10"} {
		netnstest.Inside(t, ns, func() error { return netnstest.Route(all, netip.MustParseAddr(by)) })
	}
	return k
}

func kernelHost(t *testing.T, ns *os.File) link.Host {
	t.Helper()
	h, err := underlay.NewHost(underlay.Options{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// listen opens an application's UDP socket in the namespace.
func listen(t *testing.T, ns *os.File, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	netnstest.Inside(t, ns, func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// checkEcho has datagrams go from the home address to the correspondent and back, and small ones start at the
// correspondent.
func (k *kernel) checkEcho(t *testing.T, drops *packet.Drops, sizes ...int) {
	t.Helper()
	server := listen(t, k.correspondent, service)
	client := listen(t, k.laptop, netip.AddrPortFrom(simnet.LabHomeAddress, 0))
	go func() {
		buf := make([]byte, 65536)
		for {
			m, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if from.Addr() != simnet.LabHomeAddress {
				t.Errorf("the correspondent saw %v", from)
			}
			_, _ = server.WriteToUDPAddrPort(buf[:m], from)
		}
	}()
	buf := make([]byte, 65536)
	for _, size := range sizes {
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		came := false
		for range 5 { // the first may be lost while the kernel resolves link-layer addresses
			if _, err := client.WriteToUDPAddrPort(sent, service); err != nil {
				t.Fatal(err)
			}
			_ = client.SetReadDeadline(time.Now().Add(2 * time.Second))
			m, from, err := client.ReadFromUDPAddrPort(buf)
			if came = err == nil && from == service && bytes.Equal(buf[:m], sent); came {
				break
			}
		}
		if !came {
			t.Errorf("%d octets did not come back; drops at the laptop %v", size, drops.Snapshot())
		}
	}
}

func startKernelHomeAgent(t *testing.T, k *kernel) *HomeAgent {
	t.Helper()
	cfg := internal(t)
	cfg.Encapsulations = everyForm
	a := startHomeAgent(t, kernelHost(t, k.homeAgent), cfg)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("drops at the home agent: %v", a.Drops().Snapshot())
		}
	})
	return a
}

// Shows: AGT-1, MIP-6, MIP-12 (the home agent on a real kernel: raw and UDP sockets, TUN device, routes, fragments).
func TestKernelHomeAgent(t *testing.T) {
	for _, e := range []mobilenode.Encapsulation{
		mobilenode.EncapsulationIPIP, mobilenode.EncapsulationUDP, mobilenode.EncapsulationMinimal, mobilenode.EncapsulationGRE,
	} {
		t.Run(e.String(), func(t *testing.T) {
			k := newKernel(t)
			a := startKernelHomeAgent(t, k)
			host := kernelHost(t, k.laptop)
			mn := laptop(t, e)
			mn.GRE = everyForm.Options
			n := coLocated(t, host, netnstest.Index(t, k.laptop, "eth0"), officeAddr.Addr(), mn)
			t.Cleanup(func() { _ = host.Apply(link.Settings{}) })
			if reply := n.up(enterprise); reply.Tunnel().Encapsulation.String() != e.String() {
				t.Fatalf("tunnel %+v", reply.Tunnel())
			}
			k.checkEcho(t, &n.drops, 1, 1000, 1400, 4000)
			if a.Table().Len() != 1 {
				t.Errorf("%d bindings", a.Table().Len())
			}
		})
	}
}

// everyForm offers all encapsulations, GRE with all its fields.
var everyForm = tunnel.Offered{Minimal: true, GRE: true, Options: tunnel.GREOptions{Keyed: true, Key: 77, Checksum: true}}

// Shows: AGT-4, MIP-8 (the foreign agent on a real kernel, the laptop's interface without an address).
func TestKernelForeignAgent(t *testing.T) {
	k := newKernel(t)
	startKernelHomeAgent(t, k)
	fa, err := StartForeignAgent(kernelHost(t, k.foreignAgent), ForeignAgentConfig{
		Interface: "visit0", Config: foreignagent.Config{CareOfAddress: faUpstream.Addr()},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("drops at the foreign agent: %v", fa.Drops().Snapshot())
		}
		if err := fa.Close(); err != nil {
			t.Error(err)
		}
	})
	host := kernelHost(t, k.laptop)
	index := netnstest.Index(t, k.laptop, "eth1")
	s, heard, ad := agentOn(t, host, index)
	if heard.Source != netip.MustParseAddr("10.0.3.1") || heard.Hardware == (packet.HardwareAddr{}) {
		t.Fatalf("advertisement from %v at %v", heard.Source, heard.Hardware)
	}
	n := viaForeignAgent(t, host, s, heard, ad, laptop(t, mobilenode.EncapsulationAuto))
	t.Cleanup(func() { _ = host.Apply(link.Settings{}) })
	n.up(enterprise)
	k.checkEcho(t, &n.drops, 1, 1000, 1400, 4000)
	if fa.Table().Len() != 1 {
		t.Errorf("%d visitors", fa.Table().Len())
	}
}

// Shows: MEC-B, MOD-vf (the foreign agent in the gateway on a real kernel: raw sockets, UDP encapsulation of ESP, fragments; the kernel
// of the gateway neither forwards for the home address nor answers for the agent).
func TestKernelGatewayAgent(t *testing.T) {
	k := &kernel{netnstest.New(t), netnstest.New(t), netnstest.New(t), netnstest.New(t)}
	gate := k.foreignAgent
	netnstest.Wire(t, k.laptop, "eth0", netip.MustParsePrefix("192.0.2.77/24"), gate, "out", netip.PrefixFrom(simnet.LabGateway, 24))
	netnstest.Wire(t, gate, "in", faUpstream, k.homeAgent, "gw0", netip.MustParsePrefix("10.0.4.1/24"))
	netnstest.Wire(t, k.homeAgent, "core0", netip.MustParsePrefix("10.0.1.10/24"), k.correspondent, "eth0", netip.MustParsePrefix("10.0.1.20/24"))
	all := netip.MustParsePrefix("0.0.0.0/0")
	for ns, by := range map[*os.File]string{gate: "10.0.4.1", k.correspondent: "10.0.1.10"} {
		netnstest.Inside(t, ns, func() error { return netnstest.Route(all, netip.MustParseAddr(by)) })
	}
	startKernelHomeAgent(t, k)
	cfg := agentGateway(t)
	cfg.ForeignAgent.CareOfAddress = faUpstream.Addr()
	g := startGateway(t, kernelHost(t, gate), cfg)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("drops at the gateway: %v", g.Drops().Snapshot())
		}
	})
	host := kernelHost(t, k.laptop)
	n := newAgentNode(t, host, netnstest.Index(t, k.laptop, "eth0"), netip.MustParseAddr("192.0.2.77"), 0, func(c *ike.InitiatorConfig) { c.ForceUDPEncapsulation = true })
	n.careOf = faUpstream.Addr()
	t.Cleanup(func() { _ = host.Apply(link.Settings{}) })
	n.up()
	listen(t, k.laptop, netip.AddrPortFrom(n.home, 5000))
	n.register()
	k.checkEcho(t, &n.drops, 1, 1000, 1352, 4000)
	if g.Visitors() != 1 {
		t.Errorf("%d visitors", g.Visitors())
	}
}
