package pinned

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/packet"
)

// Kind says what an end is.
type Kind string

// The kinds of ends.
const (
	// Null is either end of a null tunnel.
	Null Kind = "null"
	// Relay passes a null tunnel's datagrams on to the next hop, and back.
	Relay Kind = "relay"
	// VCNear is the mobile node's end of vc.
	VCNear Kind = "vc-near"
	// VCFar is gateway and home agent of vc in one process.
	VCFar Kind = "vc-far"
)

// ErrEnd is wrapped by the refusal of an end that cannot be run.
var ErrEnd = errors.New("pinned: unusable end")

// encryption is the transform of vc's child SAs.
var encryption = suite.AESGCM128

// End is one end of a tunnel, in the form in which it goes to the process that runs it.
type End struct {
	Kind Kind `json:"kind"`
	// Device is the name of the TUN device; a relay has none.
	Device string `json:"device,omitempty"`
	// Address is the device's own address, and in VCNear the home address.
	Address netip.Prefix `json:"address,omitzero"`
	// Routes lead into the device. The way to Remote must not be one of them.
	Routes []netip.Prefix `json:"routes,omitempty"`
	// Local is where the end receives, an address of the host and a UDP port. An end without it sends first, from the address
	// by which the host reaches Remote and, but for VCNear, from a port of the kernel's choice.
	Local netip.AddrPort `json:"local,omitzero"`
	// Remote is where the end sends to. One without it sends to where it was last sent to from. A relay has both.
	Remote netip.AddrPort `json:"remote,omitzero"`
	// VC is what the two ends of vc have agreed on.
	VC *VC `json:"vc,omitempty"`
}

// VC is what IKE and the registration with the i-HA would have brought about.
type VC struct {
	// HomeAddress, HomeAgent and Inner are i-HoA, i-HA and VPN-TIA.
	HomeAddress netip.Addr `json:"home_address"`
	HomeAgent   netip.Addr `json:"home_agent"`
	Inner       netip.Addr `json:"inner"`
	// In and Out are this end's halves of the child SA.
	In  SA `json:"in"`
	Out SA `json:"out"`
}

// SA is one direction of a child SA with AES-GCM-128 and extended sequence numbers.
type SA struct {
	SPI uint32 `json:"spi"`
	// Key is the keying material, key and salt, 20 octets.
	Key []byte `json:"key"`
}

// NullPair returns the two ends of a null tunnel: the near one at `near`, which sends what is for `routes` to the far one at
// `far`, which receives on the endpoint.
func NullPair(near, far netip.Prefix, endpoint netip.AddrPort, routes ...netip.Prefix) (a, b End) {
	a = End{Kind: Null, Device: "pin0", Address: near, Routes: routes, Remote: endpoint}
	b = End{Kind: Null, Device: "pin0", Address: far, Routes: []netip.Prefix{near}, Local: endpoint}
	return a, b
}

// RelayEnd returns a hop of a null tunnel: what comes at local goes to next, and what comes back to where that came from.
func RelayEnd(local, next netip.AddrPort) End { return End{Kind: Relay, Local: local, Remote: next} }

// VCPair returns the two ends of vc with fresh keys: the near one with the home address `near`, which sends what is for
// `routes`; the far one with the gateway's outer address and a device at `far`, which is the i-HA's address in the tunnel
// too. inner is the VPN-TIA. Fresh keys for each pair matter: sequence numbers begin anew with each process.
func VCPair(near, far netip.Prefix, gateway, inner netip.Addr, routes ...netip.Prefix) (a, b End, err error) {
	var keys [2]SA
	for i := range keys {
		keys[i] = SA{SPI: uint32(esp.MinSPI + i), Key: make([]byte, encryption.KeyLen())}
		if _, err := rand.Read(keys[i].Key); err != nil {
			return a, b, err
		}
	}
	up, down := keys[0], keys[1]
	endpoint := netip.AddrPortFrom(gateway, esp.PortNATT)
	a = End{Kind: VCNear, Device: "pin0", Address: near, Routes: routes, Remote: endpoint,
		VC: &VC{HomeAddress: near.Addr(), HomeAgent: far.Addr(), Inner: inner, In: down, Out: up}}
	b = End{Kind: VCFar, Device: "pin0", Address: far, Routes: []netip.Prefix{near}, Local: endpoint,
		VC: &VC{HomeAddress: near.Addr(), HomeAgent: far.Addr(), Inner: inner, In: up, Out: down}}
	return a, b, nil
}

// Save writes the end into a file for Load, readable by this user alone.
func (e End) Save(file string) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// Load reads what Save wrote and checks it. The error wraps ErrEnd where it cannot be run.
func Load(file string) (End, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return End{}, err
	}
	e, err := Parse(b)
	if err != nil {
		return e, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// Parse reads an end from its JSON form and checks it. The error wraps ErrEnd.
func Parse(b []byte) (End, error) {
	var e End
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return End{}, fmt.Errorf("%w: %w", ErrEnd, err)
	}
	if err := e.check(); err != nil {
		return End{}, fmt.Errorf("%w: kind %q: %w", ErrEnd, e.Kind, err)
	}
	return e, nil
}

// check says what keeps the end from being run.
func (e End) check() error {
	local, remote := usable(e.Local), usable(e.Remote)
	if e.Local != (netip.AddrPort{}) && !local || e.Remote != (netip.AddrPort{}) && !remote {
		return fmt.Errorf("endpoints %v and %v: expected IPv4 addresses with ports", e.Local, e.Remote)
	}
	if local == remote && e.Kind != Relay {
		return errors.New("expected either a local or a remote endpoint")
	}
	switch e.Kind {
	case Relay:
		if !local || !remote {
			return errors.New("expected both a local and a remote endpoint")
		}
		return nil
	case Null:
		return e.checkDevice()
	case VCNear, VCFar:
		if remote != (e.Kind == VCNear) {
			return errors.New("the near end has the remote endpoint, the far end the local one")
		}
		if port := max(e.Local.Port(), e.Remote.Port()); port != esp.PortNATT {
			return fmt.Errorf("port %d: ESP in UDP goes by port %d (RFC 3948 §2.1)", port, esp.PortNATT)
		}
		return errors.Join(e.checkDevice(), e.VC.check())
	}
	return fmt.Errorf("expected %q, %q, %q or %q", Null, Relay, VCNear, VCFar)
}

func (e End) checkDevice() error {
	if e.Device == "" {
		return errors.New("the TUN device has no name")
	}
	for _, p := range append([]netip.Prefix{e.Address}, e.Routes...) {
		if !p.IsValid() || !p.Addr().Is4() {
			return fmt.Errorf("prefix %v: expected IPv4", p)
		}
	}
	return nil
}

func usable(a netip.AddrPort) bool {
	return a.Addr().Is4() && !a.Addr().IsUnspecified() && a.Port() != 0
}

func (v *VC) check() error {
	if v == nil {
		return errors.New("what both ends have agreed on is missing")
	}
	for _, a := range []netip.Addr{v.HomeAddress, v.HomeAgent, v.Inner} {
		if !a.Is4() || a.IsUnspecified() {
			return fmt.Errorf("address %v: expected IPv4", a)
		}
	}
	for _, s := range []SA{v.In, v.Out} {
		if s.SPI < esp.MinSPI || len(s.Key) != encryption.KeyLen() {
			return fmt.Errorf("SA with SPI %d and a key of %d octets: expected at least %d and %d octets", s.SPI, len(s.Key),
				esp.MinSPI, encryption.KeyLen())
		}
	}
	return nil
}

// inbound and outbound return the parameters of this end's halves; local and remote are what it may send and receive.
func (v *VC) inbound(local, remote esp.Selector) esp.Parameters {
	return v.In.parameters(local, remote)
}

func (v *VC) outbound(local, remote esp.Selector) esp.Parameters {
	return v.Out.parameters(local, remote)
}

func (s SA) parameters(local, remote esp.Selector) esp.Parameters {
	return esp.Parameters{SPI: s.SPI, Encryption: encryption, Key: bytes.Clone(s.Key), ESN: true,
		Local: []esp.Selector{local}, Remote: []esp.Selector{remote}}
}

// mtu returns the largest packet in octets that the composition carries over a link with this MTU. The error is of the keys.
func (e End) mtu(link int) (int, error) {
	n := link - packet.IPv4Len - packet.UDPLen
	if e.VC == nil {
		return n, nil
	}
	out, err := esp.NewOutbound(e.VC.outbound(esp.AnySelector(), esp.AnySelector()), nil)
	if err != nil {
		return 0, err
	}
	return out.Fits(n) - tunnel.UDP.TotalOverhead(), nil
}

// String describes the end without its keys.
func (e End) String() string {
	return fmt.Sprintf("%s at %v, local %v, remote %v", e.Kind, e.Address, e.Local, e.Remote)
}
