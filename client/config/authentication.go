package config

import (
	"fmt"
	"slices"
	"strings"

	"mipvpn/ipsec/pki"
)

// Round is how the laptop proves its identity in one round of authentication.
type Round string

// The rounds.
const (
	// RoundPSK is a pre-shared key.
	RoundPSK Round = "psk"
	// RoundCertificate is a certificate with its private key (RFC 7427).
	RoundCertificate Round = "certificate"
	// RoundMSCHAPv2, RoundTLS and RoundTTLS are methods of EAP.
	RoundMSCHAPv2 Round = "eap-mschapv2"
	RoundTLS      Round = "eap-tls"
	RoundTTLS     Round = "eap-ttls"
)

// EAP reports whether the round is a method of EAP.
func (r Round) EAP() bool { return strings.HasPrefix(string(r), "eap-") }

// GatewayProof is a way for the gateway to prove its identity.
type GatewayProof string

// The proofs.
const (
	// GatewayPSK is the pre-shared key.
	GatewayPSK GatewayProof = "psk"
	// GatewayCertificate is a certificate that leads to one of the trust anchors.
	GatewayCertificate GatewayProof = "certificate"
	// GatewayEAP is the EAP method alone (RFC 5998).
	GatewayEAP GatewayProof = "eap"
)

// Authentication says how the laptop and the gateway prove who they are, table [authentication].
type Authentication struct {
	// Rounds are the laptop's proofs in their order; more than one is RFC 4739. Empty means RoundPSK.
	Rounds []Round
	// Gateway are the proofs that are taken of the gateway. Empty means GatewayPSK where Rounds are RoundPSK alone, else
	// GatewayCertificate.
	Gateway []GatewayProof
	// Certificate names the file of the laptop's certificate, Key its private key (credential.Source), TPM the device of a TPM.
	Certificate, Key, TPM string
	// Digest is a hash of the certificate's file as it was when the configuration was loaded, so that a renewed one shows.
	Digest [32]byte
	// PIN is where the PIN or password of the private key comes from.
	PIN SecretSource
	// EAPIdentity is what EAP is told first, seen by whoever gets that far; empty for the user's name, or the local identity.
	EAPIdentity string
	// User is the name that the password belongs to; empty for the local identity.
	User string
	// Password is where the password comes from.
	Password SecretSource
	// Inner is the authentication inside EAP-TTLS: "mschapv2", "pap" or "eap".
	Inner string
	// EAPServer is the name that the certificate in EAP-TLS and EAP-TTLS must have; empty for the gateway's identity.
	EAPServer string
}

// Trust says whose certificates are trusted, table [trust].
type Trust struct {
	// Anchors, Intermediates and CRLs name files.
	AnchorFiles, IntermediateFiles, CRLFiles []string
	// Verifier verifies gateways' certificates, as Load makes it of the files; nil without trust anchors. It has no Fetcher yet.
	Verifier *pki.Verifier
	// Digest is a hash of the files that Verifier was made of, so that another content shows.
	Digest [32]byte
	// Revocation is "soft", "hard" or "off"; Usage is "checked", "required" or "ignored".
	Revocation, Usage string
	// Fetch lets CRLs and OCSP responders be asked over HTTP, OCSP has the gateway asked for a response (RFC 4806).
	Fetch, OCSP bool
	// Wildcards lets the name in a gateway's certificate begin with "*.".
	Wildcards bool
}

// SecretSource is where a secret that is not in the configuration comes from: SourceAsk, SourceKeyRing, or a text that begins with
// SourceFile, SourceCredential or SourceCommand.
type SecretSource string

// The sources.
const (
	// SourceAsk asks a person: whoever runs `mipvpn up` or `mipvpn answer`.
	SourceAsk SecretSource = "ask"
	// SourceKeyRing is the key ring of that person's desktop, and asks where it has nothing.
	SourceKeyRing SecretSource = "keyring"
	// SourceFile and SourceCommand are the beginnings of "file:PATH" and "command:PROGRAM ARGUMENT...".
	SourceFile    = "file:"
	SourceCommand = "command:"
)

var (
	rounds        = []string{string(RoundPSK), string(RoundCertificate), string(RoundMSCHAPv2), string(RoundTLS), string(RoundTTLS)}
	gatewayProofs = []string{string(GatewayPSK), string(GatewayCertificate), string(GatewayEAP)}
	inners        = []string{"mschapv2", "pap", "eap"}
	revocations   = []string{pki.RevocationSoft.String(), pki.RevocationHard.String(), pki.RevocationOff.String()}
	usages        = []string{pki.UsageChecked.String(), pki.UsageRequired.String(), pki.UsageIgnored.String()}
)

// maxRounds is how many rounds of authentication there may be.
const maxRounds = 4

const vSource = `"ask", "keyring", "file:PATH", "credential:NAME" or "command:PROGRAM ARGUMENT..."`

func authenticationDefaults() Authentication {
	return Authentication{Rounds: []Round{RoundPSK}, TPM: "/dev/tpmrm0", PIN: SourceAsk, Password: SourceAsk, Inner: "mschapv2"}
}

func trustDefaults() Trust {
	return Trust{Revocation: pki.RevocationSoft.String(), Usage: pki.UsageChecked.String(), Fetch: true, OCSP: true}
}

// authenticationFields are the keys of [authentication] and [trust].
func authenticationFields() []field {
	vFiles := `a list of paths such as ["corp-root.pem"]`
	return []field{
		{key: "authentication.rounds", valid: fmt.Sprintf("a list of 1 to %d of %s", maxRounds, vOneOf(rounds)), standard: `["psk"]`,
			about: "how the laptop proves its identity to the gateway, in this order; a certificate for the machine and EAP for the person is two rounds (RFC 4739)",
			set:   words(rounds, maxRounds, func(c *Config) *[]Round { return &c.Authentication.Rounds })},
		{key: "authentication.gateway", valid: "a list of " + vOneOf(gatewayProofs), standard: `the pre-shared key where rounds has that alone, else ["certificate"]`,
			about: "what proves the gateway's identity, any of these; eap is the method alone (RFC 5998)",
			set:   words(gatewayProofs, len(gatewayProofs), func(c *Config) *[]GatewayProof { return &c.Authentication.Gateway })},
		{key: "authentication.certificate", valid: vPath, standard: "the one on the token", about: "file with the laptop's certificate, in PEM with those of its issuers, or in PKCS#12 with the key, too (then 0600)",
			set: text(4096, nil, func(c *Config) *string { return &c.Authentication.Certificate })},
		{key: "authentication.key", valid: vPath + `, "pkcs11:token=...;object=...?module-path=...", or "tpm2:0x81000001"`, standard: "the certificate's file", about: "its private key: a file (0600) in PEM, a TPM's key file among them, or a key on a token or in the TPM",
			set: text(1024, nil, func(c *Config) *string { return &c.Authentication.Key })},
		{key: "authentication.tpm", valid: vPath, standard: `"/dev/tpmrm0"`, about: "device of the TPM, or socket of an emulated one",
			set: text(4096, nil, func(c *Config) *string { return &c.Authentication.TPM })},
		{key: "authentication.pin", valid: vSource, standard: `"ask"`, about: "where the PIN or password of the private key comes from, if it has one",
			set: secretSource(func(c *Config) *SecretSource { return &c.Authentication.PIN })},
		{key: "authentication.eap_identity", valid: "a text", standard: "the user's name", about: "what EAP is told first; an anonymous one such as \"anonymous@example.com\" does for EAP-TTLS",
			set: text(253, nil, func(c *Config) *string { return &c.Authentication.EAPIdentity })},
		{key: "authentication.user", valid: "a text", standard: "the gateway.local_identity", about: "user whose password it is, for EAP",
			set: text(253, nil, func(c *Config) *string { return &c.Authentication.User })},
		{key: "authentication.password", valid: vSource, standard: `"ask"`, about: "where the password for EAP comes from: a person who is asked, the key ring of the person's desktop, a file (0600), or what a program prints",
			set: secretSource(func(c *Config) *SecretSource { return &c.Authentication.Password })},
		{key: "authentication.inner", valid: vOneOf(inners), standard: `"mschapv2"`, about: "authentication inside EAP-TTLS; pap shows the password to the EAP server",
			set: oneOf(inners, func(c *Config) *string { return &c.Authentication.Inner })},
		{key: "authentication.eap_server", valid: vIdentity, standard: "the gateway.remote_identity", about: "name that the EAP server's certificate must have",
			set: text(253, nil, func(c *Config) *string { return &c.Authentication.EAPServer })},

		{key: "trust.anchors", valid: vFiles, standard: "[]", about: "files, in PEM or DER, of the certification authorities that the gateway's certificate must lead to",
			set: names(func(c *Config) *[]string { return &c.Trust.AnchorFiles })},
		{key: "trust.intermediates", valid: vFiles, standard: "[]", about: "files of certificates between them, for gateways that do not send them",
			set: names(func(c *Config) *[]string { return &c.Trust.IntermediateFiles })},
		{key: "trust.crls", valid: vFiles, standard: "[]", about: "files of revocation lists",
			set: names(func(c *Config) *[]string { return &c.Trust.CRLFiles })},
		{key: "trust.revocation", valid: vOneOf(revocations), standard: `"soft"`, about: "revocation is looked up: soft goes on where nobody answers, hard refuses then; a certificate that is known to be revoked is refused by both",
			set: oneOf(revocations, func(c *Config) *string { return &c.Trust.Revocation })},
		{key: "trust.fetch", valid: vBool, standard: "true", about: "ask the OCSP responders and fetch the revocation lists that certificates name, past the VPN",
			set: boolean(func(c *Config) *bool { return &c.Trust.Fetch })},
		{key: "trust.ocsp", valid: vBool, standard: "true", about: "ask the gateway for an OCSP response (RFC 4806)",
			set: boolean(func(c *Config) *bool { return &c.Trust.OCSP })},
		{key: "trust.extended_key_usage", valid: vOneOf(usages), standard: `"checked"`, about: "the certificate's extended key usage: checked has serverAuth or ipsecIKE where there is any, required always",
			set: oneOf(usages, func(c *Config) *string { return &c.Trust.Usage })},
		{key: "trust.wildcards", valid: vBool, standard: "false", about: "let a name in the certificate begin with \"*.\" (RFC 4945 section 3.1.2 wants that off)",
			set: boolean(func(c *Config) *bool { return &c.Trust.Wildcards })},
	}
}

// words takes a list of some of the values, each at most once.
func words[T ~string](values []string, most int, of func(*Config) *[]T) setter {
	return setter{listShape(1, most, true, shape{Type: "string", Enum: texts(values)}), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok || len(items) == 0 || len(items) > most {
			return found(v)
		}
		var out []T
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			switch {
			case !ok:
				return fmt.Errorf("found %s in the list", describe(i))
			case !slices.Contains(values, s):
				return fmt.Errorf("found %s in the list%s", shortQuote(s), suggest(s, values))
			case slices.Contains(out, T(s)):
				return fmt.Errorf("found %q twice in the list", s)
			}
			out = append(out, T(s))
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// secretSource takes a SecretSource.
func secretSource(of func(*Config) *SecretSource) setter {
	return setter{shape{Type: "string", Pattern: "^(ask|keyring|[a-z]+:.+)$", MaxLength: 4096}, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return found(v)
		}
		file, isFile := strings.CutPrefix(s, SourceFile)
		command, isCommand := strings.CutPrefix(s, SourceCommand)
		credential, isCredential := strings.CutPrefix(s, SourceCredential)
		switch {
		case len(s) > 4096:
			return fmt.Errorf("found a text of %d octets, at most 4096 fit", len(s))
		case SecretSource(s) == SourceAsk, SecretSource(s) == SourceKeyRing, isFile && file != "", isCredential && credential != "", isCommand && len(strings.Fields(command)) > 0:
		default: // it may be the password itself: it is not shown
			return fmt.Errorf("found a text of %d octets", len(s))
		}
		*of(c) = SecretSource(s)
		return nil
	}}
}

// Words returns the program and its arguments of a command. White space divides them; there is no quoting and no shell.
func (s SecretSource) Words() []string {
	command, ok := strings.CutPrefix(string(s), SourceCommand)
	if !ok {
		return nil
	}
	return strings.Fields(command)
}

// Path returns what ReadSecretFile reads: the path of a file, or a credential.
func (s SecretSource) Path() string {
	path, _ := strings.CutPrefix(string(s), SourceFile)
	return path
}

// AllRounds returns the rounds, the default filled in.
func (a *Authentication) AllRounds() []Round {
	if len(a.Rounds) == 0 {
		return []Round{RoundPSK}
	}
	return a.Rounds
}

// Accepts returns what the gateway may prove itself with, the default filled in.
func (a *Authentication) Accepts() []GatewayProof {
	switch {
	case len(a.Gateway) > 0:
		return a.Gateway
	case slices.Equal(a.AllRounds(), []Round{RoundPSK}):
		return []GatewayProof{GatewayPSK}
	}
	return []GatewayProof{GatewayCertificate}
}

// UsesCertificate reports whether the laptop has a certificate to prove itself with.
func (a *Authentication) UsesCertificate() bool {
	return slices.Contains(a.AllRounds(), RoundCertificate) || slices.Contains(a.AllRounds(), RoundTLS)
}

// UsesPassword reports whether a round of EAP wants a password.
func (a *Authentication) UsesPassword() bool {
	return slices.Contains(a.AllRounds(), RoundMSCHAPv2) || slices.Contains(a.AllRounds(), RoundTTLS)
}

// NeedsTrust reports whether a certificate of the gateway's, or of an EAP server's, has to be verified.
func (a *Authentication) NeedsTrust() bool {
	return slices.Contains(a.Accepts(), GatewayCertificate) || slices.Contains(a.AllRounds(), RoundTLS) || slices.Contains(a.AllRounds(), RoundTTLS)
}

// NeedsPSK reports whether there has to be a pre-shared key.
func (a *Authentication) NeedsPSK() bool {
	return slices.Contains(a.AllRounds(), RoundPSK) || slices.Contains(a.Accepts(), GatewayPSK)
}
