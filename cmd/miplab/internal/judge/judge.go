package judge

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Leak is one frame that shows what it must not.
type Leak struct {
	Wire   string
	At     time.Time
	Reason string
	Frame  []byte
}

// Tally counts what crossed a wire. A frame counts once, for what its innermost visible packet is.
type Tally struct {
	Frames        int `json:"frames"`
	ESP           int `json:"esp"`
	IKE           int `json:"ike"`
	Registrations int `json:"registrations"`
	Other         int `json:"other"`
	Leaks         int `json:"leaks"`
}

// Judge looks at frames. The exported fields are set before the first frame.
type Judge struct {
	// Enterprise is the prefix that the innermost visible header may name only with ESP, IKE or a registration behind it (a
	// care-of address may be of the enterprise).
	Enterprise netip.Prefix
	// Secret are addresses that must not stand at any offset outside ESP and registrations.
	Secret []netip.Addr

	mu       sync.Mutex
	canaries [][]byte
	tallies  map[string]*Tally
	leaks    []Leak
}

// maxLeaks is how many leaks are kept whole; all are counted.
const maxLeaks = 100

// AddCanary makes the judge look for c from now on.
func (j *Judge) AddCanary(c []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.canaries = append(j.canaries, bytes.Clone(c))
}

// Tally returns the counts of one wire so far.
func (j *Judge) Tally(wire string) Tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := j.tallies[wire]; t != nil {
		return *t
	}
	return Tally{}
}

// Tallies returns the counts of all wires on which there was a frame.
func (j *Judge) Tallies() map[string]Tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make(map[string]Tally, len(j.tallies))
	for w, t := range j.tallies {
		all[w] = *t
	}
	return all
}

// Leaks returns the number of leaks so far on all wires and the first of them.
func (j *Judge) Leaks() (int, []Leak) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, t := range j.tallies {
		n += t.Leaks
	}
	return n, append([]Leak(nil), j.leaks...)
}

// Frame looks at one Ethernet frame that crossed the wire and reports why it is a leak, "" when it is none.
func (j *Judge) Frame(wire string, at time.Time, frame []byte) (reason string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.tallies == nil {
		j.tallies = map[string]*Tally{}
	}
	t := j.tallies[wire]
	if t == nil {
		t = &Tally{}
		j.tallies[wire] = t
	}
	v := j.look(decode(frame, layers.LayerTypeEthernet), headers{})
	for _, c := range j.canaries {
		if i := bytes.Index(frame, c); i >= 0 {
			v.reason = fmt.Sprintf("a canary at offset %d", i)
		}
	}
	t.Frames++
	switch v.kind {
	case kindESP:
		t.ESP++
	case kindIKE:
		t.IKE++
	case kindRegistration:
		t.Registrations++
	default:
		t.Other++
	}
	if v.reason != "" {
		t.Leaks++
		if len(j.leaks) < maxLeaks {
			j.leaks = append(j.leaks, Leak{Wire: wire, At: at, Reason: v.reason, Frame: bytes.Clone(frame)})
		}
	}
	return v.reason
}

// kind says what the innermost visible packet of a frame is.
type kind int

const (
	kindOther kind = iota
	kindESP
	kindIKE
	kindRegistration
)

// verdict is what has been seen in a packet.
type verdict struct {
	kind   kind
	reason string
}

// UDP ports and Mobile IP message types.
const (
	portMobileIP   = 434  // RFC 5944 §3.3
	portIKE        = 500  // RFC 7296
	portIKENAT     = 4500 // RFC 3948
	typeRequest    = 1    // RFC 5944 §3.3
	typeReply      = 3    // RFC 5944 §3.4
	typeTunnelData = 4    // RFC 3519 §3.3
	nextIPv4       = 4    // RFC 3519 §3.3, next header
)

// headers is what the IPv4 headers passed on the way in would give away.
type headers struct {
	secret     string // a header names a secret address: a leak whatever is inside, registrations aside
	enterprise string // the innermost header so far names the enterprise: a leak unless it carries ESP or IKE
}

// open returns the verdict on a packet of no known protection.
func (h headers) open() verdict {
	if h.secret != "" {
		return verdict{kindOther, h.secret}
	}
	return verdict{kindOther, h.enterprise}
}

// pass looks at one more IPv4 header, further in than the others.
func (j *Judge) pass(h headers, ip *layers.IPv4) headers {
	h.enterprise = ""
	for _, b := range [][]byte{ip.SrcIP, ip.DstIP} {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			continue
		}
		why := fmt.Sprintf("an IPv4 header names %v: %v to %v, protocol %v", a, ip.SrcIP, ip.DstIP, ip.Protocol)
		if slices.Contains(j.Secret, a) {
			h.secret = why
		}
		if j.Enterprise.Contains(a) {
			h.enterprise = why
		}
	}
	return h
}

// decode takes apart what begins with an Ethernet or IPv4 header.
func decode(b []byte, first gopacket.LayerType) gopacket.Packet {
	return gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true})
}

// look walks the layers of a packet outside in, behind the headers h.
func (j *Judge) look(p gopacket.Packet, h headers) verdict {
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
		case *layers.IPv4:
			h = j.pass(h, l)
			if l.Protocol == layers.IPProtocolESP {
				return verdict{kindESP, h.secret}
			}
			if l.FragOffset != 0 {
				return j.search(l.Payload, h)
			}
		case *layers.UDP:
			return j.lookUDP(l, h)
		case *layers.ICMPv4:
			switch l.TypeCode.Type() {
			case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem,
				layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeRedirect:
				return j.lookQuoted(l.Payload, h)
			}
			return j.search(l.Payload, h)
		case *gopacket.DecodeFailure:
			return j.search(p.Data(), h)
		default: // ARP, TCP, IPv6 and the rest: all octets from here on
			return j.search(append(bytes.Clone(l.LayerContents()), l.LayerPayload()...), h)
		}
	}
	return h.open()
}

func (j *Judge) lookUDP(u *layers.UDP, h headers) verdict {
	either := func(port layers.UDPPort) bool { return u.SrcPort == port || u.DstPort == port }
	body := u.Payload
	switch {
	case either(portMobileIP) && len(body) > 0 && (body[0] == typeRequest || body[0] == typeReply):
		return verdict{kindRegistration, ""}
	case either(portMobileIP) && len(body) > 4 && body[0] == typeTunnelData && body[1] == nextIPv4:
		return j.look(decode(body[4:], layers.LayerTypeIPv4), h)
	case either(portIKENAT) && len(body) >= 4:
		if bytes.Equal(body[:4], []byte{0, 0, 0, 0}) { // the non-ESP marker, RFC 3948 §2.2
			return verdict{kindIKE, h.secret}
		}
		return verdict{kindESP, h.secret}
	case either(portIKE):
		return verdict{kindIKE, h.secret}
	}
	return j.search(body, h)
}

// lookQuoted looks at the packet that an ICMP error quotes, which may be cut short.
func (j *Judge) lookQuoted(quoted []byte, h headers) verdict {
	p := decode(quoted, layers.LayerTypeIPv4)
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return j.search(quoted, h)
	}
	if ip.Protocol == layers.IPProtocolUDP && len(ip.Payload) == 8 && ip.FragOffset == 0 {
		// Cut off behind the UDP header (RFC 792): the port alone says that it was for a home agent.
		if dst := uint16(ip.Payload[2])<<8 | uint16(ip.Payload[3]); dst == portMobileIP {
			return verdict{kindRegistration, ""}
		}
	}
	return j.look(p, h)
}

// search looks for the secret addresses at any offset of p.
func (j *Judge) search(p []byte, h headers) verdict {
	for _, a := range j.Secret {
		b := a.As4()
		if i := bytes.Index(p, b[:]); i >= 0 {
			return verdict{kindOther, fmt.Sprintf("the address %v at offset %d of a payload", a, i)}
		}
	}
	return h.open()
}
