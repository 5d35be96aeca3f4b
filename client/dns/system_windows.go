package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// SystemResolved returns Windows' own way of asking a server about some domains. It has not been run on a real machine.
func SystemResolved() Settings { return PolicyTable{} }

// systemFirst: there is no resolv.conf on Windows.
const systemFirst = true

// prepareLoopback does nothing: all of 127.0.0.0/8 is this host's.
func prepareLoopback(netip.Addr) error { return nil }

// PolicyTable has Windows ask the Forwarder about the enterprise's domains, by one rule of the name resolution policy table, which is
// known by its name. Names of one label get no domains appended here (Plan.Search).
type PolicyTable struct{}

var _ Settings = PolicyTable{}

const (
	policyPath = `SYSTEM\CurrentControlSet\Services\Dnscache\Parameters\DnsPolicyConfig`
	policyRule = policyPath + `\{c3f10d6a-7b52-4e8f-9a04-5d21e6b8f973}`
	// Values of a rule: its version, and that it names servers to ask.
	policyVersion = 2
	policyServers = 8
)

var flushCache = windows.NewLazySystemDLL("dnsapi.dll").NewProc("DnsFlushResolverCache")

// Name implements Settings.
func (PolicyTable) Name() string { return "name resolution policy table" }

// Set implements Settings.
func (PolicyTable) Set(p Plan) (changed bool, err error) {
	names, server := policyNames(p), p.Server.String()
	k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, policyRule, registry.QUERY_VALUE|registry.SET_VALUE)
	if err != nil {
		return false, fmt.Errorf("dns: write %s: %w", policyRule, err)
	}
	defer k.Close()
	had, _, _ := k.GetStringsValue("Name")
	asked, _, _ := k.GetStringValue("GenericDNSServers")
	if slices.Equal(had, names) && asked == server {
		return false, nil
	}
	err = errors.Join(k.SetDWordValue("Version", policyVersion), k.SetDWordValue("ConfigOptions", policyServers),
		k.SetStringsValue("Name", names), k.SetStringValue("GenericDNSServers", server))
	if err != nil {
		return true, fmt.Errorf("dns: write %s: %w", policyRule, err)
	}
	forget()
	return true, nil
}

// forget empties the system's cache, which may know answers from outside.
func forget() {
	if flushCache.Find() == nil {
		_, _, _ = flushCache.Call()
	}
}

// Standing implements Settings.
func (PolicyTable) Standing() (bool, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, policyRule, registry.QUERY_VALUE)
	if errors.Is(err, registry.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("dns: read %s: %w", policyRule, err)
	}
	return true, k.Close()
}

// Clear implements Settings.
func (PolicyTable) Clear() error {
	err := registry.DeleteKey(registry.LOCAL_MACHINE, policyRule)
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		return fmt.Errorf("dns: delete %s: %w", policyRule, err)
	}
	forget()
	return nil
}
