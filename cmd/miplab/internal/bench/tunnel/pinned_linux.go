package tunnel

import (
	"context"
	"net/netip"
	"path/filepath"
	"strconv"

	"mipvpn/cmd/miplab/internal/pinned"
	"mipvpn/cmd/miplab/internal/space"
)

// innerTunnel is the address inside the VPN (VPN-TIA) of vc.
var innerTunnel = netip.MustParseAddr("10.0.9.1")

// startNull starts a null tunnel from end to end.
func startNull(_ context.Context, s *Site, p Programs, t *Standing) error {
	near, far := pinned.NullPair(innerNear, innerFar, netip.AddrPortFrom(FarAddress, tunnelPort), innerFar)
	return t.pinned(p, []pinned.End{far}, near)
}

// startNullHops starts a null tunnel that goes by where x-HA and gateway are in cvc, to where the i-HA is.
func startNullHops(_ context.Context, s *Site, p Programs, t *Standing) error {
	external, gateway, internal := netip.AddrPortFrom(externalAddress, tunnelPort), netip.AddrPortFrom(gatewayAddress, tunnelPort), netip.AddrPortFrom(internalAddress, tunnelPort)
	near, far := pinned.NullPair(innerNear, innerFar, internal, innerFar)
	near.Remote = external
	return t.pinned(p, []pinned.End{far, pinned.RelayEnd(gateway, internal), pinned.RelayEnd(external, gateway)}, near)
}

// startVC starts the pinned composition of vc.
func startVC(_ context.Context, s *Site, p Programs, t *Standing) error {
	near, far, err := pinned.VCPair(innerNear, innerFar, FarAddress, innerTunnel, innerFar)
	if err != nil {
		return err
	}
	return t.pinned(p, []pinned.End{far}, near)
}

// pinned starts the far ends in their order, then the near one.
func (t *Standing) pinned(p Programs, far []pinned.End, near pinned.End) error {
	start := func(s *space.Space, name string, e pinned.End) error {
		file := filepath.Join(t.site.Dir, name+"-"+s.Name+".json")
		if err := e.Save(file); err != nil {
			return err
		}
		_, err := t.run(s, name, p.Self, "pinned", file)
		return err
	}
	for i, e := range far {
		name := string(e.Kind)
		if e.Kind == pinned.Relay {
			name += strconv.Itoa(i)
		}
		if err := start(t.site.Far, name, e); err != nil {
			return err
		}
	}
	t.Path.NearAddress, t.Path.FarAddress = near.Address.Addr(), far[0].Address.Addr()
	return start(t.site.Near, string(near.Kind), near)
}
