package wire

import "fmt"

// Code is the code field of a Registration Reply (RFC 5944 §3.4, Table 1): 0 to 8 accept, 64 to 127 are denials by the
// foreign agent, 128 to 192 by the home agent, 193 to 200 by a gateway foreign agent, 194 excepted.
type Code uint8

// Codes with the names of their standards.
const (
	CodeAccepted                        Code = 0   // RFC 5944 §3.4
	CodeAcceptedSimultaneousUnsupported Code = 1   // RFC 5944 §3.4
	CodeFAReasonUnspecified             Code = 64  // RFC 5944 §3.4
	CodeFAProhibited                    Code = 65  // RFC 5944 §3.4
	CodeFAInsufficientResources         Code = 66  // RFC 5944 §3.4
	CodeFAMobileNodeAuthentication      Code = 67  // RFC 5944 §3.4
	CodeFAHomeAgentAuthentication       Code = 68  // RFC 5944 §3.4
	CodeRequestedLifetimeTooLong        Code = 69  // RFC 5944 §3.4
	CodeFAPoorlyFormedRequest           Code = 70  // RFC 5944 §3.4
	CodeFAPoorlyFormedReply             Code = 71  // RFC 5944 §3.4
	CodeFAEncapsulationUnavailable      Code = 72  // RFC 5944 §3.4
	CodeFAReserved73                    Code = 73  // RFC 5944 §3.4; Van Jacobson compression in RFC 2002
	CodeFAReverseTunnelUnavailable      Code = 74  // RFC 3024 §3.4
	CodeFAReverseTunnelMandatory        Code = 75  // RFC 3024 §3.4
	CodeFATooDistant                    Code = 76  // RFC 3024 §3.4
	CodeFAInvalidCareOfAddress          Code = 77  // RFC 5944 §3.4
	CodeFARegistrationTimeout           Code = 78  // RFC 5944 §3.4
	CodeFADeliveryStyle                 Code = 79  // RFC 3024 §3.4
	CodeFAHomeNetworkUnreachable        Code = 80  // RFC 5944 §3.4
	CodeFAHomeAgentHostUnreachable      Code = 81  // RFC 5944 §3.4
	CodeFAHomeAgentPortUnreachable      Code = 82  // RFC 5944 §3.4
	CodeFAHomeAgentUnreachable          Code = 88  // RFC 5944 §3.4
	CodeFANonzeroHomeAgentRequired      Code = 90  // RFC 4433 §7
	CodeFANonzeroHomeAddressRequired    Code = 96  // RFC 2794 §5
	CodeFAMissingNAI                    Code = 97  // RFC 2794 §5
	CodeFAMissingHomeAgent              Code = 98  // RFC 2794 §5
	CodeFAMissingHomeAddress            Code = 99  // RFC 2794 §5
	CodeFAVendorFromMobileNode          Code = 100 // RFC 3115 §2.4
	CodeFAVendorFromHomeAgent           Code = 101 // RFC 3115 §2.4
	CodeFAUnknownChallenge              Code = 104 // RFC 4721 §10
	CodeFAMissingChallenge              Code = 105 // RFC 4721 §10
	CodeFAStaleChallenge                Code = 106 // RFC 4721 §10
	CodeFAMissingMNFA                   Code = 107 // RFC 3957 §6.2
	CodeFABadAAAAuthentication          Code = 108 // RFC 4721 §10
	CodeFAWrongChallenge                Code = 109 // RFC 4721 §10
	CodeGFAReplayProtectionUnavailable  Code = 110 // RFC 4857 §9
	CodeGFAZeroCareOfNotSupported       Code = 111 // RFC 4857 §9
	CodeFAUnknownGFA                    Code = 112 // RFC 4857 §10
	CodeFAGFAUnreachable                Code = 113 // RFC 4857 §10
	CodeFAGFAHostUnreachable            Code = 114 // RFC 4857 §10
	CodeFAGFAPortUnreachable            Code = 115 // RFC 4857 §10
	CodeReasonUnspecified               Code = 128 // RFC 5944 §3.4
	CodeProhibited                      Code = 129 // RFC 5944 §3.4
	CodeInsufficientResources           Code = 130 // RFC 5944 §3.4
	CodeMobileNodeAuthentication        Code = 131 // RFC 5944 §3.4
	CodeForeignAgentAuthentication      Code = 132 // RFC 5944 §3.4
	CodeIdentificationMismatch          Code = 133 // RFC 5944 §3.4
	CodePoorlyFormedRequest             Code = 134 // RFC 5944 §3.4
	CodeTooManyBindings                 Code = 135 // RFC 5944 §3.4
	CodeUnknownHomeAgent                Code = 136 // RFC 5944 §3.4
	CodeReverseTunnelUnavailable        Code = 137 // RFC 3024 §3.4
	CodeReverseTunnelMandatory          Code = 138 // RFC 3024 §3.4
	CodeEncapsulationUnavailable        Code = 139 // RFC 3024 §3.4
	CodeVendorFromMobileNode            Code = 140 // RFC 3115 §2.4
	CodeVendorFromForeignAgent          Code = 141 // RFC 3115 §2.4
	CodeUDPEncapsulationUnavailable     Code = 142 // RFC 3519 §3.5
	CodeRedirectHomeAgent               Code = 143 // RFC 4433 §7
	CodeBadAAAAuthentication            Code = 144 // RFC 4721 §10
	CodeZeroCareOfAddress               Code = 145 // RFC 4857 §9
	CodeDynamicGFANotSupported          Code = 146 // RFC 4857 §9
	CodeMobileNetworkPrefix             Code = 147 // RFC 5177
	CodeNoHomeRegistration              Code = 193 // RFC 4857 §10
	CodeInvalidHomeAgentAddress         Code = 194 // RFC 5944 §3.4: a denial by the foreign agent
)

var codeNames = map[Code]string{
	CodeAccepted:                        "registration accepted",
	CodeAcceptedSimultaneousUnsupported: "registration accepted, but simultaneous mobility bindings unsupported",
	CodeFAReasonUnspecified:             "reason unspecified",
	CodeFAProhibited:                    "administratively prohibited",
	CodeFAInsufficientResources:         "insufficient resources",
	CodeFAMobileNodeAuthentication:      "mobile node failed authentication",
	CodeFAHomeAgentAuthentication:       "home agent failed authentication",
	CodeRequestedLifetimeTooLong:        "requested Lifetime too long",
	CodeFAPoorlyFormedRequest:           "poorly formed Request",
	CodeFAPoorlyFormedReply:             "poorly formed Reply",
	CodeFAEncapsulationUnavailable:      "requested encapsulation unavailable",
	CodeFAReserved73:                    "reserved and unavailable",
	CodeFAReverseTunnelUnavailable:      "requested reverse tunnel unavailable",
	CodeFAReverseTunnelMandatory:        "reverse tunnel is mandatory and 'T' bit not set",
	CodeFATooDistant:                    "mobile node too distant",
	CodeFAInvalidCareOfAddress:          "invalid care-of address",
	CodeFARegistrationTimeout:           "registration timeout",
	CodeFADeliveryStyle:                 "delivery style not supported",
	CodeFAHomeNetworkUnreachable:        "home network unreachable (ICMP error received)",
	CodeFAHomeAgentHostUnreachable:      "home agent host unreachable (ICMP error received)",
	CodeFAHomeAgentPortUnreachable:      "home agent port unreachable (ICMP error received)",
	CodeFAHomeAgentUnreachable:          "home agent unreachable (other ICMP error received)",
	CodeFANonzeroHomeAgentRequired:      "NONZERO-HA-REQD",
	CodeFANonzeroHomeAddressRequired:    "NONZERO_HOMEADDR_REQD",
	CodeFAMissingNAI:                    "MISSING_NAI",
	CodeFAMissingHomeAgent:              "MISSING_HOME_AGENT",
	CodeFAMissingHomeAddress:            "MISSING_HOMEADDR",
	CodeFAVendorFromMobileNode:          "unsupported Vendor-ID or Vendor-CVSE-Type sent by the mobile node to the foreign agent",
	CodeFAVendorFromHomeAgent:           "unsupported Vendor-ID or Vendor-CVSE-Type sent by the home agent to the foreign agent",
	CodeFAUnknownChallenge:              "unknown_challenge",
	CodeFAMissingChallenge:              "missing_challenge",
	CodeFAStaleChallenge:                "stale_challenge",
	CodeFAMissingMNFA:                   "MISSING_MN_FA",
	CodeFABadAAAAuthentication:          "fa_bad_aaa_auth",
	CodeFAWrongChallenge:                "ha_wrong_challenge",
	CodeGFAReplayProtectionUnavailable:  "REPLAY_PROT_UNAVAIL",
	CodeGFAZeroCareOfNotSupported:       "ZERO_COA_NOT_SUPP",
	CodeFAUnknownGFA:                    "UNKNOWN_GFA",
	CodeFAGFAUnreachable:                "GFA_UNREACHABLE",
	CodeFAGFAHostUnreachable:            "GFA_HOST_UNREACHABLE",
	CodeFAGFAPortUnreachable:            "GFA_PORT_UNREACHABLE",
	CodeReasonUnspecified:               "reason unspecified",
	CodeProhibited:                      "administratively prohibited",
	CodeInsufficientResources:           "insufficient resources",
	CodeMobileNodeAuthentication:        "mobile node failed authentication",
	CodeForeignAgentAuthentication:      "foreign agent failed authentication",
	CodeIdentificationMismatch:          "registration Identification mismatch",
	CodePoorlyFormedRequest:             "poorly formed Request",
	CodeTooManyBindings:                 "too many simultaneous mobility bindings",
	CodeUnknownHomeAgent:                "unknown home agent address",
	CodeReverseTunnelUnavailable:        "requested reverse tunnel unavailable",
	CodeReverseTunnelMandatory:          "reverse tunnel is mandatory and 'T' bit not set",
	CodeEncapsulationUnavailable:        "requested encapsulation unavailable",
	CodeVendorFromMobileNode:            "unsupported Vendor-ID or Vendor-CVSE-Type sent by the mobile node to the home agent",
	CodeVendorFromForeignAgent:          "unsupported Vendor-ID or Vendor-CVSE-Type sent by the foreign agent to the home agent",
	CodeUDPEncapsulationUnavailable:     "requested UDP tunnel encapsulation unavailable",
	CodeRedirectHomeAgent:               "REDIRECT-HA-REQ",
	CodeBadAAAAuthentication:            "ha_bad_aaa_auth",
	CodeZeroCareOfAddress:               "ZERO_CAREOF_ADDRESS",
	CodeDynamicGFANotSupported:          "DYN_GFA_NOT_SUPP",
	CodeMobileNetworkPrefix:             "Mobile Network Prefix operation error (HA_MOBNET_ERROR)",
	CodeNoHomeRegistration:              "NO_HOME_REG",
	CodeInvalidHomeAgentAddress:         "Invalid Home Agent Address",
}

// Accepted reports whether the home agent has accepted the registration: code 0 or 1. Other numbers of the range for
// success (2 to 8) mean something that was not asked for and do not count.
func (c Code) Accepted() bool {
	return c == CodeAccepted || c == CodeAcceptedSimultaneousUnsupported
}

// ByForeignAgent reports whether the code is a denial by a foreign agent (64 to 127, 193 to 200), which carries no
// Mobile-Home authentication.
func (c Code) ByForeignAgent() bool { return c >= 64 && c <= 127 || c >= 193 && c <= 200 }

// String returns the number and the standard's name: `133 "registration Identification mismatch"`.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return fmt.Sprintf("%d %q", uint8(c), name)
	}
	return fmt.Sprintf("%d (not assigned)", uint8(c))
}
