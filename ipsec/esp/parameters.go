package esp

import (
	"errors"
	"fmt"

	"mipvpn/ipsec/suite"
)

const (
	headerLen  = 8 // SPI, sequence number (RFC 4303 §2)
	trailerLen = 2 // pad length, next header
	align      = 4 // RFC 4303 §2.4: the ICV begins at a multiple of 4 octets

	nextHeaderIPv4  = 4  // tunnel mode (RFC 4303 §2.6)
	nextHeaderDummy = 59 // RFC 4303 §2.6
)

// MinSPI is the least SPI of a security association: 0 is for local use and 1 to 255 are reserved (RFC 4303 §2.1).
const MinSPI = 256

// ErrSPI tells that an SPI is 0 to 255.
var ErrSPI = errors.New("esp: SPI is reserved (RFC 4303 §2.1)")

// Parameters are what one direction of a child SA is made from.
type Parameters struct {
	// SPI is the security parameters index in host order, at least MinSPI. It is the receiver's.
	SPI uint32
	// Encryption is the transform; Key is its keying material, key then salt or integrity key, Encryption.KeyLen octets.
	Encryption suite.Encryption
	Key        []byte `json:"-"`
	// Local and Remote are the traffic selectors: a packet going out must match one of Local with its source and one of
	// Remote with its destination, a packet coming in the other way round. An empty list matches nothing.
	Local, Remote []Selector
	// ESN is set for extended sequence numbers (RFC 4303 §2.2.1).
	ESN bool
	// Window is how many sequence numbers below the highest one are still accepted (RFC 4303 §3.4.3), rounded up to what fills whole
	// words; 0 for WindowSize, MaxWindow at most.
	Window int
	// TFC is the length in octets that shorter inner packets are padded to on sending (RFC 4303 §2.7), 0 for none. It should not be
	// more than Outbound.Fits of the path's MTU.
	TFC int
	// MaxBytes and MaxPackets are how many octets of inner packets and how many packets the SA may carry, 0 for no such limit
	// (RFC 4301 §4.4.2.1, the hard lifetime): what is over them is dropped. The sequence numbers are a limit of packets in any
	// case.
	MaxBytes, MaxPackets uint64
	// RekeyBytes and RekeyPackets are when the SA is to be replaced (the soft lifetime), 0 for three quarters of the limit.
	RekeyBytes, RekeyPackets uint64
}

// String describes the SA without its key.
func (p Parameters) String() string {
	esn := ""
	if p.ESN {
		esn = ", ESN"
	}
	return fmt.Sprintf("ESP SPI %08x %v%s, local %v, remote %v", p.SPI, p.Encryption, esn, p.Local, p.Remote)
}

// GoString describes the SA without its key.
func (p Parameters) GoString() string { return p.String() }

// Wipe clears the key.
func (p *Parameters) Wipe() { clear(p.Key) }

// Overhead returns the most octets that ESP with the transform e adds to an inner packet: header, IV, padding, trailer and
// ICV. Outer IPv4 and UDP headers are not in it. It is 0 for a transform that is not supported.
func Overhead(e suite.Encryption) int {
	if !e.Supported() {
		return 0
	}
	return headerLen + e.IVLen() + maxPad(e) + trailerLen + e.ICVLen()
}

// maxPad returns the most octets of padding that the transform e needs.
func maxPad(e suite.Encryption) int { return max(align, e.Align()) - 1 }

// cipher checks the parameters and makes the cipher.
func (p Parameters) cipher() (suite.Cipher, error) {
	if p.SPI < MinSPI {
		return nil, fmt.Errorf("%w: %d", ErrSPI, p.SPI)
	}
	c, err := p.Encryption.NewCipher(p.Key)
	if err != nil {
		return nil, fmt.Errorf("esp: SPI %08x: %w", p.SPI, err)
	}
	return c, nil
}
