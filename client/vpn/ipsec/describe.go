package ipsec

import (
	"fmt"
	"slices"
	"strings"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/esp"
)

// Describe implements vpn.Tunnel.
func (t *tunnel) Describe() vpn.Description {
	d := vpn.Description{Encapsulation: "esp", GatewayIdentity: t.identity, Gateway: t.proved(), Own: t.own(), Suite: t.suite,
		KeyExchanges: t.keyExchanges, Downgraded: t.downgraded, PresharedToo: t.ppk}
	if t.udp {
		d.Encapsulation = "esp-in-udp"
	}
	if t.tcp.used {
		d.Encapsulation = "esp-in-tcp"
	}
	if c := t.children[t.current]; c != nil {
		d.SPIs = []string{fmt.Sprintf("0x%08x", c.open.SPI()), fmt.Sprintf("0x%08x", c.seal.SPI())}
		d.ESP, d.Selectors, d.Narrowed = c.suite, c.selectors, c.narrowed
	}
	return d
}

// proved says how the gateway has proved its identity, empty before it has.
func (t *tunnel) proved() string {
	switch {
	case t.identity == "" || t.gateway != "":
		return t.gateway
	case slices.Contains(t.access.protocol.cfg.Authentication.Accepts(), config.GatewayPSK):
		return "pre-shared key"
	}
	return "EAP alone (RFC 5998)"
}

// own says how the client proves its own.
func (t *tunnel) own() string {
	var all []string
	for _, r := range t.access.protocol.cfg.Authentication.AllRounds() {
		switch r {
		case config.RoundPSK:
			all = append(all, "pre-shared key")
		case config.RoundCertificate:
			name := "certificate"
			if k := t.access.protocol.key; k != nil {
				name = "certificate of " + k.loaded.String()
			}
			all = append(all, name)
		case config.RoundMSCHAPv2, config.RoundTLS, config.RoundTTLS:
			all = append(all, strings.ToUpper(string(r))+" as "+t.access.protocol.user())
		}
	}
	return strings.Join(all, ", then ")
}

// granted returns the destinations of a child SA, and whether they are less than was asked for.
func (a *access) granted(remote []esp.Selector) (list []string, narrowed bool) {
	for _, s := range remote {
		list = append(list, s.String())
	}
	asked := a.cfg.Gateway.RemoteSubnets
	if len(asked) == 0 {
		asked = a.cfg.Enterprise.Prefixes
	}
	for _, p := range asked {
		if !slices.Contains(remote, esp.PrefixSelector(p)) {
			narrowed = true
		}
	}
	return list, narrowed
}
