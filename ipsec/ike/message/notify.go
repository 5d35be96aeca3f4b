package message

import (
	"encoding/binary"
	"strconv"
)

// NotifyType is a notify message type (RFC 7296 §3.10.1).
type NotifyType uint16

// Error types of RFC 7296 §3.10.1, and those of RFC 4555 §4.2.5 for MOBIKE.
const (
	UnsupportedCriticalPayload NotifyType = 1
	InvalidIKESPI              NotifyType = 4
	InvalidMajorVersion        NotifyType = 5
	InvalidSyntax              NotifyType = 7
	InvalidMessageID           NotifyType = 9
	InvalidSPI                 NotifyType = 11
	NoProposalChosen           NotifyType = 14
	InvalidKEPayload           NotifyType = 17
	AuthenticationFailed       NotifyType = 24
	SinglePairRequired         NotifyType = 34
	NoAdditionalSAs            NotifyType = 35
	InternalAddressFailure     NotifyType = 36
	FailedCPRequired           NotifyType = 37
	TSUnacceptable             NotifyType = 38
	InvalidSelectors           NotifyType = 39
	UnacceptableAddresses      NotifyType = 40
	UnexpectedNATDetected      NotifyType = 41
	TemporaryFailure           NotifyType = 43
	ChildSANotFound            NotifyType = 44
	StateNotFound              NotifyType = 47 // RFC 9370 §2.2.4
)

// Status types of RFC 7296 §3.10.1, and a few of later documents that peers send.
const (
	InitialContact              NotifyType = 16384
	SetWindowSize               NotifyType = 16385
	AdditionalTSPossible        NotifyType = 16386
	IPCompSupported             NotifyType = 16387
	NATDetectionSourceIP        NotifyType = 16388
	NATDetectionDestinationIP   NotifyType = 16389
	Cookie                      NotifyType = 16390
	UseTransportMode            NotifyType = 16391
	HTTPCertLookupSupported     NotifyType = 16392
	RekeySA                     NotifyType = 16393
	ESPTFCPaddingNotSupported   NotifyType = 16394
	NonFirstFragmentsAlso       NotifyType = 16395
	MOBIKESupported             NotifyType = 16396 // RFC 4555 §4.2 for this and those up to 16402
	AdditionalIP4Address        NotifyType = 16397
	AdditionalIP6Address        NotifyType = 16398
	NoAdditionalAddresses       NotifyType = 16399
	UpdateSAAddresses           NotifyType = 16400
	Cookie2                     NotifyType = 16401
	NoNATsAllowed               NotifyType = 16402
	MultipleAuthSupported       NotifyType = 16404
	AnotherAuthFollows          NotifyType = 16405 // RFC 4739 §3.2
	AuthLifetime                NotifyType = 16403 // RFC 4478 §3: seconds
	RedirectSupported           NotifyType = 16406 // RFC 5685 §9.1
	Redirect                    NotifyType = 16407 // RFC 5685 §9.2: gateway, nonce
	RedirectedFrom              NotifyType = 16408 // RFC 5685 §9.3: gateway
	TicketLTOpaque              NotifyType = 16409 // RFC 5723 §7.1: lifetime in seconds, ticket
	TicketRequest               NotifyType = 16410
	TicketAck                   NotifyType = 16411
	TicketNack                  NotifyType = 16412
	TicketOpaque                NotifyType = 16413 // RFC 5723 §7.2: ticket
	EAPOnlyAuthentication       NotifyType = 16417
	ChildlessIKEv2Supported     NotifyType = 16418
	QCDToken                    NotifyType = 16419 // RFC 6290 §4.1: token
	IKEv2MessageIDSync          NotifyType = 16420
	IKEv2FragmentationSupport   NotifyType = 16430
	Puzzle                      NotifyType = 16434 // RFC 8019 §8.1: PRF, difficulty
	SignatureHashAlgorithms     NotifyType = 16431
	UsePPK                      NotifyType = 16435 // RFC 8784 §3
	PPKIdentity                 NotifyType = 16436 // RFC 8784 §3: PPK_ID, whose first octet is its type
	NoPPKAuth                   NotifyType = 16437 // RFC 8784 §3: authentication data without the PPK
	IntermediateExchangeSupport NotifyType = 16438
	AdditionalKeyExchange       NotifyType = 16441 // RFC 9370 §2.2.4: an opaque link to the exchange before
)

// Status types for private use, between ends that have shown the Vendor ID of the foreign agent in the gateway
// (docs/gateway-agent.md).
const (
	GatewayAgentAdvertisement NotifyType = 45434 // an agent advertisement (RFC 5944 §2.1), an ICMP message
	UseGatewayAgent           NotifyType = 45435 // no data
)

var notifyNames = map[NotifyType]string{
	UnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD", InvalidIKESPI: "INVALID_IKE_SPI",
	InvalidMajorVersion: "INVALID_MAJOR_VERSION", InvalidSyntax: "INVALID_SYNTAX", InvalidMessageID: "INVALID_MESSAGE_ID",
	InvalidSPI: "INVALID_SPI", NoProposalChosen: "NO_PROPOSAL_CHOSEN", InvalidKEPayload: "INVALID_KE_PAYLOAD",
	AuthenticationFailed: "AUTHENTICATION_FAILED", SinglePairRequired: "SINGLE_PAIR_REQUIRED",
	NoAdditionalSAs: "NO_ADDITIONAL_SAS", InternalAddressFailure: "INTERNAL_ADDRESS_FAILURE",
	FailedCPRequired: "FAILED_CP_REQUIRED", TSUnacceptable: "TS_UNACCEPTABLE", InvalidSelectors: "INVALID_SELECTORS",
	UnacceptableAddresses: "UNACCEPTABLE_ADDRESSES", UnexpectedNATDetected: "UNEXPECTED_NAT_DETECTED",
	TemporaryFailure: "TEMPORARY_FAILURE", ChildSANotFound: "CHILD_SA_NOT_FOUND",
	InitialContact: "INITIAL_CONTACT", SetWindowSize: "SET_WINDOW_SIZE", AdditionalTSPossible: "ADDITIONAL_TS_POSSIBLE",
	IPCompSupported: "IPCOMP_SUPPORTED", NATDetectionSourceIP: "NAT_DETECTION_SOURCE_IP",
	NATDetectionDestinationIP: "NAT_DETECTION_DESTINATION_IP", Cookie: "COOKIE", UseTransportMode: "USE_TRANSPORT_MODE",
	HTTPCertLookupSupported: "HTTP_CERT_LOOKUP_SUPPORTED", RekeySA: "REKEY_SA",
	ESPTFCPaddingNotSupported: "ESP_TFC_PADDING_NOT_SUPPORTED", NonFirstFragmentsAlso: "NON_FIRST_FRAGMENTS_ALSO",
	AdditionalIP4Address: "ADDITIONAL_IP4_ADDRESS", AdditionalIP6Address: "ADDITIONAL_IP6_ADDRESS",
	NoAdditionalAddresses: "NO_ADDITIONAL_ADDRESSES", UpdateSAAddresses: "UPDATE_SA_ADDRESSES", Cookie2: "COOKIE2",
	NoNATsAllowed: "NO_NATS_ALLOWED", MOBIKESupported: "MOBIKE_SUPPORTED", MultipleAuthSupported: "MULTIPLE_AUTH_SUPPORTED",
	AnotherAuthFollows: "ANOTHER_AUTH_FOLLOWS", Redirect: "REDIRECT", AuthLifetime: "AUTH_LIFETIME",
	RedirectSupported: "REDIRECT_SUPPORTED", RedirectedFrom: "REDIRECTED_FROM", QCDToken: "QCD_TOKEN", Puzzle: "PUZZLE",
	TicketLTOpaque: "TICKET_LT_OPAQUE", TicketRequest: "TICKET_REQUEST", TicketAck: "TICKET_ACK", TicketNack: "TICKET_NACK",
	TicketOpaque:          "TICKET_OPAQUE",
	EAPOnlyAuthentication: "EAP_ONLY_AUTHENTICATION", ChildlessIKEv2Supported: "CHILDLESS_IKEV2_SUPPORTED",
	IKEv2MessageIDSync: "IKEV2_MESSAGE_ID_SYNC_SUPPORTED", IKEv2FragmentationSupport: "IKEV2_FRAGMENTATION_SUPPORTED",
	SignatureHashAlgorithms: "SIGNATURE_HASH_ALGORITHMS", IntermediateExchangeSupport: "INTERMEDIATE_EXCHANGE_SUPPORTED",
	StateNotFound: "STATE_NOT_FOUND", UsePPK: "USE_PPK", PPKIdentity: "PPK_IDENTITY", NoPPKAuth: "NO_PPK_AUTH",
	AdditionalKeyExchange: "ADDITIONAL_KEY_EXCHANGE", GatewayAgentAdvertisement: "GATEWAY_AGENT_ADVERTISEMENT", UseGatewayAgent: "USE_GATEWAY_AGENT",
}

// String returns the standard's name, or "notify N" for a type that is not known here.
func (t NotifyType) String() string {
	if s, ok := notifyNames[t]; ok {
		return s
	}
	return "notify " + strconv.Itoa(int(t))
}

// Error tells whether the type reports an error: 0 to 16383 (RFC 7296 §3.10.1).
func (t NotifyType) Error() bool { return t < 16384 }

// Notify is the Notify payload (RFC 7296 §3.10, Figure 16).
type Notify struct {
	// Protocol says whose SPI it is, ProtocolNone without an SPI.
	Protocol Protocol
	Message  NotifyType
	// SPI is empty but for INVALID_SELECTORS, REKEY_SA and CHILD_SA_NOT_FOUND.
	SPI  []byte
	Data []byte
}

// Type returns TypeNotify.
func (Notify) Type() PayloadType { return TypeNotify }

func parseNotify(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, malformed(TypeNotify, "Notify Message Type", "want at least 4 octets, found %d", len(b))
	}
	n := Notify{Protocol: Protocol(b[0]), Message: NotifyType(binary.BigEndian.Uint16(b[2:]))}
	size := int(b[1])
	if size > len(b)-4 {
		return nil, malformed(TypeNotify, "SPI Size", "want at most %d, found %d", len(b)-4, size)
	}
	n.SPI, n.Data = clone(b[4:4+size]), clone(b[4+size:])
	return n, nil
}

func (p Notify) appendBody(b []byte) []byte {
	b = append(b, byte(p.Protocol), byte(len(p.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Message))
	return append(append(b, p.SPI...), p.Data...)
}
