package link

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"mipvpn/tun/packet"
)

// Interface is a snapshot of one network interface. It is comparable: two snapshots that are equal mean that nothing
// which concerns Mobile IP has changed (REQUIREMENTS DET-2).
type Interface struct {
	Index    int
	Name     string
	Hardware packet.HardwareAddr
	// MTU is in octets.
	MTU int
	// Up means administratively up with carrier.
	Up bool
	// CarrierChanges counts how often the carrier has come or gone since the interface exists, modulo 2^32. It differs
	// between two snapshots also where the carrier was gone only between them, so that the cable may be in another network.
	CarrierChanges uint32
	// Wireless tells a wireless interface from a wired one (MOD-prefer).
	Wireless bool
	// Address is the primary global IPv4 address with its prefix length, the zero Prefix while there is none.
	Address netip.Prefix
	// Gateway is the next hop of the interface's IPv4 default route, the zero Addr without one.
	Gateway netip.Addr
	// Address6 is the global IPv6 address to send from with its prefix length, the zero Prefix while there is none. Mobile IPv4
	// knows nothing of it; the VPN can stand on it.
	Address6 netip.Prefix
	// Gateway6 is the next hop of the interface's IPv6 default route, without a zone, the zero Addr without one.
	Gateway6 netip.Addr
	// GatewayHardware is the link-layer address of Gateway, where there is none of Gateway6, as the neighbour table has it, zero
	// while unknown.
	GatewayHardware packet.HardwareAddr
	// BSSID is the access point that a wireless interface is associated with, zero where not known.
	BSSID packet.HardwareAddr
}

// Has4 reports whether the interface has what Mobile IPv4 needs of its own: an address and a default route.
func (i Interface) Has4() bool { return i.Address.IsValid() && i.Gateway.IsValid() }

// Has6 reports whether the interface has an IPv6 address and a default route.
func (i Interface) Has6() bool { return i.Address6.IsValid() && i.Gateway6.IsValid() }

// Frames sends and receives IPv4 packets in link-layer frames on one interface, past the kernel's own IP layer. It
// reaches a foreign agent from an interface that has no address (RFC 4093 §4.2), and mobile nodes from a foreign agent.
type Frames interface {
	// Out returns the sender for packets of class c: it sends each packet of a batch to its Buf.Hardware, as a frame of
	// type IPv4, and takes ownership of the batch.
	Out(c Class) Sender
	// Hardware returns the interface's own link-layer address.
	Hardware() packet.HardwareAddr
	// Close ends reception, as Flow.Close does.
	Close() error
}

// Device is a TUN device.
type Device interface {
	// Name returns the interface's name as the system has it.
	Name() string
	// Read blocks until packets from the host are there and appends them to the batch, each with whole checksums. It
	// returns an error that wraps net.ErrClosed after Close.
	Read(*packet.Batch) error
	// Write gives packets to the host. It takes ownership. What the host does not take is dropped and counted in the host's
	// counters; the error is that of the first such packet.
	Write(*packet.Batch) error
	// Close removes the device.
	Close() error
}

// Settings is the state that a driver wants the host's network to be in. Host.Apply makes it so, changing only what
// differs; the zero value takes everything back.
type Settings struct {
	// Device is the TUN device that the rest is about.
	Device string
	// Address is the device's own address (the i-HoA), as a /32; the zero Addr for none (agents).
	Address netip.Addr
	// Taken is an address that this host takes the place of another host with: it is the device's, as a /32, so that it goes when
	// the process does, and the host answers ARP for it on every interface. It excludes Address and Shielded; the zero Addr for
	// none.
	Taken netip.Addr
	// MTU of the device in octets.
	MTU int
	// Routes go into the device, before the host's own routes except for what is sent by this process's flows.
	Routes []netip.Prefix
	// Broadcasts are subnet-directed broadcast addresses of networks beyond the device: applications that listen to all hear
	// what it brings for them, and may send there as they do on a network of their own (SO_BROADCAST). They are treated as Routes are.
	Broadcasts []netip.Addr
	// Full sends everything into the device (full tunnel), not Routes alone; Routes then are what no exception of the
	// KillSwitch applies to. It needs KillSwitch.
	Full bool
	// Blocked are IPv6 prefixes of the enterprise. Nothing carries IPv6, so packets to them are refused, and with Full all
	// of IPv6 but what Local lets pass and what the attachment to a network takes. Protected packets pass. It needs KillSwitch.
	Blocked []netip.Prefix
	// Local is the exception for the local network under Full: packets to private addresses (RFC 1918, RFC 3927, RFC 4193,
	// link-local) of networks that an interface is connected to are left to the host's own routes, and those to any private
	// address, or to a group that no router forwards, may leave. Never what is in Routes or Blocked.
	Local bool
	// Shielded are home addresses that the kernel must neither answer ARP for nor accept from a physical interface nor
	// forward: packets for them reach only Frames and flows, so that nothing passes by the gate.
	Shielded []netip.Addr
	// Forward turns on IPv4 forwarding between interfaces (agents).
	Forward bool
	// KillSwitch holds the line in the kernel: what goes to Routes (under Full: anywhere), or comes from Address or a
	// Shielded address, leaves by the Device or as this process's own marked packets, and by no other way; plaintext packets
	// only as PlaintextPermit allows. What an interface takes to be attached to a network (DHCP, ARP, neighbour discovery)
	// passes. It outlives the process and is lifted by the zero Settings alone. Applying it anew takes all permits back.
	KillSwitch bool
}

// PlaintextPermit is the kernel's half of the gate: which interfaces Plaintext packets may leave by, under KillSwitch.
type PlaintextPermit interface {
	// Permit lets Plaintext packets out of the interface with this index until the given boot time, whatever becomes of
	// this process, in the place of an earlier permit. It fails without KillSwitch, so that nothing opens without the line.
	Permit(index int, until time.Duration) error
	// Forbid takes the permit back; without one it changes nothing.
	Forbid(index int) error
}

// Restored says what of Settings was put back.
type Restored struct {
	// Rules and Routes count policy rules and routes.
	Rules, Routes int
	// Sysctls counts kernel variables that had another value.
	Sysctls int
	// KillSwitch says that the kill switch was made anew, without any permit; Shield that shielding was.
	KillSwitch, Shield bool
}

// Any reports whether something was put back.
func (r Restored) Any() bool { return r.Parts() > 0 }

// Parts counts what was put back: each rule, each route, each kernel variable, the kill switch and shielding.
func (r Restored) Parts() int {
	n := r.Rules + r.Routes + r.Sysctls
	for _, b := range []bool{r.KillSwitch, r.Shield} {
		if b {
			n++
		}
	}
	return n
}

// String says it in plain words, such as "2 rules, 3 routes and the kill switch".
func (r Restored) String() string {
	var parts []string
	count := func(n int, what string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+what)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, what))
		}
	}
	count(r.Rules, "rule")
	count(r.Routes, "route")
	count(r.Sysctls, "kernel variable")
	if r.KillSwitch {
		parts = append(parts, "the kill switch")
	}
	if r.Shield {
		parts = append(parts, "the shielding of home addresses")
	}
	if n := len(parts); n > 1 {
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	return strings.Join(parts, "")
}

// SettingsKeeper is what a Host may implement beside: it puts back what other programs take away of what Apply has made.
type SettingsKeeper interface {
	// KeepSettings does so until stop is called. told is called from a goroutine of its own, never from two at once, whenever something
	// has been put back, or could not be; stop waits for a call that is under way.
	KeepSettings(told func(Restored, error)) (stop func(), err error)
}

// NeighbourResolver is what a Host may implement beside: it finds a neighbour out before anything is sent to it, so that the
// first packet of a path need not wait for that.
type NeighbourResolver interface {
	// ResolveNeighbour asks for the link-layer address of a neighbour on the interface with this index. What is learnt shows
	// in the next snapshots.
	ResolveNeighbour(index int, neighbour netip.Addr) error
}

// AdvertisementHost is what a Host may implement beside: ears for foreign agents on an interface that has an address of its own.
type AdvertisementHost interface {
	// OpenAdvertisements opens the link layer of the interface as OpenFrames does, but ICMP router advertisements (RFC 1256 §3, type
	// 9, which those of mobility agents are) are all that arrives, in unicast, to all or to groups that every host is in. Everything else
	// passes by at the cost of a look in the kernel.
	OpenAdvertisements(index int, recv Receiver) (Frames, error)
}

// Host is what a driver asks of the operating system.
type Host interface {
	Clock
	PlaintextPermit
	// Interfaces returns a snapshot of all interfaces but loopback and TUN devices, in the order of their indices. With
	// KillSwitch none is told of before the line stands on it.
	Interfaces() ([]Interface, error)
	// Watch calls f, from any goroutine, whenever something about the interfaces may have changed, until stop is called.
	// A call is a hint: compare snapshots.
	Watch(f func()) (stop func(), err error)
	// Underlay returns the link of the interface with this index and one of its addresses: flows of it are bound to both.
	// Index 0 leaves the interface open, for agents, which answer on every interface. The MTU is the interface's
	// (1500 for index 0).
	Underlay(index int, addr netip.Addr) (Link, error)
	// OpenFrames opens the link layer of the interface for IPv4 frames: those sent to its hardware address, to all, or to a
	// group. Buf.Hardware is the frame's source on receipt, Buf.Interface the index.
	// What is signalling in them (registrations, IKE, agent advertisements and solicitations) may overtake the rest.
	OpenFrames(index int, recv Receiver) (Frames, error)
	// OpenDevice makes a TUN device; name may be empty.
	OpenDevice(name string, mtu int) (Device, error)
	// Apply puts the host's network into the state s.
	Apply(s Settings) error
}
