package main

import (
	"fmt"
	"net/netip"
	"strings"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/dns"
	"mipvpn/detect/nat64"
	"mipvpn/detect/resolve"
)

// systemNames returns what the client needs to resolve names on this machine, and to change how the machine does.
func systemNames(d config.DNS) client.Names {
	file := &dns.ResolvConf{Files: dns.OSFiles{}}
	choose, ways := client.ResolverSettings(file, dns.SystemResolved())
	return client.Names{
		Servers: resolve.NewSystemServers(d.Listen, file.Original),
		Routers: nat64.Watch,
		Host:    &client.NamesHost{Sockets: dns.OSSockets{}, Settings: choose, Left: ways},
	}
}

// liftNames takes back what a daemon that has ended has done to this machine's resolver.
func liftNames() error {
	return client.ClearNames(systemNames(config.DNS{}).Host.Left)
}

// namesFields say how names are resolved, nothing where the client leaves that alone.
func namesFields(d *control.DNS) []field {
	if d == nil {
		return nil
	}
	return []field{{label: "names", text: namesText(d), spare: spareBlank}}
}

func namesText(d *control.DNS) string {
	what := strings.Join(d.Domains, ", ")
	if d.Full {
		what = "all names"
	}
	by := "nobody yet: they are not resolved"
	if len(d.Servers) > 0 {
		by = join(d.Servers)
	}
	text := fmt.Sprintf("%s by %s (%s asks %v)", what, by, d.By, d.Forwarder)
	if d.Failed > 0 {
		text += fmt.Sprintf("; %d unanswered", d.Failed)
	}
	return text
}

// names checks who is asked about the enterprise's names.
func (r *report) names(d *control.DNS) {
	switch {
	case d == nil:
	case len(d.Servers) == 0:
		r.add("names", checkWarning, "no name server inside is known: the enterprise's names are not resolved",
			"set dns.servers, or have the gateway tell of name servers within the enterprise's prefixes")
	default:
		r.add("names", checkOK, namesText(d), "")
	}
}

func join(list []netip.Addr) string {
	text := make([]string, len(list))
	for i, a := range list {
		text[i] = a.String()
	}
	return strings.Join(text, ", ")
}
