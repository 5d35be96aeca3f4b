package message

import "strconv"

// PayloadType is a payload type number (RFC 7296 §3.2).
type PayloadType uint8

// The payload types of RFC 7296 §3.2, and of RFC 7383 §2.5 for Encrypted Fragment, of RFC 8019 §8.2 for Puzzle Solution.
const (
	NoNextPayload         PayloadType = 0
	TypeSA                PayloadType = 33
	TypeKE                PayloadType = 34
	TypeIDi               PayloadType = 35
	TypeIDr               PayloadType = 36
	TypeCert              PayloadType = 37
	TypeCertReq           PayloadType = 38
	TypeAuth              PayloadType = 39
	TypeNonce             PayloadType = 40
	TypeNotify            PayloadType = 41
	TypeDelete            PayloadType = 42
	TypeVendorID          PayloadType = 43
	TypeTSi               PayloadType = 44
	TypeTSr               PayloadType = 45
	TypeEncrypted         PayloadType = 46
	TypeConfiguration     PayloadType = 47
	TypeEAP               PayloadType = 48
	TypeEncryptedFragment PayloadType = 53
	TypePuzzleSolution    PayloadType = 54
)

var payloadNames = map[PayloadType]string{
	NoNextPayload: "none", TypeSA: "SA", TypeKE: "KE", TypeIDi: "IDi", TypeIDr: "IDr", TypeCert: "CERT",
	TypeCertReq: "CERTREQ", TypeAuth: "AUTH", TypeNonce: "Nonce", TypeNotify: "N", TypeDelete: "D", TypeVendorID: "V",
	TypeTSi: "TSi", TypeTSr: "TSr", TypeEncrypted: "SK", TypeConfiguration: "CP", TypeEAP: "EAP",
	TypeEncryptedFragment: "SKF", TypePuzzleSolution: "PS",
}

// String returns the notation of RFC 7296 §1.2, or "payload N" for a type that has none.
func (t PayloadType) String() string {
	if s, ok := payloadNames[t]; ok {
		return s
	}
	return "payload " + strconv.Itoa(int(t))
}

// ExchangeType is an exchange type number (RFC 7296 §3.1).
type ExchangeType uint8

// The exchange types of RFC 7296 §3.1, of RFC 5723 §4.3.2 for IKE_SESSION_RESUME, of RFC 9242 for
// IKE_INTERMEDIATE and of RFC 9370 §2.2.4 for IKE_FOLLOWUP_KE.
const (
	IKESAInit        ExchangeType = 34
	IKEAuth          ExchangeType = 35
	CreateChildSA    ExchangeType = 36
	Informational    ExchangeType = 37
	IKESessionResume ExchangeType = 38
	IKEIntermediate  ExchangeType = 43
	IKEFollowupKE    ExchangeType = 44
)

// String returns the standard's name, or "exchange N" for an unknown type.
func (t ExchangeType) String() string {
	switch t {
	case IKESAInit:
		return "IKE_SA_INIT"
	case IKEAuth:
		return "IKE_AUTH"
	case CreateChildSA:
		return "CREATE_CHILD_SA"
	case Informational:
		return "INFORMATIONAL"
	case IKESessionResume:
		return "IKE_SESSION_RESUME"
	case IKEIntermediate:
		return "IKE_INTERMEDIATE"
	case IKEFollowupKE:
		return "IKE_FOLLOWUP_KE"
	default:
		return "exchange " + strconv.Itoa(int(t))
	}
}

// Protocol is an IPsec protocol identifier (RFC 7296 §3.3.1).
type Protocol uint8

// The protocol identifiers of RFC 7296 §3.3.1. ProtocolNone stands in Notify payloads without an SPI.
const (
	ProtocolNone Protocol = 0
	ProtocolIKE  Protocol = 1
	ProtocolAH   Protocol = 2
	ProtocolESP  Protocol = 3
)

// String returns the standard's name, or "protocol N" for an unknown one.
func (p Protocol) String() string {
	switch p {
	case ProtocolNone:
		return "none"
	case ProtocolIKE:
		return "IKE"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	default:
		return "protocol " + strconv.Itoa(int(p))
	}
}
