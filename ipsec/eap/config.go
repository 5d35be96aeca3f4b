package eap

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"slices"

	"mipvpn/ipsec/eap/mschap"
)

// Inner is what runs inside the tunnel of EAP-TTLS (RFC 5281 §11).
type Inner uint8

// The inner authentications.
const (
	// InnerMSCHAPv2 is MS-CHAP-V2 (RFC 5281 §11.2.4).
	InnerMSCHAPv2 Inner = iota + 1
	// InnerPAP shows the password to the server (RFC 5281 §11.2.5).
	InnerPAP
	// InnerEAP is another EAP conversation, here with EAP-MSCHAPv2 (RFC 5281 §11.2.1).
	InnerEAP
)

// String returns the name in configurations.
func (i Inner) String() string {
	switch i {
	case InnerMSCHAPv2:
		return "mschapv2"
	case InnerPAP:
		return "pap"
	case InnerEAP:
		return "eap"
	default:
		return fmt.Sprintf("inner %d", uint8(i))
	}
}

// Certificate is a certificate chain whose private key the driver has: SignatureWanted asks it to sign.
type Certificate struct {
	// Chain has X.509 certificates in DER, the leaf first.
	Chain [][]byte
	// Public is the leaf's public key.
	Public crypto.PublicKey
	// NoPSS is set when an RSA key makes no RSASSA-PSS signatures, as old smart cards do; TLS 1.3 is not used then.
	NoPSS bool
}

// TLSVersion is a version of TLS.
type TLSVersion uint16

// The versions of TLS that are spoken.
const (
	TLS12 TLSVersion = 0x0303
	TLS13 TLSVersion = 0x0304
)

// Common is the configuration that both ends have.
type Common struct {
	// Methods are the methods that may be used, the preferred first: TypeMSCHAPv2, TypeTLS, TypeTTLS.
	Methods []Type
	// Inner are the authentications inside EAP-TTLS: a peer uses the first, a server takes any of them. Empty means
	// InnerMSCHAPv2.
	Inner []Inner
	// Certificate is the own certificate: a server needs one for EAP-TLS and EAP-TTLS, a peer for EAP-TLS.
	Certificate *Certificate
	// MinTLS and MaxTLS bound the version of TLS; 0 means TLS12 and TLS13.
	MinTLS, MaxTLS TLSVersion
	// FragmentSize is the number of octets of TLS data in one EAP message (default 1024, at least 64).
	FragmentSize int
	// Rand is the source of challenges. crypto/tls takes its own.
	Rand io.Reader
}

// PeerConfig is the configuration of a peer.
type PeerConfig struct {
	Common
	// Identity answers an Identity request. It is seen before any method runs; for EAP-TTLS an anonymous one does.
	Identity string
	// User is the name that goes with the password; empty means Identity. It may have a domain in front (DOMAIN\user).
	User string
	// ServerName is put into the TLS handshake as server_name, empty for none. It is not compared with anything here.
	ServerName string
}

// ServerConfig is the configuration of a server.
type ServerConfig struct {
	Common
	// Identity is what the peer calls itself, as far as the carrier knows: of IDi in IKE.
	Identity string
	// AskIdentity begins with an Identity request, whose answer is then used in place of Identity.
	AskIdentity bool
	// Name is the server's name in MS-CHAP; empty means "gateway".
	Name string
	// Retries is how often a wrong password may be given again in EAP-MSCHAPv2 (default 0).
	Retries int
}

const (
	standardFragment = 1024
	leastFragment    = 64
)

func (c *Common) complete(server bool) error {
	if len(c.Methods) == 0 {
		return fmt.Errorf("%w: no method is given", ErrConfig)
	}
	if c.Rand == nil {
		return fmt.Errorf("%w: Rand is missing", ErrConfig)
	}
	if len(c.Inner) == 0 {
		c.Inner = []Inner{InnerMSCHAPv2}
	}
	for _, i := range c.Inner {
		if i < InnerMSCHAPv2 || i > InnerEAP {
			return fmt.Errorf("%w: want an inner authentication, found %v", ErrConfig, i)
		}
	}
	for _, t := range c.Methods {
		switch t {
		case TypeMSCHAPv2:
			if err := mschap.Allowed(); err != nil {
				return fmt.Errorf("%w: %w", ErrConfig, err)
			}
		case TypeTLS, TypeTTLS:
			if c.Certificate == nil && (server || t == TypeTLS) {
				return fmt.Errorf("%w: %v needs a certificate", ErrConfig, t)
			}
		default:
			return fmt.Errorf("%w: %v is not a method of this package", ErrConfig, t)
		}
	}
	if slices.Contains(c.Methods, TypeTTLS) && (slices.Contains(c.Inner, InnerMSCHAPv2) || slices.Contains(c.Inner, InnerEAP)) {
		if err := mschap.Allowed(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if c.Certificate != nil && (len(c.Certificate.Chain) == 0 || c.Certificate.Public == nil) {
		return fmt.Errorf("%w: the certificate is empty", ErrConfig)
	}
	if c.MinTLS == 0 {
		c.MinTLS = TLS12
	}
	if c.MaxTLS == 0 {
		c.MaxTLS = TLS13
	}
	if c.Certificate != nil && c.Certificate.NoPSS {
		if _, isRSA := c.Certificate.Public.(*rsa.PublicKey); isRSA && c.MinTLS <= TLS12 {
			c.MaxTLS = TLS12
		}
	}
	if c.MinTLS < TLS12 || c.MaxTLS > TLS13 || c.MinTLS > c.MaxTLS {
		return fmt.Errorf("%w: want TLS versions from 1.2 to 1.3, found %x to %x", ErrConfig, uint16(c.MinTLS), uint16(c.MaxTLS))
	}
	if c.FragmentSize == 0 {
		c.FragmentSize = standardFragment
	}
	if c.FragmentSize < leastFragment || c.FragmentSize > maxMessage-64 {
		return fmt.Errorf("%w: want a fragment size from %d to %d, found %d", ErrConfig, leastFragment, maxMessage-64, c.FragmentSize)
	}
	return nil
}
