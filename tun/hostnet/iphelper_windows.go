package hostnet

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Functions of the IP helper API that package windows has not.
var (
	ipHelper                    = windows.NewLazySystemDLL("iphlpapi.dll")
	convertInterfaceAliasToLuid = ipHelper.NewProc("ConvertInterfaceAliasToLuid")
	initializeUnicastIpAddress  = ipHelper.NewProc("InitializeUnicastIpAddressEntry")
	createUnicastIpAddressEntry = ipHelper.NewProc("CreateUnicastIpAddressEntry")
	deleteUnicastIpAddressEntry = ipHelper.NewProc("DeleteUnicastIpAddressEntry")
	initializeIpForwardEntry    = ipHelper.NewProc("InitializeIpForwardEntry")
	createIpForwardEntry2       = ipHelper.NewProc("CreateIpForwardEntry2")
	deleteIpForwardEntry2       = ipHelper.NewProc("DeleteIpForwardEntry2")
	setIpInterfaceEntry         = ipHelper.NewProc("SetIpInterfaceEntry")
)

// preferred is the state of an address that nobody else has (IpDadStatePreferred).
const preferred = 4

// call calls a function that returns an error's number.
func call(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return err
	}
	if code, _, _ := p.Call(args...); code != 0 {
		return syscall.Errno(code)
	}
	return nil
}

// luidOf returns the number of an interface that does not change, by its name.
func luidOf(device string) (luid uint64, err error) {
	name, err := windows.UTF16PtrFromString(device)
	if err == nil {
		err = call(convertInterfaceAliasToLuid, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&luid)))
	}
	if err != nil {
		return 0, fmt.Errorf("find interface %s: %w", device, err)
	}
	return luid, nil
}

// changeAddress adds or deletes a /32 of the interface.
func changeAddress(change *windows.LazyProc, luid uint64, a netip.Addr) error {
	var row windows.MibUnicastIpAddressRow
	if err := initializeUnicastIpAddress.Find(); err != nil {
		return err
	}
	_, _, _ = initializeUnicastIpAddress.Call(uintptr(unsafe.Pointer(&row)))
	in := (*windows.RawSockaddrInet4)(unsafe.Pointer(&row.Address))
	in.Family, in.Addr = windows.AF_INET, a.As4()
	row.InterfaceLuid, row.OnLinkPrefixLength, row.DadState = luid, 32, preferred
	return call(change, uintptr(unsafe.Pointer(&row)))
}

// changeRoute adds or deletes the route of an IPv4 prefix into the interface, with the least metric.
func changeRoute(change *windows.LazyProc, luid uint64, p netip.Prefix) error {
	var row windows.MibIpForwardRow2
	if err := initializeIpForwardEntry.Find(); err != nil {
		return err
	}
	_, _, _ = initializeIpForwardEntry.Call(uintptr(unsafe.Pointer(&row)))
	to := (*windows.RawSockaddrInet4)(unsafe.Pointer(&row.DestinationPrefix))
	to.Family, to.Addr = windows.AF_INET, p.Addr().As4()
	row.DestinationPrefix.PrefixLength = uint8(p.Bits())
	hop := (*windows.RawSockaddrInet4)(unsafe.Pointer(&row.NextHop))
	hop.Family = windows.AF_INET
	row.InterfaceLuid, row.Metric = luid, 0
	return call(change, uintptr(unsafe.Pointer(&row)))
}

// setInterface sets the interface's MTU for IPv4, and its metric to the least.
func setInterface(luid uint64, mtu int) error {
	row := windows.MibIpInterfaceRow{Family: windows.AF_INET, InterfaceLuid: luid}
	if err := windows.GetIpInterfaceEntry(&row); err != nil {
		return err
	}
	row.NlMtu, row.UseAutomaticMetric, row.Metric = uint32(mtu), 0, 0
	row.SitePrefixLength = 0 // SetIpInterfaceEntry refuses another for IPv4
	return call(setIpInterfaceEntry, uintptr(unsafe.Pointer(&row)))
}
