package ipsec

import (
	"errors"

	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
)

// notifyAdvice says what to do about a gateway's refusal, by its notify (RFC 7296 §3.10.1).
var notifyAdvice = map[message.NotifyType]string{
	message.AuthenticationFailed: "compare local_identity and remote_identity in [gateway], and psk_file or [authentication], with what the gateway has for this client; its log says which proof it did not take",
	message.NoProposalChosen:     "the gateway must allow AES-GCM or ChaCha20-Poly1305 with a PRF of HMAC-SHA-2 and one of the groups 31, 19, 20 and 21, for IKE and ESP; the profile compatible also takes AES-CBC with HMAC-SHA-2 and the groups 14 to 16",
	message.TSUnacceptable:       "the gateway must offer the enterprise prefixes (or remote_subnets in [gateway]) to this client as its local traffic selectors",

	message.InternalAddressFailure: "give the gateway's address pool free addresses",
	message.FailedCPRequired:       "check what the gateway wants to be asked for in the configuration payload",
	message.InvalidSyntax:          "the gateway cannot read our message: check its log and its version",
	message.StateNotFound:          "the gateway forgets rekeyings half way: check its log and the time that packets take",
	message.NoAdditionalSAs:        "the gateway allows no more SAs for this client: check its limits",
}

// failureAdvice says what to do about the other ends of an IKE attempt.
var failureAdvice = []struct {
	cause  error
	advice string
}{
	{ike.ErrNoAnswer, "check that the gateway runs, that its address in [gateway] is right, and that UDP 500 and 4500 pass between the x-HA and the gateway"},
	{vpn.ErrBearerGone, "nothing: another tunnel is set up; a gateway with MOBIKE (RFC 4555) would have kept this one"},
	{eap.ErrPasswordWrong, "the user name or password was refused: it is asked for again, and a file or program must give another one"},
	{eap.ErrPasswordExpired, "change the password by the company's other means, then connect again"},
	{eap.ErrAccount, "ask the administrator: the account is disabled, or may not be used now or from here"},
	{eap.ErrServer, "the EAP server does not know the password: somebody pretends to be the gateway, or its user database is out of date"},
	{eap.ErrMethod, "authentication.rounds must have an EAP method that the gateway's EAP server offers"},
	{eap.ErrTLS, "look at the EAP server's certificate and TLS versions (1.2 or 1.3), and at the laptop's certificate for eap-tls"},
	{eap.ErrRejected, "the gateway's EAP server refuses the user: look at its log"},
	{credential.ErrPassword, "the PIN or password of the private key was refused: it is asked for again; cards lock themselves after a few wrong ones"},
	{credential.ErrNoPKCS11, "use a build with PKCS#11, or a key in a file or in the TPM"},
	{credential.ErrMismatch, "name the certificate of that key in authentication.certificate"},
	{credential.ErrKey, "look at authentication.key, and whether its token or TPM is there"},
	{secret.ErrDeclined, "run `mipvpn up` to be asked again"},
	{secret.ErrSame, "put the right password where authentication.password or authentication.pin says, then `mipvpn down` and `mipvpn up`"},
	{secret.ErrEmpty, "look at the file or program that authentication.password or authentication.pin names"},
	{ike.ErrPPK, "give the laptop and the gateway the same post-quantum pre-shared key (RFC 8784) under the same name, or do not require one"},
	{ike.ErrOwnKey, "the own certificate's key could not sign: check certificate and key in [authentication], and the smart card or TPM that has it"},
	{ike.ErrTrust, "the gateway's certificate is not trusted: check [trust] and what the gateway's certificate says"},
	{ike.ErrWeakSignature, "the gateway signs with SHA-1: it needs RFC 7427 (SIGNATURE_HASH_ALGORITHMS) or an ECDSA certificate"},
	{ike.ErrSignatureScheme, "gateway and client share no signature algorithm: give one of them a certificate with an RSA, ECDSA or Ed25519 key that the other takes"},
	{ike.ErrCertificates, "the gateway must send its certificates themselves, at most 10 with 48 KiB in all"},
	{ike.ErrTooManyFragments, "the gateway sends an IKE message of more than 64 KiB in fragments: look at how many certificates, selectors and name servers it sends"},
	{ike.ErrMethod, "the gateway proves itself by another method than configured: set the gateway's authentication to what [trust] expects"},
	{ike.ErrEarlySuccess, "the gateway ended EAP before the method was done: it is misconfigured, or it is not the gateway"},
	{ike.ErrNoKey, "the EAP method makes no key: use EAP-MSCHAPv2, EAP-TLS or EAP-TTLS, or a gateway with a certificate"},
	{ike.ErrEAP, "the user's authentication failed: check name and password or certificate, and the gateway's list of users"},
	{ike.ErrRounds, "the gateway wants another number of authentications (RFC 4739): compare [authentication] with what it asks of this client"},
	{ike.ErrAuthentication, "the gateway's proof is wrong: compare psk_file in [gateway] with the gateway's key"},
	{ike.ErrIdentity, "set remote_identity in [gateway] to the identity that the gateway proves"},
	{ike.ErrConfiguration, "give the gateway an address pool for this client"},
	{ike.ErrDeletedByPeer, "check the gateway's log for why it closed the SA; mipvpn tries again by itself"},
}

// Explain implements vpn.Protocol: the standard's name of a gateway's refusal, and what to do about a failure of IKE.
func (*Protocol) Explain(err error) (code, advice string) {
	if n, ok := errors.AsType[*ike.NotifyError](err); ok {
		code = n.Type.String()
		if advice, known := notifyAdvice[n.Type]; known {
			return code, advice
		}
	}
	if f, ok := errors.AsType[*pki.Failure](err); ok {
		return f.Code(), f.Advice()
	}
	for _, f := range failureAdvice {
		if errors.Is(err, f.cause) || f.cause == ike.ErrNoAnswer && errors.Is(err, vpn.ErrNoAnswer) {
			return code, f.advice
		}
	}
	return code, "check the gateway's log"
}

// silence is an error of IKE that means that the gateway does not answer.
type silence struct{ error }

// Is makes it vpn.ErrNoAnswer to the client.
func (silence) Is(target error) bool { return target == vpn.ErrNoAnswer }

// Unwrap returns IKE's own error.
func (s silence) Unwrap() error { return s.error }

func asSilence(err error) error {
	if errors.Is(err, ike.ErrNoAnswer) {
		return silence{err}
	}
	return err
}
