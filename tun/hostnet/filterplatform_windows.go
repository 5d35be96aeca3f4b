package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The Windows Filtering Platform, as far as the kill switch needs it (fwpmu.h, fwpmtypes.h, fwptypes.h; 64-bit systems).
var (
	platform          = windows.NewLazySystemDLL("fwpuclnt.dll")
	engineOpen        = platform.NewProc("FwpmEngineOpen0")
	engineClose       = platform.NewProc("FwpmEngineClose0")
	transactionBegin  = platform.NewProc("FwpmTransactionBegin0")
	transactionCommit = platform.NewProc("FwpmTransactionCommit0")
	transactionAbort  = platform.NewProc("FwpmTransactionAbort0")
	providerAdd       = platform.NewProc("FwpmProviderAdd0")
	subLayerAdd       = platform.NewProc("FwpmSubLayerAdd0")
	filterAdd         = platform.NewProc("FwpmFilterAdd0")
	filterDelete      = platform.NewProc("FwpmFilterDeleteByKey0")
	filterGet         = platform.NewProc("FwpmFilterGetByKey0")
	getAppID          = platform.NewProc("FwpmGetAppIdFromFileName0")
	freeMemory        = platform.NewProc("FwpmFreeMemory0")
)

// Errors of the platform.
const (
	errFilterNotFound = syscall.Errno(0x80320003)
	errAlreadyExists  = syscall.Errno(0x80320009)
)

// Types of values, actions, ways to compare, and flags.
const (
	typeUint8, typeUint16, typeUint32, typeUint64 = 1, 2, 3, 4
	typeBlob                                      = 12
	typeMask4, typeMask6                          = 0x100, 0x101

	actionBlock, actionPermit        = 0x1001, 0x1002
	matchEqual, matchAllSet          = 0, 6
	flagPersistent                   = 1
	conditionLoopback                = 1
	authenticationWinNT              = 10
	sublayerWeight            uint16 = 0xffff // before other programs' layers
)

type (
	displayData struct{ name, description *uint16 }
	blob        struct {
		size uint32
		data *byte
	}
	// platformValue is FWP_VALUE0 and FWP_CONDITION_VALUE0: a small number, or a pointer to memory that Go keeps (filterMaker.kept).
	platformValue struct {
		kind  uint32
		value uintptr
	}
	providerEntry struct {
		key     windows.GUID
		display displayData
		flags   uint32
		data    blob
		service *uint16
	}
	subLayerEntry struct {
		key      windows.GUID
		display  displayData
		flags    uint32
		provider *windows.GUID
		data     blob
		weight   uint16
	}
	condition struct {
		field windows.GUID
		match uint32
		value platformValue
	}
	filterEntry struct {
		key             windows.GUID
		display         displayData
		flags           uint32
		provider        *windows.GUID
		data            blob
		layer, subLayer windows.GUID
		weight          platformValue
		amount          uint32
		conditions      *condition
		action          uint32
		calloutKey      windows.GUID
		context         [2]uint64
		reserved        *windows.GUID
		id              uint64
		effectiveWeight platformValue
	}
	mask4 struct{ address, mask uint32 }
	mask6 struct {
		address [16]byte
		length  uint8
	}
)

// The sizes that the headers give these structures.
var (
	_ [64]byte  = [unsafe.Sizeof(providerEntry{})]byte{}
	_ [72]byte  = [unsafe.Sizeof(subLayerEntry{})]byte{}
	_ [40]byte  = [unsafe.Sizeof(condition{})]byte{}
	_ [200]byte = [unsafe.Sizeof(filterEntry{})]byte{}
)

// The platform's names (fwpmu.h).
var (
	layerConnect4          = windows.GUID{Data1: 0xc38d57d1, Data2: 0x05a7, Data3: 0x4c33, Data4: [8]byte{0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82}}
	layerConnect6          = windows.GUID{Data1: 0x4a72393b, Data2: 0x319f, Data3: 0x44bc, Data4: [8]byte{0x84, 0xc3, 0xba, 0x54, 0xdc, 0xb3, 0xb6, 0xb4}}
	fieldFlags             = windows.GUID{Data1: 0x632ce23b, Data2: 0x5167, Data3: 0x435c, Data4: [8]byte{0x86, 0xd7, 0xe9, 0x03, 0x68, 0x4a, 0xa8, 0x0c}}
	fieldInterface         = windows.GUID{Data1: 0x4cd62a49, Data2: 0x59c3, Data3: 0x4969, Data4: [8]byte{0xb7, 0xf3, 0xbd, 0xa5, 0xd3, 0x28, 0x90, 0xa4}}
	fieldProgram           = windows.GUID{Data1: 0xd78e1e87, Data2: 0x8644, Data3: 0x4ea5, Data4: [8]byte{0x94, 0x37, 0xd8, 0x09, 0xec, 0xef, 0xc9, 0x71}}
	fieldProtocol          = windows.GUID{Data1: 0x3971ef2b, Data2: 0x623e, Data3: 0x4f9a, Data4: [8]byte{0x8c, 0xb1, 0x6e, 0x79, 0xb8, 0x06, 0xb9, 0xa7}}
	fieldRemotePort        = windows.GUID{Data1: 0xc35a604d, Data2: 0xd22b, Data3: 0x4e1a, Data4: [8]byte{0x91, 0xb4, 0x68, 0xf6, 0x74, 0xee, 0x67, 0x4b}}
	fieldLocal             = windows.GUID{Data1: 0xd9ee00de, Data2: 0xc1ef, Data3: 0x4617, Data4: [8]byte{0xbf, 0xe3, 0xff, 0xd8, 0xf5, 0xa0, 0x89, 0x57}}
	fieldRemote            = windows.GUID{Data1: 0xb235ae9a, Data2: 0x1d64, Data3: 0x49b8, Data4: [8]byte{0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45}}
	ourProvider            = windows.GUID{Data1: 0x9d1c52a6, Data2: 0x64a1, Data3: 0x4f0e, Data4: [8]byte{0x8e, 0x3b, 0x2f, 0x57, 0x91, 0xc4, 0x0a, 0x6d}}
	ourSubLayer            = windows.GUID{Data1: 0x5be03f17, Data2: 0x0c8d, Data3: 0x4a52, Data4: [8]byte{0xb1, 0x96, 0x70, 0xe3, 0x4d, 0x28, 0xfa, 0x15}}
	firstFilter            = windows.GUID{Data1: 0x70c4e000, Data2: 0x93be, Data3: 0x4d17, Data4: [8]byte{0xa4, 0x5d, 0x1c, 0x86, 0xf0, 0x3b, 0x7e, 0x92}}
	ourName                = windows.StringToUTF16Ptr("mipvpn")
	mostFilters     uint32 = 64 // how many names of filters are this program's
)

// filterKey is the name of filter number i, so that filters of an earlier run are found again.
func filterKey(i uint32) windows.GUID {
	key := firstFilter
	key.Data1 += i
	return key
}

// inEngine calls f with an open engine in a transaction, which takes effect as a whole or not at all. What is made in it outlives
// the process.
func inEngine(f func(engine uintptr) error) error {
	var engine uintptr
	if err := call(engineOpen, 0, authenticationWinNT, 0, 0, uintptr(unsafe.Pointer(&engine))); err != nil {
		return fmt.Errorf("open the filtering platform: %w", err)
	}
	defer engineClose.Call(engine)
	if err := call(transactionBegin, engine, 0); err != nil {
		return fmt.Errorf("begin a transaction of the filtering platform: %w", err)
	}
	if err := f(engine); err != nil {
		_ = call(transactionAbort, engine)
		return err
	}
	if err := call(transactionCommit, engine); err != nil {
		return fmt.Errorf("commit a transaction of the filtering platform: %w", err)
	}
	return nil
}

// writeFilters replaces the filters by those of the list, at once. device is empty while there is none.
func writeFilters(list []filter, device string) error {
	m := filterMaker{}
	if device != "" {
		luid, err := luidOf(device)
		if err != nil {
			return err
		}
		m.device = &luid
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	if err := call(getAppID, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&m.program))); err != nil {
		return fmt.Errorf("name this program to the filtering platform: %w", err)
	}
	defer freeMemory.Call(uintptr(unsafe.Pointer(&m.program)))
	return inEngine(func(engine uintptr) error {
		if err := deleteFiltersOf(engine); err != nil {
			return err
		}
		p := providerEntry{key: ourProvider, display: displayData{name: ourName}, flags: flagPersistent}
		if err := call(providerAdd, engine, uintptr(unsafe.Pointer(&p)), 0); err != nil && !errors.Is(err, errAlreadyExists) {
			return fmt.Errorf("make a provider of filters: %w", err)
		}
		s := subLayerEntry{key: ourSubLayer, display: displayData{name: ourName}, flags: flagPersistent, provider: &ourProvider, weight: sublayerWeight}
		if err := call(subLayerAdd, engine, uintptr(unsafe.Pointer(&s)), 0); err != nil && !errors.Is(err, errAlreadyExists) {
			return fmt.Errorf("make a layer of filters: %w", err)
		}
		for i, f := range list {
			if f.device && m.device == nil {
				continue
			}
			e := m.entry(f, uint32(i), uint64(len(list)-i))
			err := call(filterAdd, engine, uintptr(unsafe.Pointer(e)), 0, 0)
			runtime.KeepAlive(m)
			if err != nil {
				return fmt.Errorf("add filter %q: %w", f.name, err)
			}
		}
		return nil
	})
}

// deleteFilters takes the filters away.
func deleteFilters() error { return inEngine(deleteFiltersOf) }

func deleteFiltersOf(engine uintptr) error {
	for i := range mostFilters {
		key := filterKey(i)
		if err := call(filterDelete, engine, uintptr(unsafe.Pointer(&key))); err != nil && !errors.Is(err, errFilterNotFound) {
			return fmt.Errorf("delete filter %d: %w", i, err)
		}
	}
	return nil
}

// filterNames returns the names of the filters that are there.
func filterNames() (names []string, err error) {
	err = inEngine(func(engine uintptr) error {
		for i := range mostFilters {
			key := filterKey(i)
			var e *filterEntry
			switch err := call(filterGet, engine, uintptr(unsafe.Pointer(&key)), uintptr(unsafe.Pointer(&e))); {
			case errors.Is(err, errFilterNotFound):
				continue
			case err != nil:
				return fmt.Errorf("read filter %d: %w", i, err)
			}
			names = append(names, windows.UTF16PtrToString(e.display.name))
			_, _, _ = freeMemory.Call(uintptr(unsafe.Pointer(&e)))
		}
		return nil
	})
	return names, err
}

// filterMaker writes filters in the platform's form.
type filterMaker struct {
	program *blob   // this program's name in the platform
	device  *uint64 // the LUID of the device, nil while there is none
	kept    []any   // what entries point to as numbers, which the garbage collector does not see
}

// pointer returns the address of memory that stays as long as the maker.
func pointer[T any](m *filterMaker, v T) uintptr {
	p := new(T)
	*p = v
	m.kept = append(m.kept, p)
	return uintptr(unsafe.Pointer(p))
}

// entry returns filter number i. weight is greater for what comes first.
func (m *filterMaker) entry(f filter, i uint32, weight uint64) *filterEntry {
	name, action := "let pass: "+f.name, uint32(actionPermit)
	if !f.permit {
		name, action = "drop: "+f.name, actionBlock
	}
	e := &filterEntry{key: filterKey(i), display: displayData{name: windows.StringToUTF16Ptr(name)}, flags: flagPersistent, provider: &ourProvider,
		layer: layerConnect4, subLayer: ourSubLayer, weight: platformValue{typeUint64, pointer(m, weight)}, action: action}
	if f.six {
		e.layer = layerConnect6
	}
	var list []condition
	is := func(field windows.GUID, kind uint32, value uintptr) {
		list = append(list, condition{field, matchEqual, platformValue{kind, value}})
	}
	if f.loopback {
		list = append(list, condition{fieldFlags, matchAllSet, platformValue{typeUint32, conditionLoopback}})
	}
	if f.device {
		is(fieldInterface, typeUint64, pointer(m, *m.device))
	}
	if f.own {
		is(fieldProgram, typeBlob, uintptr(unsafe.Pointer(m.program)))
	}
	if f.protocol != 0 {
		is(fieldProtocol, typeUint8, uintptr(f.protocol))
	}
	// Of conditions on one field, one has to hold.
	for _, p := range f.ports {
		is(fieldRemotePort, typeUint16, uintptr(p))
	}
	if f.source.IsValid() {
		is(fieldLocal, typeUint32, uintptr(number(f.source)))
	}
	for _, p := range f.to {
		if p.Addr().Is4() {
			is(fieldRemote, typeMask4, pointer(m, mask4{number(p.Addr()), uint32(0xffffffff << (32 - p.Bits()))}))
		} else {
			is(fieldRemote, typeMask6, pointer(m, mask6{p.Addr().As16(), uint8(p.Bits())}))
		}
	}
	if e.amount = uint32(len(list)); e.amount > 0 {
		e.conditions = &list[0]
	}
	return e
}

// number returns an IPv4 address as the platform has it, in host order.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
