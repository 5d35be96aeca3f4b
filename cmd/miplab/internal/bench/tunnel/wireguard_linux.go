package tunnel

import (
	"context"
	"net/netip"
	"path/filepath"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/space"
)

// Addresses inside the tunnels that have no home agent, and the far end's port.
var (
	innerNear = netip.MustParsePrefix("10.7.0.1/32")
	innerFar  = netip.MustParsePrefix("10.7.0.2/32")
)

const tunnelPort = 51820

// startWireGuard starts a wireguard-go at each end.
func startWireGuard(_ context.Context, s *Site, p Programs, t *Standing) error {
	near, far, err := bench.Pair(innerNear, innerFar, netip.AddrPortFrom(FarAddress, tunnelPort), innerFar)
	if err != nil {
		return err
	}
	for _, end := range []struct {
		space *space.Space
		bench.WireGuard
	}{{s.Far, far}, {s.Near, near}} {
		file := filepath.Join(s.Dir, "wireguard-"+end.space.Name+".json")
		if err := end.Save(file); err != nil {
			return err
		}
		if _, err := t.run(end.space, "wireguard", p.Self, "wireguard", file); err != nil {
			return err
		}
	}
	t.Path.NearAddress, t.Path.FarAddress = innerNear.Addr(), innerFar.Addr()
	return nil
}
