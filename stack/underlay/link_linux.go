package underlay

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// kernelLink is the link of one interface and address, or of one address on every interface.
type kernelLink struct {
	host  *Host
	index int
	addr  netip.Addr
	mtu   int
}

func newKernelLink(h *Host, index int, addr netip.Addr) (*kernelLink, error) {
	if !addr.IsValid() || addr.Is4In6() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() && addr.Is6() {
		return nil, fmt.Errorf("underlay: link of address %v: expected an IPv4 address of the host or a global IPv6 one", addr)
	}
	k := &kernelLink{host: h, index: index, addr: addr, mtu: defaultMTU}
	if index != 0 {
		l, err := netlink.LinkByIndex(index)
		if err != nil {
			return nil, fmt.Errorf("underlay: link of interface %d: %w", index, err)
		}
		k.mtu = l.Attrs().MTU
	}
	return k, nil
}

func (k *kernelLink) Addr() netip.Addr { return k.addr }

func (k *kernelLink) MTU() int { return k.mtu }

func (k *kernelLink) Open(spec link.FlowSpec, recv link.Receiver) (fl link.Flow, err error) {
	err = k.host.in(func() error {
		if spec.Protocol == packet.ProtocolUDP && spec.Port != 0 && spec.Remote.IsValid() {
			b, err := k.host.ports.branch(k.index, k.addr, spec, recv, func(spec link.FlowSpec, recv link.Receiver) (portFlow, error) {
				return openFlow(k, spec, recv)
			})
			if err == nil {
				fl = b
			}
			return err
		}
		f, err := openFlow(k, spec, recv)
		if err == nil {
			fl = f
		}
		return err
	})
	return fl, err
}

// kernelTunnels are the kinds of the kernel's own tunnel interfaces by the protocol they take.
var kernelTunnels = map[uint8][]string{
	packet.ProtocolIPIP: {"ipip"},
	packet.ProtocolGRE:  {"gre", "gretap"},
}

// refuseKernelTunnel fails when an interface of the kernel that is up decapsulates the protocol from any sender, as the
// fallback device tunl0 does once its module is loaded.
func refuseKernelTunnel(protocol uint8) error {
	if kernelTunnels[protocol] == nil {
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	return decapsulates(links, protocol)
}

// decapsulates returns an error that names the interface among links that takes the protocol from any sender.
func decapsulates(links []netlink.Link, protocol uint8) error {
	for _, l := range links {
		if l.Attrs().RawFlags&unix.IFF_UP != 0 && slices.Contains(kernelTunnels[protocol], l.Type()) && openRemote(l) {
			name := l.Attrs().Name
			return fmt.Errorf("%w: interface %s (%s) is up and takes protocol %d from any sender; take it down with: ip link set %s down",
				ErrKernelDecapsulates, name, l.Type(), protocol, name)
		}
	}
	return nil
}

// openRemote reports whether a tunnel interface has no remote end and so takes packets from anybody.
func openRemote(l netlink.Link) bool {
	switch t := l.(type) {
	case *netlink.Iptun:
		return t.Remote == nil || t.Remote.IsUnspecified()
	case *netlink.Gretun:
		return t.Remote == nil || t.Remote.IsUnspecified()
	case *netlink.Gretap:
		return t.Remote == nil || t.Remote.IsUnspecified()
	}
	return true
}
