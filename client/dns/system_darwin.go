package dns

import (
	"fmt"
	"net/netip"
	"os/exec"
)

// SystemResolved returns darwin's own way of asking a server about some domains. It has not been run on a real machine.
func SystemResolved() Settings { return &ResolverDir{Files: OSFiles{}, List: OSList} }

// systemFirst: /etc/resolv.conf is no file for programs to write on darwin.
const systemFirst = true

// prepareLoopback gives lo0 the address, which has none but 127.0.0.1 by itself.
func prepareLoopback(a netip.Addr) error {
	if !a.IsLoopback() || a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return nil
	}
	if out, err := exec.Command("/sbin/ifconfig", "lo0", "inet", a.String(), "netmask", "255.255.255.255", "alias").CombinedOutput(); err != nil {
		return fmt.Errorf("dns: give lo0 the address %v: %w: %s", a, err, out)
	}
	return nil
}
