package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// detectionFields are the keys of [detection] for what is rarely changed: probes, pauses and hints.
var detectionFields = []field{
	{key: "detection.probe_time", valid: vDuration(time.Second), standard: `"4s"`, about: "how long such a probe waits for an answer; meanwhile the i-HA may send to the interface instead of through the VPN",
		set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Detection.ProbeTime })},
	{key: "detection.silence_pause", valid: vDuration(time.Second), standard: `"30s"`, about: "longest pause between two series of requests while neither home agent answers; it begins with 2s and doubles",
		set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.Detection.SilencePause })},
	{key: "detection.idle", valid: vDurationOrZero(time.Minute), standard: `"0s"`, about: "pause re-registration inside, and with it plaintext both ways, when no user data has passed for this time; the next packet ends the pause, and one that arrives is lost; 0 for never",
		set: duration(time.Minute, true, func(c *Config) *time.Duration { return &c.Detection.Idle })},
	{key: "detection.refuse_nat", valid: vBool, standard: "false", about: "inside, there is no NAT between laptop and i-HA: a registration that reaches the i-HA through one, or through somebody who relays it, proves nothing and raises an alarm; needs internal_home_agent.encapsulation = \"auto\"",
		set: boolean(func(c *Config) *bool { return &c.Detection.RefuseNAT })},
	{key: "detection.inside_domains", valid: vDomains, standard: "[]", about: "domain names that DHCP gives inside: a hint, which orders what is tried and proves nothing",
		set: domains(func(c *Config) *[]string { return &c.Detection.InsideDomains })},
	{key: "detection.inside_nais", valid: vDomains, standard: "[]", about: "realms of the network access identifiers that foreign agents advertise inside: likewise a hint",
		set: domains(func(c *Config) *[]string { return &c.Detection.InsideNAIs })},
	{key: "detection.learn_gateways", valid: vBool, standard: "true", about: "remember the hardware addresses of the gateways of networks that were inside or outside, in /var/lib/mipvpn: likewise a hint",
		set: boolean(func(c *Config) *bool { return &c.Detection.LearnGateways })},
}

// vDomains is what is valid for a list of domain names.
const vDomains = `a list of domain names such as ["corp.example"]`

// domains takes a list of domain names (RFC 1035 §2.3.1, without a last dot), in lower case from then on.
func domains(of func(*Config) *[]string) setter {
	return setter{listShape(0, 0, false, domainShape), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok {
			return found(v)
		}
		var out []string
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			if !ok || !domainName(s) {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			out = append(out, strings.ToLower(s))
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// domainName reports whether s is a domain name of letters, digits and hyphens in labels of 1 to 63 octets.
func domainName(s string) bool {
	if len(s) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
			}) {
			return false
		}
	}
	return true
}
