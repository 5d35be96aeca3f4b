package linkmon

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Monitor reads the state of the interfaces and watches for hints that it has changed.
type Monitor struct{}

// New returns a Monitor. It holds no resources.
func New() *Monitor { return &Monitor{} }

// Snapshot returns the state of all interfaces but loopback and point-to-point ones (utun among them), in the order of their
// indices. Carrier is the media status; how often it has changed, and access points, this system does not say.
func (*Monitor) Snapshot() ([]link.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("linkmon: list interfaces: %w", err)
	}
	four, err := gateways(unix.AF_INET)
	if err != nil {
		return nil, err
	}
	six, err := gateways(unix.AF_INET6)
	if err != nil {
		return nil, err
	}
	near, err := neighbours()
	if err != nil {
		return nil, err
	}
	var list []link.Interface
	for _, a := range all {
		if a.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		i := link.Interface{Index: a.Index, Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0 && a.Flags&net.FlagRunning != 0}
		if len(a.HardwareAddr) == len(i.Hardware) {
			copy(i.Hardware[:], a.HardwareAddr)
		}
		if m, ok := media(a.Name); ok {
			i.Wireless = m.wireless()
			i.Up = i.Up && m.active()
		}
		addrs, err := a.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		i.Address, i.Address6 = firstAddresses(addrs)
		i.Gateway, i.Gateway6 = four[a.Index], six[a.Index]
		i.GatewayHardware = near[neighbour{a.Index, i.Gateway}]
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b link.Interface) int { return a.Index - b.Index })
	return list, nil
}

// firstAddresses returns the first global address of each family.
func firstAddresses(addrs []net.Addr) (four, six netip.Prefix) {
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		ones, _ := n.Mask.Size()
		p := netip.PrefixFrom(ip.Unmap(), ones)
		switch {
		case p.Addr().Is4() && !four.IsValid():
			four = p
		case p.Addr().Is6() && !six.IsValid():
			six = p
		}
	}
	return four, six
}

// routes reads the routing table of a family, or of what NET_RT_FLAGS selects.
func routes(family int, kind route.RIBType, argument int) ([]*route.RouteMessage, error) {
	b, err := route.FetchRIB(family, kind, argument)
	if err != nil {
		return nil, fmt.Errorf("linkmon: read routes: %w", err)
	}
	all, err := route.ParseRIB(kind, b)
	if err != nil {
		return nil, fmt.Errorf("linkmon: read routes: %w", err)
	}
	var list []*route.RouteMessage
	for _, m := range all {
		if r, ok := m.(*route.RouteMessage); ok {
			list = append(list, r)
		}
	}
	return list, nil
}

// address returns address number i (RTAX_*) of a message.
func address(m *route.RouteMessage, i int) netip.Addr {
	if i >= len(m.Addrs) {
		return netip.Addr{}
	}
	switch a := m.Addrs[i].(type) {
	case *route.Inet4Addr:
		return netip.AddrFrom4(a.IP)
	case *route.Inet6Addr:
		return netip.AddrFrom16(a.IP)
	}
	return netip.Addr{}
}

// gateways returns the next hop of each interface's default route. Each interface has one of its own, the one in use and others
// that bind to it (RTF_IFSCOPE).
func gateways(family int) (map[int]netip.Addr, error) {
	all, err := routes(family, route.RIBTypeRoute, 0)
	if err != nil {
		return nil, err
	}
	found := make(map[int]netip.Addr)
	for _, m := range all {
		if m.Flags&(unix.RTF_UP|unix.RTF_GATEWAY) != unix.RTF_UP|unix.RTF_GATEWAY {
			continue
		}
		to, mask, hop := address(m, unix.RTAX_DST), address(m, unix.RTAX_NETMASK), address(m, unix.RTAX_GATEWAY)
		if !to.IsUnspecified() || mask.IsValid() && !mask.IsUnspecified() || !hop.IsValid() || found[m.Index].IsValid() {
			continue
		}
		found[m.Index] = unscoped(hop)
	}
	return found, nil
}

// unscoped takes the interface's index out of a link-local address, where the kernel writes it into the second group.
func unscoped(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		b := a.As16()
		b[2], b[3] = 0, 0
		return netip.AddrFrom16(b)
	}
	return a
}

// neighbour names a neighbour on an interface.
type neighbour struct {
	index   int
	address netip.Addr
}

// neighbours returns the link-layer addresses that ARP has found.
func neighbours() (map[neighbour]packet.HardwareAddr, error) {
	all, err := routes(unix.AF_INET, unix.NET_RT_FLAGS, unix.RTF_LLINFO)
	if err != nil {
		return nil, err
	}
	found := make(map[neighbour]packet.HardwareAddr)
	for _, m := range all {
		if unix.RTAX_GATEWAY >= len(m.Addrs) {
			continue
		}
		l, ok := m.Addrs[unix.RTAX_GATEWAY].(*route.LinkAddr)
		if !ok || len(l.Addr) != len(packet.HardwareAddr{}) {
			continue
		}
		found[neighbour{m.Index, address(m, unix.RTAX_DST)}] = packet.HardwareAddr(l.Addr)
	}
	return found, nil
}

// mediaRequest is struct ifmediareq, 44 octets as the ioctl's number says.
type mediaRequest struct {
	name    [unix.IFNAMSIZ]byte
	current int32
	mask    int32
	status  int32
	_       [2]int32  // what is active, and the length of a list
	_       [2]uint32 // the list, which stays a nil pointer
}

var _ [44]byte = [unsafe.Sizeof(mediaRequest{})]byte{}

// Of net/if_media.h.
const (
	mediaKinds    = 0xe0
	mediaWireless = 0x80
	mediaKnown    = 1
	mediaActive   = 2
)

func (m mediaRequest) wireless() bool { return m.current&mediaKinds == mediaWireless }

// active reports whether there is a carrier, as far as that is known.
func (m mediaRequest) active() bool {
	return m.status&mediaKnown == 0 || m.status&mediaActive != 0
}

// media asks what an interface sends on, and reports whether the system says so.
func media(name string) (mediaRequest, bool) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return mediaRequest{}, false
	}
	defer unix.Close(s)
	var m mediaRequest
	copy(m.name[:len(m.name)-1], name)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), unix.SIOCGIFMEDIA, uintptr(unsafe.Pointer(&m)))
	return m, errno == 0
}
