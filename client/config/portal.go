package config

import (
	"time"

	"mipvpn/client/portal"
)

// Portal says how captive portals are found and opened, table [portal].
type Portal struct {
	// Detect looks for a captive portal where neither home agent answers.
	Detect bool
	// ProbeURL is an http URL whose server answers with ProbeStatus and a body that begins with ProbeBody; empty to ask port 80
	// of the x-HA, which serves no HTTP.
	ProbeURL    string
	ProbeStatus int
	ProbeBody   string
	// Browser is the program that `mipvpn portal` starts, empty for the first that it knows.
	Browser string
	// Timeout is the longest time that the way to a portal stays open.
	Timeout time.Duration
}

// defaultPortalTimeout is long enough to find a voucher and type it in.
const defaultPortalTimeout = 10 * time.Minute

func portalDefaults() Portal {
	return Portal{Detect: true, ProbeStatus: 204, Timeout: defaultPortalTimeout}
}

// Question returns what is asked to find a portal. The configuration has been checked.
func (c *Config) Question() (portal.Question, error) {
	if c.Portal.ProbeURL == "" {
		return portal.AskHomeAgent(c.External.Address), nil
	}
	return portal.AskServer(c.Portal.ProbeURL, c.Portal.ProbeStatus, c.Portal.ProbeBody)
}

// portalFields are the keys of [portal].
func portalFields() []field {
	return []field{
		{key: "portal.detect", valid: vBool, standard: "true", about: "look for a captive portal where neither home agent answers",
			set: boolean(func(c *Config) *bool { return &c.Portal.Detect })},
		{key: "portal.probe_url", valid: `an http URL in quotes, such as "http://probe.corp.example/generate_204"`, standard: "the x-HA's port 80, which serves no HTTP; without an x-HA none is looked for",
			about: "what is asked to find one, straight through the interface: a server of the enterprise's that everybody reaches, for an x-HA that does serve HTTP",
			set:   text(2048, nil, func(c *Config) *string { return &c.Portal.ProbeURL })},
		{key: "portal.probe_status", valid: vInteger(200, 599), standard: "204", about: "status with which the server of portal.probe_url answers",
			set: integer(200, 599, func(c *Config, n int64) { c.Portal.ProbeStatus = int(n) })},
		{key: "portal.probe_body", valid: "a text", standard: "the status alone tells", about: "what its answer begins with",
			set: text(1024, nil, func(c *Config) *string { return &c.Portal.ProbeBody })},
		{key: "portal.browser", valid: vPath + ", or a program's name", standard: "the first of chromium, firefox and epiphany that is there", about: "browser that `mipvpn portal` starts, with the portal's URL as its argument",
			set: text(4096, nil, func(c *Config) *string { return &c.Portal.Browser })},
		{key: "portal.timeout", valid: vDuration(10*time.Second) + ` and at most "1h"`, standard: `"10m"`, about: "longest time that the way to a portal stays open",
			set: setter{durationShape, portalTimeout}},
	}
}

// portalTimeout takes a duration that leaves a person time and ends some day.
func portalTimeout(c *Config, v any) error {
	d, err := parseDuration(v)
	if err != nil {
		return err
	}
	if d < 10*time.Second || d > time.Hour {
		return found(v)
	}
	c.Portal.Timeout = d
	return nil
}

// portal checks what concerns several keys of [portal].
func (r *reader) portal() {
	if _, err := r.config.Question(); err != nil {
		r.fail("portal.probe_url", err.Error(), "an http URL of a server that answers with portal.probe_status")
	}
}
