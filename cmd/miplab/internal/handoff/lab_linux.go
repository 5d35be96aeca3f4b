package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
)

// The laptop's interfaces: DHCP gives the preferred one the lower metric, and mipvpn prefers it by its index.
const (
	preferred = "eth0"
	second    = "eth1"
)

// networks are those of the two interfaces in each place, the preferred one's first.
var networks = map[Place][2]topology.Wire{
	Outside: {topology.Cafe, topology.Cellular},
	Inside:  {topology.Office, topology.Office},
	Between: {topology.Office, topology.Cellular},
}

// echoPort is the correspondent's port for echoes.
const echoPort = 7200

const (
	// patience is how long a program may take until traffic flows where it should.
	patience = 45 * time.Second
	// before is the time observed before a change, after how much more is observed once traffic flows again.
	before, after = 200 * time.Millisecond, time.Second
	// movingTime is how long a program may take to move to a preferred interface that has come up.
	movingTime = 4 * time.Second
	// tail is left out at the end of the time observed: what was sent last may still be on its way.
	tail = 200 * time.Millisecond
	// look is how often the interfaces' counters are looked at.
	look = 100 * time.Millisecond
)

// Lab is a lab with one program: a Bed.
type Lab struct {
	program string
	tunnel  tunnel
	dir     string
	entered int

	lab    *topology.Lab
	laptop *netlink.Handle
	echo   *net.UDPConn
	at     Place
}

// NewMipvpn returns a lab in which mipvpn is measured. binaries is the directory of mipvpn and mipagent, dir that of all files.
func NewMipvpn(binaries, dir string) (*Lab, error) {
	return newLab(Mipvpn, dir, &mipvpnTunnel{binaries: binaries})
}

// NewStrongSwan returns a lab in which strongSwan is measured.
func NewStrongSwan(dir string) (*Lab, error) {
	return newLab(StrongSwan, dir, &strongSwanTunnel{})
}

// NewWireGuard returns a lab in which wireguard-go is measured. command returns the command that runs the end of a tunnel that
// bench.WireGuard.Save wrote into the file and says one line when packets can go.
func NewWireGuard(dir string, command func(file string) (*exec.Cmd, error)) (*Lab, error) {
	return newLab(WireGuard, dir, &wireGuardTunnel{command: command})
}

func newLab(program, dir string, t tunnel) (_ *Lab, err error) {
	l := &Lab{program: program, tunnel: t, dir: filepath.Join(dir, program)}
	if l.lab, err = topology.New(topology.Options{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	laptop := l.lab.Box(topology.Laptop)
	if l.laptop, err = laptop.Netlink(); err != nil {
		return nil, err
	}
	// Two interfaces in one LAN each speak for themselves alone.
	for _, kv := range [][2]string{{"arp_ignore", "1"}, {"arp_announce", "2"}} {
		if err := laptop.Sysctl("net.ipv4.conf.all."+kv[0], kv[1]); err != nil {
			return nil, err
		}
	}
	err = l.lab.Box(topology.Correspondent).Do(func() (err error) {
		l.echo, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(topology.CorrespondentAddress, echoPort)))
		return err
	})
	if err != nil {
		return nil, err
	}
	go session.Echo(l.echo) // ends with the socket
	return l, nil
}

// Close takes the lab down; Leave has ended the program.
func (l *Lab) Close() error {
	var errs []error
	if l.echo != nil {
		errs = append(errs, l.echo.Close())
	}
	if l.laptop != nil {
		l.laptop.Close()
	}
	return errors.Join(append(errs, l.lab.Close())...)
}

// Program implements Bed.
func (l *Lab) Program() string { return l.program }

// Can implements Bed: only mipvpn keeps its address between inside and outside with the laptop's traffic as it is.
func (l *Lab) Can(p Place) bool { return p != Between || l.program == Mipvpn }

// Enter implements Bed.
func (l *Lab) Enter(ctx context.Context, p Place) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.at = p
	for i, name := range []string{preferred, second} {
		wire := networks[p][i]
		if err := l.lab.Plug(name, wire); err != nil {
			return err
		}
		if _, err := l.lab.AwaitAddress(ctx, name, topology.Served[wire]); err != nil {
			return err
		}
	}
	l.entered++
	dir := filepath.Join(l.dir, fmt.Sprintf("%d-%s", l.entered, p))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := l.tunnel.start(ctx, l.lab, dir); err != nil {
		return err
	}
	return l.steady(ctx)
}

// steady waits until traffic flows as Enter left it.
func (l *Lab) steady(ctx context.Context) error {
	s, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return l.flows(ctx, s, preferred)
}

// Leave implements Bed.
func (l *Lab) Leave() error {
	err := l.tunnel.stop()
	for _, name := range []string{preferred, second} {
		if l.lab.Plugged(name) != "" {
			err = errors.Join(err, l.lab.Unplug(name))
		}
	}
	return err
}

// open begins to send datagrams from the laptop's address in the tunnel to the correspondent. That address may come a
// moment after the program says that it is ready.
func (l *Lab) open(ctx context.Context) (*session.Stream, error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: l.tunnel.home().AsSlice()}}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		var conn net.Conn
		err := l.lab.Box(topology.Laptop).Do(func() (err error) {
			conn, err = d.DialContext(ctx, "udp4", l.echo.LocalAddr().String())
			return err
		})
		if err == nil {
			return session.StartStream(conn, make([]byte, 16)), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no way into the tunnel: %w\n%s", err, l.tunnel.tail())
		}
	}
}

// packets returns how many packets the laptop's interface has sent and received.
func (l *Lab) packets(name string) (sent, received uint64, err error) {
	link, err := l.laptop.LinkByName(name)
	if err != nil {
		return 0, 0, err
	}
	s := link.Attrs().Statistics
	if s == nil {
		return 0, 0, fmt.Errorf("handoff: the laptop's %s has no counters", name)
	}
	return s.TxPackets, s.RxPackets, nil
}

// flows waits until for three looks in a row most datagrams went out of the interface and came in there, and all of them
// came back. On the way to the next look nothing else is sent on the laptop but keep-alives and control messages.
func (l *Lab) flows(ctx context.Context, s *session.Stream, iface string) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	begun := time.Now()
	const most, row = uint64(look / session.Interval * 2 / 3), 3
	sent, received, err := l.packets(iface)
	for inRow := 0; err == nil && inRow < row; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("traffic does not flow through %s for %v: %w\n%s", iface, time.Since(begun).Round(time.Millisecond), ctx.Err(), l.tunnel.tail())
		}
		var nowSent, nowReceived uint64
		if nowSent, nowReceived, err = l.packets(iface); err != nil {
			break
		}
		inRow++
		end := time.Now().Add(-tail)
		if nowSent-sent < most || nowReceived-received < most || s.Between(end.Add(-look), end).Lost > 0 {
			inRow = 0
		}
		sent, received = nowSent, nowReceived
	}
	return err
}
