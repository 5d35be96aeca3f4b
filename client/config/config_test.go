package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mipvpn/detect/location"
)

// minimal is the shortest configuration that is valid.
const minimal = `schema = 1

[enterprise]
prefixes = ["10.0.0.0/16"]

[internal_home_agent]
address = "10.0.1.10"
home_address = "10.0.8.100"
spi = 256
key_file = "i-ha.key"

[external_home_agent]
address = "192.0.2.20"
home_address = "198.51.100.100"
spi = 257
key_file = "x-ha.key"

[gateway]
address = "192.0.2.10"
local_identity = "laptop@example.com"
remote_identity = "gateway.example.com"
psk_file = "gateway.psk"
`

// secrets are the files that minimal names.
var secrets = map[string]string{
	"i-ha.key":    "000102030405060708090a0b0c0d0e0f\n",
	"x-ha.key":    "0x10111213 14151617 18191a1b 1c1d1e1f",
	"gateway.psk": "correct horse battery staple\n",
	"short.key":   "0011223344",
	"not.key":     "correct horse",
	"odd.key":     "001",
	"empty":       "\n",
}

func readSecret(path string) ([]byte, error) {
	s, ok := secrets[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	return []byte(s), nil
}

// parse reads a configuration. What it accepts the schema accepts, too.
func parse(text string) (*Config, error) {
	c, err := Parse("mipvpn.toml", []byte(text), readSecret)
	if err == nil {
		if refused := fits(strings.TrimPrefix(text, byteOrderMark)); refused != nil {
			return nil, fmt.Errorf("valid, and the schema refuses it: %w", refused)
		}
	}
	return c, err
}

// with returns minimal with the lines of a table, made if it is not there, added behind its header.
func with(table, lines string) string {
	if table == "" {
		return strings.Replace(minimal, "schema = 1\n", "schema = 1\n"+lines+"\n", 1)
	}
	header := "[" + table + "]\n"
	if !strings.Contains(minimal, header) {
		return minimal + header + lines + "\n"
	}
	return strings.Replace(minimal, header, header+lines+"\n", 1)
}

// replaced returns minimal with one text in place of another that must be there.
func replaced(t *testing.T, from, to string) string {
	t.Helper()
	if strings.Count(minimal, from) != 1 {
		t.Fatalf("%q is not in the minimal configuration once", from)
	}
	return strings.Replace(minimal, from, to, 1)
}

func TestByteOrderMark(t *testing.T) {
	if _, err := parse(byteOrderMark + minimal); err != nil {
		t.Error(err)
	}
	if _, err := parse(byteOrderMark + byteOrderMark + minimal); err == nil {
		t.Error("two of them were taken")
	}
}

func TestMinimal(t *testing.T) {
	c, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	enterprise := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	key := func(first byte) Secret {
		k := make(Secret, 16)
		for i := range k {
			k[i] = first + byte(i)
		}
		return k
	}
	want := &Config{
		Mode:   "auto",
		Device: Device{Name: "mip0", MTU: 1386}, MTU: defaultMTU(),
		Enterprise: Enterprise{Prefixes: enterprise, Tunnel: TunnelSplit},
		Internal: HomeAgent{Address: netip.MustParseAddr("10.0.1.10"), HomeAddress: netip.MustParseAddr("10.0.8.100"), SPI: 256,
			Algorithm: AlgorithmHMACMD5, ReplayProtection: "timestamps", AAASPI: 2, KeyFile: "i-ha.key", Key: key(0), Lifetime: 30 * time.Minute, Encapsulation: EncapsulationAuto, GREKey: NoGREKey},
		External: HomeAgent{Address: netip.MustParseAddr("192.0.2.20"), HomeAddress: netip.MustParseAddr("198.51.100.100"), SPI: 257,
			Algorithm: AlgorithmHMACMD5, ReplayProtection: "timestamps", AAASPI: 2, KeyFile: "x-ha.key", Key: key(16), Lifetime: 30 * time.Minute, Encapsulation: EncapsulationAuto, GREKey: NoGREKey},
		ForeignAgent: ForeignAgent{Algorithm: AlgorithmHMACMD5},
		Gateway: Gateway{Address: netip.MustParseAddr("192.0.2.10"), LocalIdentity: "laptop@example.com", RemoteIdentity: "gateway.example.com",
			PSKFile: "gateway.psk", PSK: Secret("correct horse battery staple"), RequestDNS: true, RemoteSubnets: enterprise,
			IKELifetime: 4 * time.Hour, ChildLifetime: time.Hour, Liveness: 30 * time.Second, KeepAlive: 20 * time.Second, KeepAliveLimit: 110 * time.Second, Sparing: 2, Datagram: 1280, TCP: TCPAuto, TCPPort: 4500, ReturnAfter: 30 * time.Minute,
			CheckAfter: 5 * time.Second, GiveUp: 10 * time.Second, Park: ParkKeep, Profile: "default"},
		Mechanisms:     Mechanisms{EndpointUpdate: MechanismAuto, GatewayAgent: MechanismAuto, ZeroOverhead: MechanismAuto},
		Authentication: authenticationDefaults(), Trust: trustDefaults(),
		Detection: Detection{Monitor: time.Minute, Grace: 30 * time.Second, Period: 2 * time.Second, Probe: 10 * time.Minute,
			ProbeTime: 4 * time.Second, SilencePause: 30 * time.Second, LearnGateways: true,
			RetransmitInitial: time.Second, RetransmitFactor: 2, RetransmitMax: 2 * time.Second, RetransmitCount: 16},
		DNS:    DNS{Mode: "auto", GatewayDomains: true, Search: true, Listen: netip.MustParseAddr("127.0.77.53")},
		Portal: portalDefaults(), Interfaces: Interfaces{HearAgents: true},
		Hooks:   hooksDefaults(),
		Control: Control{Socket: DefaultSocket, Polkit: true},
		Log:     Log{Level: "info"},
	}
	compare := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b Secret) bool { return string(a) == string(b) })}
	if d := cmp.Diff(want, c, compare); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := c.Retransmission(); got != location.DefaultRetransmission {
		t.Errorf("retransmission %+v", got)
	}
	if _, err := location.New(c.Location(1)); err != nil {
		t.Errorf("the detector's configuration: %v", err)
	}
}

func TestEveryKey(t *testing.T) {
	c, err := parse(`schema = 1
up_at_start = true
mode = "cvc"
[device]
name = "tun-7_a"
mtu = 1280
[enterprise]
prefixes = ["10.0.0.0/16", "172.16.0.0/12"]
prefixes6 = ["2001:db8::/32"]
tunnel = "full"
[kill_switch]
allow_local = true
[internal_home_agent]
address = "10.0.1.10"
home_address = "10.0.8.100"
spi = 4294967295
algorithm = "hmac-sha256"
replay_protection = "nonces"
nai = "laptop@corp.example"
key_file = "i-ha.key"
lifetime = "45s"
home_link = ["10.0.8.0/24"]
broadcasts = true
groups = ["239.192.0.0/14", "224.0.0.251/32"]
encapsulation = "gre"
gre_key = 7
aaa_key_file = "x-ha.key"
aaa_spi = 256
gre_checksum = true
[external_home_agent]
address = "192.0.2.20"
home_address = "198.51.100.100"
spi = 257
algorithm = "keyed-md5"
replay_protection = "nonces"
nai = "outside@corp.example"
dynamic = true
key_file = "x-ha.key"
lifetime = "18h"
encapsulation = "gre"
gre_key = 8
aaa_key_file = "i-ha.key"
aaa_spi = 257
gre_checksum = true
[foreign_agent]
networks = ["10.0.3.0/24"]
spi = 300
algorithm = "hmac-sha256"
key_file = "i-ha.key"
[gateway]
address = "192.0.2.10"
local_identity = "laptop@example.com"
remote_identity = "gateway.example.com"
psk_file = "gateway.psk"
force_udp_encapsulation = true
request_dns = false
remote_subnets = ["10.0.0.0/8"]
ike_lifetime = "2h"
child_lifetime = "20m"
liveness = "10s"
keepalive = "15s"
keepalive_limit = "1m"
sparing = 3
check_after = "6s"
give_up = "20s"
park = "delete"
dead = "1m"
profile = "cnsa"
require_hybrid = true
ppk_id = "ppk-1"
ppk_file = "gateway.psk"
require_ppk = true
child_octets = 1000000000
replay_window = 65536
tfc_padding = 1000
dummy_interval = "1s"
child_packets = 1000000
ike_datagram = 1400
tcp = "only"
tcp_port = 443
address6 = "2001:db8::10"
fallback = ["192.0.2.11", "gw2.corp.example"]
return_after = "1h"
[authentication]
rounds = ["certificate", "eap-ttls"]
gateway = ["certificate", "psk"]
certificate = "laptop.pem"
key = "pkcs11:token=laptop?module-path=/usr/lib/opensc-pkcs11.so"
tpm = "/dev/tpmrm1"
pin = "keyring"
eap_identity = "anonymous@example.com"
user = "alice"
password = "command:/usr/bin/pass show vpn"
inner = "pap"
eap_server = "radius.example.com"
[trust]
anchors = ["root.pem"]
intermediates = ["inter.pem"]
crls = ["root.crl"]
revocation = "hard"
fetch = false
ocsp = false
extended_key_usage = "required"
wildcards = true
[detection]
t_monitor = "2m"
grace = "40s"
period = "0s"
probe = "0s"
retransmit_initial = "2s"
retransmit_factor = 1
retransmit_max = "2s"
retransmit_count = 20
outside_networks = ["192.168.0.0/16"]
suppress_outside = true
waive_tnc = false
probe_time = "3s"
silence_pause = "1m"
idle = "10m"
refuse_nat = false
inside_domains = ["Corp.Example", "a-1.b"]
inside_nais = ["corp.example"]
learn_gateways = false
[dns]
mode = "resolved"
domains = ["Corp.Example"]
servers = ["10.0.1.53"]
full = true
search = false
gateway_domains = false
listen = "127.0.0.2"
[mtu]
probe = false
floor = 600
base = 1300
confirm = "30s"
raise = "20m"
[mechanisms]
endpoint_update = "mobike"
gateway_agent = "off"
zero_overhead = "always"
vendor = 32473
[interfaces]
use = ["eth0", "wlan0"]
ignore = ["docker0"]
hear_agents = false
prefer = ["wlan*"]
[hooks]
run = false
directory = "/opt/hooks"
timeout = "1m"
[portal]
detect = false
probe_url = "http://probe.corp.example/"
probe_status = 200
probe_body = "ok"
browser = "/opt/browser"
timeout = "1m"
[metrics]
listen = "127.0.0.1:9464"
[control]
socket = "/tmp/s"
users = ["alice", "1000"]
groups = ["staff"]
polkit = false
[log]
level = "debug"
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %+v", c.Warnings)
	}
	d, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	// Every key is set to something else than its default, so that a field that no key reaches shows.
	same := map[string]bool{".Internal.Address": true, ".Internal.HomeAddress": true, ".Internal.KeyFile": true, ".Internal.Key": true,
		".External.Address": true, ".External.HomeAddress": true, ".External.SPI": true, ".External.KeyFile": true, ".External.Key": true,
		".Gateway.Address": true, ".Gateway.LocalIdentity": true, ".Gateway.RemoteIdentity": true, ".Gateway.PSKFile": true,
		".Gateway.PSK": true, ".Trust.Verifier": true, ".Trust.Digest": true, ".Authentication.Digest": true, ".External.HomeLink": true, ".External.Broadcasts": true, ".External.Groups": true, ".Detection.WaiveTNC": true, ".Detection.RefuseNAT": true, ".Internal.Name": true, ".Internal.Network": true, ".External.Network": true, ".Internal.Dynamic": true, ".External.Name": true, ".Gateway.Name": true, ".Detection.RetransmitMax": true, ".Warnings": true}
	var equal []string
	leaves(t, "", toJSON(t, c), toJSON(t, d), func(path string) { equal = append(equal, path) })
	for _, path := range equal {
		if !same[path] {
			t.Errorf("%s was not changed by its key", path)
		}
	}
	for _, use := range []struct {
		name string
		want bool
	}{{"eth0", true}, {"docker0", false}, {"eth1", false}} {
		if got := c.Interfaces.Allows(use.name); got != use.want {
			t.Errorf("interface %s allowed: %v", use.name, got)
		}
	}
}

func toJSON(t *testing.T, v any) any {
	t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(p, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// leaves calls f with the path of each leaf that is equal in a and b.
func leaves(t *testing.T, path string, a, b any, f func(string)) {
	if m, ok := a.(map[string]any); ok {
		for k, v := range m {
			leaves(t, path+"."+k, v, b.(map[string]any)[k], f)
		}
		return
	}
	if cmp.Equal(a, b) {
		f(path)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"unknown key with suggestion", with("detection", `t_moniter = "60s"`),
			`mipvpn.toml:24: detection.t_moniter: unknown key, did you mean "detection.t_monitor"?; valid is one of t_monitor, grace, period, probe, retransmit_initial, retransmit_factor, retransmit_max, retransmit_count, outside_networks, suppress_outside, waive_tnc, probe_time, silence_pause, idle, refuse_nat, inside_domains, inside_nais or learn_gateways`},
		{"key of another table", with("gateway", `home_address = "10.0.0.1"`),
			`mipvpn.toml:19: gateway.home_address: unknown key, did you mean "internal_home_agent.home_address"?; valid is one of address, address6, fallback, return_after, local_identity, remote_identity, psk_file, force_udp_encapsulation, request_dns, remote_subnets, ike_lifetime, child_lifetime, liveness, profile, require_hybrid, ppk_id, ppk_file, require_ppk, dead, child_octets, child_packets, replay_window, tfc_padding, dummy_interval, ike_datagram, tcp, tcp_port, keepalive, keepalive_limit, sparing, check_after, give_up or park`},
		{"unknown key without suggestion", with("log", `zzzzzzzz = 1`),
			`mipvpn.toml:24: log.zzzzzzzz: unknown key; valid is one of level`},
		{"unknown table", with("gatewai", `address = "192.0.2.1"`),
			`mipvpn.toml:23: gatewai: unknown table, did you mean "gateway"?; valid is one of the tables device, enterprise, kill_switch, mtu, internal_home_agent, external_home_agent, foreign_agent, gateway, mechanisms, authentication, trust, detection, dns, interfaces, portal, hooks, metrics, control or log`},
		{"unknown inline table", with("", `detect = { period = "1s" }`),
			`mipvpn.toml:2: detect: unknown table; valid is one of the tables device, enterprise, kill_switch, mtu, internal_home_agent, external_home_agent, foreign_agent, gateway, mechanisms, authentication, trust, detection, dns, interfaces, portal, hooks, metrics, control or log`},
		{"table in a table", with("log", "[log.more]\nx = 1"),
			`mipvpn.toml:24: log.more: unknown key; valid is one of level`},
		{"table as value", with("", `log = 3`), `mipvpn.toml:2: log: found the number 3; valid is a table: [log] on a line of its own`},

		{"T_MONITOR under 5 s", with("detection", `t_monitor = "4s"`),
			`mipvpn.toml:24: detection.t_monitor: found 4s: a reply of the i-HA may take up to 5s and several requests must fit in, so that user data would stop all the time (RFC 5265 section 3.2.4); valid is a duration in quotes such as "90s" or "5m", at least 5s`},
		{"duration without unit", with("detection", `t_monitor = 60`),
			`mipvpn.toml:24: detection.t_monitor: found the number 60 without a unit (seconds would be "60s"); valid is a duration in quotes such as "90s" or "5m", at least 5s`},
		{"not a duration", with("detection", `period = "soon"`),
			`mipvpn.toml:24: detection.period: found the text "soon"; valid is a duration in quotes such as "2s", or "0s"`},
		{"negative duration", with("detection", `period = "-1s"`),
			`mipvpn.toml:24: detection.period: found -1s; valid is a duration in quotes such as "2s", or "0s"`},
		{"probe too often", with("detection", `probe = "1s"`),
			`mipvpn.toml:24: detection.probe: found 1s; valid is a duration in quotes such as "90s" or "5m", at least 10s, or "0s"`},
		{"retransmission too fast", with("detection", `retransmit_initial = "500ms"`),
			`mipvpn.toml:24: detection.retransmit_initial: found 500ms; valid is a duration in quotes such as "90s" or "5m", at least 1s`},
		{"retransmission maximum under initial", with("detection", `retransmit_initial = "4s"`),
			`mipvpn.toml:23: detection.retransmit_max: found 2s, and retransmit_initial is 4s; valid is a duration of retransmit_initial or more`},
		{"grace not under T_MONITOR", with("detection", "t_monitor = \"20s\"\ngrace = \"20s\""),
			`mipvpn.toml:25: detection.grace: found 20s, and t_monitor is 20s: re-registration would never wait; valid is a duration under t_monitor`},

		{"groups and no broadcasts", with("internal_home_agent", `groups = ["239.192.0.0/14"]`),
			`mipvpn.toml:7: internal_home_agent.groups: found [239.192.0.0/14] without broadcasts, which the i-HA takes for not listening at all; valid is [], or broadcasts = true beside it`},
		{"groups that are none", with("internal_home_agent", "broadcasts = true\ngroups = [\"239.192.0.0/14\", \"10.0.0.0/8\"]"),
			`mipvpn.toml:8: internal_home_agent.groups: found "10.0.0.0/8" in the list, which is not within 224.0.0.0/4; valid is a list of prefixes of IPv4 groups such as ["239.192.0.0/14"]`},
		{"NAT refused and not seen", with("internal_home_agent", `encapsulation = "udp"`) + "[detection]\nrefuse_nat = true\n",
			`mipvpn.toml:25: detection.refuse_nat: found true with internal_home_agent.encapsulation = "udp", which does not show a NAT; valid is false, or encapsulation = "auto"`},
		{"no address", replaced(t, `"10.0.1.10"`, `"gateway.example.com"`),
			`mipvpn.toml:7: internal_home_agent.address: found the text "gateway.example.com"; valid is an IPv4 address in quotes, such as "192.0.2.10"`},
		{"IPv6 address", replaced(t, `"192.0.2.10"`, `"2001:db8::1"`),
			`mipvpn.toml:19: gateway.address: found the text "2001:db8::1"; valid is an IPv4 address or a domain name in quotes, such as "192.0.2.10" or "gw.corp.example"`},
		{"address that no host has", replaced(t, `"192.0.2.10"`, `"224.0.0.1"`),
			`mipvpn.toml:19: gateway.address: found 224.0.0.1, which no host has; valid is an IPv4 address or a domain name in quotes, such as "192.0.2.10" or "gw.corp.example"`},
		{"prefix with host bits", replaced(t, `"10.0.0.0/16"`, `"10.0.1.0/16"`),
			`mipvpn.toml:4: enterprise.prefixes: found "10.0.1.0/16" in the list, which has bits behind its length; its network is "10.0.0.0/16"; valid is a list of IPv4 prefixes such as ["10.0.0.0/8"], at least one`},
		{"no prefix", replaced(t, `["10.0.0.0/16"]`, `[]`),
			`mipvpn.toml:4: enterprise.prefixes: found an empty list; valid is a list of IPv4 prefixes such as ["10.0.0.0/8"], at least one`},
		{"prefix not text", replaced(t, `["10.0.0.0/16"]`, `[10]`),
			`mipvpn.toml:4: enterprise.prefixes: found the number 10 in the list; valid is a list of IPv4 prefixes such as ["10.0.0.0/8"], at least one`},
		{"SPI reserved", replaced(t, "spi = 256", "spi = 255"),
			`mipvpn.toml:9: internal_home_agent.spi: found the number 255; valid is a whole number from 256 to 4294967295`},
		{"SPI as text", replaced(t, "spi = 256", `spi = "256"`),
			`mipvpn.toml:9: internal_home_agent.spi: found the text "256"; valid is a whole number from 256 to 4294967295`},
		{"unknown algorithm", with("internal_home_agent", `algorithm = "hmac_md5"`),
			`mipvpn.toml:7: internal_home_agent.algorithm: found the text "hmac_md5", did you mean "hmac-md5"?; valid is "hmac-md5", "keyed-md5", "hmac-sha1" or "hmac-sha256"`},
		{"unknown mode", with("", `mode = "ccc"`),
			`mipvpn.toml:2: mode: found the text "ccc", did you mean "cvc"?; valid is "auto", "c", "f", "vc", "vf", "cvc", "cvf", "fvc" or "fvf"`},
		{"lifetime too long for the wire", with("external_home_agent", `lifetime = "24h"`),
			`mipvpn.toml:13: external_home_agent.lifetime: found 24h0m0s; valid is a duration from "30s" to "18h"`},
		{"device name", with("device", `name = "a b"`),
			`mipvpn.toml:24: device.name: found the text "a b"; valid is a name of 1 to 15 letters, digits, '-' or '_'`},
		{"device name too long", with("device", `name = "abcdefghijklmnop"`),
			`mipvpn.toml:24: device.name: found a text of 16 octets, at most 15 fit; valid is a name of 1 to 15 letters, digits, '-' or '_'`},
		{"MTU", with("device", `mtu = 9000`),
			`mipvpn.toml:24: device.mtu: found the number 9000; valid is a whole number from 576 to 1500`},
		{"not true or false", with("", `up_at_start = "yes"`),
			`mipvpn.toml:2: up_at_start: found the text "yes"; valid is true or false`},
		{"names", with("interfaces", `use = "eth0"`),
			`mipvpn.toml:24: interfaces.use: found the text "eth0"; valid is a list of names such as ["eth0", "wlan0"]`},
		{"equal home addresses", replaced(t, `"198.51.100.100"`, `"10.0.8.100"`),
			`mipvpn.toml:14: external_home_agent.home_address: found 10.0.8.100, which is the internal home address too; valid is an address of the x-HA's home network`},
		{"home link of another network", with("internal_home_agent", `home_link = ["10.0.7.0/24"]`),
			`mipvpn.toml:7: internal_home_agent.home_link: found [10.0.7.0/24], and the home address 10.0.8.100 is in none of them; valid is the networks of the link that home_address belongs to`},

		{"missing key", replaced(t, "spi = 257\n", ""),
			`mipvpn.toml:12: external_home_agent.spi: missing; valid is a whole number from 256 to 4294967295`},
		{"missing table", strings.Replace(minimal, minimal[strings.Index(minimal, "[gateway]"):], "", 1),
			`mipvpn.toml: gateway.address: missing; valid is an IPv4 address or a domain name in quotes, such as "192.0.2.10" or "gw.corp.example"
mipvpn.toml: gateway.local_identity: missing; valid is an IPv4 address, a mail address or a domain name in quotes, such as "laptop1@example.com"
mipvpn.toml: gateway.remote_identity: missing; valid is an IPv4 address, a mail address or a domain name in quotes, such as "laptop1@example.com"
mipvpn.toml: gateway.psk_file: missing, and authentication.rounds or authentication.gateway has "psk"; valid is a path in quotes`},
		{"missing schema", replaced(t, "schema = 1\n", ""), `mipvpn.toml: schema: missing; valid is schema = 1 as the file's first key`},
		{"later schema", replaced(t, "schema = 1", "schema = 2"), `mipvpn.toml:1: schema: found 2, which this program does not read; valid is schema = 1`},
		{"schema as text", replaced(t, "schema = 1", `schema = "1"`), `mipvpn.toml:1: schema: found the text "1"; valid is schema = 1`},

		{"no secret file", replaced(t, `"gateway.psk"`, `"nowhere"`),
			`mipvpn.toml:22: gateway.psk_file: open nowhere: file does not exist; valid is a file that its owner alone may read or write (mode 0600)`},
		{"weak i-HA key", replaced(t, `"i-ha.key"`, `"short.key"`),
			`mipvpn.toml:10: internal_home_agent.key_file: the key has 40 bits: who finds it out can make the laptop send plaintext (RFC 5265 section 6.2); valid is a key of 128 bits or more, 32 hexadecimal digits`},
		{"key not hexadecimal", replaced(t, `"i-ha.key"`, `"not.key"`),
			`mipvpn.toml:10: internal_home_agent.key_file: the file holds something other than pairs of hexadecimal digits; valid is a file of hexadecimal digits, two for each octet of the key`},
		{"key of half octets", replaced(t, `"i-ha.key"`, `"odd.key"`),
			`mipvpn.toml:10: internal_home_agent.key_file: the file holds something other than pairs of hexadecimal digits; valid is a file of hexadecimal digits, two for each octet of the key`},
		{"empty PSK", replaced(t, `"gateway.psk"`, `"empty"`),
			`mipvpn.toml:22: gateway.psk_file: the file is empty; valid is a file of one line of text, or 0x and hexadecimal digits`},

		{"syntax", "schema = 1\n[gateway\n", `mipvpn.toml:2: not TOML: expected ']' to close table name; valid is TOML 1.0`},
		{"the same key twice", with("", "mode = \"c\"\nmode = \"f\""), `mipvpn.toml:3: not TOML: key mode is already defined; valid is TOML 1.0`},
		{"several at once, by line", strings.Replace(with("detection", `period = 2`), "spi = 256", "spi = 1", 1),
			`mipvpn.toml:9: internal_home_agent.spi: found the number 1; valid is a whole number from 256 to 4294967295
mipvpn.toml:24: detection.period: found the number 2 without a unit (seconds would be "2s"); valid is a duration in quotes such as "2s", or "0s"`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, err := parse(tc.text)
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			if err.Error() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", err, tc.want)
			}
			if !errors.Is(err, ErrInvalid) || c != nil {
				t.Errorf("wraps ErrInvalid: %v, config %v", errors.Is(err, ErrInvalid), c)
			}
			schemaAgrees(t, tc.name, tc.text)
		})
	}
}

// Shows: DET-10 (the warning), DET-17 (keyed MD5)
func TestWarnings(t *testing.T) {
	tests := []struct {
		name, text string
		want       Warning
		part       string
	}{
		{"equal home agents", replaced(t, `"192.0.2.20"`, `"10.0.1.10"`), Warning{Key: "external_home_agent.address", Line: 13},
			"both home agents have the address 10.0.1.10"},
		{"TNC waived", with("detection", "waive_tnc = true"), Warning{Key: "detection.waive_tnc", Line: 24}, "waived"},
		{"suppression of nothing", with("detection", "suppress_outside = true"), Warning{Key: "detection.suppress_outside", Line: 24}, "no effect"},
		{"short T_MONITOR", with("detection", `t_monitor = "30s"`), Warning{Key: "detection.grace", Line: 23}, "only 6 requests"},
		{"weak x-HA key", replaced(t, `"x-ha.key"`, `"short.key"`), Warning{Key: "external_home_agent.key_file", Line: 16}, "only 40 bits"},
		{"weak PSK", replaced(t, `"gateway.psk"`, `"odd.key"`), Warning{Key: "gateway.psk_file", Line: 22}, "only 3 octets"},
		{"keyed MD5", with("internal_home_agent", `algorithm = "keyed-md5"`), Warning{Key: "internal_home_agent.algorithm", Line: 7}, "always use the VPN"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, err := parse(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]Warning{tc.want}, c.Warnings, cmpopts.IgnoreFields(Warning{}, "Message")); d != "" {
				t.Fatal(d)
			}
			if m := c.Warnings[0].Message; !strings.Contains(m, tc.part) {
				t.Errorf("%q does not say %q", m, tc.part)
			}
		})
	}
}
