package wire

import (
	"encoding/binary"
	"fmt"
)

// ExtensionType is the type octet of an extension to a control message. Types 0 to 127 must be understood, types 128 to
// 255 are skipped when they are not (RFC 5944 §1.8).
type ExtensionType uint8

// Extension types that this package knows.
const (
	ExtPadding                     ExtensionType = 0   // RFC 5944 §1.8: one octet, no length
	ExtMobileHomeAuthentication    ExtensionType = 32  // RFC 5944 §3.5.2
	ExtMobileForeignAuthentication ExtensionType = 33  // RFC 5944 §3.5.3
	ExtForeignHomeAuthentication   ExtensionType = 34  // RFC 5944 §3.5.4
	ExtGeneralizedAuthentication   ExtensionType = 36  // RFC 4721 §5, of the long format
	ExtVendorCritical              ExtensionType = 38  // RFC 3115 §2.1: CVSE, of the long format
	ExtUDPTunnelReply              ExtensionType = 44  // RFC 3519 §3.2
	ExtForeignAgentError           ExtensionType = 45  // RFC 4636 §3
	ExtEncapsulatingDelivery       ExtensionType = 130 // RFC 3024 §3.3
	ExtMobileNodeNAI               ExtensionType = 131 // RFC 2794 §2
	ExtMobileForeignChallenge      ExtensionType = 132 // RFC 4721 §4
	ExtVendorNormal                ExtensionType = 134 // RFC 3115 §2.2: NVSE
	ExtRevocationSupport           ExtensionType = 137 // RFC 3543 §3.2
	ExtDynamicHomeAgent            ExtensionType = 139 // RFC 4433 §3.4, of the long format
	ExtUDPTunnelRequest            ExtensionType = 144 // RFC 3519 §3.1
	ExtTrustedNetworksConfigured   ExtensionType = 149 // RFC 5265 §3.4
)

// Skippable reports whether an unknown extension of this type is skipped instead of discarding its message.
func (t ExtensionType) Skippable() bool { return t >= 128 }

// Known reports whether this package understands the type.
func (t ExtensionType) Known() bool {
	switch t {
	case ExtPadding, ExtMobileHomeAuthentication, ExtMobileForeignAuthentication, ExtForeignHomeAuthentication,
		ExtGeneralizedAuthentication, ExtVendorCritical, ExtUDPTunnelReply, ExtForeignAgentError, ExtEncapsulatingDelivery,
		ExtMobileNodeNAI, ExtMobileForeignChallenge, ExtVendorNormal, ExtRevocationSupport, ExtDynamicHomeAgent, ExtUDPTunnelRequest,
		ExtTrustedNetworksConfigured:
		return true
	}
	return false
}

// String returns the standard's name of the type, or its number.
func (t ExtensionType) String() string {
	switch t {
	case ExtPadding:
		return "One-byte Padding"
	case ExtMobileHomeAuthentication:
		return "Mobile-Home Authentication"
	case ExtMobileForeignAuthentication:
		return "Mobile-Foreign Authentication"
	case ExtForeignHomeAuthentication:
		return "Foreign-Home Authentication"
	case ExtGeneralizedAuthentication:
		return "Generalized Mobile IP Authentication"
	case ExtVendorCritical:
		return "Critical Vendor/Organization Specific"
	case ExtVendorNormal:
		return "Normal Vendor/Organization Specific"
	case ExtUDPTunnelReply:
		return "UDP Tunnel Reply"
	case ExtForeignAgentError:
		return "FA Error"
	case ExtEncapsulatingDelivery:
		return "Encapsulating Delivery Style"
	case ExtMobileNodeNAI:
		return "Mobile Node NAI"
	case ExtMobileForeignChallenge:
		return "Mobile-Foreign Challenge"
	case ExtRevocationSupport:
		return "Revocation Support"
	case ExtDynamicHomeAgent:
		return "Dynamic HA"
	case ExtUDPTunnelRequest:
		return "UDP Tunnel Request"
	case ExtTrustedNetworksConfigured:
		return "Trusted Networks Configured"
	}
	return fmt.Sprintf("extension type %d", uint8(t))
}

// maxExtensionData is the most that the length octet of an extension can say.
const maxExtensionData = 255

// Extension is one extension as it stands on the wire (RFC 5944 §1.9, figure 2): type, length, data. Padding (type 0) is
// a single octet without length and data. The Critical Vendor/Organization Specific and the Generalized Mobile IP Authentication
// extension have the long format (RFC 5944 §1.10): type, an octet that is reserved or a sub-type, a length of two octets, data.
type Extension struct {
	// Type is the first octet.
	Type ExtensionType
	// Data is what the length octet counts: at most 255 octets, none for padding. In the long format it is the octet between
	// type and length, and what the length counts behind it: 1 to 65536 octets.
	Data []byte
}

// long reports whether extensions of the type have the long format (RFC 5944 §1.10).
func (t ExtensionType) long() bool {
	return t == ExtVendorCritical || t == ExtGeneralizedAuthentication || t == ExtDynamicHomeAgent
}

// maxLongData is the most octets of Data in the long format.
const maxLongData = 1 + 0xffff

// Len returns the length of the encoded extension in octets.
func (e Extension) Len() int {
	switch {
	case e.Type == ExtPadding:
		return 1
	case e.Type.long():
		return 3 + len(e.Data)
	}
	return 2 + len(e.Data)
}

// Append writes e behind b. Errors: the data is too long for the length field, or in the long format empty (ErrExtension); b
// is returned unchanged then.
func (e Extension) Append(b []byte) ([]byte, error) {
	if e.Type == ExtPadding {
		if len(e.Data) != 0 {
			return b, fmt.Errorf("%w: %v with %d octets of data, none are possible", ErrExtension, e.Type, len(e.Data))
		}
		return append(b, 0), nil
	}
	if e.Type.long() {
		if len(e.Data) < 1 || len(e.Data) > maxLongData {
			return b, fmt.Errorf("%w: %v with %d octets of data, 1 to %d are possible", ErrExtension, e.Type, len(e.Data), maxLongData)
		}
		n := len(e.Data) - 1
		return append(append(b, uint8(e.Type), e.Data[0], uint8(n>>8), uint8(n)), e.Data[1:]...), nil
	}
	if len(e.Data) > maxExtensionData {
		return b, fmt.Errorf("%w: %v with %d octets of data, at most %d are possible", ErrExtension, e.Type, len(e.Data), maxExtensionData)
	}
	return append(append(b, uint8(e.Type), uint8(len(e.Data))), e.Data...), nil
}

// Extensions are the extensions of one message in their order on the wire. The order is part of the message:
// authentication covers what stands before it.
type Extensions []Extension

// parseExtensions decodes what stands behind the fixed part of the message p of type t. The result owns its octets.
func parseExtensions(t MessageType, p []byte, fixed int) (Extensions, error) {
	if len(p) == fixed {
		return nil, nil
	}
	own := append([]byte(nil), p[fixed:]...)
	var x Extensions
	for at := 0; at < len(own); {
		typ := ExtensionType(own[at])
		fail := func(err error) error {
			return &ParseError{Message: t, Field: typ.String(), Offset: fixed + at, Err: err}
		}
		if typ == ExtPadding {
			x = append(x, Extension{Type: ExtPadding})
			at++
			continue
		}
		// Before the length is looked at: types below 128 may be of the long format (RFC 5944 §1.10), which only an
		// implementation that knows the type can measure.
		if !typ.Known() && !typ.Skippable() {
			return nil, fail(ErrUnknownExtension)
		}
		if typ.long() {
			e, n, err := parseLong(own[at:])
			if err == nil {
				err = e.check()
			}
			if err != nil {
				return nil, fail(err)
			}
			x = append(x, e)
			at += n
			continue
		}
		if len(own)-at < 2 || len(own)-at-2 < int(own[at+1]) {
			return nil, fail(ErrTruncated)
		}
		end := at + 2 + int(own[at+1])
		e := Extension{Type: typ, Data: own[at+2 : end : end]}
		if err := e.check(); err != nil {
			return nil, fail(err)
		}
		x = append(x, e)
		at = end
	}
	return x, nil
}

// parseLong decodes the extension of the long format that p begins with, and returns its octets' number. It takes p's octets
// for its own.
func parseLong(p []byte) (Extension, int, error) {
	const head = 4
	if len(p) < head {
		return Extension{}, 0, ErrTruncated
	}
	n := head + int(binary.BigEndian.Uint16(p[2:]))
	if n > len(p) {
		return Extension{}, 0, ErrTruncated
	}
	return Extension{Type: ExtensionType(p[0]), Data: append(append(make([]byte, 0, n-head+1), p[1]), p[head:n]...)}, n, nil
}

// check refuses extensions that must be understood and have no form that can be. Skippable ones pass whatever they
// hold: their typed parsers say when they count for nothing.
func (e Extension) check() error {
	switch e.Type {
	case ExtMobileHomeAuthentication, ExtMobileForeignAuthentication, ExtForeignHomeAuthentication:
		_, err := ParseAuthentication(e)
		return err
	case ExtUDPTunnelReply:
		_, err := ParseUDPTunnelReply(e)
		return err
	case ExtForeignAgentError:
		_, err := ParseForeignAgentError(e)
		return err
	case ExtGeneralizedAuthentication:
		_, err := ParseMobileAAA(e)
		return err
	}
	return nil
}

func (x Extensions) append(b []byte) ([]byte, error) {
	start := b
	for _, e := range x {
		var err error
		if b, err = e.Append(b); err != nil {
			return start, err
		}
	}
	return b, nil
}

// Len returns the length of the encoded extensions in octets.
func (x Extensions) Len() int { return x.offset(len(x)) }

// offset returns where extension i begins, in octets from the first extension.
func (x Extensions) offset(i int) int {
	n := 0
	for _, e := range x[:i] {
		n += e.Len()
	}
	return n
}

// Index returns the place of the first extension of type t, -1 without one.
func (x Extensions) Index(t ExtensionType) int {
	for i, e := range x {
		if e.Type == t {
			return i
		}
	}
	return -1
}

// Count returns the number of extensions of type t.
func (x Extensions) Count(t ExtensionType) int {
	n := 0
	for _, e := range x {
		if e.Type == t {
			n++
		}
	}
	return n
}

// Authorized splits the extensions behind the first Mobile-Home Authentication extension: covered ends with it and is
// what the mobile node or the home agent vouches for; rest is what others added and a foreign agent takes off (RFC 5944
// §3.7.2.2, §3.7.3.2). Without such an extension covered is empty and ok false. Both are views of x.
func (x Extensions) Authorized() (covered, rest Extensions, ok bool) {
	i := x.Index(ExtMobileHomeAuthentication)
	if i < 0 {
		return nil, x, false
	}
	return x[: i+1 : i+1], x[i+1:], true
}

// short checks the short extension format (RFC 5944 §1.11): the type, the length of the data in octets, and the sub-type
// in the first of them.
func (e Extension) short(t ExtensionType, length int, subType uint8) error {
	if e.Type != t {
		return fmt.Errorf("%w: expected %v, found %v", ErrExtension, t, e.Type)
	}
	if len(e.Data) != length {
		return fmt.Errorf("%w: %v expects length %d, found %d", ErrExtension, t, length, len(e.Data))
	}
	if e.Data[0] != subType {
		return fmt.Errorf("%w: %v expects sub-type %d, found %d", ErrExtension, t, subType, e.Data[0])
	}
	return nil
}
