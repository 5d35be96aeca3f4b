package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// threeRoles are i-HA, x-HA and gateway; the SPIs are left open.
const threeRoles = `schema = 1
[control]
socket = ""
[home_agent.internal]
address = "10.0.1.10"
home_networks = ["10.0.8.0/24"]
trusted_networks = ["10.0.0.0/16"]
[[home_agent.internal.mobile_node]]
home_address = "10.0.8.100"
spi = %d
key_file = "internal.key"
[home_agent.external]
address = "192.0.2.20"
home_networks = ["198.51.100.0/24"]
permitted_gateways = ["192.0.2.10"]
[[home_agent.external.mobile_node]]
home_address = "198.51.100.100"
spi = %d
key_file = "external.key"
[gateway]
address = "192.0.2.10"
identity = "gateway.corp.example"
pool = "10.0.9.0/24"
networks = ["10.0.0.0/16"]
[[gateway.peer]]
identity = "laptop@corp.example"
psk_file = "gateway.psk"
`

// foreignAgentRole is a role more.
const foreignAgentRole = `[foreign_agent]
interface = "visit0"
care_of_address = "192.0.2.40"
`

// loadRoles loads the configuration, with the keys of e2e.ClientConfig.
func loadRoles(t *testing.T, text string) *configuration {
	t.Helper()
	dir, node := t.TempDir(), e2e.ClientConfig()
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	for name, text := range map[string][]byte{
		"internal.key": []byte(hex.EncodeToString(node.Internal.Key)), "external.key": []byte(hex.EncodeToString(node.External.Key)),
		"gateway.psk": node.Gateway.PSK, "all.toml": fmt.Appendf(nil, text, e2e.InternalSPI, e2e.ExternalSPI),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := loadConfig(filepath.Join(dir, "all.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// oneHost makes the gateway's host that of the home agents as well and returns it.
func oneHost(l *simnet.Lab) *simnet.Host {
	l.InternalHA.NICs()[0].Detach()
	l.ExternalHA.NICs()[0].Detach()
	for name, at := range map[string]struct {
		wire    *simnet.Wire
		address string
	}{"eth2": {l.Core, "10.0.1.10/24"}, "eth3": {l.Internet, "192.0.2.20/24"}} {
		l.Gateway.AddNIC(simnet.NICConfig{Name: name, Address: netip.MustParsePrefix(at.address)}).Attach(at.wire)
	}
	l.Gateway.SetFirewall(simnet.Rule{Verdict: simnet.Accept})
	return l.Gateway
}

// outcome is what a laptop in the café sees of its company.
type outcome struct {
	echoed  map[int]bool // datagrams of so many octets came back
	stream  bool
	dropped map[string]uint64
	between int // packets to the laptop's external home address on the wire of gateway and x-HA
}

// tryOut has the roles run on the hosts, and the laptop on a wire outside use them in mode cvc.
func tryOut(t *testing.T, l *simnet.Lab, on *simnet.Wire, roles string, makeHost hostMaker, change func(*config.Config)) outcome {
	t.Helper()
	cfg := loadRoles(t, roles)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runRoles(ctx, cfg, makeHost, nil, zap.NewNop()) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(time.Second)
	node := e2e.ClientConfig()
	change(node)
	c, err := client.Start(l.Laptop, node, zap.NewNop(), client.WithDrops(l.Laptop.Drops()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Plug(l.Wlan0, on)
	for i := 0; ; i++ {
		s, err := c.Status(ctx)
		if err != nil || i == 60 {
			t.Fatalf("not connected after a minute: %s in mode %q, %v", s.State, s.Mode, err)
		}
		if s.State == control.StateConnected && s.Mode == "cvc" {
			break
		}
		time.Sleep(time.Second)
	}
	between := 0
	stop := l.Internet.Tap(func(f simnet.Frame) {
		if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Dst() == simnet.LabExternalHomeAddress {
			between++
		}
	})
	defer stop()
	return outcome{echoDatagrams(t, l), echoStream(t, l), l.Laptop.Drops().Snapshot(), between}
}

func echoDatagrams(t *testing.T, l *simnet.Lab) map[int]bool {
	t.Helper()
	at := netip.AddrPortFrom(simnet.LabCorrespondent, 7)
	far, err := l.Correspondent.ListenUDP(at)
	near, err2 := l.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, 0))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	defer near.Close()
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := far.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = far.WriteToAddrPort(buf[:n], from)
		}
	}()
	echoed := make(map[int]bool)
	buf := make([]byte, 65536)
	for _, size := range []int{1, 1000, 1352, 1353, 1400, 1472, 4000, 60000} {
		sent := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := near.WriteToAddrPort(sent, at); err != nil {
			t.Fatal(err)
		}
		_ = near.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, from, err := near.ReadFromAddrPort(buf)
		echoed[size] = err == nil && from == at && bytes.Equal(buf[:n], sent)
	}
	return echoed
}

func echoStream(t *testing.T, l *simnet.Lab) bool {
	t.Helper()
	at := netip.AddrPortFrom(simnet.LabCorrespondent, 7)
	far, err := l.Correspondent.ListenTCP(at)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() {
		if c, err := far.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c, err := l.Laptop.DialTCP(at, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := bytes.Repeat([]byte("a stream that goes through all layers and back"), 4000)
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(c)
	return err == nil && bytes.Equal(got, sent)
}

// The laptop sees no difference between three hosts and three roles of one process on one host, which hand over in memory.
//
// Shows: AGT-7, DESIGN §4.
func TestExchangeIsNotSeen(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"udp": func(c *config.Config) {
			c.Internal.Encapsulation, c.External.Encapsulation, c.Gateway.ForceUDPEncapsulation = config.EncapsulationUDP, config.EncapsulationUDP, true
		},
		"ip where the NAT lets it": func(c *config.Config) { c.Internal.Encapsulation = config.EncapsulationIPIP },
	} {
		t.Run(name, func(t *testing.T) {
			var seen [2]outcome
			for i, together := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					l := simnet.NewLab(1)
					defer l.Close()
					hosts := lab(l.InternalHA, l.ExternalHA, l.Gateway)
					if together {
						host, exchange := oneHost(l), agent.NewExchange()
						hosts = func(int) (link.Host, func() error, error) {
							return exchange.Host(host), func() error { return nil }, nil
						}
					}
					seen[i] = tryOut(t, l, l.Cafe, threeRoles, hosts, change)
				})
			}
			if !maps.Equal(seen[0].echoed, seen[1].echoed) || !seen[0].stream || !seen[1].stream || !maps.Equal(seen[0].dropped, seen[1].dropped) {
				t.Errorf("three hosts: %+v\none host: %+v", seen[0], seen[1])
			}
			if seen[0].between < 100 || seen[1].between > 10 {
				t.Errorf("%d packets between three hosts, %d of one host", seen[0].between, seen[1].between)
			}
			for size, came := range seen[1].echoed {
				if !came {
					t.Errorf("%d octets did not come back", size)
				}
			}
		})
	}
}

// switchingRoles has the x-HA switch addresses.
var switchingRoles = strings.Replace(threeRoles, "permitted_gateways", "zero_overhead_vendor = 32473\npermitted_gateways", 1)

// Shows: MEC-D (x-HA and gateway on hosts of their own, and as roles of one process: both ends of the switching and the exchange;
// datagrams of all lengths, also such as travel in fragments)
func TestZeroOverheadApartAndTogether(t *testing.T) {
	for name, force := range map[string]bool{"ESP": false, "ESP in UDP": true} {
		t.Run(name, func(t *testing.T) {
			for _, together := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					l := simnet.NewLab(1)
					defer l.Close()
					hosts := lab(l.InternalHA, l.ExternalHA, l.Gateway)
					if together {
						host, exchange := oneHost(l), agent.NewExchange()
						hosts = func(int) (link.Host, func() error, error) {
							return exchange.Host(host), func() error { return nil }, nil
						}
					}
					protocols := make(map[uint8]int)
					stop := l.Campus.Tap(func(f simnet.Frame) {
						if ip := packet.IPv4(f.Packet); ip.Valid() && (ip.Src() == simnet.LabExternalHA || ip.Dst() == simnet.LabExternalHA) {
							protocols[ip.Protocol()]++
						}
					})
					seen := tryOut(t, l, l.Campus, switchingRoles, hosts, func(c *config.Config) {
						c.Mechanisms = config.Mechanisms{EndpointUpdate: config.MechanismOff, GatewayAgent: config.MechanismOff,
							ZeroOverhead: config.MechanismAlways, Vendor: 32473}
						c.Gateway.ForceUDPEncapsulation = force
					})
					stop()
					synctest.Wait()
					for size, came := range seen.echoed {
						if !came {
							t.Errorf("together %t: %d octets did not come back; %v", together, size, seen.dropped)
						}
					}
					carries := uint8(packet.ProtocolESP)
					if force {
						carries = packet.ProtocolUDP
					}
					if !seen.stream || protocols[carries] < 200 || protocols[packet.ProtocolIPIP] != 0 {
						t.Errorf("together %t: the stream came back: %t; packets by protocol %v", together, seen.stream, protocols)
					}
				})
			}
		})
	}
}
