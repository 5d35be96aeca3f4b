package message

import "encoding/binary"

// KE is the Key Exchange payload (RFC 7296 §3.4, Figure 10).
type KE struct {
	// Group is the Diffie-Hellman group number of Data.
	Group uint16
	// Data is the sender's public value in the group's own encoding.
	Data []byte
}

// Type returns TypeKE.
func (KE) Type() PayloadType { return TypeKE }

func parseKE(b []byte) (Payload, error) {
	if len(b) < 5 {
		return nil, malformed(TypeKE, "Key Exchange Data", "want a group and data, found %d octets", len(b))
	}
	return KE{Group: binary.BigEndian.Uint16(b), Data: clone(b[4:])}, nil
}

func (p KE) appendBody(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Group)
	return append(append(b, 0, 0), p.Data...)
}

// The bounds of a nonce in octets (RFC 7296 §3.9).
const (
	MinNonceLen = 16
	MaxNonceLen = 256
)

// Nonce is the Nonce payload (RFC 7296 §3.9): 16 to 256 random octets.
type Nonce struct{ Data []byte }

// Type returns TypeNonce.
func (Nonce) Type() PayloadType { return TypeNonce }

func parseNonce(b []byte) (Payload, error) {
	if len(b) < MinNonceLen || len(b) > MaxNonceLen {
		return nil, malformed(TypeNonce, "Nonce Data", "want %d to %d octets, found %d", MinNonceLen, MaxNonceLen, len(b))
	}
	return Nonce{Data: clone(b)}, nil
}

func (p Nonce) appendBody(b []byte) []byte { return append(b, p.Data...) }

// PuzzleSolution is the Puzzle Solution payload (RFC 8019 §8.2): four keys of one length, one behind the other.
type PuzzleSolution struct{ Data []byte }

// Type returns TypePuzzleSolution.
func (PuzzleSolution) Type() PayloadType { return TypePuzzleSolution }

func parsePuzzleSolution(b []byte) (Payload, error) {
	if len(b) == 0 || len(b)%4 != 0 {
		return nil, malformed(TypePuzzleSolution, "Puzzle Solution Data", "want four keys of one length, found %d octets", len(b))
	}
	return PuzzleSolution{Data: clone(b)}, nil
}

func (p PuzzleSolution) appendBody(b []byte) []byte { return append(b, p.Data...) }

// VendorID is the Vendor ID payload (RFC 7296 §3.12).
type VendorID struct{ Data []byte }

// Type returns TypeVendorID.
func (VendorID) Type() PayloadType            { return TypeVendorID }
func (p VendorID) appendBody(b []byte) []byte { return append(b, p.Data...) }

// AuthMethod is an authentication method number (RFC 7296 §3.8).
type AuthMethod uint8

// The authentication methods of RFC 7296 §3.8, RFC 4754 §3 and RFC 7427 §3.
const (
	AuthRSASignature     AuthMethod = 1
	AuthSharedKeyMIC     AuthMethod = 2
	AuthECDSA256         AuthMethod = 9  // P-256 with SHA-256
	AuthECDSA384         AuthMethod = 10 // P-384 with SHA-384
	AuthECDSA521         AuthMethod = 11 // P-521 with SHA-512
	AuthDigitalSignature AuthMethod = 14
)

// Auth is the Authentication payload (RFC 7296 §3.8, Figure 14).
type Auth struct {
	Method AuthMethod
	Data   []byte
}

// Type returns TypeAuth.
func (Auth) Type() PayloadType { return TypeAuth }

func parseAuth(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, malformed(TypeAuth, "Auth Method", "want at least 4 octets, found %d", len(b))
	}
	return Auth{Method: AuthMethod(b[0]), Data: clone(b[4:])}, nil
}

func (p Auth) appendBody(b []byte) []byte {
	return append(append(b, byte(p.Method), 0, 0, 0), p.Data...)
}

// EAP is the Extensible Authentication Protocol payload (RFC 7296 §3.16); Message is a whole EAP packet, not looked into.
type EAP struct{ Message []byte }

// Type returns TypeEAP.
func (EAP) Type() PayloadType            { return TypeEAP }
func (p EAP) appendBody(b []byte) []byte { return append(b, p.Message...) }

// Delete is the Delete payload (RFC 7296 §3.11, Figure 17).
type Delete struct {
	// Protocol is ProtocolIKE, which takes no SPIs and closes the IKE SA that carries the message, or ProtocolAH or
	// ProtocolESP with SPIs of 4 octets.
	Protocol Protocol
	// SPIs are those of the sender's inbound SAs.
	SPIs []uint32
}

// Type returns TypeDelete.
func (Delete) Type() PayloadType { return TypeDelete }

func parseDelete(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, malformed(TypeDelete, "Num of SPIs", "want at least 4 octets, found %d", len(b))
	}
	d := Delete{Protocol: Protocol(b[0])}
	size, num := int(b[1]), int(binary.BigEndian.Uint16(b[2:]))
	b = b[4:]
	switch {
	case d.Protocol == ProtocolIKE:
		if size != 0 || num != 0 || len(b) != 0 {
			return nil, malformed(TypeDelete, "SPI Size", "want no SPI for IKE, found %d of %d octets", num, size)
		}
	case size != 4 || len(b) != 4*num:
		return nil, malformed(TypeDelete, "SPI Size", "want %d SPIs of 4 octets, found size %d and %d octets", num, size, len(b))
	default:
		d.SPIs = make([]uint32, num)
		for i := range d.SPIs {
			d.SPIs[i] = binary.BigEndian.Uint32(b[4*i:])
		}
	}
	return d, nil
}

func (p Delete) appendBody(b []byte) []byte {
	if p.Protocol == ProtocolIKE {
		return append(b, byte(ProtocolIKE), 0, 0, 0)
	}
	b = append(b, byte(p.Protocol), 4)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.SPIs))) //nolint:gosec // a longer list fails as ErrTooLong
	for _, spi := range p.SPIs {
		b = binary.BigEndian.AppendUint32(b, spi)
	}
	return b
}
