package overhead

import (
	"errors"
	"fmt"
	"slices"
)

// ErrUncounted is for layers whose octets do not go with packets one to one, or are not known here: ESP in TCP, which is a
// stream, and encapsulations that no lab uses.
var ErrUncounted = errors.New("overhead: the octets of this encapsulation are not counted a packet")

// Kinds of layers that add octets, by the names of control.Layer.
const (
	KindExternalMIP = "x-mip"
	KindVPN         = "vpn"
	KindInternalMIP = "i-mip"
)

// Layer is what one layer does to packets between the laptop and its first router.
type Layer struct {
	// Kind and Encapsulation are those of control.Layer.
	Kind, Encapsulation string
}

// Header is one run of octets that a layer puts before a packet, or behind it.
type Header struct {
	// Layer is the kind of the layer that it is of.
	Layer string `json:"layer"`
	// Name says what it is, RFC where it is defined.
	Name string `json:"name"`
	RFC  string `json:"rfc"`
	// Octets is how long it is.
	Octets int `json:"octets"`
	// Behind is set where it stands behind the packet: ESP's trailer and its integrity check value.
	Behind bool `json:"behind,omitempty"`
	// Encrypted is set for what a stranger on the path cannot read: all between ESP's initialization vector and its integrity
	// check value.
	Encrypted bool `json:"encrypted,omitempty"`
}

// Headers returns what the layers, from the bottom to the top, put around an IPv4 packet of n octets, in the order in which it
// is on the wire: first all that stands before the packet, then what stands behind it. The error wraps ErrUncounted.
func Headers(layers []Layer, cipher Cipher, n int) ([]Header, error) {
	var before, behind []Header
	length := n
	for _, l := range slices.Backward(layers) {
		front, back, err := l.headers(cipher, length)
		if err != nil {
			return nil, err
		}
		if len(back) > 0 { // ESP covers all that is inside
			for i := range before {
				before[i].Encrypted = true
			}
		}
		before, behind = append(front, before...), append(behind, back...)
		length = n + Octets(before) + Octets(behind)
	}
	return append(before, behind...), nil
}

// Octets returns the length of all headers together.
func Octets(headers []Header) int {
	n := 0
	for _, h := range headers {
		n += h.Octets
	}
	return n
}

// headers returns what one layer puts before and behind a packet of n octets.
func (l Layer) headers(cipher Cipher, n int) (front, back []Header, err error) {
	add := func(name, rfc string, octets int) {
		front = append(front, Header{Layer: l.Kind, Name: name, RFC: rfc, Octets: octets})
	}
	switch l.Encapsulation {
	case "", "none", "switched":
	case "ipip":
		add("IPv4", "RFC 2003", ipv4)
	case "udp":
		add("IPv4", "RFC 791", ipv4)
		add("UDP", "RFC 768", udp)
		add("MIP tunnel data", "RFC 3519", data)
	case "esp", "esp-in-udp":
		add("IPv4", "RFC 4303", ipv4)
		if l.Encapsulation == "esp-in-udp" {
			add("UDP", "RFC 3948", udp)
		}
		add("ESP: SPI, sequence number", "RFC 4303", espHeader)
		add("initialization vector", "RFC 4106", cipher.IV)
		back = []Header{
			{Layer: l.Kind, Name: "padding, pad length, next header", RFC: "RFC 4303", Octets: cipher.padding(n) + espTrailer, Behind: true, Encrypted: true},
			{Layer: l.Kind, Name: "integrity check value", RFC: "RFC 4106", Octets: cipher.ICV, Behind: true},
		}
	default:
		return nil, nil, fmt.Errorf("%w: %s of layer %s", ErrUncounted, l.Encapsulation, l.Kind)
	}
	return front, back, nil
}

// Layers returns the layers of the composition that add octets between the laptop and its first router, from the bottom to the
// top. With encapsulated, each layer that can goes in UDP: ESP by RFC 3948, a Mobile IP tunnel by RFC 3519; a tunnel that is
// switched is none.
func (c Composition) Layers(encapsulated bool) []Layer {
	l, _ := c.Mode.Composition()
	tunnel, esp := "ipip", "esp"
	if encapsulated {
		tunnel, esp = "udp", "esp-in-udp"
	}
	var layers []Layer
	if l.ExternalMIP {
		switch {
		case l.ForeignAgent: // the agent tunnels (RFC 5944 §3.1)
			layers = append(layers, Layer{KindExternalMIP, "none"})
		case c.Switched:
			layers = append(layers, Layer{KindExternalMIP, "switched"})
		default:
			layers = append(layers, Layer{KindExternalMIP, tunnel})
		}
	}
	if l.VPN {
		layers = append(layers, Layer{KindVPN, esp})
	}
	if l.GatewayAgent || !l.VPN && l.ForeignAgent {
		tunnel = "none" // likewise
	}
	return append(layers, Layer{KindInternalMIP, tunnel})
}
