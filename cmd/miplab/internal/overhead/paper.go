package overhead

import "mipvpn/stack"

// Octets of headers.
const (
	ipv4     = 20    // RFC 791 §3.1
	udp      = 8     // RFC 768
	data     = 4     // RFC 3519 §3.3, the MIP tunnel data header
	espFixed = 8 + 2 // RFC 4303 §2: SPI and sequence number; pad length and next header
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

// esp returns what ESP in tunnel mode adds to a packet of n octets, its own IPv4 header included.
func (c Cipher) esp(n int) int {
	pad := (c.Align - (n+2)%c.Align) % c.Align
	return ipv4 + espFixed + c.IV + c.ICV + pad
}

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
// encapsulated, each layer that can go in UDP does: ESP by RFC 3948, a Mobile IP tunnel by RFC 3519; a tunnel that is
// switched is none.
func (c Composition) Added(cipher Cipher, n int, encapsulated bool) int {
	l, _ := c.Mode.Composition()
	tunnel, natESP := ipv4, 0
	if encapsulated {
		tunnel, natESP = ipv4+udp+data, udp
	}
	if !l.VPN {
		if l.ForeignAgent {
			return 0 // the agent tunnels (RFC 5944 §3.1)
		}
		return tunnel
	}
	added := 0
	if !l.GatewayAgent {
		added = tunnel
	}
	added += cipher.esp(n+added) + natESP
	if l.ExternalMIP && !l.ForeignAgent && !c.Switched {
		added += tunnel
	}
	return added
}

// Most returns the most of Added over all lengths.
func (c Composition) Most(cipher Cipher, encapsulated bool) int {
	most := 0
	for n := range cipher.Align {
		most = max(most, c.Added(cipher, ipv4+n, encapsulated))
	}
	return most
}
