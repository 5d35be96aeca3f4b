package client

import (
	"errors"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/mobilenode"
)

// registrationAdvice says what to do about a refused registration.
func registrationAdvice(err error) string {
	if refused, ok := errors.AsType[*mobilenode.RegistrationError](err); ok {
		return refused.Advice
	}
	return ""
}

// notifyAdvice says what to do about a gateway's refusal, by its notify (RFC 7296 §3.10.1).
var notifyAdvice = map[message.NotifyType]string{
	message.AuthenticationFailed: "compare psk_file, local_identity and remote_identity in [gateway] with what the gateway has for this client",
	message.NoProposalChosen:     "the gateway must allow AES-GCM or ChaCha20-Poly1305 with a PRF of HMAC-SHA-2 and one of the groups 31, 19, 20 and 14, for IKE and ESP",
	message.TSUnacceptable:       "the gateway must offer the enterprise prefixes (or remote_subnets in [gateway]) to this client as its local traffic selectors",

	message.InternalAddressFailure: "give the gateway's address pool free addresses",
	message.FailedCPRequired:       "check what the gateway wants to be asked for in the configuration payload",
	message.InvalidSyntax:          "the gateway cannot read our message: check its log and its version",
	message.NoAdditionalSAs:        "the gateway allows no more SAs for this client: check its limits",
}

// ikeFailureAdvice says what to do about the other ends of an IKE attempt.
var ikeFailureAdvice = []struct {
	cause  error
	advice string
}{
	{ike.ErrNoAnswer, "check that the gateway runs, that its address in [gateway] is right, and that UDP 500 and 4500 pass between the x-HA and the gateway"},
	{ike.ErrAuthentication, "the gateway's proof is wrong: compare psk_file in [gateway] with the gateway's key"},
	{ike.ErrIdentity, "set remote_identity in [gateway] to the identity that the gateway proves"},
	{ike.ErrConfiguration, "give the gateway an address pool for this client"},
	{ike.ErrDeletedByPeer, "check the gateway's log for why it closed the SA; mipvpn tries again by itself"},
}

// ikeCode returns the standard's name of a gateway's refusal, empty without one.
func ikeCode(err error) string {
	if n, ok := errors.AsType[*ike.NotifyError](err); ok {
		return n.Type.String()
	}
	return ""
}

// ikeAdvice says what to do about a failure of IKE.
func ikeAdvice(err error) string {
	if n, ok := errors.AsType[*ike.NotifyError](err); ok {
		if advice, known := notifyAdvice[n.Type]; known {
			return advice
		}
	}
	for _, f := range ikeFailureAdvice {
		if errors.Is(err, f.cause) {
			return f.advice
		}
	}
	return "check the gateway's log"
}
