package linkmon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Monitor reads the state of the interfaces and watches for hints that it has changed.
type Monitor struct{}

// New returns a Monitor. It holds no resources.
func New() *Monitor { return &Monitor{} }

// Kinds of interfaces (ipifcons.h): those that lead to a network of their own.
const (
	ifTypeEthernet = 6
	ifTypeWireless = windows.IF_TYPE_IEEE80211
	ifTypeWWAN     = 243 // mobile broadband, GSM and its successors
	ifTypeWWAN2    = 244
)

// Snapshot returns the state of all interfaces that lead to a network of their own, in the order of their indices. How often the
// carrier has changed, and access points, this system does not say here.
func (*Monitor) Snapshot() ([]link.Interface, error) {
	first, err := adapters()
	if err != nil {
		return nil, err
	}
	var list []link.Interface
	for a := first; a != nil; a = a.Next {
		switch a.IfType {
		case ifTypeEthernet, ifTypeWireless, ifTypeWWAN, ifTypeWWAN2:
		default:
			continue
		}
		i := link.Interface{
			Index: int(a.IfIndex), Name: windows.UTF16PtrToString(a.FriendlyName), MTU: int(a.Mtu),
			Up: a.OperStatus == windows.IfOperStatusUp, Wireless: a.IfType == ifTypeWireless,
		}
		if int(a.PhysicalAddressLength) == len(i.Hardware) {
			copy(i.Hardware[:], a.PhysicalAddress[:])
		}
		for u := a.FirstUnicastAddress; u != nil; u = u.Next {
			p := netip.PrefixFrom(socketAddress(u.Address), int(u.OnLinkPrefixLength))
			switch at := p.Addr(); {
			case !at.IsGlobalUnicast():
			case at.Is4() && !i.Address.IsValid():
				i.Address = p
			case at.Is6() && !i.Address6.IsValid():
				i.Address6 = p
			}
		}
		for g := a.FirstGatewayAddress; g != nil; g = g.Next {
			switch hop := socketAddress(g.Address); {
			case hop.Is4() && !i.Gateway.IsValid():
				i.Gateway = hop
			case hop.Is6() && !i.Gateway6.IsValid():
				i.Gateway6 = hop
			}
		}
		router := i.Gateway
		if !router.IsValid() {
			router = i.Gateway6
		}
		if router.IsValid() {
			i.GatewayHardware = neighbourAt(a.IfIndex, router)
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b link.Interface) int { return a.Index - b.Index })
	return list, nil
}

// adapters returns the first of all adapters.
func adapters() (*windows.IpAdapterAddresses, error) {
	const flags = windows.GAA_FLAG_INCLUDE_GATEWAYS | windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST
	for size := uint32(16 << 10); ; {
		room := make([]uint64, (size+7)/8) // aligned for the structures in it
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&room[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, first, &size)
		switch {
		case err == nil && size == 0, errors.Is(err, windows.ERROR_NO_DATA):
			return nil, nil
		case err == nil:
			return first, nil
		case !errors.Is(err, windows.ERROR_BUFFER_OVERFLOW):
			return nil, fmt.Errorf("linkmon: list interfaces: %w", err)
		}
	}
}

// socketAddress returns the address in a SOCKET_ADDRESS, the zero Addr for another kind.
func socketAddress(a windows.SocketAddress) netip.Addr {
	if ip, ok := netip.AddrFromSlice(a.IP()); ok {
		return ip.Unmap()
	}
	return netip.Addr{}
}

// neighbourRow is MIB_IPNET_ROW2 (netioapi.h), 88 octets.
type neighbourRow struct {
	address       windows.RawSockaddrInet
	index         uint32
	luid          uint64
	hardware      [32]byte
	hardwareLen   uint32
	state         uint32
	flags         uint32
	reachableTime uint32
}

var _ [88]byte = [unsafe.Sizeof(neighbourRow{})]byte{}

// The states of a neighbour (nldef.h) from which on its address is known.
const stateStale = 3 // NlnsProbe and NlnsDelay stand before; NlnsStale, NlnsReachable and NlnsPermanent behind

var getIpNetEntry2 = windows.NewLazySystemDLL("iphlpapi.dll").NewProc("GetIpNetEntry2")

// neighbourAt returns the link-layer address of a neighbour, zero where it is not known.
func neighbourAt(index uint32, at netip.Addr) (h packet.HardwareAddr) {
	row := neighbourRow{index: index}
	if at.Is4() {
		in := (*windows.RawSockaddrInet4)(unsafe.Pointer(&row.address))
		in.Family, in.Addr = windows.AF_INET, at.As4()
	} else {
		in := (*windows.RawSockaddrInet6)(unsafe.Pointer(&row.address))
		in.Family, in.Addr = windows.AF_INET6, at.As16()
	}
	if getIpNetEntry2.Find() != nil {
		return h
	}
	if code, _, _ := getIpNetEntry2.Call(uintptr(unsafe.Pointer(&row))); code != 0 || row.state < stateStale || int(row.hardwareLen) != len(h) {
		return h
	}
	return packet.HardwareAddr(row.hardware[:len(h)])
}
