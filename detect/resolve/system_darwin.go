package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"

	"mipvpn/tun/link"
)

// SystemServers reads the name servers of interfaces by scutil(8). It has not been run on a real machine.
type SystemServers struct {
	// Own are servers of this program's own, which are never returned.
	Own []netip.Addr
}

var _ Servers = (*SystemServers)(nil)

// Servers implements the interface.
func (s *SystemServers) Servers(ctx context.Context, i link.Interface) ([]netip.Addr, error) {
	text, err := exec.CommandContext(ctx, "/usr/sbin/scutil", "--dns").Output()
	if err != nil {
		return nil, fmt.Errorf("resolve: scutil --dns: %w", err)
	}
	return usable(scutilServers(string(text), i.Name), s.Own), nil
}

// NewSystemServers returns a source that leaves out one server of this program's own. What the resolv.conf was is of no use here.
func NewSystemServers(own netip.Addr, _ func() ([]byte, error)) *SystemServers {
	return &SystemServers{Own: []netip.Addr{own}}
}
