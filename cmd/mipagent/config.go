package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/tunnel"
)

// schema is the version of the file's format that this program reads.
const schema = 1

// maxConfig is the greatest length of a configuration file in octets.
const maxConfig = 1 << 20

// errConfig is wrapped by every error about a configuration file.
var errConfig = errors.New("configuration")

// configuration is the file: one table for each role.
type configuration struct {
	Schema    int `toml:"schema"`
	HomeAgent struct {
		Internal *homeAgentTable `toml:"internal"`
		External *homeAgentTable `toml:"external"`
	} `toml:"home_agent"`
	ForeignAgent *foreignAgentTable `toml:"foreign_agent"`
	Gateway      *gatewayTable      `toml:"gateway"`
	Log          logTable           `toml:"log"`
	Control      controlTable       `toml:"control"`
	Metrics      metricsTable       `toml:"metrics"`

	file     string
	dir      string // relative paths are relative to this
	prepared []role
}

type logTable struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// controlTable is the socket that the other commands of this program use: defaultSocket when the file does not say, none when it
// says "".
type controlTable struct {
	Socket *string `toml:"socket"`
}

// metricsTable is where Prometheus' metrics are served over TCP, nowhere without it.
type metricsTable struct {
	Listen netip.AddrPort `toml:"listen"`
}

// association is the part of a table that is a mobility security association.
type association struct {
	SPI       uint32 `toml:"spi"`
	Algorithm string `toml:"algorithm"`
	KeyFile   string `toml:"key_file"`

	replay auth.ReplayProtection // of a mobile node with its home agent
	key    keyDigits             // in the place of KeyFile
	dir    string                // that a relative KeyFile is relative to; the configuration's where it is empty
}

// encapsulationTable is which forms of tunnels an agent offers besides IP-in-IP and UDP.
type encapsulationTable struct {
	Minimal     bool    `toml:"minimal_encapsulation"`
	GRE         bool    `toml:"gre"`
	GREKey      *uint32 `toml:"gre_key"`
	GREChecksum bool    `toml:"gre_checksum"`
}

// offered returns what the table says.
func (t encapsulationTable) offered() tunnel.Offered {
	o := tunnel.Offered{Minimal: t.Minimal, GRE: t.GRE, Options: tunnel.GREOptions{Checksum: t.GREChecksum}}
	if t.GREKey != nil {
		o.Options.Keyed, o.Options.Key = true, *t.GREKey
	}
	return o
}

type homeAgentTable struct {
	encapsulationTable
	Address               netip.Addr        `toml:"address"`
	HomeNetworks          []netip.Prefix    `toml:"home_networks"`
	DynamicAddresses      []netip.Prefix    `toml:"dynamic_addresses"`
	AddressHold           duration          `toml:"address_hold"`
	RedirectTo            netip.Addr        `toml:"redirect_to"`
	RedirectFrom          int               `toml:"redirect_from"`
	TrustedNetworks       []netip.Prefix    `toml:"trusted_networks"`
	RefusedNetworks       []netip.Prefix    `toml:"refused_networks"`
	PermittedGateways     []netip.Addr      `toml:"permitted_gateways"`
	ZeroOverheadVendor    uint32            `toml:"zero_overhead_vendor"`
	ZeroOverheadGateways  []netip.Addr      `toml:"zero_overhead_gateways"`
	HomeLink              string            `toml:"home_link"`
	Broadcasts            bool              `toml:"broadcasts"`
	Device                string            `toml:"device"`
	Store                 *string           `toml:"store"`
	Cluster               *clusterTable     `toml:"cluster"`
	MaxLifetime           duration          `toml:"max_lifetime"`
	TimestampTolerance    duration          `toml:"timestamp_tolerance"`
	SimultaneousBindings  int               `toml:"simultaneous_bindings"`
	MaxBindings           int               `toml:"max_bindings"`
	MaxRequests           int               `toml:"max_requests_per_minute"`
	RequireReverseTunnel  bool              `toml:"require_reverse_tunnel"`
	UDPTunnel             *bool             `toml:"udp_tunnel"`
	ForcedUDPTunnel       *bool             `toml:"forced_udp_tunnel"`
	KeepAlive             duration          `toml:"keepalive"`
	AllowRelayedCoLocated bool              `toml:"allow_relayed_co_located"`
	Revocation            *bool             `toml:"revocation"`
	MobileNodes           []mobileNodeTable `toml:"mobile_node"`
	MobileNodeFiles       string            `toml:"mobile_nodes"`
	ForeignAgents         []peerTable       `toml:"foreign_agent"`
	RADIUS                *agentRADIUSTable `toml:"radius"`
}

type mobileNodeTable struct {
	HomeAddress      netip.Addr `toml:"home_address"`
	NAI              string     `toml:"nai"`
	ReplayProtection string     `toml:"replay_protection"`
	MaxLifetime      duration   `toml:"max_lifetime"`
	Bindings         int        `toml:"simultaneous_bindings"`
	MaxRequests      int        `toml:"max_requests_per_minute"`
	Key              keyDigits  `toml:"key"` // in the files that mobile_nodes names
	association

	place string // "file:line: " of the table, empty in the configuration itself
}

type peerTable struct {
	Address netip.Addr `toml:"address"`
	association
}

// udpTunnelMode is when a foreign agent asks for UDP tunnelling: "never", "nat" or "forced".
type udpTunnelMode foreignagent.UDPTunnel

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *udpTunnelMode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "never":
		*m = udpTunnelMode(foreignagent.UDPTunnelNever)
	case "nat":
		*m = udpTunnelMode(foreignagent.UDPTunnelNAT)
	case "forced":
		*m = udpTunnelMode(foreignagent.UDPTunnelForced)
	default:
		return fmt.Errorf("found %q, valid is \"never\", \"nat\" or \"forced\"", text)
	}
	return nil
}

type foreignAgentTable struct {
	encapsulationTable
	UDPTunnel             udpTunnelMode     `toml:"udp_tunnel"`
	Interface             string            `toml:"interface"`
	Address               netip.Addr        `toml:"address"`
	CareOfAddress         netip.Addr        `toml:"care_of_address"`
	MaxLifetime           duration          `toml:"max_lifetime"`
	MaxVisitors           int               `toml:"max_visitors"`
	BehindNAT             bool              `toml:"behind_nat"`
	RegistrationRequired  bool              `toml:"registration_required"`
	Revocation            bool              `toml:"revocation"`
	Challenge             bool              `toml:"challenge"`
	RADIUS                *agentRADIUSTable `toml:"radius"`
	ChallengeWindow       int               `toml:"challenge_window"`
	EncapsulatingDelivery *bool             `toml:"encapsulating_delivery"`
	Advertise             *bool             `toml:"advertise"`
	NAI                   string            `toml:"nai"`
	Interval              duration          `toml:"interval"`
	AdvertisementLifetime duration          `toml:"advertisement_lifetime"`
	PermittedHomeAgents   []netip.Prefix    `toml:"permitted_home_agents"`
	HomeAgents            []peerTable       `toml:"home_agent"`
	MobileNodes           []peerTable       `toml:"mobile_node"`
}

// agentRADIUSTable are the RADIUS servers that a home agent or foreign agent asks about mobile nodes.
type agentRADIUSTable struct {
	Identifier string               `toml:"identifier"`
	Timeout    duration             `toml:"timeout"`
	Tries      int                  `toml:"tries"`
	Servers    []gatewayServerTable `toml:"server"`
}

// duration is a Go duration string, such as "30m".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("found %q, valid is a duration such as \"30s\" or \"5m\"", text)
	}
	*d = duration(v)
	return nil
}

// loadConfig reads the file, and the keys that it names, and checks both. Errors wrap errConfig and name file and line, or
// file and table.
func loadConfig(path string) (*configuration, error) {
	data, err := readConfig(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w: --config names another file, and the examples of mipagent-operations(7) are what one begins with", errConfig, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	c, err := parseConfig(path, data)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("%w: %s%w", errConfig, placeOf(path, data, err), err)
	}
	return c, nil
}

// readConfig reads a file as far as one octet behind what parseConfig takes.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig+1))
}

// parseConfig decodes the file strictly.
func parseConfig(path string, data []byte) (*configuration, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%w: %s is longer than the %d octets that are read", errConfig, path, maxConfig)
	}
	c := &configuration{file: path, dir: filepath.Dir(path)}
	d := toml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))) // the byte order mark of editors on Windows
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("%w: %s", errConfig, describe(path, err))
	}
	if c.Schema != schema {
		return nil, fmt.Errorf("%w: %s: schema = %d was found, this program reads schema = %d, which must be the file's first key", errConfig, path, c.Schema, schema)
	}
	return c, nil
}

// describe puts what the decoder says into lines of "file:line: message".
func describe(path string, err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var lines []string
		for i := range strict.Errors {
			e := &strict.Errors[i]
			line, _ := e.Position()
			lines = append(lines, fmt.Sprintf("%s:%d: unknown key %s (the files in /usr/share/doc/mipagent/examples, in the source in configs, have all that are known)", path, line, strings.Join(e.Key(), ".")))
		}
		return strings.Join(lines, "\n")
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ := decode.Position()
		key := ""
		if k := decode.Key(); len(k) > 0 {
			key = strings.Join(k, ".") + ": "
		}
		return fmt.Sprintf("%s:%d: %s%s", path, line, key, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	return fmt.Sprintf("%s: %s", path, err)
}

// tableError says which table an error is about.
type tableError struct {
	table string
	err   error
}

func (e *tableError) Error() string { return fmt.Sprintf("[%s]: %v", e.table, e.err) }

func (e *tableError) Unwrap() error { return e.err }

// placeOf returns "file:line: " for the table that an error is about, "file: " where that is not known.
func placeOf(path string, data []byte, err error) string {
	var t *tableError
	if errors.As(err, &t) {
		for i, line := range bytes.Split(data, []byte("\n")) {
			line = bytes.TrimSpace(line)
			if bytes.HasPrefix(line, []byte("["+t.table+"]")) {
				return fmt.Sprintf("%s:%d: ", path, i+1)
			}
		}
	}
	return path + ": "
}
