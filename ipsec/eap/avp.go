package eap

import (
	"encoding/binary"
	"fmt"
)

// The attributes that TTLS carries (RFC 5281 §10, RFC 2865, RFC 2548).
const (
	avpUserName     = 1
	avpUserPassword = 2
	avpReplyMessage = 18
	avpEAPMessage   = 79

	vendorMicrosoft  = 311
	avpMSError       = 2
	avpMSChallenge   = 11
	avpMS2Response   = 25
	avpMS2Success    = 26
	avpFlagVendor    = 0x80
	avpFlagMandatory = 0x40
	maxAVPs          = 64
)

// avp is an attribute-value pair (RFC 5281 §10.1): a code in four octets, flags in one, the length of all but the padding in
// three, a vendor in four if its flag is set, the value, and zeros to a multiple of four.
type avp struct {
	code, vendor uint32
	mandatory    bool
	value        []byte
}

// appendAVP appends an attribute, mandatory as all of ours are.
func appendAVP(b []byte, vendor, code uint32, value []byte) []byte {
	size, flags := 8+len(value), byte(avpFlagMandatory)
	if vendor != 0 {
		size, flags = size+4, flags|avpFlagVendor
	}
	b = binary.BigEndian.AppendUint32(b, code)
	b = append(b, flags, byte(size>>16), byte(size>>8), byte(size))
	if vendor != 0 {
		b = binary.BigEndian.AppendUint32(b, vendor)
	}
	b = append(b, value...)
	return append(b, make([]byte, -size&3)...)
}

// parseAVPs reads a list of attributes, which share the memory of b. The last one's padding may be missing.
func parseAVPs(b []byte) ([]avp, error) {
	var out []avp
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: attribute: want a header of 8 octets, found %d", ErrMalformed, len(b))
		}
		a := avp{code: binary.BigEndian.Uint32(b), mandatory: b[4]&avpFlagMandatory != 0}
		size, head := int(b[5])<<16|int(b[6])<<8|int(b[7]), 8
		if b[4]&avpFlagVendor != 0 {
			head = 12
		}
		if size < head || size > len(b) {
			return nil, fmt.Errorf("%w: attribute %d: want a length from %d to %d, found %d", ErrMalformed, a.code, head, len(b), size)
		}
		if head == 12 {
			a.vendor = binary.BigEndian.Uint32(b[8:])
		}
		a.value = b[head:size]
		if out = append(out, a); len(out) > maxAVPs {
			return nil, fmt.Errorf("%w: more than %d attributes", ErrTooLong, maxAVPs)
		}
		b = b[min(size+-size&3, len(b)):]
	}
	return out, nil
}

// find returns the value of the first attribute of a kind.
func find(list []avp, vendor, code uint32) ([]byte, bool) {
	for _, a := range list {
		if a.vendor == vendor && a.code == code {
			return a.value, true
		}
	}
	return nil, false
}

// understood checks that each mandatory attribute is one of those known here (RFC 5281 §10.1).
func understood(list []avp) error {
	for _, a := range list {
		switch {
		case !a.mandatory:
		case a.vendor == 0 && (a.code == avpUserName || a.code == avpUserPassword || a.code == avpReplyMessage || a.code == avpEAPMessage):
		case a.vendor == vendorMicrosoft && (a.code == avpMSError || a.code == avpMSChallenge || a.code == avpMS2Response || a.code == avpMS2Success):
		default:
			return fmt.Errorf("%w: EAP-TTLS: mandatory attribute %d of vendor %d is not known", ErrUnexpected, a.code, a.vendor)
		}
	}
	return nil
}

// eapMessage returns the EAP message that the attributes carry, in pieces perhaps.
func eapMessage(list []avp) (message []byte) {
	for _, a := range list {
		if a.vendor == 0 && a.code == avpEAPMessage {
			message = append(message, a.value...)
		}
	}
	return message
}
