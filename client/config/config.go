package config

import (
	"net/netip"
	"slices"
	"time"
)

// Schema is the version of the configuration that this program reads, the key "schema".
const Schema = 1

// Config is the whole configuration, checked and with the secrets read.
type Config struct {
	// UpAtStart brings the client up when the daemon starts, without `mipvpn up`.
	UpAtStart bool
	// Mode is the mode policy at the start: "auto" or an access mode (ModePolicies).
	Mode string
	// Device describes the TUN device.
	Device Device
	// MTU says how the path MTU is measured.
	MTU MTU
	// Enterprise is what belongs to the company.
	Enterprise Enterprise
	// KillSwitch is about the line that the kernel holds.
	KillSwitch KillSwitch
	// Internal is the registration with the i-HA.
	Internal HomeAgent
	// External is the registration with the x-HA.
	External HomeAgent
	// ForeignAgent is what is shared with foreign agents.
	ForeignAgent ForeignAgent
	// Gateway is the VPN gateway.
	Gateway Gateway
	// Mechanisms are the optional mechanisms.
	Mechanisms Mechanisms
	// Authentication says how both ends prove who they are, and Trust whose certificates are trusted.
	Authentication Authentication
	Trust          Trust
	// Detection says how inside and outside are told apart.
	Detection Detection
	// DNS says how names are resolved while the client is up.
	DNS DNS
	// Interfaces says which interfaces are used.
	Interfaces Interfaces
	// Portal says how captive portals are found and opened.
	Portal Portal
	// Hooks are programs that are run when something happens.
	Hooks Hooks
	// Metrics says where figures for Prometheus are served.
	Metrics Metrics
	// Control is the control socket.
	Control Control
	// Log is about the log on standard error.
	Log Log
	// Warnings are what is allowed but probably not meant, for the person and the log.
	Warnings []Warning
}

// Device describes the TUN device, table [device].
type Device struct {
	// Name is the device's name, by default "mip0".
	Name string
	// MTU is its MTU in octets, by default 1386: the deepest mode on an Ethernet, so that no change of mode changes it.
	MTU int
}

// Enterprise is what belongs to the company, table [enterprise].
type Enterprise struct {
	// Prefixes are the destinations that go through the client, masked, at least one.
	Prefixes []netip.Prefix
	// Prefixes6 are the enterprise's IPv6 destinations, masked, which nothing carries and which are blocked.
	Prefixes6 []netip.Prefix
	// Tunnel says whether everything else goes through the client too.
	Tunnel Tunnel
}

// Encapsulation is how a Mobile IP layer's packets travel.
type Encapsulation string

// The encapsulations.
const (
	// EncapsulationAuto asks for UDP tunnelling (RFC 3519), forced straight through an interface, and falls back to IP-IP where
	// the agent refuses it.
	EncapsulationAuto Encapsulation = "auto"
	// EncapsulationIPIP is IP in IP (RFC 2003).
	EncapsulationIPIP Encapsulation = "ipip"
	// EncapsulationUDP is UDP tunnelling (RFC 3519), forced.
	EncapsulationUDP Encapsulation = "udp"
	// EncapsulationMinimal is minimal encapsulation (RFC 2004), IP in IP where an agent has not got it.
	EncapsulationMinimal Encapsulation = "minimal"
	// EncapsulationGRE is GRE (RFC 2784), IP in IP where an agent has not got it.
	EncapsulationGRE Encapsulation = "gre"
)

// NoGREKey as HomeAgent.GREKey has GRE headers without a key.
const NoGREKey = -1

// Algorithm is the authentication algorithm of a mobility security association.
type Algorithm string

// The algorithms.
const (
	// AlgorithmHMACMD5 is HMAC-MD5, the default of RFC 5944 §3.5.1.
	AlgorithmHMACMD5 Algorithm = "hmac-md5"
	// AlgorithmKeyedMD5 is keyed MD5 in prefix+suffix mode, for peers of RFC 2002. It never yields a proof of inside, so
	// that an i-HA with it is reached through the VPN only (DET-17).
	AlgorithmKeyedMD5 Algorithm = "keyed-md5"
	// AlgorithmHMACSHA1 is HMAC-SHA-1.
	AlgorithmHMACSHA1 Algorithm = "hmac-sha1"
	// AlgorithmHMACSHA256 is HMAC-SHA-256.
	AlgorithmHMACSHA256 Algorithm = "hmac-sha256"
)

// HomeAgent is one registration, tables [internal_home_agent] and [external_home_agent].
type HomeAgent struct {
	// Address is the home agent's, the zero Addr where it has a Name.
	Address netip.Addr
	// Name is the x-HA's, to be resolved through each interface; empty where it has an Address. The i-HA has an Address.
	Name string
	// Network is the x-HA's home network, whose home agents are asked for their addresses (RFC 5944 §3.6.1.2), masked; the zero Prefix where
	// it has an Address or a Name.
	Network netip.Prefix
	// HomeAddress is the laptop's home address there, the zero Addr where the home agent assigns one, which needs a NAI.
	HomeAddress netip.Addr
	// HomeLink are the networks of the i-HA's home link: an interface whose own address is in one is at home. None for a virtual
	// home network, where nobody can be at home, and for the x-HA.
	HomeLink []netip.Prefix
	// Broadcasts asks the i-HA for broadcasts of the home network (B bit, RFC 5944 §4.3); not for the x-HA.
	Broadcasts bool
	// Groups are prefixes of multicast groups that are the home network's: what applications send to them goes to the i-HA and nowhere
	// else, and what they join is joined there (RFC 5944 §4.4). They need Broadcasts.
	Groups []netip.Prefix
	// NAI is the laptop's network access identifier (RFC 2794), "" for none.
	NAI string
	// Dynamic leaves it to the x-HA at Address to serve, or to name another one (RFC 4433); it needs a NAI.
	Dynamic bool
	// SPI is the security parameter index of the mobility security association, over 255, in host order.
	SPI uint32
	// Algorithm authenticates the registration messages.
	Algorithm Algorithm
	// ReplayProtection is the style of replay protection, "timestamps" or "nonces" (RFC 5944 §5.7).
	ReplayProtection string
	// KeyFile names the file of the key: hexadecimal digits, white space ignored.
	KeyFile string
	// Key is the key read from KeyFile. That of the i-HA has 16 octets or more (DET-17).
	Key Secret
	// AAAKeyFile names the file of what is shared with an AAA infrastructure (RFC 4721), likewise hexadecimal digits, "" for none;
	// AAAKey is what it holds, and AAASPI its security parameter index: wire.CHAPSPI, or 256 or more.
	AAAKeyFile string
	AAAKey     Secret
	AAASPI     uint32
	// Lifetime is the registration lifetime to ask for.
	Lifetime time.Duration
	// Encapsulation is the encapsulation to ask for.
	Encapsulation Encapsulation
	// GREKey is the key of GRE headers (RFC 2890), NoGREKey for none, and GREChecksum whether they have a checksum.
	GREKey      int64
	GREChecksum bool
}

// Gateway is the VPN gateway, table [gateway].
type Gateway struct {
	// Address is the gateway's outer address, the zero Addr where it has a Name.
	Address netip.Addr
	// Address6 is an IPv6 address of the same gateway, for networks with IPv6 alone; the zero Addr for none.
	Address6 netip.Addr
	// Name is the gateway's, to be resolved through each interface; empty where it has an Address.
	Name string
	// Fallback are further gateways, in the order to try them when the one before does not answer or refuses. They prove the same
	// identity.
	Fallback []Endpoint
	// ReturnAfter is how long after the first gateway was left the next tunnel is set up with it again; 0 never.
	ReturnAfter time.Duration
	// LocalIdentity and RemoteIdentity are the IKE identities (RFC 7296 §3.5): an IPv4 address, a mail address (with an @),
	// or else a fully qualified domain name.
	LocalIdentity, RemoteIdentity string
	// PSKFile names the file of the pre-shared key: its octets without a last line break, or 0x and hexadecimal digits.
	PSKFile string
	// PSK is the pre-shared key read from PSKFile, empty where Authentication needs none.
	PSK Secret
	// ForceUDPEncapsulation sends ESP in UDP (RFC 3948) also where no NAT is detected.
	ForceUDPEncapsulation bool
	// RequestDNS asks for the addresses of name servers (RFC 7296 §3.15).
	RequestDNS bool
	// RemoteSubnets are asked for as the remote traffic selectors; by default the enterprise prefixes.
	RemoteSubnets []netip.Prefix
	// IKELifetime and ChildLifetime are when the security associations are rekeyed.
	IKELifetime, ChildLifetime time.Duration
	// ReplayWindow is the window of inbound child SAs in packets, 0 for the default. TFCPadding is the length in octets that shorter
	// packets are padded to (RFC 4303 §2.7), 0 for none; DummyInterval the mean time between dummy packets (§2.6), 0 for none.
	ReplayWindow, TFCPadding int
	DummyInterval            time.Duration
	// Liveness is how long nothing may come from the gateway before it is asked whether it lives (RFC 7296 §2.4).
	Liveness time.Duration
	// Profile names the algorithms that are offered: "default", "cnsa" or "compatible" (ike.ProposalsOf).
	Profile string
	// RequireHybrid refuses a gateway that does no additional key exchange with ML-KEM (RFC 9370).
	RequireHybrid bool
	// PPKID and PPKFile name a post-quantum pre-shared key (RFC 8784) and its file, empty for none; PPK is the key read from it.
	// RequirePPK refuses a gateway that does not know it.
	PPKID, PPKFile string
	PPK            Secret
	RequirePPK     bool
	// Dead is how long after the gateway's last sign of life it counts as dead; 0 leaves that to the repetition of requests.
	Dead time.Duration
	// ChildOctets and ChildPackets are how much one direction of a child security association carries before it is rekeyed; 0
	// for what its cipher allows.
	ChildOctets, ChildPackets uint64
	// Datagram is the length in octets of the longest IP datagram that IKE sends, by fragmentation (RFC 7383); 0 turns that off.
	Datagram int
	// TCP says whether IKE and ESP may go in TCP (RFC 9329) where UDP does not pass, TCPPort is the gateway's port for that.
	TCP     TCP
	TCPPort uint16
	// KeepAlive is the interval of NAT keepalives (RFC 3948 §4).
	KeepAlive time.Duration
	// KeepAliveLimit is the longest interval that may be learned from what the NAT of a network is seen to hold; none is where it is
	// not above KeepAlive.
	KeepAliveLimit time.Duration
	// Sparing is how many times rarer NAT keepalives and liveness checks are while the laptop runs on battery or the connection is
	// metered; 1 for not.
	Sparing int
	// CheckAfter is how long user data may go out through the VPN, with nothing coming back, before the gateway is asked
	// whether it lives; 0 for Liveness alone.
	CheckAfter time.Duration
	// GiveUp is how long the gateway may leave that unanswered before nothing is sent through it any more.
	GiveUp time.Duration
	// Park says what becomes of the SA while direct access is in use.
	Park Park
}

// Endpoint is a peer: an address, or a name.
type Endpoint struct {
	Address netip.Addr
	Name    string
}

// TCP says when IKE and ESP go in TCP (RFC 9329).
type TCP string

// When IKE and ESP go in TCP.
const (
	// TCPAuto: where UDP is not answered, until it is.
	TCPAuto TCP = "auto"
	// TCPOnly: always.
	TCPOnly TCP = "only"
	// TCPOff: never.
	TCPOff TCP = "off"
)

// Park is what becomes of the VPN's SA while direct access is in use (MOD-park).
type Park string

// The ways of parking. Session resumption (RFC 5723) would be a third; this version does not have it.
const (
	// ParkKeep keeps it, and asks the gateway whether it still has it when it is needed again.
	ParkKeep Park = "keep"
	// ParkDelete closes it, and sets up a new one when that is needed.
	ParkDelete Park = "delete"
	// ParkResume forgets it without telling the gateway and resumes it with a ticket when it is needed again (RFC 5723); with a
	// gateway that grants no tickets it is kept.
	ParkResume Park = "resume"
)

// Detection says how inside and outside are told apart, table [detection].
type Detection struct {
	// Monitor is T_MONITOR (RFC 5265 §3.2.4), at least 5 s.
	Monitor time.Duration
	// Grace is N: re-registration starts at Monitor - Grace.
	Grace time.Duration
	// Period is the detection period, 0 allowed.
	Period time.Duration
	// Probe is how often the i-HA is tried again from outside, 0 for never, and ProbeTime how long such a probe waits.
	Probe, ProbeTime time.Duration
	// SilencePause is the longest pause between two series of requests while neither home agent answers (DET-18).
	SilencePause time.Duration
	// Idle is how long no user data may have passed until re-registration pauses, 0 for never (DET-13).
	Idle time.Duration
	// InsideDomains are domain names that DHCP gives inside, for a hint (DET-11), in lower case without a last dot.
	InsideDomains []string
	// InsideNAIs are the realms of network access identifiers that foreign agents advertise inside, for a hint, likewise.
	InsideNAIs []string
	// LearnGateways keeps the hardware addresses of gateways of networks that were inside or outside, for hints.
	LearnGateways bool
	// RetransmitInitial, RetransmitFactor and RetransmitMax are the back-off of unanswered registration requests, and
	// RetransmitCount is how many make a series.
	RetransmitInitial time.Duration
	RetransmitFactor  int
	RetransmitMax     time.Duration
	RetransmitCount   int
	// OutsideNetworks are networks known to be outside (DET-14).
	OutsideNetworks []netip.Prefix
	// SuppressOutside keeps requests to the i-HA off OutsideNetworks (DET-17).
	SuppressOutside bool
	// WaiveTNC accepts an i-HA that predates RFC 5265 (DET-3).
	WaiveTNC bool
	// RefuseNAT takes no reply for a proof that came through a NAT between the laptop and the i-HA.
	RefuseNAT bool
}

// Interfaces says which interfaces are used, table [interfaces].
type Interfaces struct {
	// Use names the interfaces to use; empty for all.
	Use []string
	// Prefer names interfaces in the order in which they are preferred, patterns such as "eth*" allowed; those not named come
	// behind them, wired before wireless (MOD-prefer).
	Prefer []string
	// Ignore names interfaces never to use.
	Ignore []string
	// HearAgents listens for foreign agents on interfaces that have an address of their own, and registers that address with the x-HA
	// through one that asks for it (the R bit, RFC 5944 §2.4.1).
	HearAgents bool
}

// Allows reports whether the interface of this name may be used.
func (i Interfaces) Allows(name string) bool {
	return !slices.Contains(i.Ignore, name) && (len(i.Use) == 0 || slices.Contains(i.Use, name))
}

// Control is the control socket, table [control].
type Control struct {
	// Socket is the path of the unix socket.
	Socket string
	// Users and Groups are names or numbers of those who may control the daemon besides root and the daemon's own user.
	// Of a person's groups only the primary one counts.
	Users, Groups []string
	// Polkit has polkit decide about all others, where it is installed.
	Polkit bool
}

// Log is about the log, table [log].
type Log struct {
	// Level is "debug", "info", "warn" or "error".
	Level string
}

// ModePolicies returns the names that the mode policy can have: "auto" and the access modes of the draft's §3.
func ModePolicies() []string {
	return []string{"auto", "c", "f", "vc", "vf", "cvc", "cvf", "fvc", "fvf"}
}

// Warning is what is allowed but probably not meant.
type Warning struct {
	// Key is the key that it is about, such as "external_home_agent.address", and Line where it stands; 0 without.
	Key  string
	Line int
	// Message says in plain words what will happen.
	Message string
}

// Wipe clears all secrets.
func (c *Config) Wipe() {
	for _, s := range []Secret{c.Internal.Key, c.Internal.AAAKey, c.External.Key, c.External.AAAKey, c.ForeignAgent.Key, c.Gateway.PSK, c.Gateway.PPK} {
		clear(s)
	}
}

// HasExternal reports whether there is an x-HA: without one the VPN stands straight on an interface, where the gateway is to follow the
// laptop.
func (c *Config) HasExternal() bool {
	return c.External.Address.IsValid() || c.External.Name != "" || c.External.Network.IsValid()
}
