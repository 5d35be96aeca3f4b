package handoff

import (
	"bufio"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/ipsec/interop/charon"
)

// tunnel is a program that carries traffic between the laptop and the company.
type tunnel interface {
	// start starts it in the lab, whose laptop has its interfaces up, with an empty directory for its files.
	start(ctx context.Context, lab *topology.Lab, dir string) error
	// home returns the laptop's address in the tunnel.
	home() netip.Addr
	// tail returns the last words of its programs.
	tail() string
	// stop ends it, also when it was not started or not to the end.
	stop() error
}

// mipvpnTunnel is this project: client, home agents and gateway.
type mipvpnTunnel struct {
	binaries string
	company  *company.Company
}

func (m *mipvpnTunnel) start(ctx context.Context, lab *topology.Lab, dir string) (err error) {
	if m.company, err = company.Start(ctx, lab, dir, m.binaries, company.Options{}); err != nil {
		return err
	}
	return m.company.Up(ctx)
}

func (*mipvpnTunnel) home() netip.Addr { return topology.InternalHomeAddress }

func (m *mipvpnTunnel) tail() string { return m.company.Tail(tailLines) }

func (m *mipvpnTunnel) stop() error {
	if m.company == nil {
		return nil
	}
	return m.company.Stop()
}

// tailLines is how many last lines of each program are told of when something went wrong.
const tailLines = 20

// prepareGateway does for a peer what it leaves to the gateway's administrator: packets are forwarded between its device and
// the internal network, and a laptop inside is answered on the outer side, where it asks: from another address wireguard-go
// would take the answer for a roam, to an address that is behind the tunnel.
func prepareGateway(lab *topology.Lab) error {
	gateway := lab.Box(topology.Gateway)
	if err := gateway.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		return err
	}
	h, err := gateway.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	office := topology.Served[topology.Office]
	return h.RouteReplace(&netlink.Route{
		Dst: &net.IPNet{IP: office.Addr().AsSlice(), Mask: net.CIDRMask(office.Bits(), 32)}, Gw: topology.FirewallOuterAddress.AsSlice(),
	})
}

//go:embed strongswan
var strongSwanFiles embed.FS

// strongSwanHome is the laptop's virtual IP, the only one that the gateway gives.
var strongSwanHome = netip.MustParseAddr("10.0.9.100")

// strongSwanTunnel is a charon at each end.
type strongSwanTunnel struct{ daemons []*charon.Daemon }

func (s *strongSwanTunnel) start(_ context.Context, lab *topology.Lab, dir string) error {
	if err := prepareGateway(lab); err != nil {
		return err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	for _, box := range []string{topology.Gateway, topology.Laptop} {
		d, err := startCharon(lab, box, filepath.Join(dir, box), key)
		if err != nil {
			return err
		}
		s.daemons = append(s.daemons, d)
	}
	_, err := s.daemons[1].Swanctl("--initiate", "--child", "enterprise", "--timeout", "20")
	return err
}

// startCharon starts one end with the files embedded for it.
func startCharon(lab *topology.Lab, box, dir string, key []byte) (*charon.Daemon, error) {
	configuration, own := filepath.Join(dir, "configuration"), filepath.Join(dir, "own")
	for _, d := range []string{configuration, own} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	for from, to := range map[string]string{"strongswan.conf": "strongswan.conf", box + ".conf": "swanctl.conf"} {
		text, err := strongSwanFiles.ReadFile("strongswan/" + from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(configuration, to), text, 0o600); err != nil {
			return nil, err
		}
	}
	return charon.Start(charon.Options{
		Configuration: configuration, Dir: own, Launch: lab.Box(box).Start,
		Secrets: []charon.Secret{{Name: "laptop", Owners: []string{company.LaptopIdentity, company.GatewayIdentity}, Key: key}},
	})
}

func (*strongSwanTunnel) home() netip.Addr { return strongSwanHome }

func (s *strongSwanTunnel) tail() string {
	out := ""
	for _, d := range s.daemons {
		out += "--- charon\n" + d.Tail(tailLines) + "\n"
	}
	return out
}

func (s *strongSwanTunnel) stop() error {
	var errs []error
	for _, d := range slices.Backward(s.daemons) {
		errs = append(errs, d.Stop())
	}
	s.daemons = nil
	return errors.Join(errs...)
}

// Ends of the WireGuard tunnel.
var (
	wireGuardNear     = netip.MustParsePrefix("10.0.9.200/32")
	wireGuardFar      = netip.MustParsePrefix("10.0.9.201/32")
	wireGuardEndpoint = netip.AddrPortFrom(topology.GatewayAddress, 51820)
)

// wireGuardTunnel is a wireguard-go at each end, each in a process of its own.
type wireGuardTunnel struct {
	// command returns the command that runs the end of the file and then says one line.
	command func(file string) (*exec.Cmd, error)
	running []*exec.Cmd
}

func (w *wireGuardTunnel) start(_ context.Context, lab *topology.Lab, dir string) error {
	if err := prepareGateway(lab); err != nil {
		return err
	}
	near, far, err := bench.Pair(wireGuardNear, wireGuardFar, wireGuardEndpoint, topology.EnterprisePrefix)
	if err != nil {
		return err
	}
	for box, end := range map[string]bench.WireGuard{topology.Gateway: far, topology.Laptop: near} {
		file := filepath.Join(dir, box+".json")
		if err := end.Save(file); err != nil {
			return err
		}
		cmd, err := w.command(file)
		if err != nil {
			return err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		said, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := lab.Box(box).Start(cmd); err != nil {
			return err
		}
		w.running = append(w.running, cmd)
		if line, err := bufio.NewReader(said).ReadString('\n'); err != nil {
			return fmt.Errorf("wireguard-go in %s said %q: %w", box, line, err)
		}
	}
	return nil
}

func (*wireGuardTunnel) home() netip.Addr { return wireGuardNear.Addr() }

func (*wireGuardTunnel) tail() string { return "wireguard-go says its errors on standard error" }

func (w *wireGuardTunnel) stop() error {
	var errs []error
	for _, cmd := range w.running {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		cmd.Wait() // ended by the signal, which is no error
	}
	w.running = nil
	return errors.Join(errs...)
}
