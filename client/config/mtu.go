package config

import (
	"fmt"
	"time"

	"mipvpn/stack/pathmtu"
)

// MTU says how the path MTU is measured, table [mtu]. The zero value measures with the usual figures.
type MTU struct {
	// NoProbes leaves the path behind the interface unmeasured.
	NoProbes bool
	// Floor is the least MTU in octets, outermost header included, that a network is believed to have. Base is what counts
	// until more is known to get through. 0 for the defaults.
	Floor, Base int
	// Confirm is how often the present size is tested while long packets are sent, Raise when a larger one is tried again. 0
	// for the defaults.
	Confirm, Raise time.Duration
}

// Measurement returns the constants and timers of the measurement.
func (m MTU) Measurement() pathmtu.Config {
	c := pathmtu.DefaultConfig
	if m.Floor != 0 {
		c.Floor = m.Floor
	}
	if m.Base != 0 {
		c.Base = m.Base
	}
	if m.Confirm != 0 {
		c.Confirm = m.Confirm
	}
	if m.Raise != 0 {
		c.Raise = m.Raise
	}
	return c
}

// The overhead in octets of the deepest mode with AES-GCM on the longest packet, which needs no padding: x-MIP in UDP 32, ESP
// in UDP 62, i-MIP in IP-in-IP 20 or, where that is forced, in UDP 32; and Ethernet's MTU.
const (
	overheadDeepest    = 32 + 62 + 20
	overheadDeepestUDP = 32 + 62 + 32
	ethernetMTU        = 1500
)

// defaultMTU is the table left out.
func defaultMTU() MTU {
	c := pathmtu.DefaultConfig
	return MTU{Floor: c.Floor, Base: c.Base, Confirm: c.Confirm, Raise: c.Raise}
}

// mtuFields are the keys of table [mtu].
func mtuFields() []field {
	d := pathmtu.DefaultConfig
	return []field{
		{key: "mtu.probe", valid: vBool, standard: "true", about: "measure the path MTU by probes to the i-HA (RFC 8899); without, only the interface's MTU and ICMP keep packets small enough",
			set: setter{shape{Type: "boolean"}, func(c *Config, v any) error {
				probe := true
				if err := boolean(func(*Config) *bool { return &probe }).take(c, v); err != nil {
					return err
				}
				c.MTU.NoProbes = !probe
				return nil
			}}},
		{key: "mtu.floor", valid: vInteger(68, 1280), standard: fmt.Sprint(d.Floor), about: "least MTU in octets that a network is believed to have, whatever messages or lost probes say",
			set: integer(68, 1280, func(c *Config, n int64) { c.MTU.Floor = int(n) })},
		{key: "mtu.base", valid: vInteger(576, 1500), standard: fmt.Sprint(d.Base), about: "MTU in octets of a network that counts until a larger one has been found to work; not under mtu.floor",
			set: integer(576, 1500, func(c *Config, n int64) { c.MTU.Base = int(n) })},
		{key: "mtu.confirm", valid: vDuration(time.Second), standard: `"20s"`, about: "test the present size so often while long packets are sent",
			set: duration(time.Second, false, func(c *Config) *time.Duration { return &c.MTU.Confirm })},
		{key: "mtu.raise", valid: vDuration(time.Minute) + ", not under mtu.confirm", standard: `"10m0s"`, about: "try a larger size again after this time, while there is traffic",
			set: duration(time.Minute, false, func(c *Config) *time.Duration { return &c.MTU.Raise })},
	}
}

// mtu checks the MTUs against each other.
func (r *reader) mtu() {
	c := r.config
	m := c.MTU.Measurement()
	if m.Floor > m.Base && !r.spoilt("mtu.") {
		r.fail("mtu.floor", fmt.Sprintf("found %d, and mtu.base is %d", m.Floor, m.Base), "a number not over mtu.base")
	}
	if m.Confirm > m.Raise && !r.spoilt("mtu.") {
		r.fail("mtu.confirm", fmt.Sprintf("found %v, and mtu.raise is %v", m.Confirm, m.Raise), "a duration not over mtu.raise")
	}
	overhead := overheadDeepest
	if c.Internal.Encapsulation == EncapsulationUDP {
		overhead = overheadDeepestUDP
	}
	if most := ethernetMTU - overhead; c.Device.MTU > most {
		r.warn("device.mtu", fmt.Sprintf("packets of %d octets do not fit an Ethernet outside, where %d octets come in front of them: "+
			"applications are told to send smaller ones after each move there; %d or less avoids that", c.Device.MTU, overhead, most))
	}
}
