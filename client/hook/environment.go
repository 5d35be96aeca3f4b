package hook

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mipvpn/client/control"
)

// The values of the variable reason, as vpnc-script has them.
const (
	reasonConnect          = "connect"
	reasonReconnect        = "reconnect"
	reasonAttemptReconnect = "attempt-reconnect"
	reasonDisconnect       = "disconnect"
)

// environment returns the variables of the programs. Variables without a value are left out, so that a script's
// "${MIPVPN_MODE:-none}" does what it says; those of MIPVPN_EVENT to MIPVPN_MESSAGE are always there.
func environment(o occasion, s control.Status, prefixes []netip.Prefix) []string {
	var env []string
	always := func(name, value string) { env = append(env, name+"="+plain(value)) }
	set := func(name, value string) {
		if value != "" {
			always(name, value)
		}
	}
	always("PATH", path())
	always("MIPVPN_EVENT", o.Kind)
	always("MIPVPN_SEQUENCE", strconv.FormatUint(o.Sequence, 10))
	always("MIPVPN_TIME", o.Time.UTC().Format(time.RFC3339Nano))
	always("MIPVPN_STATE", string(o.State))
	always("MIPVPN_VERDICT", string(o.Verdict))
	always("MIPVPN_MESSAGE", o.Message)
	set("MIPVPN_MODE", o.Mode)
	set("MIPVPN_MODE_POLICY", s.ModePolicy)
	set("MIPVPN_EVENT_INTERFACE", o.Interface)
	set("MIPVPN_INTERFACE", s.Interface)
	set("MIPVPN_DEVICE", s.Device)
	set("MIPVPN_HOME_ADDRESS", addr(s.HomeAddress))
	if o.missed > 0 {
		always("MIPVPN_MISSED", strconv.Itoa(o.missed))
	}
	if h := o.Handoff; h != nil {
		set("MIPVPN_FROM", h.From)
		set("MIPVPN_TO", h.To)
		always("MIPVPN_OUTAGE_MS", strconv.FormatFloat(h.Outage, 'f', 0, 64))
	}
	if p := o.Problem; p != nil {
		set("MIPVPN_PROBLEM_PEER", p.Peer)
		always("MIPVPN_PROBLEM_CODE", p.Code)
	}
	for _, l := range s.Layers {
		name := "MIPVPN_" + strings.ToUpper(strings.NewReplacer("-", "_").Replace(l.Kind))
		set(name+"_LOCAL", addr(l.Local))
		set(name+"_REMOTE", addr(l.Remote))
		if l.Kind == "vpn" {
			set("VPNGATEWAY", addr(l.Remote))
		}
	}
	set("reason", reason(o.Event))
	set("TUNDEV", s.Device)
	if s.Device != "" && s.HomeAddress.IsValid() {
		always("INTERNAL_IP4_ADDRESS", s.HomeAddress.String())
		always("INTERNAL_IP4_NETMASK", "255.255.255.255")
		always("INTERNAL_IP4_NETMASKLEN", "32")
		always("INTERNAL_IP4_NETADDR", s.HomeAddress.String())
	}
	if s.PathMTU != nil {
		always("INTERNAL_IP4_MTU", strconv.Itoa(s.PathMTU.MTU))
	}
	if d := s.DNS; d != nil {
		var servers []string
		for _, a := range d.Servers {
			servers = append(servers, a.String())
		}
		set("INTERNAL_IP4_DNS", strings.Join(servers, " "))
		set("CISCO_SPLIT_DNS", strings.Join(d.Domains, ","))
		if len(d.Domains) > 0 {
			always("CISCO_DEF_DOMAIN", d.Domains[0])
		}
	}
	if len(prefixes) > 0 {
		always("CISCO_SPLIT_INC", strconv.Itoa(len(prefixes)))
	}
	for i, p := range prefixes {
		always(fmt.Sprintf("CISCO_SPLIT_INC_%d_ADDR", i), p.Addr().String())
		always(fmt.Sprintf("CISCO_SPLIT_INC_%d_MASK", i), net.IP(net.CIDRMask(p.Bits(), 32)).String())
		always(fmt.Sprintf("CISCO_SPLIT_INC_%d_MASKLEN", i), strconv.Itoa(p.Bits()))
	}
	return env
}

// reason returns what the event is to a script that knows vpnc-script's reasons, empty for none of them.
func reason(e control.Event) string {
	switch {
	case e.Kind == "handoff" && e.Handoff != nil && e.Handoff.From != "":
		return reasonReconnect
	case e.Kind != "state":
		return ""
	case e.State == control.StateConnected:
		return reasonConnect
	case e.State == control.StateDown:
		return reasonDisconnect
	case e.State == control.StateConnecting:
		return reasonAttemptReconnect
	}
	return ""
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// plain takes out what would end a variable or a line: values may hold text of the network's, such as the names of agents.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}
