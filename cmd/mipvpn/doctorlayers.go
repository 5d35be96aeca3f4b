package main

import (
	"context"
	"fmt"

	"mipvpn/client/control"
)

// leastMTU is the shortest packet that programs take for granted: a datagram of QUIC (RFC 9000 §14) with its UDP and IPv4 headers.
const leastMTU = 1200 + 8 + 20

// clockApart is how far the laptop's clock may be from an agent's, in seconds, before it is told.
const clockApart = 60

// layers asks the far end of each layer once.
func (r *report) layers(ctx context.Context, c *control.Client) error {
	p, err := c.Ping(ctx)
	if answer, answered := err.(*control.Error); answered { // another one is under way, or this person may not
		r.add("layers", checkSkipped, "not asked: "+answer.Message, "run `mipvpn ping`")
		return nil
	}
	if err != nil {
		return err
	}
	var sum pingReport
	sum.add(p)
	sum.judge()
	for _, l := range p.Layers {
		name, who := "layer "+l.Kind, fmt.Sprintf("the %s %s", l.Role, orNone(addr(l.Target)))
		switch {
		case l.Answered:
			r.add(name, checkOK, fmt.Sprintf("%s answers within %s ms (%s)", who, roundTrip(l.RoundTrip), l.Method), "")
		case !l.Asked:
			r.add(name, checkSkipped, fmt.Sprintf("%s: %s", who, l.Outcome), "")
		case l.Kind == "underlay" || sum.Result == checkOK:
			r.add(name, checkSkipped, fmt.Sprintf("%s does not answer (%s), as many do not", who, l.Method), "")
		default:
			r.add(name, checkWarning, fmt.Sprintf("%s does not answer (%s): %s", who, l.Method, sum.Message), sum.Advice)
		}
	}
	return nil
}

// mtu looks at what the path in use carries.
func (r *report) mtu(m *control.PathMTU) {
	switch {
	case m == nil:
	case m.MTU < leastMTU:
		r.add("MTU", checkWarning, fmt.Sprintf("the path carries packets of %d octets at most, of which programs take %d for granted", m.MTU, leastMTU),
			"look for a tunnel beneath the client (another VPN, a mobile network's), or an interface with a small MTU: `ip link`")
	case m.State == "unanswered":
		r.add("MTU", checkWarning, fmt.Sprintf("the i-HA answers no probe, so that packets of up to %d octets are sent without knowing whether they arrive", m.MTU),
			"let the i-HA answer ICMP echo requests of its mobile nodes; where connections stall, make device.mtu smaller")
	case m.BlackHoles > 0:
		r.add("MTU", checkWarning, fmt.Sprintf("packets of up to %d octets are sent; %d times packets that had got through no longer did", m.MTU, m.BlackHoles),
			"something on the way drops long packets without saying so: that is worked around by itself, and worth telling who runs the network")
	default:
		r.add("MTU", checkOK, fmt.Sprintf("packets of up to %d octets are sent (%s)", m.MTU, m.State), "")
	}
}

// gateway looks at the tunnel to the gateway.
func (r *report) gateway(v *control.VPN) {
	switch {
	case v == nil || !v.Established:
	case v.Narrowed:
		r.add("gateway", checkWarning, fmt.Sprintf("%s lets through less than was asked for", orNone(v.GatewayIdentity)),
			"compare enterprise.prefixes with the traffic selectors of the gateway (`mipvpn status --json`, vpn.selectors)")
	default:
		r.add("gateway", checkOK, fmt.Sprintf("%s has proved who it is by %s", orNone(v.GatewayIdentity), orNone(v.GatewayProof)), "")
	}
}

// clocks compares the laptop's clock with those of the agents that have answered.
func (r *report) clocks(d control.Detection) {
	answered := false
	for _, i := range d.Interfaces {
		for n, e := range []control.Registration{i.Internal, i.External} {
			name := []string{"i-HA", "x-HA"}[n]
			ahead := e.ClockOffset / 1000
			if ahead > clockApart || ahead < -clockApart {
				r.add("clock", checkWarning, fmt.Sprintf("the %s's clock is %+.0f s from this laptop's", name, ahead),
					"set the clock (`timedatectl set-ntp true`): registrations work all the same, certificates and logs may not")
				return
			}
			answered = answered || e.Answered
		}
	}
	if answered {
		r.add("clock", checkOK, fmt.Sprintf("within %d s of the home agents'", clockApart), "")
	}
}

// assumptions says what of the firewall has not been looked at.
func (r *report) assumptions(s control.Status) {
	if s.Proof.Verdict == control.VerdictOutside && r.Expect == "" {
		r.add("firewall", checkSkipped, "whether it keeps registrations with the i-HA out has not been tried", "run `mipvpn doctor --expect outside`: if it let them in, laptops outside could take themselves for inside")
	}
}
