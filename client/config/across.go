package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"mipvpn/detect/location"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

const (
	// minKey is the least length in octets of an i-HA's key (DET-17).
	minKey = 16
	// safeRequests is how many requests of a re-registration must be able to fail before a proof is lost: at 30 % loss each
	// way all of them fail with probability 0.51^14 < 10^-4 (DET-5).
	safeRequests = 14
)

// across checks what concerns several keys, fills in what follows from others, and reads the secrets.
func (r *reader) across() {
	c := r.config
	r.addresses()
	r.timers()
	r.portal()
	r.dns()
	r.mtu()
	r.mechanisms()
	r.tunnel()
	r.key("internal_home_agent", &c.Internal, true)
	r.key("external_home_agent", &c.External, false)
	r.aaaKey("internal_home_agent", &c.Internal)
	r.aaaKey("external_home_agent", &c.External)
	r.foreignKey()
	r.psk()
	r.ppk()
	if g := c.Gateway; !r.spoilt("gateway.liveness") && g.Dead != 0 && g.Dead < g.Liveness+time.Second {
		r.fail("gateway.dead", fmt.Sprintf("found %v, and liveness is %v: there is no time to ask the gateway", g.Dead, g.Liveness), "0s, or a duration a second or more above liveness")
	}
	r.authentication()
	r.files()
}

// addresses checks the addresses against each other.
func (r *reader) addresses() {
	c := r.config
	if c.Internal.Address.IsValid() && c.Internal.Address == c.External.Address {
		r.warn("external_home_agent.address", fmt.Sprintf("both home agents have the address %v, so that inside cannot be told "+
			"from outside: every network counts as outside, and all traffic goes through the VPN (RFC 5265 section 3.5). "+
			"Give the home agents different addresses", c.Internal.Address))
	}
	if c.Internal.HomeAddress.IsValid() && c.Internal.HomeAddress == c.External.HomeAddress {
		r.fail("external_home_agent.home_address", fmt.Sprintf("found %v, which is the internal home address too", c.External.HomeAddress),
			"an address of the x-HA's home network")
	}
	if l := c.Internal.HomeLink; c.Internal.HomeAddress.IsValid() && len(l) > 0 && !slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Contains(c.Internal.HomeAddress) }) {
		r.fail("internal_home_agent.home_link", fmt.Sprintf("found %v, and the home address %v is in none of them", l, c.Internal.HomeAddress),
			"the networks of the link that home_address belongs to")
	}
	if len(c.Internal.Groups) > 0 && !c.Internal.Broadcasts && !r.spoilt("internal_home_agent.broadcasts") {
		r.fail("internal_home_agent.groups", fmt.Sprintf("found %v without broadcasts, which the i-HA takes for not listening at all", c.Internal.Groups), "[], or broadcasts = true beside it")
	}
	if x := c.External; x.Dynamic && !r.spoilt(tableExternal+".") && (x.NAI == "" || x.Name != "") {
		r.fail("external_home_agent.dynamic", "found true, which takes a nai, and an address and no name of the x-HA (RFC 4433)", "false, or true with nai")
	}
	if x := c.External; x.Network.IsValid() && (x.Address.IsValid() || x.Name != "" || x.Dynamic || !x.HomeAddress.IsValid()) {
		r.fail("external_home_agent.network", "found beside address or dynamic, or without home_address", "network with home_address, or address")
	}
	if c.Detection.WaiveTNC {
		r.warn("detection.waive_tnc", "the Trusted Networks Configured extension is waived: only the firewall keeps a laptop outside from taking itself for inside")
	}
	if c.Detection.RefuseNAT && c.Internal.Encapsulation != EncapsulationAuto {
		r.fail("detection.refuse_nat", fmt.Sprintf("found true with internal_home_agent.encapsulation = %q, which does not show a NAT", c.Internal.Encapsulation),
			`false, or encapsulation = "auto"`)
	}
	for _, a := range []struct {
		table string
		agent *HomeAgent
	}{{"internal_home_agent", &c.Internal}, {"external_home_agent", &c.External}} {
		if a.agent.GREKey != NoGREKey && a.agent.Encapsulation != EncapsulationGRE {
			r.warn(a.table+".gre_key", `has no effect without encapsulation = "gre"`)
		}
	}
	if c.Detection.SuppressOutside && len(c.Detection.OutsideNetworks) == 0 {
		r.warn("detection.suppress_outside", "has no effect without outside_networks")
	}
}

// timers checks the detection's timers against each other.
func (r *reader) timers() {
	d := &r.config.Detection
	if r.spoilt("detection.t_monitor", "detection.grace", "detection.retransmit_") {
		return
	}
	if d.Grace == 0 {
		d.Grace = min(location.DefaultGrace, d.Monitor/2)
	}
	if d.Grace >= d.Monitor {
		r.fail("detection.grace", fmt.Sprintf("found %v, and t_monitor is %v: re-registration would never wait", d.Grace, d.Monitor),
			"a duration under t_monitor")
		return
	}
	if d.RetransmitMax < d.RetransmitInitial {
		r.fail("detection.retransmit_max", fmt.Sprintf("found %v, and retransmit_initial is %v", d.RetransmitMax, d.RetransmitInitial),
			"a duration of retransmit_initial or more")
		return
	}
	n := len(r.config.Retransmission().Offsets(d.Grace - location.ReplyLimit + time.Millisecond))
	if n < safeRequests {
		r.warn("detection.grace", fmt.Sprintf("only %d requests fit into the grace period with time for an answer, %d are needed to "+
			"keep a false stop at 30 %% loss rarer than once in 10000 re-registrations", n, safeRequests))
	}
}

// aaaKey reads what is shared with an AAA infrastructure.
func (r *reader) aaaKey(table string, a *HomeAgent) {
	if a.AAASPI != wire.CHAPSPI && a.AAASPI < auth.FirstSPI {
		r.fail(table+".aaa_spi", fmt.Sprintf("found %d, which is reserved (RFC 5944 section 1.6)", a.AAASPI), "2, or an integer of 256 or more")
	}
	if a.AAAKeyFile == "" {
		return
	}
	name := table + ".aaa_key_file"
	data, ok := r.secret(name, a.AAAKeyFile)
	if !ok {
		return
	}
	defer clear(data)
	key, err := ParseKey(data)
	if err != nil {
		r.fail(name, err.Error(), "a file of hexadecimal digits, two for each octet of the secret")
		return
	}
	a.AAAKey = key
}

// key reads a home agent's key.
func (r *reader) key(table string, a *HomeAgent, internal bool) {
	if a.KeyFile == "" {
		return
	}
	name := table + ".key_file"
	data, ok := r.secret(name, a.KeyFile)
	if !ok {
		return
	}
	defer clear(data)
	key, err := ParseKey(data)
	if err != nil {
		r.fail(name, err.Error(), "a file of hexadecimal digits, two for each octet of the key")
		return
	}
	a.Key = key
	switch {
	case internal && len(key) < minKey:
		r.fail(name, fmt.Sprintf("the key has %d bits: who finds it out can make the laptop send plaintext (RFC 5265 section 6.2)", len(key)*8),
			fmt.Sprintf("a key of %d bits or more, %d hexadecimal digits", minKey*8, minKey*2))
	case len(key) < minKey:
		r.warn(name, fmt.Sprintf("the key has only %d bits: who finds it out can redirect the laptop's traffic", len(key)*8))
	}
	if internal && a.Algorithm == AlgorithmKeyedMD5 {
		r.warn(table+".algorithm", "keyed MD5 is too weak to prove that the laptop is inside: it will always use the VPN")
	}
}

// psk reads the gateway's pre-shared key.
func (r *reader) psk() {
	g := &r.config.Gateway
	if g.PSKFile == "" {
		return
	}
	data, ok := r.secret("gateway.psk_file", g.PSKFile)
	if !ok {
		return
	}
	defer clear(data)
	psk, err := ParsePSK(data)
	if err != nil {
		r.fail("gateway.psk_file", err.Error(), "a file of one line of text, or 0x and hexadecimal digits")
		return
	}
	g.PSK = psk
	if len(psk) < minKey {
		r.warn("gateway.psk_file", fmt.Sprintf("the pre-shared key has only %d octets: it can be found by trying (RFC 7296 section 2.15)", len(psk)))
	}
}

// ppk reads the post-quantum pre-shared key.
func (r *reader) ppk() {
	g := &r.config.Gateway
	switch {
	case r.spoilt("gateway.ppk_"):
		return
	case (g.PPKID == "") != (g.PPKFile == ""):
		r.fail("gateway.ppk_id", "gateway.ppk_id and gateway.ppk_file go together, and one of them is missing", "both, or neither")
		return
	case g.PPKFile == "" && g.RequirePPK:
		r.fail("gateway.require_ppk", "found true without gateway.ppk_file", "false, or a key")
		return
	case g.PPKFile == "":
		return
	}
	data, ok := r.secret("gateway.ppk_file", g.PPKFile)
	if !ok {
		return
	}
	defer clear(data)
	ppk, err := ParsePSK(data)
	if err == nil && len(ppk) < minKey {
		clear(ppk)
		err = fmt.Errorf("the key has only %d octets", len(ppk))
	}
	if err != nil {
		r.fail("gateway.ppk_file", err.Error(), fmt.Sprintf("a file of one line of text, or 0x and hexadecimal digits, of %d octets or more", minKey))
		return
	}
	g.PPK = ppk
}

// secret reads a secret file for the key name.
func (r *reader) secret(name, path string) ([]byte, bool) {
	data, err := r.secrets(path)
	if err != nil {
		valid := "a file that its owner alone may read or write (mode 0600)"
		r.fail(name, err.Error(), valid)
		return nil, false
	}
	return data, true
}

// errNotHex and errEmptySecret say what is wrong with the content of a secret file, without showing any of it.
var (
	errNotHex      = errors.New("the file holds something other than pairs of hexadecimal digits")
	errEmptySecret = errors.New("the file is empty")
)

// ParseKey returns the key of a mobility security association from a file's content: hexadecimal digits, perhaps behind
// 0x, white space ignored. The caller owns both; the content is not kept.
func ParseKey(data []byte) (Secret, error) {
	digits := make([]byte, 0, len(data))
	defer func() { clear(digits[:cap(digits)]) }()
	for _, c := range data {
		if !unicode.IsSpace(rune(c)) {
			digits = append(digits, c)
		}
	}
	hexDigits := digits
	if len(hexDigits) >= 2 && hexDigits[0] == '0' && (hexDigits[1] == 'x' || hexDigits[1] == 'X') {
		hexDigits = hexDigits[2:]
	}
	if len(hexDigits) == 0 {
		return nil, errEmptySecret
	}
	key := make(Secret, hex.DecodedLen(len(hexDigits)))
	if _, err := hex.Decode(key, hexDigits); err != nil {
		clear(key)
		return nil, errNotHex
	}
	return key, nil
}

// ParsePSK returns a pre-shared key from a file's content: behind 0x hexadecimal digits, else the octets themselves
// without a last line break. The caller owns both; the content is not kept.
func ParsePSK(data []byte) (Secret, error) {
	n := len(data)
	for n > 0 && (data[n-1] == '\n' || data[n-1] == '\r') {
		n--
	}
	if n == 0 {
		return nil, errEmptySecret
	}
	if n >= 2 && strings.EqualFold(string(data[:2]), "0x") {
		return ParseKey(data[:n])
	}
	return append(Secret(nil), data[:n]...), nil
}

// Retransmission returns the back-off of unanswered registration requests.
func (c *Config) Retransmission() location.Retransmission {
	d := c.Detection
	return location.Retransmission{Initial: d.RetransmitInitial, Factor: d.RetransmitFactor, Max: d.RetransmitMax, Count: d.RetransmitCount}
}

// Location returns the detector's configuration for the interface of that index.
func (c *Config) Location(iface int) location.Config {
	d := c.Detection
	return location.Config{
		Interface: iface, InternalHomeAgent: c.Internal.Address, ExternalHomeAgent: c.External.Address,
		Monitor: d.Monitor, Grace: d.Grace, Period: d.Period, Probe: d.Probe, ProbeTime: d.ProbeTime, Pause: d.SilencePause, Idle: d.Idle,
		OutsideNetworks: d.OutsideNetworks, SuppressOutside: d.SuppressOutside, WaiveTNC: d.WaiveTNC, RefuseNAT: d.RefuseNAT,
	}
}
