package message

// CertEncoding is a Cert Encoding number (RFC 7296 §3.6).
type CertEncoding uint8

// The encodings that are of use here: RFC 7296 §3.6, and RFC 4806 §3 for OCSP Content.
const (
	CertX509          CertEncoding = 4  // X.509 certificate for signatures, in DER
	CertCRL           CertEncoding = 7  // certificate revocation list, in DER
	CertHashURL       CertEncoding = 12 // SHA-1 hash and URL of an X.509 certificate
	CertHashURLBundle CertEncoding = 13 // SHA-1 hash and URL of an X.509 bundle
	CertOCSP          CertEncoding = 14 // OCSPResponse in DER, or hashes of OCSP responders' keys in a request
)

// HashAlgorithm is a hash algorithm number of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4, §7).
type HashAlgorithm uint16

// The hash algorithms of RFC 7427 §7, and of RFC 8420 §2 for Identity.
const (
	HashSHA1     HashAlgorithm = 1
	HashSHA256   HashAlgorithm = 2
	HashSHA384   HashAlgorithm = 3
	HashSHA512   HashAlgorithm = 4
	HashIdentity HashAlgorithm = 5 // the algorithm takes the octets themselves, as Ed25519 does
)

// Cert is the Certificate payload (RFC 7296 §3.6, Figure 12); Data is not looked into.
type Cert struct {
	Encoding CertEncoding
	Data     []byte
}

// Type returns TypeCert.
func (Cert) Type() PayloadType { return TypeCert }

func parseCert(b []byte) (Payload, error) {
	if len(b) < 1 {
		return nil, malformed(TypeCert, "Cert Encoding", "want at least 1 octet, found 0")
	}
	return Cert{Encoding: CertEncoding(b[0]), Data: clone(b[1:])}, nil
}

func (p Cert) appendBody(b []byte) []byte { return append(append(b, byte(p.Encoding)), p.Data...) }

// CertReq is the Certificate Request payload (RFC 7296 §3.7, Figure 13).
type CertReq struct {
	// Encoding is what is asked for.
	Encoding CertEncoding
	// Authority is the concatenation of SHA-1 digests of trusted authorities' public keys, 20 octets each, not looked into.
	Authority []byte
}

// Type returns TypeCertReq.
func (CertReq) Type() PayloadType { return TypeCertReq }

func parseCertReq(b []byte) (Payload, error) {
	if len(b) < 1 {
		return nil, malformed(TypeCertReq, "Cert Encoding", "want at least 1 octet, found 0")
	}
	return CertReq{Encoding: CertEncoding(b[0]), Authority: clone(b[1:])}, nil
}

func (p CertReq) appendBody(b []byte) []byte {
	return append(append(b, byte(p.Encoding)), p.Authority...)
}
