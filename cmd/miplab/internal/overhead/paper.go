package overhead

import "mipvpn/stack"

// Octets of headers.
const (
	ipv4       = 20 // RFC 791 §3.1
	udp        = 8  // RFC 768
	data       = 4  // RFC 3519 §3.3, the MIP tunnel data header
	espHeader  = 8  // RFC 4303 §2: SPI and sequence number
	espTrailer = 2  // RFC 4303 §2: pad length and next header
)

// Cipher is what ESP's overhead depends on.
type Cipher struct {
	// Name is for persons.
	Name string
	// IV and ICV are the lengths of initialization vector and integrity check value, Align is what the ciphertext is a
	// multiple of; all in octets.
	IV, ICV, Align int
}

// The ciphers of the table.
var (
	// DraftCipher is that of draft §6.2: blocks of 64 bits, and HMAC-SHA1-96 or HMAC-MD5-96.
	DraftCipher = Cipher{Name: "64-bit blocks, HMAC-96", IV: 8, ICV: 12, Align: 8}
	// GCM is AES-GCM with an ICV of 16 octets (RFC 4106), which needs no more alignment than ESP itself.
	GCM = Cipher{Name: "AES-GCM-16", IV: 8, ICV: 16, Align: 4}
)

// padding returns how many octets of padding ESP puts behind a packet of n octets (RFC 4303 §2.4).
func (c Cipher) padding(n int) int { return (c.Align - (n+espTrailer)%c.Align) % c.Align }

// Composition is an access mode with or without zero-overhead tunnelling.
type Composition struct {
	Mode stack.Mode
	// Switched is set when the x-HA switches addresses in the place of tunnelling (draft appendix D).
	Switched bool
}

// String is the mode's name, with the draft's name of the mechanism behind it.
func (c Composition) String() string {
	if c.Switched {
		return string(c.Mode) + "+zot"
	}
	return string(c.Mode)
}

// Compositions returns all compositions, in the order of the modes.
func Compositions() []Composition {
	var all []Composition
	for _, m := range stack.Modes() {
		all = append(all, Composition{Mode: m})
		if l, _ := m.Composition(); l.ExternalMIP && !l.ForeignAgent {
			all = append(all, Composition{m, true})
		}
	}
	return all
}

// Added returns how many octets are added to an IPv4 packet of n octets between the laptop and its first router. With
// encapsulated, each layer that can go in UDP does (see Layers).
func (c Composition) Added(cipher Cipher, n int, encapsulated bool) int {
	headers, err := Headers(c.Layers(encapsulated), cipher, n)
	if err != nil {
		panic(err) // Layers names what Headers counts
	}
	return Octets(headers)
}

// Most returns the most of Added over all lengths.
func (c Composition) Most(cipher Cipher, encapsulated bool) int {
	most := 0
	for n := range cipher.Align {
		most = max(most, c.Added(cipher, ipv4+n, encapsulated))
	}
	return most
}
