package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// MaxVendor is the greatest private enterprise number that a vendor extension can bear: its field has 24 bits (RFC 3115 §2.1).
const MaxVendor = 1<<24 - 1

// VendorCritical is the Critical Vendor/Organization Specific Extension (CVSE, RFC 3115 §2.1). Who knows the extension and not
// its vendor or type takes the message for a denial, or denies it (§2.3):
//
//	0: type 38   1: reserved   2: length (2 octets): of what follows
//	4: private enterprise number (4 octets)   8: type of that vendor (2 octets)   10: value
type VendorCritical struct {
	// Vendor is the private enterprise number, at most MaxVendor where this package makes it; what is read may have all 32 bits.
	Vendor uint32
	// Type is the vendor's.
	Type uint16
	// Value is the rest.
	Value []byte
}

// ParseVendorCritical reads the extension. Value is a part of e. Errors wrap ErrExtension: another type, or shorter than the
// fields before the value. Receivers ignore the reserved octet.
func ParseVendorCritical(e Extension) (VendorCritical, error) {
	if e.Type != ExtVendorCritical {
		return VendorCritical{}, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtVendorCritical, e.Type)
	}
	if len(e.Data) < 1+6 {
		return VendorCritical{}, fmt.Errorf("%w: %v expects a length of 6 at least, found %d", ErrExtension, e.Type, max(0, len(e.Data)-1))
	}
	d := e.Data[1:]
	return VendorCritical{Vendor: binary.BigEndian.Uint32(d), Type: binary.BigEndian.Uint16(d[4:]), Value: d[6:]}, nil
}

// Extension encodes v.
func (v VendorCritical) Extension() Extension {
	d := binary.BigEndian.AppendUint32(make([]byte, 1, 7+len(v.Value)), v.Vendor)
	d = binary.BigEndian.AppendUint16(d, v.Type)
	return Extension{Type: ExtVendorCritical, Data: append(d, v.Value...)}
}

// VendorNormal is the Normal Vendor/Organization Specific Extension (NVSE, RFC 3115 §2.2), skipped by who does not know it:
//
//	0: type 134  1: length  2: reserved (2 octets)
//	4: private enterprise number (4 octets)   8: type of that vendor (2 octets)   10: value
type VendorNormal struct {
	// Vendor is the private enterprise number, at most MaxVendor where this package makes it; what is read may have all 32 bits.
	Vendor uint32
	// Type is the vendor's.
	Type uint16
	// Value is the rest.
	Value []byte
}

// ParseVendorNormal reads the extension. Value is a part of e. Errors wrap ErrExtension: another type, or shorter than the
// fields before the value; the extension is to be skipped then.
func ParseVendorNormal(e Extension) (VendorNormal, error) {
	if e.Type != ExtVendorNormal {
		return VendorNormal{}, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtVendorNormal, e.Type)
	}
	if len(e.Data) < 8 {
		return VendorNormal{}, fmt.Errorf("%w: %v expects a length of 8 at least, found %d", ErrExtension, e.Type, len(e.Data))
	}
	return VendorNormal{Vendor: binary.BigEndian.Uint32(e.Data[2:]), Type: binary.BigEndian.Uint16(e.Data[6:]), Value: e.Data[8:]}, nil
}

// Extension encodes v. A value of more than 247 octets cannot be appended to a message.
func (v VendorNormal) Extension() Extension {
	d := binary.BigEndian.AppendUint32(make([]byte, 2, 8+len(v.Value)), v.Vendor)
	d = binary.BigEndian.AppendUint16(d, v.Type)
	return Extension{Type: ExtVendorNormal, Data: append(d, v.Value...)}
}

// ZeroOverheadType is the type, under the configured vendor number, of both extensions of zero-overhead tunnelling (draft
// appendix D, docs/zero-overhead.md): as an NVSE the mobile node's question, as a CVSE the home agent's answer. Either one's
// value is the default destination.
const ZeroOverheadType = 1

// ZeroOverheadRequest makes the extension by which a mobile node asks for zero-overhead tunnelling to and from the IPv4
// address.
func ZeroOverheadRequest(vendor uint32, destination netip.Addr) Extension {
	a := destination.As4()
	return VendorNormal{Vendor: vendor, Type: ZeroOverheadType, Value: a[:]}.Extension()
}

// ParseZeroOverheadRequest returns the default destination that e asks for under the vendor number, and false when e is another
// extension or not well formed: then it is skipped. Where it stands is for the caller to judge.
func ParseZeroOverheadRequest(e Extension, vendor uint32) (netip.Addr, bool) {
	v, err := ParseVendorNormal(e)
	if err != nil || v.Vendor != vendor || v.Type != ZeroOverheadType || len(v.Value) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(v.Value)), true
}

// ZeroOverheadReply makes the extension by which a home agent confirms zero-overhead tunnelling to and from the IPv4 address.
func ZeroOverheadReply(vendor uint32, destination netip.Addr) Extension {
	a := destination.As4()
	return VendorCritical{Vendor: vendor, Type: ZeroOverheadType, Value: a[:]}.Extension()
}

// ParseZeroOverheadReply returns the default destination that e confirms under the vendor number. Errors wrap ErrExtension: e is
// another extension, or a critical one that cannot be understood, which makes a reply a denial (RFC 3115 §2.3).
func ParseZeroOverheadReply(e Extension, vendor uint32) (netip.Addr, error) {
	v, err := ParseVendorCritical(e)
	switch {
	case err != nil:
		return netip.Addr{}, err
	case v.Vendor != vendor || v.Type != ZeroOverheadType:
		return netip.Addr{}, fmt.Errorf("%w: %v of vendor %d and type %d, expected vendor %d and type %d", ErrExtension, e.Type, v.Vendor, v.Type, vendor, ZeroOverheadType)
	case len(v.Value) != 4:
		return netip.Addr{}, fmt.Errorf("%w: %v with a value of %d octets, expected an IPv4 address", ErrExtension, e.Type, len(v.Value))
	}
	return netip.AddrFrom4([4]byte(v.Value)), nil
}
