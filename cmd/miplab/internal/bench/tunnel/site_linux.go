package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"mipvpn/cmd/miplab/internal/space"
)

// The kinds of wires.
const (
	Offload = "offload" // veth's defaults
	Frames  = "frames"  // real frames alone
)

// Wires are the kinds of wires in their order.
var Wires = []string{Offload, Frames}

// Addresses of the wire's ends, and those that the far end has beside its own for agents, gateway and correspondent.
var (
	NearAddress     = netip.MustParseAddr("192.0.2.50")
	FarAddress      = netip.MustParseAddr("192.0.2.1")
	gatewayAddress  = netip.MustParseAddr("192.0.2.10")
	externalAddress = netip.MustParseAddr("192.0.2.20")
	internalAddress = netip.MustParseAddr("10.0.1.10")
	correspondent   = netip.MustParseAddr("10.0.1.20")
	homeAddress     = netip.MustParseAddr("10.0.8.100")
)

// Interface is the name of the wire's interface in both namespaces.
const Interface = "eth0"

// mtu is the wire's MTU in octets.
const mtu = 1500

// Site is where a tunnel stands.
type Site struct {
	// Near and Far are the namespaces.
	Near, Far *space.Space
	// Wire is the kind of wire.
	Wire string
	// Dir is where files and logs go.
	Dir string
}

// NewSite makes the namespaces and the wire. Files go to a new directory of that name below dir.
func NewSite(wire, dir, name string) (*Site, error) {
	s := &Site{Wire: wire, Dir: filepath.Join(dir, wire+"-"+name)}
	if err := s.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("tunnel: %w", err), s.Close())
	}
	return s, nil
}

// Close takes the namespaces away.
func (s *Site) Close() error {
	var errs []error
	for _, n := range []*space.Space{s.Near, s.Far} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}

// settings are the same in both namespaces: reverse path filtering is each program's own affair, nobody is redirected, and
// one TCP flow learns nothing from the one before.
var settings = [][2]string{
	{"net.ipv4.conf.all.rp_filter", "0"}, {"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv4.conf.all.send_redirects", "0"}, {"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.tcp_no_metrics_save", "1"},
}

func (s *Site) build() (err error) {
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	if s.Near, err = space.New("near"); err != nil {
		return err
	}
	if s.Far, err = space.New("far"); err != nil {
		return err
	}
	for _, n := range []*space.Space{s.Near, s.Far} {
		for _, kv := range settings {
			if err := n.Sysctl(kv[0], kv[1]); err != nil {
				return fmt.Errorf("%s: %s: %w", n.Name, kv[0], err)
			}
		}
	}
	near, err := s.Near.Netlink()
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := s.Far.Netlink()
	if err != nil {
		return err
	}
	defer far.Close()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: Interface, MTU: mtu}, PeerName: Interface, PeerNamespace: netlink.NsFd(s.Far.FD())}
	if err := near.LinkAdd(pair); err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	if err := s.end(near, NearAddress); err != nil {
		return err
	}
	if err := s.end(far, FarAddress, gatewayAddress, externalAddress, internalAddress, correspondent); err != nil {
		return err
	}
	return near.RouteAdd(&netlink.Route{Gw: FarAddress.AsSlice()})
}

// end configures one end of the wire.
func (s *Site) end(h *netlink.Handle, own netip.Addr, more ...netip.Addr) error {
	l, err := h.LinkByName(Interface)
	if err != nil {
		return err
	}
	if s.Wire == Frames {
		if err := h.LinkSetGSOMaxSegs(l, 1); err != nil {
			return fmt.Errorf("gso_max_segs: %w", err)
		}
	}
	if err := addAddress(h, l, netip.PrefixFrom(own, 24)); err != nil {
		return err
	}
	for _, a := range more {
		if err := addAddress(h, l, netip.PrefixFrom(a, 32)); err != nil {
			return err
		}
	}
	return h.LinkSetUp(l)
}

func addAddress(h *netlink.Handle, l netlink.Link, p netip.Prefix) error {
	if err := h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}); err != nil {
		return fmt.Errorf("address %v: %w", p, err)
	}
	return nil
}

// tails writes the ends of the logs below the directory, for the person who looks for what went wrong.
func (s *Site) tails(w io.Writer) {
	logs, _ := filepath.Glob(filepath.Join(s.Dir, "*.log"))
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		const most = 4 << 10
		fmt.Fprintf(w, "--- %s\n%s\n", name, b[max(0, len(b)-most):])
	}
}
