package agent

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// A mobile node that knows its home network and no home agent there sends its request to all of them, by the network's subnet-directed
// broadcast address (RFC 5944 §3.6.1.2). Each denies it with code 136 and its own address (§3.8.2.1). What is for a virtual home
// network comes out of the device, as everything for it does: routers see no broadcast in it. What is for a home link comes to the
// link's broadcast address, or to 255.255.255.255 where a router has changed it (§3.8.2.1).

// resolution is where a home agent hears requests that are sent to all home agents of a home network.
type resolution struct {
	directed atomic.Pointer[[]netip.Addr] // the broadcast addresses of the virtual home networks
	flows    []link.Flow                  // of the home link's
}

// set takes the home networks that are routed into the device.
func (d *resolution) set(virtual []netip.Prefix) {
	var all []netip.Addr
	for _, p := range virtual {
		if b, ok := directedBroadcast(p); ok {
			all = append(all, b)
		}
	}
	d.directed.Store(&all)
}

// directedBroadcast returns the subnet-directed broadcast address of a network (RFC 1122 §3.2.1.3), and false where it has none.
func directedBroadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	a := p.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|(uint32(1)<<(32-p.Bits())-1))
	return netip.AddrFrom4(a), true
}

// openDiscovery listens for such requests on the home link, where there is one. A host on which that cannot be had does without.
func (a *HomeAgent) openDiscovery() error {
	if a.homeLink.name == "" {
		return nil
	}
	iface, err := interfaceByName(a.host, a.homeLink.name)
	if err != nil {
		return err
	}
	to := []netip.Addr{limitedBroadcast}
	if b, ok := directedBroadcast(iface.Address); ok {
		to = append(to, b)
	}
	for _, b := range to {
		under, err := a.host.Underlay(iface.Index, b)
		if err == nil {
			var f link.Flow
			f, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port, Signalling: link.SignallingMobileIP}, whenReady(a.ready, &a.drops, func(got *packet.Batch) {
				for _, p := range got.Bufs {
					a.handleBroadcastRequest(p.Peer, b, p.Bytes())
				}
				got.Release()
			}))
			if err == nil {
				a.resolution.flows = append(a.resolution.flows, f)
			}
		}
		if err != nil {
			a.log.Warn("requests that are broadcast on the home link are not heard", zap.Stringer("address", b), zap.Error(err))
		}
	}
	return nil
}

// closeDiscovery ends that.
func (a *HomeAgent) closeDiscovery() error {
	var errs []error
	for _, f := range a.resolution.flows {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// takeDiscovery takes a packet out of the device that is a request to all home agents of a virtual home network, and reports whether
// it was one.
func (a *HomeAgent) takeDiscovery(ip packet.IPv4) bool {
	payload, source, ok := a.resolution.request(ip)
	if ok {
		a.handleBroadcastRequest(source, ip.Dst(), payload)
	}
	return ok
}

// request returns the payload and the source of a valid packet to port 434 of all home agents of a virtual home network, and false for
// another one. Fragments are none.
func (d *resolution) request(ip packet.IPv4) ([]byte, netip.AddrPort, bool) {
	all := d.directed.Load()
	if all == nil || ip.Protocol() != packet.ProtocolUDP || ip.MoreFragments() || ip.FragmentOffset() != 0 || !slices.Contains(*all, ip.Dst()) {
		return nil, netip.AddrPort{}, false
	}
	u := packet.UDP(ip.Payload())
	if len(u) < packet.UDPLen || u.DstPort() != wire.Port {
		return nil, netip.AddrPort{}, false
	}
	return u[packet.UDPLen:], netip.AddrPortFrom(ip.Src(), u.SrcPort()), true
}

// handleBroadcastRequest copies a registration request that was sent to all and has it handled.
func (a *HomeAgent) handleBroadcastRequest(source netip.AddrPort, destination netip.Addr, payload []byte) {
	if t, ok := wire.TypeOf(payload); !ok || t != wire.TypeRegistrationRequest {
		return
	}
	r := homeagent.Request{Source: source, Destination: destination, Payload: append([]byte(nil), payload...)}
	a.post(func(now link.Instant) {
		if err := a.machine.HandleRequest(now, r); err != nil {
			a.report(now, r.Source, err)
		}
	})
}
