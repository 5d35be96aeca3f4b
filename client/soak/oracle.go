package soak

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/e2e"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// never is the time of a proof that there is none of.
const never = time.Duration(-1)

// echoTime is how long what others forward may be the consequence of a frame of the laptop's.
const echoTime = 2 * time.Second

// Leak is a frame that must not have been.
type Leak struct {
	// At is the network's time, Wire and Sender as in simnet.Frame.
	At           time.Duration
	Wire, Sender string
	// After is the number and name of the transition before it.
	After string
	// Why says which rule it breaks.
	Why string
	// Packet is the frame's IPv4 packet.
	Packet []byte
}

// String says what leaked, where and why.
func (l Leak) String() string {
	return fmt.Sprintf("%v after %s: %s on %s from %s: %x", l.At, l.After, l.Why, l.Wire, l.Sender, l.Packet[:min(len(l.Packet), 96)])
}

// maxLeaks is how many leaks are kept whole; all are counted.
const maxLeaks = 20

// Frames counts frames by what they are.
type Frames struct {
	// Examined counts all frames that were looked at.
	Examined int
	// Protected are frames of the laptop with ESP or IKE, on whatever wire.
	Protected int
	// Inside are frames of the laptop with readable enterprise traffic on inside wires, under a live proof: what shows that the
	// oracle can see.
	Inside int
	// Exposed are such frames on a wire that had been outside without any sign to the laptop, for less than T_MONITOR.
	Exposed int
	// Lifted are such frames while a person had taken the client down.
	Lifted int
	// Leaks are all other frames with readable enterprise traffic: on an external wire, or anywhere without a live proof.
	Leaks int
}

// oracle judges every frame by what the walk has done to the laptop and by the registrations that it has seen itself.
type oracle struct {
	mu      sync.Mutex
	monitor time.Duration
	sa      *auth.SecurityAssociation // of the i-HA
	advance time.Duration             // of the laptop's boot time against the network's
	nics    map[string]*view          // by full name
	lifted  bool
	last    time.Duration // network time of the last frame that excuses its echoes
	after   string

	frames  Frames
	longest time.Duration // exposure
	leaks   []Leak
}

// view is what the oracle knows of one interface of the laptop.
type view struct {
	wire     *simnet.Wire
	external bool
	// rerouted is the network time from which its wire has been outside without a sign, never while it has not.
	rerouted time.Duration
	// since is the network time of the last event that the host could observe.
	since time.Duration
	// asked are boot times of requests to the i-HA by Identification, and proven that of the newest one with a proof for an
	// answer.
	asked  map[wire.Identification]time.Duration
	proven time.Duration
}

func newOracle(cfg *config.Config, nics ...string) (*oracle, error) {
	algorithm, err := auth.ParseAlgorithm(string(cfg.Internal.Algorithm))
	if err != nil {
		return nil, err
	}
	sa, err := auth.New(auth.Parameters{SPI: cfg.Internal.SPI, Algorithm: algorithm, Key: auth.Key(cfg.Internal.Key)})
	if err != nil {
		return nil, err
	}
	o := &oracle{monitor: cfg.Detection.Monitor, sa: sa, nics: make(map[string]*view), last: -time.Hour, after: "the start"}
	for _, n := range nics {
		o.nics[n] = &view{rerouted: never, proven: never, asked: make(map[wire.Identification]time.Duration)}
	}
	return o, nil
}

// observable tells of an event of the interface that the host can observe, at the network time: nothing that was proven before
// counts any more. w is the wire that it is attached to from now on.
func (o *oracle) observable(nic string, now time.Duration, w *simnet.Wire, external bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.nics[nic]
	v.wire, v.external, v.rerouted, v.since, v.proven = w, external, never, now, never
	clear(v.asked)
}

// allObservable is observable for every interface, each staying where it is: a resume, or another process.
func (o *oracle) allObservable(now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.nics {
		v.external = v.external || v.rerouted != never
		v.rerouted, v.since, v.proven = never, now, never
		clear(v.asked)
	}
}

// silently tells that the interface has been outside since now, without a sign to the host.
func (o *oracle) silently(nic string, now time.Duration, w *simnet.Wire) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v := o.nics[nic]; v.rerouted == never && !v.external {
		v.wire, v.rerouted = w, now
	} else {
		v.wire = w
	}
}

// silentlyBack tells that the interface, re-routed before, is inside again without a sign.
func (o *oracle) silentlyBack(nic string, w *simnet.Wire) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.nics[nic]
	v.wire, v.rerouted, v.external = w, never, false
}

// lift tells that a person takes the client down, or up again.
func (o *oracle) lift(down bool, now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lifted = down
	if !down {
		o.last = now
	}
}

// slept tells that the laptop's boot time has gone ahead of the network's by d.
func (o *oracle) slept(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance += d
}

// name says which transition frames come after.
func (o *oracle) name(after string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.after = after
}

// look is the tap of every wire but the core.
func (o *oracle) look(external bool) func(simnet.Frame) {
	return func(f simnet.Frame) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.frames.Examined++
		ip := packet.IPv4(f.Packet)
		kind, message := inspect(ip)
		v := o.nics[f.Sender]
		switch {
		case kind == registration:
			o.register(f, v, message)
		case f.Sender == simnet.Interceptors: // the adversary's own; what it was given has been judged
		case v == nil && external && kind >= named:
			o.forwarded(f)
		case v == nil:
		case f.Plaintext || kind == bare || kind == named && external:
			o.judge(f, v)
		case kind == sealed:
			o.frames.Protected++
		}
	}
}

// register takes account of a registration message, and of a proof when it is one.
func (o *oracle) register(f simnet.Frame, v *view, message []byte) {
	if r, err := wire.ParseRegistrationRequest(message); err == nil {
		if v != nil && r.HomeAgent == simnet.LabInternalHA && f.At >= v.since {
			v.asked[r.Identification] = f.At + o.advance
		}
		return
	}
	r, err := wire.ParseRegistrationReply(message)
	if err != nil || f.Lost || !r.Code.Accepted() || r.HomeAgent != simnet.LabInternalHA || !o.trusted(r, message) {
		return
	}
	for _, v := range o.nics {
		asked, ok := v.asked[r.Identification]
		// DET-4: a reply that takes longer is no proof.
		if ok && v.wire != nil && v.wire.Name() == f.Wire && f.At+o.advance-asked <= 5*time.Second {
			v.proven = max(v.proven, asked)
		}
	}
}

// trusted reports whether the reply has the Trusted Networks Configured extension in front of a valid authenticator (DET-3) of a
// strong association (DET-17).
func (o *oracle) trusted(r *wire.RegistrationReply, message []byte) bool {
	offset := wire.ReplyLen
	seen := false
	for _, e := range r.Extensions {
		if e.Type == wire.ExtMobileHomeAuthentication {
			return seen && o.sa.Strong() && o.sa.Verify(message, offset, wire.ExtMobileHomeAuthentication) == nil
		}
		seen = seen || wire.IsTrustedNetworksConfigured(e)
		offset += e.Len()
	}
	return false
}

// judge judges a frame of the laptop with readable enterprise traffic.
func (o *oracle) judge(f simnet.Frame, v *view) {
	age := f.At + o.advance - v.proven
	outside := v.external || v.rerouted != never
	switch {
	case o.lifted:
		o.frames.Lifted++
		o.last = f.At
	case v.proven == never:
		o.leak(f, "plaintext without a proof in this epoch of the interface")
	case age >= o.monitor:
		o.leak(f, fmt.Sprintf("plaintext under a proof of %v, T_MONITOR is %v", age, o.monitor))
	case !outside:
		o.frames.Inside++
	case v.rerouted == never:
		o.leak(f, "plaintext outside after an event that the host can observe")
	default:
		o.frames.Exposed++
		o.longest = max(o.longest, f.At-v.rerouted)
		o.last = f.At
	}
}

// forwarded judges readable enterprise traffic on an external wire that another host than the laptop has sent.
func (o *oracle) forwarded(f simnet.Frame) {
	if !o.lifted && f.At-o.last > echoTime {
		o.leak(f, "enterprise traffic of another host than the laptop")
	}
}

func (o *oracle) leak(f simnet.Frame, why string) {
	o.frames.Leaks++
	if len(o.leaks) < maxLeaks {
		o.leaks = append(o.leaks, Leak{At: f.At, Wire: f.Wire, Sender: f.Sender, After: o.after, Why: why, Packet: f.Packet})
	}
}

// sight is what can be seen of a packet.
type sight uint8

const (
	foreign      sight = iota // nothing of the enterprise
	sealed                    // ESP or IKE
	registration              // a registration message, which names home addresses by design
	named                     // the innermost readable header names an enterprise address
	bare                      // enterprise traffic can be read
)

var enterprisePairs = [][]byte{
	append(simnet.LabHomeAddress.AsSlice(), simnet.LabCorrespondent.AsSlice()...),
	append(simnet.LabCorrespondent.AsSlice(), simnet.LabHomeAddress.AsSlice()...),
}

// inspect takes a packet apart through the tunnels that can be read and says what it is; of a registration message it returns
// the octets. An octet string that cannot be taken apart is searched.
func inspect(ip packet.IPv4) (sight, []byte) {
	if bytes.Contains(ip, e2e.Canary) { // at any offset, whatever is around it
		return bare, nil
	}
	names, secret := false, false
	rest := []byte(ip)
	for range 8 { // more tunnels than any mode has
		if !ip.Valid() {
			break
		}
		names = ip.Protocol() != packet.ProtocolIPIP && (simnet.LabEnterprise.Contains(ip.Src()) || simnet.LabEnterprise.Contains(ip.Dst()))
		secret = secret || ip.Src() == simnet.LabHomeAddress || ip.Dst() == simnet.LabHomeAddress
		rest = ip.Payload()
		if ip.FragmentOffset() != 0 {
			names = false // what it carries was judged by the first fragment
			break
		}
		switch ip.Protocol() {
		case packet.ProtocolIPIP:
			ip = packet.IPv4(rest)
			continue
		case packet.ProtocolESP:
			if !secret {
				return sealed, nil
			}
		case packet.ProtocolUDP:
			kind, inner := inspectUDP(packet.UDP(rest))
			switch {
			case kind == registration:
				return registration, inner
			case kind == sealed && !secret:
				return sealed, nil
			case inner != nil:
				ip = packet.IPv4(inner)
				continue
			}
		case packet.ProtocolICMP:
			if len(rest) > 8 && isError(rest[0]) && signalling(rest[8:]) {
				return foreign, nil
			}
		}
		break
	}
	if secret || bytes.Contains(rest, enterprisePairs[0]) || bytes.Contains(rest, enterprisePairs[1]) {
		return bare, nil
	}
	if names {
		return named, nil
	}
	return foreign, nil
}

// UDP ports of signalling.
const (
	portMobileIP = 434
	portIKE      = 500
	portIKENAT   = 4500
)

// inspectUDP says what a datagram is; inner is the registration message, or the packet in a tunnel of RFC 3519.
func inspectUDP(u packet.UDP) (kind sight, inner []byte) {
	if !u.Valid() {
		return foreign, nil
	}
	either := func(port uint16) bool { return u.SrcPort() == port || u.DstPort() == port }
	p := u.Payload()
	switch {
	case either(portMobileIP) && len(p) > 0 && (p[0] == 1 || p[0] == 3): // RFC 5944 §3.3, §3.4
		return registration, p
	case either(portMobileIP):
		if next, data, ok := wire.ParseTunnelData(p); ok && next == packet.ProtocolIPIP {
			return foreign, data
		}
	case either(portIKE), either(portIKENAT):
		return sealed, nil
	}
	return foreign, nil
}

// isError reports whether an ICMP message of this type quotes another packet (RFC 792).
func isError(kind byte) bool { return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12 }

// signalling reports whether a packet that an ICMP error quotes, cut short, is one of the client's own: a tunnel or a message
// of Mobile IP or IKE.
func signalling(quoted []byte) bool {
	ip := packet.IPv4(quoted)
	if len(ip) < packet.IPv4Len || ip[0]>>4 != 4 || len(ip) < ip.HeaderLen()+4 {
		return false
	}
	switch ip.Protocol() {
	case packet.ProtocolESP, packet.ProtocolIPIP:
		return !bytes.Contains(quoted[ip.HeaderLen():], enterprisePairs[0]) && !bytes.Contains(quoted[ip.HeaderLen():], enterprisePairs[1])
	case packet.ProtocolUDP:
		t := quoted[ip.HeaderLen():]
		for _, port := range []uint16{uint16(t[0])<<8 | uint16(t[1]), uint16(t[2])<<8 | uint16(t[3])} {
			if port == portMobileIP || port == portIKE || port == portIKENAT {
				return true
			}
		}
	}
	return false
}
