package config

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/detect/location"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// field is one key of the configuration.
type field struct {
	// key is the key with its table.
	key string
	// valid says what is valid, for errors and for the reference.
	valid string
	// standard is the value when the key is left out, as it would be written; empty for none.
	standard string
	required bool
	// unless is a key of the same table beside which this one is not required.
	unless string
	// about says what the key is for, for the reference.
	about string
	set   setter
}

// algorithms and encapsulations are the values of those keys.
var (
	algorithms     = []string{string(AlgorithmHMACMD5), string(AlgorithmKeyedMD5), string(AlgorithmHMACSHA1), string(AlgorithmHMACSHA256)}
	encapsulations = []string{string(EncapsulationAuto), string(EncapsulationIPIP), string(EncapsulationUDP), string(EncapsulationMinimal), string(EncapsulationGRE)}
	tcps           = []string{string(TCPAuto), string(TCPOnly), string(TCPOff)}
	parkings       = []string{string(ParkKeep), string(ParkDelete), string(ParkResume)}
	startModes     = ModePolicies()
	ikeProfiles    = []string{"default", "cnsa", "compatible"}
	logLevels      = []string{"debug", "info", "warn", "error"}
)

// fields are all keys, in the order of the reference. "schema" stands apart.
var fields = slices.Concat(
	[]field{
		{key: "up_at_start", valid: vBool, standard: "false", about: "bring the client up when the daemon starts",
			set: boolean(func(c *Config) *bool { return &c.UpAtStart })},
		{key: "mode", valid: vOneOf(startModes), standard: `"auto"`, about: "mode policy at the start; a pinned mode never lets plaintext out without proof",
			set: oneOf(startModes, func(c *Config) *string { return &c.Mode })},

		{key: "device.name", valid: "a name of 1 to 15 letters, digits, '-' or '_'", standard: `"mip0"`, about: "name of the TUN device",
			set: text(15, deviceName, func(c *Config) *string { return &c.Device.Name })},
		{key: "device.mtu", valid: vInteger(576, 1500), standard: "1386", about: "MTU of the TUN device in octets",
			set: integer(576, 1500, func(c *Config, n int64) { c.Device.MTU = int(n) })},

		{key: "enterprise.prefixes", valid: `a list of IPv4 prefixes such as ["10.0.0.0/8"], at least one`, required: true,
			about: "destinations that go through the client, and nowhere else",
			set:   prefixes(1, func(c *Config) *[]netip.Prefix { return &c.Enterprise.Prefixes })},
	},
	tunnelFields(),
	mtuFields(),
	homeAgentFields("internal_home_agent", "i-HA", "i-HoA", func(c *Config) *HomeAgent { return &c.Internal }),
	[]field{{key: "internal_home_agent.home_link", valid: vPrefixes, standard: "[]", about: "networks of the home link, where the i-HA's home network is a real one: an interface with an address in one of them is at home, deregisters and uses no tunnel",
		set: prefixes(0, func(c *Config) *[]netip.Prefix { return &c.Internal.HomeLink })},
		{key: "internal_home_agent.broadcasts", valid: vBool, standard: "false", about: "be part of the home network for broadcasts (the B bit, RFC 5944 section 4.3), where the i-HA is configured for it: applications hear what is sent to all there, and what they send to 255.255.255.255 goes there and not to the network where the laptop is",
			set: boolean(func(c *Config) *bool { return &c.Internal.Broadcasts })},
		{key: "internal_home_agent.groups", valid: vGroups, standard: "[]", about: "multicast groups that are the home network's: applications join them there and send to them there, and nowhere else; needs broadcasts",
			set: groups(func(c *Config) *[]netip.Prefix { return &c.Internal.Groups })}},
	homeAgentFields("external_home_agent", "x-HA", "x-HoA", func(c *Config) *HomeAgent { return &c.External }),
	[]field{{key: "external_home_agent.dynamic", valid: vBool, standard: "false", about: "leave it to the x-HA at address to serve, or to name another one (RFC 4433); needs a nai",
		set: boolean(func(c *Config) *bool { return &c.External.Dynamic })},
		{key: "external_home_agent.network", valid: vNetwork, standard: "the x-HA has an address", about: "in the place of address: the home network, whose home agents are asked for their addresses by its broadcast address (RFC 5944 section 3.6.1.2). The answer passes no NAT that filters, and what was found elsewhere is used there; needs home_address",
			set: network(func(c *Config) *netip.Prefix { return &c.External.Network })}},
	foreignAgentFields(),
	[]field{
		{key: "gateway.address", valid: vEndpoint, required: true, about: "outer address of the VPN gateway, or its name, which is resolved through each interface with its own name servers",
			set: endpoint(func(c *Config) (*netip.Addr, *string) { return &c.Gateway.Address, &c.Gateway.Name })},
		{key: "gateway.address6", valid: vAddress6, standard: "the gateway's name is asked for, and the network's NAT64 translates its IPv4 address",
			about: "an outer IPv6 address of the same gateway, for networks that have IPv6 alone; home agents are reached by IPv4 only",
			set:   address6(func(c *Config) *netip.Addr { return &c.Gateway.Address6 })},
		{key: "gateway.fallback", valid: "a list of such", standard: "[]", about: "further gateways with the same identity, in the order to try them when the one before does not answer or refuses",
			set: endpoints(func(c *Config) *[]Endpoint { return &c.Gateway.Fallback })},
		{key: "gateway.return_after", valid: vDurationOrZero(time.Minute), standard: `"30m"`, about: "this long after the first gateway was left the next tunnel is set up with it again; 0 for never",
			set: duration(time.Minute, true, func(c *Config) *time.Duration { return &c.Gateway.ReturnAfter })},
		{key: "gateway.local_identity", valid: vIdentity, required: true, about: "IKE identity of the laptop",
			set: text(255, nil, func(c *Config) *string { return &c.Gateway.LocalIdentity })},
		{key: "gateway.remote_identity", valid: vIdentity, required: true, about: "IKE identity that the gateway must prove",
			set: text(255, nil, func(c *Config) *string { return &c.Gateway.RemoteIdentity })},
		{key: "gateway.psk_file", valid: vKeyFile, standard: "the other ways of [authentication]", about: "file (0600) with the pre-shared key, where that is used, or a credential of the service manager's (systemd-creds), or what a program prints: its text without a last line break, or 0x and hexadecimal digits",
			set: text(4096, nil, func(c *Config) *string { return &c.Gateway.PSKFile })},
		{key: "gateway.force_udp_encapsulation", valid: vBool, standard: "false", about: "ESP in UDP (RFC 3948) also where no NAT is detected",
			set: boolean(func(c *Config) *bool { return &c.Gateway.ForceUDPEncapsulation })},
		{key: "gateway.request_dns", valid: vBool, standard: "true", about: "ask for the addresses of name servers",
			set: boolean(func(c *Config) *bool { return &c.Gateway.RequestDNS })},
		{key: "gateway.remote_subnets", valid: vPrefixes, standard: "the enterprise prefixes", about: "remote traffic selectors to ask for",
			set: prefixes(0, func(c *Config) *[]netip.Prefix { return &c.Gateway.RemoteSubnets })},
		{key: "gateway.ike_lifetime", valid: vDuration(time.Minute), standard: `"4h"`, about: "rekey the IKE security association after this time",
			set: duration(time.Minute, false, func(c *Config) *time.Duration { return &c.Gateway.IKELifetime })},
		{key: "gateway.child_lifetime", valid: vDuration(time.Minute), standard: `"1h"`, about: "rekey the child security association after this time",
			set: duration(time.Minute, false, func(c *Config) *time.Duration { return &c.Gateway.ChildLifetime })},
		{key: "gateway.liveness", valid: vDuration(time.Second), standard: `"30s"`, about: "silence of the gateway after which it is asked whether it lives",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Gateway.Liveness })},
		{key: "gateway.profile", valid: vOneOf(ikeProfiles), standard: `"default"`, about: "algorithms that are offered to the gateway: default has a hybrid key exchange with ML-KEM first (RFC 9370) and goes without where the gateway has none, cnsa is AES-256, SHA-384 and P-384 with ML-KEM-1024 and nothing else, compatible is default with AES-CBC and MODP groups behind",
			set: oneOf(ikeProfiles, func(c *Config) *string { return &c.Gateway.Profile })},
		{key: "gateway.require_hybrid", valid: vBool, standard: "false", about: "refuse a gateway that does no hybrid key exchange",
			set: boolean(func(c *Config) *bool { return &c.Gateway.RequireHybrid })},
		{key: "gateway.ppk_id", valid: "a text", standard: "the other keys alone", about: "name of a post-quantum pre-shared key (RFC 8784) that the gateway knows, too",
			set: text(255, nil, func(c *Config) *string { return &c.Gateway.PPKID })},
		{key: "gateway.ppk_file", valid: vKeyFile, standard: "the other keys alone", about: "file (0600) with that key: its text without a last line break, or 0x and hexadecimal digits; 32 octets are best",
			set: text(4096, nil, func(c *Config) *string { return &c.Gateway.PPKFile })},
		{key: "gateway.require_ppk", valid: vBool, standard: "false", about: "refuse a gateway that does not know that key",
			set: boolean(func(c *Config) *bool { return &c.Gateway.RequirePPK })},
		{key: "gateway.dead", valid: vDurationOrZero(3*time.Second) + ", a second or more above liveness", standard: `"0s"`, about: "the gateway counts as dead this long after its last sign of life; 0 for after liveness and ten unanswered requests, some two minutes",
			set: duration(3*time.Second, true, func(c *Config) *time.Duration { return &c.Gateway.Dead })},
		{key: "gateway.child_octets", valid: vInteger(0, 1<<62), standard: "0", about: "rekey the child security association when one direction has carried this many octets; 0 for what its cipher allows",
			set: integer(0, 1<<62, func(c *Config, n int64) { c.Gateway.ChildOctets = uint64(n) })},
		{key: "gateway.child_packets", valid: vInteger(0, 1<<62), standard: "0", about: "likewise this many packets",
			set: integer(0, 1<<62, func(c *Config, n int64) { c.Gateway.ChildPackets = uint64(n) })},
		{key: "gateway.replay_window", valid: vInteger(0, 1<<18), standard: "0", about: "how many packets behind the newest one may still arrive; 0 for 8128",
			set: integer(0, 1<<18, func(c *Config, n int64) { c.Gateway.ReplayWindow = int(n) })},
		{key: "gateway.tfc_padding", valid: vInteger(0, 1400), standard: "0", about: "pad shorter packets to this length, against those who watch lengths (RFC 4303 §2.7); 0 for none, and none where the gateway does not take it",
			set: integer(0, 1400, func(c *Config, n int64) { c.Gateway.TFCPadding = int(n) })},
		{key: "gateway.dummy_interval", valid: vDurationOrZero(10 * time.Millisecond), standard: `"0s"`, about: "send packets that the gateway drops unread so often, against those who watch when packets go (RFC 4303 §2.6); 0 for none",
			set: duration(10*time.Millisecond, true, func(c *Config) *time.Duration { return &c.Gateway.DummyInterval })},
		{key: "gateway.ike_datagram", valid: vInteger(576, 9000) + ", or 0", standard: "1280", about: "longest IP datagram that IKE sends, in octets: longer messages are fragmented (RFC 7383), further down to 576 where these do not pass; 0 for no fragmentation",
			set: setter{shape{Type: "integer", Minimum: new(int64), Maximum: &maxDatagram}, datagram}},
		{key: "gateway.tcp", valid: vOneOf(tcps), standard: `"auto"`, about: "IKE and ESP in TCP (RFC 9329), where the way to the gateway takes TCP: when UDP is not answered, until it is; always; or never",
			set: oneOf(tcps, func(c *Config) *TCP { return &c.Gateway.TCP })},
		{key: "gateway.tcp_port", valid: vInteger(1, 65535), standard: "4500", about: "the gateway's port for that",
			set: integer(1, 65535, func(c *Config, n int64) { c.Gateway.TCPPort = uint16(n) })},
		{key: "gateway.keepalive", valid: vDuration(time.Second), standard: `"20s"`, about: "interval of NAT keepalives",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Gateway.KeepAlive })},
		{key: "gateway.keepalive_limit", valid: vDurationOrZero(time.Second), standard: `"110s"`, about: "longest interval of NAT keepalives that is learned while no user data passes, network by network, from how long the NAT there holds a mapping; 0, or no more than keepalive, for none",
			set: duration(time.Second, true, func(c *Config) *time.Duration { return &c.Gateway.KeepAliveLimit })},
		{key: "gateway.sparing", valid: vInteger(1, 10), standard: "2", about: "how many times rarer liveness checks, and NAT keepalives up to keepalive_limit, are while the laptop runs on battery (UPower) or its connection is metered (NetworkManager); 1 for no difference",
			set: integer(1, 10, func(c *Config, n int64) { c.Gateway.Sparing = int(n) })},
		{key: "gateway.check_after", valid: vDurationOrZero(2 * time.Second), standard: `"5s"`, about: "user data has gone out for this long and nothing has come back: the gateway is asked whether it lives; 0 for liveness alone",
			set: duration(2*time.Second, true, func(c *Config) *time.Duration { return &c.Gateway.CheckAfter })},
		{key: "gateway.give_up", valid: vDuration(2 * time.Second), standard: `"10s"`, about: "the gateway has left that unanswered for this long: user data stops, and the state says so. A new security association is being set up since the first second",
			set: duration(2*time.Second, false, func(c *Config) *time.Duration { return &c.Gateway.GiveUp })},
		{key: "gateway.park", valid: vOneOf(parkings), standard: `"keep"`, about: "inside, the VPN's security association is kept, and the gateway asked for it on leaving, or deleted, or forgotten and resumed with a ticket (RFC 5723; kept where the gateway grants none)",
			set: oneOf(parkings, func(c *Config) *Park { return &c.Gateway.Park })},
	},
	mechanismFields(),
	authenticationFields(),
	[]field{
		{key: "detection.t_monitor", valid: vDuration(location.MinMonitor), standard: `"60s"`, about: "T_MONITOR (RFC 5265 section 3.2.4): the greatest age of a proof of inside",
			set: setter{durationShape, monitor}},
		{key: "detection.grace", valid: vDuration(time.Second) + ", less than t_monitor", standard: `"30s", or half of t_monitor where that is less`, about: "N: re-registration starts at t_monitor - grace",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Detection.Grace })},
		{key: "detection.period", valid: vDurationOrZero(0), standard: `"2s"`, about: "how long the i-HA is tried before a new IKE exchange starts outside",
			set: duration(0, true, func(c *Config) *time.Duration { return &c.Detection.Period })},
		{key: "detection.probe", valid: vDurationOrZero(10 * time.Second), standard: `"10m"`, about: "how often the i-HA is tried again from outside; 0 for never",
			set: duration(10*time.Second, true, func(c *Config) *time.Duration { return &c.Detection.Probe })},
		{key: "detection.retransmit_initial", valid: vDuration(time.Second), standard: `"1s"`, about: "first interval between unanswered registration requests (RFC 5944 section 3.6.3: not under 1s)",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Detection.RetransmitInitial })},
		{key: "detection.retransmit_factor", valid: vInteger(1, 10), standard: "2", about: "factor from each such interval to the next",
			set: integer(1, 10, func(c *Config, n int64) { c.Detection.RetransmitFactor = int(n) })},
		{key: "detection.retransmit_max", valid: vDuration(time.Second), standard: `"2s"`, about: "longest such interval",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Detection.RetransmitMax })},
		{key: "detection.retransmit_count", valid: vInteger(1, 1000), standard: "16", about: "requests in a series; another series follows while an answer is needed",
			set: integer(1, 1000, func(c *Config, n int64) { c.Detection.RetransmitCount = int(n) })},
		{key: "detection.outside_networks", valid: vPrefixes, standard: "[]", about: "networks known to be outside: an i-HA that answers there raises an alarm and proves nothing",
			set: prefixes(0, func(c *Config) *[]netip.Prefix { return &c.Detection.OutsideNetworks })},
		{key: "detection.suppress_outside", valid: vBool, standard: "false", about: "send no request to the i-HA in the clear on those networks",
			set: boolean(func(c *Config) *bool { return &c.Detection.SuppressOutside })},
		{key: "detection.waive_tnc", valid: vBool, standard: "false", about: "accept an i-HA that predates RFC 5265 and sends no Trusted Networks Configured extension",
			set: boolean(func(c *Config) *bool { return &c.Detection.WaiveTNC })},
	},
	detectionFields,
	dnsFields,
	[]field{
		{key: "interfaces.use", valid: vNames, standard: "[] (all)", about: "interfaces to use",
			set: names(func(c *Config) *[]string { return &c.Interfaces.Use })},
		{key: "interfaces.prefer", valid: vPatterns, standard: "[]", about: "interfaces in the order in which they are preferred; those not named come behind, wired before wireless. Direct access through any of them is preferred to the VPN",
			set: patterns(func(c *Config) *[]string { return &c.Interfaces.Prefer })},
		{key: "interfaces.ignore", valid: vNames, standard: "[]", about: "interfaces never to use",
			set: names(func(c *Config) *[]string { return &c.Interfaces.Ignore })},
		{key: "interfaces.hear_agents", valid: vBool, standard: "true", about: "listen for foreign agents where the interface has an address of its own, and register that address with the x-HA through one that asks for it (the R bit, RFC 5944 section 2.4.1); it is registered straight through the interface where that agent does not serve",
			set: boolean(func(c *Config) *bool { return &c.Interfaces.HearAgents })},
	},
	portalFields(),
	hooksFields(),
	metricsFields(),
	[]field{
		{key: "control.socket", valid: vPath, standard: `"` + DefaultSocket + `"`, about: "unix socket of the daemon",
			set: text(100, nil, func(c *Config) *string { return &c.Control.Socket })},
		{key: "control.users", valid: vAccounts, standard: "[]", about: "users, by name or number, who may control the daemon besides root",
			set: names(func(c *Config) *[]string { return &c.Control.Users })},
		{key: "control.groups", valid: vAccounts, standard: "[]", about: "likewise primary groups",
			set: names(func(c *Config) *[]string { return &c.Control.Groups })},
		{key: "control.polkit", valid: vBool, standard: "true", about: "about all others ask polkit, where it is installed: everybody may look, the active user of the desktop bring the client up and down, and an administrator the rest",
			set: boolean(func(c *Config) *bool { return &c.Control.Polkit })},

		{key: "log.level", valid: vOneOf(logLevels), standard: `"info"`, about: "least level of what is logged",
			set: oneOf(logLevels, func(c *Config) *string { return &c.Log.Level })},
	},
)

// homeAgentFields are the keys of one registration.
func homeAgentFields(table, agent, home string, of func(*Config) *HomeAgent) []field {
	return []field{
		homeAgentAddress(table, agent, of),
		{key: table + ".home_address", valid: vAddress, required: true, unless: "nai", about: "the " + home + ": the laptop's home address there; may be left out with a nai, and is assigned by the home agent then",
			set: address(func(c *Config) *netip.Addr { return &of(c).HomeAddress })},
		{key: table + ".nai", valid: vNAI, standard: "the laptop is known by its home address", about: "network access identifier that the home agent knows the laptop by (RFC 2794), such as \"laptop@corp.example\"",
			set: text(255, nil, func(c *Config) *string { return &of(c).NAI })},
		{key: table + ".spi", valid: vInteger(256, 1<<32-1), required: true, about: "security parameter index of the mobility security association (RFC 5944 section 3.5.1: over 255)",
			set: integer(256, 1<<32-1, func(c *Config, n int64) { of(c).SPI = uint32(n) })},
		{key: table + ".algorithm", valid: vOneOf(algorithms), standard: `"hmac-md5"`, about: "algorithm of the Mobile-Home authentication",
			set: oneOf(algorithms, func(c *Config) *Algorithm { return &of(c).Algorithm })},
		{key: table + ".replay_protection", valid: vOneOf(auth.ReplayProtectionNames()), standard: `"timestamps"`, about: "style of replay protection that the security association has (RFC 5944 section 5.7): with nonces no clock need be right",
			set: oneOf(auth.ReplayProtectionNames(), func(c *Config) *string { return &of(c).ReplayProtection })},
		{key: table + ".key_file", valid: vKeyFile, required: true, about: "file (0600) with the key in hexadecimal digits, 16 octets or more",
			set: text(4096, nil, func(c *Config) *string { return &of(c).KeyFile })},
		{key: table + ".aaa_key_file", valid: vKeyFile, standard: "the security association alone", about: "file (0600) with the secret, in hexadecimal digits, that an AAA server (RADIUS) which the home agent or a foreign agent asks has for the laptop: requests have a Mobile-AAA authentication then (RFC 4721), and challenges of foreign agents are answered",
			set: text(4096, nil, func(c *Config) *string { return &of(c).AAAKeyFile })},
		{key: table + ".aaa_spi", valid: vInteger(wire.CHAPSPI, 1<<32-1), standard: "2", about: "security parameter index of that secret: 2 is that of RADIUS servers (CHAP_SPI), 256 or more one of HMAC-MD5",
			set: integer(wire.CHAPSPI, 1<<32-1, func(c *Config, n int64) { of(c).AAASPI = uint32(n) })},
		{key: table + ".lifetime", valid: `a duration from "30s" to "18h"`, standard: `"30m"`, about: "registration lifetime to ask for",
			set: lifetime(func(c *Config) *time.Duration { return &of(c).Lifetime })},
		{key: table + ".encapsulation", valid: vOneOf(encapsulations), standard: `"auto"`, about: "encapsulation to ask for: auto forces UDP (RFC 3519) where that is granted, and is IP in IP (RFC 2003) elsewhere; minimal (RFC 2004) and gre (RFC 2784) are IP in IP where an agent has not got them, and none of these passes a NAT",
			set: oneOf(encapsulations, func(c *Config) *Encapsulation { return &of(c).Encapsulation })},
		{key: table + ".gre_key", valid: vInteger(NoGREKey, 1<<32-1), standard: "-1", about: "key of GRE headers (RFC 2890), the same as the agent's; -1 for none",
			set: integer(NoGREKey, 1<<32-1, func(c *Config, n int64) { of(c).GREKey = n })},
		{key: table + ".gre_checksum", valid: vBool, standard: "false", about: "GRE headers with a checksum",
			set: boolean(func(c *Config) *bool { return &of(c).GREChecksum })},
	}
}

// defaults returns the configuration of an empty file.
func defaults() *Config {
	agent := HomeAgent{Algorithm: AlgorithmHMACMD5, ReplayProtection: auth.Timestamps.String(), AAASPI: wire.CHAPSPI, Lifetime: 30 * time.Minute, Encapsulation: EncapsulationAuto, GREKey: NoGREKey}
	back := location.DefaultRetransmission
	return &Config{
		Mode:       "auto",
		Enterprise: Enterprise{Tunnel: TunnelSplit},
		Device:     Device{Name: "mip0", MTU: 1386},
		MTU:        defaultMTU(),
		Internal:   agent, External: agent, ForeignAgent: ForeignAgent{Algorithm: AlgorithmHMACMD5},
		Gateway: Gateway{RequestDNS: true, IKELifetime: 4 * time.Hour, ChildLifetime: time.Hour, Liveness: 30 * time.Second, KeepAlive: 20 * time.Second, KeepAliveLimit: 110 * time.Second, Sparing: 2, Datagram: 1280, TCP: TCPAuto, TCPPort: 4500, ReturnAfter: 30 * time.Minute,
			CheckAfter: 5 * time.Second, GiveUp: 10 * time.Second, Park: ParkKeep, Profile: "default"},
		Mechanisms:     Mechanisms{EndpointUpdate: MechanismAuto, GatewayAgent: MechanismAuto, ZeroOverhead: MechanismAuto},
		Authentication: authenticationDefaults(),
		Trust:          trustDefaults(),
		Interfaces:     Interfaces{HearAgents: true},
		Detection: Detection{Monitor: location.DefaultMonitor, Period: location.DefaultPeriod, Probe: location.DefaultProbe,
			ProbeTime: location.DefaultProbeTime, SilencePause: location.DefaultPause, LearnGateways: true,
			RetransmitInitial: back.Initial, RetransmitFactor: back.Factor, RetransmitMax: back.Max, RetransmitCount: back.Count},
		DNS:     dnsDefaults(),
		Portal:  portalDefaults(),
		Hooks:   hooksDefaults(),
		Control: Control{Socket: DefaultSocket, Polkit: true},
		Log:     Log{Level: "info"},
	}
}

func fieldOf(key string) *field {
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

func keys() []string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.key
	}
	return all
}

// keysOf returns the keys of the table without its name, "schema" among those of no table.
func keysOf(table string) []string {
	var all []string
	if table == "" {
		all = append(all, "schema")
	}
	for _, f := range fields {
		if t, k := splitKey(f.key); t == table {
			all = append(all, k)
		}
	}
	return all
}

func tables() []string {
	var all []string
	for _, f := range fields {
		if t, _ := splitKey(f.key); t != "" && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}
