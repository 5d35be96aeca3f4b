package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"fmt"
	"io"
	"net/netip"

	"mipvpn/mipv4/wire"
)

// chapTail is the greatest number of octets of the challenge that stand at the end of what CHAP_SPI hashes (RFC 4721 §8), so that
// they fit into a RADIUS attribute behind a hash of 16.
const chapTail = 237

// NoChallenge is the challenge that counts where there is no foreign agent to give one: the value 0 (RFC 4721 §3.5), as one octet.
var NoChallenge = []byte{0}

// AAA is what a mobile node shares with an AAA infrastructure (RFC 4721 §6): with the SPI wire.CHAPSPI, a secret that RADIUS servers
// check in the manner of CHAP (§8); otherwise a key for an algorithm. It is safe for concurrent use.
type AAA struct {
	spi       uint32
	algorithm Algorithm
	key       Key
}

// NewAAA makes it of the SPI wire.CHAPSPI, with which the algorithm has no meaning, or of another one from FirstSPI up. Errors wrap
// ErrParameters and never show the key.
func NewAAA(p Parameters) (*AAA, error) {
	switch {
	case p.SPI != wire.CHAPSPI && p.SPI < FirstSPI:
		return nil, fmt.Errorf("%w: SPI %d is reserved, expected %d for RADIUS, or %d or more", ErrParameters, p.SPI, wire.CHAPSPI, FirstSPI)
	case p.Algorithm >= numAlgorithms:
		return nil, fmt.Errorf("%w: %v is not known", ErrParameters, p.Algorithm)
	case len(p.Key) == 0 || len(p.Key) > MaxKeyLen:
		return nil, fmt.Errorf("%w: a key of %d octets, expected 1 to %d", ErrParameters, len(p.Key), MaxKeyLen)
	}
	return &AAA{spi: p.SPI, algorithm: p.Algorithm, key: append(Key(nil), p.Key...)}, nil
}

// SPI returns the SPI in host order.
func (a *AAA) SPI() uint32 { return a.spi }

// AppendExtension appends a Mobile-AAA Authentication extension to message, which must hold the whole message so far from its type
// octet on. challenge is the one in the message, NoChallenge where there is none.
func (a *AAA) AppendExtension(message, challenge []byte) []byte {
	if a.spi != wire.CHAPSPI {
		message = wire.AppendMobileAAAHeader(message, a.spi, a.algorithm.Size())
		return a.algorithm.sum(message, a.key, message)
	}
	message = wire.AppendMobileAAAHeader(message, a.spi, md5.Size)
	return append(message, chap(a.key, message, challenge)...)
}

// Verify checks the Mobile-AAA Authentication extension that begins offset octets into message, the whole UDP payload as received.
// Errors wrap wire.ErrExtension when no such extension stands there, ErrSPI, or ErrAuthenticator.
func (a *AAA) Verify(message []byte, offset int, challenge []byte) error {
	c, err := CredentialsAt(message, offset, challenge)
	if err != nil {
		return err
	}
	if c.SPI != a.spi {
		return fmt.Errorf("%w: Mobile-AAA expects SPI %d, found %d", ErrSPI, a.spi, c.SPI)
	}
	covered := message[:offset+wire.MobileAAAHeaderLen]
	want := a.algorithm.sum(nil, a.key, covered)
	if a.spi == wire.CHAPSPI {
		want = chap(a.key, covered, challenge)
	}
	if !hmac.Equal(want, c.Response) {
		return fmt.Errorf("%w: Mobile-AAA with SPI %d", ErrAuthenticator, a.spi)
	}
	return nil
}

// Wipe clears the key. What it would make or accept afterwards is worthless.
func (a *AAA) Wipe() { clear(a.key) }

// String names it without its key.
func (a *AAA) String() string {
	if a.spi == wire.CHAPSPI {
		return fmt.Sprintf("SPI %d (CHAP, %d-bit key)", a.spi, 8*len(a.key))
	}
	return fmt.Sprintf("SPI %d (%v, %d-bit key)", a.spi, a.algorithm, 8*len(a.key))
}

// Format writes String for every verb, so that no verb shows the key.
func (a *AAA) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, a.String()) }

// chap computes the authenticator of CHAP_SPI: MD5 over the high-order octet of the challenge, the key, the MD5 of what is covered,
// and the low-order octets of the challenge (RFC 4721 §8).
func chap(key Key, covered, challenge []byte) []byte {
	high, tail := chapChallenge(covered, challenge)
	h := md5.New()
	h.Write([]byte{high})
	h.Write(key)
	h.Write(tail)
	return h.Sum(nil)
}

func chapChallenge(covered, challenge []byte) (high byte, tail []byte) {
	if len(challenge) == 0 {
		challenge = NoChallenge
	}
	sum := md5.Sum(covered)
	return challenge[0], append(sum[:], challenge[max(0, len(challenge)-chapTail):]...)
}

// Credentials are what a mobile node presents to an AAA infrastructure in one request, in the form that RADIUS carries (RFC 2865
// §5.3, §5.40): the response is to be the MD5 of identifier, secret and challenge. With another SPI than wire.CHAPSPI only who has
// the key and the message can check the response.
type Credentials struct {
	// SPI is the one that the mobile node names.
	SPI uint32
	// Identifier is the CHAP identifier, Challenge the CHAP challenge of 17 to 253 octets.
	Identifier byte
	Challenge  []byte
	// Response is the authenticator; CHAP's has 16 octets.
	Response []byte
}

// CredentialsAt returns what the Mobile-AAA Authentication extension that begins offset octets into message presents. The result
// owns its octets. Errors wrap wire.ErrExtension when no such extension stands there, or when the response for CHAP is not of 16
// octets.
func CredentialsAt(message []byte, offset int, challenge []byte) (Credentials, error) {
	const head = 4
	if offset < 0 || len(message)-offset < wire.MobileAAAHeaderLen {
		return Credentials{}, fmt.Errorf("%w: expected Mobile-AAA Authentication at octet %d of %d", wire.ErrExtension, offset, len(message))
	}
	p := message[offset:]
	n := head + int(p[2])<<8 + int(p[3])
	if n > len(p) {
		return Credentials{}, fmt.Errorf("%w: Mobile-AAA Authentication at octet %d reaches to %d of %d", wire.ErrExtension, offset, offset+n, len(message))
	}
	m, err := wire.ParseMobileAAA(wire.Extension{Type: wire.ExtensionType(p[0]), Data: append([]byte{p[1]}, p[head:n]...)})
	if err != nil {
		return Credentials{}, err
	}
	if m.SPI == wire.CHAPSPI && len(m.Authenticator) != md5.Size {
		return Credentials{}, fmt.Errorf("%w: a CHAP response of %d octets, expected %d", wire.ErrExtension, len(m.Authenticator), md5.Size)
	}
	c := Credentials{SPI: m.SPI, Response: m.Authenticator}
	c.Identifier, c.Challenge = chapChallenge(message[:offset+wire.MobileAAAHeaderLen], challenge)
	return c, nil
}

// Answers reports whether the response of the credentials is the one that the secret of CHAP_SPI yields: what a RADIUS server computes.
// It is false for another SPI, whose response covers a message that the credentials do not have.
func (a *AAA) Answers(c Credentials) bool {
	if a.spi != wire.CHAPSPI || c.SPI != wire.CHAPSPI {
		return false
	}
	h := md5.New()
	h.Write([]byte{c.Identifier})
	h.Write(a.key)
	h.Write(c.Challenge)
	return hmac.Equal(h.Sum(nil), c.Response)
}

// Question is what a home agent or foreign agent asks an AAA infrastructure about one request; the answer is a Verdict.
type Question struct {
	// ID tells questions of one agent apart.
	ID uint64
	// NAI is the mobile node's network access identifier as in its request, "" for none: the user's name.
	NAI string
	// HomeAddress and HomeAgent are the request's.
	HomeAddress, HomeAgent netip.Addr
	// Credentials are what the mobile node presents.
	Credentials Credentials
}

// Verdict is what an AAA infrastructure says to a Question.
type Verdict uint8

// What an AAA infrastructure says.
const (
	// Unavailable: it has not answered, or cannot check such credentials.
	Unavailable Verdict = iota
	// Granted: the credentials are those of the mobile node.
	Granted
	// Rejected: they are not, or the mobile node may not register.
	Rejected
)
