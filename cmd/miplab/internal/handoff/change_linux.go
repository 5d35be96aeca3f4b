package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
)

// Change implements Bed.
func (l *Lab) Change(ctx context.Context, k Kind) (Sample, error) {
	s, err := l.open(ctx)
	if err != nil {
		return Sample{}, err
	}
	defer s.Close()
	var sample Sample
	switch k {
	case Cut, FirstCut:
		sample, err = l.cut(ctx, s)
	case MakeBeforeBreak:
		sample, err = l.makeBeforeBreak(ctx, s)
	case NewNetwork:
		sample, err = l.newNetwork(ctx, s)
	default:
		err = fmt.Errorf("handoff: there is no change %q", k)
	}
	if err != nil {
		return sample, err
	}
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return sample, l.flows(limit, s, preferred)
}

// set takes an interface of the laptop up or down. Up, it waits for the address from DHCP.
func (l *Lab) set(ctx context.Context, name string, up bool) error {
	link, err := l.laptop.LinkByName(name)
	if err != nil {
		return err
	}
	if !up {
		if err := l.laptop.LinkSetDown(link); err != nil {
			return err
		}
		return l.lab.AwaitNoAddress(ctx, name)
	}
	if err := l.laptop.LinkSetUp(link); err != nil {
		return err
	}
	_, err = l.lab.AwaitAddress(ctx, name, topology.Served[l.lab.Plugged(name)])
	return err
}

// observe makes the change and waits until traffic flows through the interface.
func (l *Lab) observe(ctx context.Context, s *session.Stream, iface string, change func(ctx context.Context) error) (Sample, error) {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sample Sample
	if err := pause(ctx, before); err != nil {
		return sample, err
	}
	from := time.Now().Add(-before)
	if err := change(limit); err != nil {
		return sample, err
	}
	back := s.Resumed(time.Now())
	select {
	case <-back:
	case <-limit.Done():
		if ctx.Err() != nil {
			return sample, ctx.Err()
		}
		sample.Stuck = true
	}
	if !sample.Stuck {
		if err := l.flows(limit, s, iface); err != nil {
			return sample, err
		}
	}
	if err := pause(ctx, after+tail); err != nil {
		return sample, err
	}
	f := s.Between(from, time.Now().Add(-tail))
	sample.Gap, sample.Sent, sample.Lost = f.Outage+session.Interval, f.Sent, f.Lost
	return sample, nil
}

// cut takes the preferred interface, which carries the traffic, down while the second one is up.
func (l *Lab) cut(ctx context.Context, s *session.Stream) (Sample, error) {
	if err := l.flows(ctx, s, preferred); err != nil {
		return Sample{}, err
	}
	sample, err := l.observe(ctx, s, second, func(ctx context.Context) error { return l.set(ctx, preferred, false) })
	if err != nil {
		return sample, err
	}
	return sample, l.set(ctx, preferred, true)
}

// makeBeforeBreak has the second interface carry the traffic alone, then takes the preferred one up, and then the second one
// down.
func (l *Lab) makeBeforeBreak(ctx context.Context, s *session.Stream) (Sample, error) {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := errors.Join(l.set(limit, preferred, false), l.flows(limit, s, second)); err != nil {
		return Sample{}, err
	}
	moved := false
	sample, err := l.observe(ctx, s, preferred, func(ctx context.Context) error {
		if err := l.set(ctx, preferred, true); err != nil {
			return err
		}
		moving, cancel := context.WithTimeout(ctx, movingTime)
		err := l.flows(moving, s, preferred)
		cancel()
		moved = err == nil
		if err := pause(ctx, after); err != nil {
			return err
		}
		return l.set(ctx, second, false)
	})
	sample.Moved = moved
	if err != nil {
		return sample, err
	}
	return sample, l.set(ctx, second, true)
}

// others are the networks and addresses that newNetwork moves the preferred interface to: outside from the café to
// the cellular network, inside to another address of the same LAN.
var others = map[Place]struct {
	wire    topology.Wire
	address netip.Prefix
	gateway netip.Addr
}{
	Outside: {topology.Cellular, netip.MustParsePrefix("100.64.7.210/24"), netip.MustParseAddr("100.64.7.1")},
	Inside:  {topology.Office, netip.MustParsePrefix("10.0.2.210/24"), netip.MustParseAddr("10.0.2.1")},
}

// newNetwork moves the only interface that is up into another network in one instant, and back.
func (l *Lab) newNetwork(ctx context.Context, s *session.Stream) (Sample, error) {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := errors.Join(l.set(limit, second, false), l.flows(limit, s, preferred)); err != nil {
		return Sample{}, err
	}
	home, err := l.lab.Address(preferred)
	if err != nil {
		return Sample{}, err
	}
	gateway, err := l.gateway()
	if err != nil {
		return Sample{}, err
	}
	wire, to := l.lab.Plugged(preferred), others[l.at]
	sample, err := l.observe(ctx, s, preferred, func(context.Context) error { return l.readdress(to.wire, home, to.address, to.gateway) })
	if err != nil {
		return sample, err
	}
	return sample, errors.Join(l.readdress(wire, to.address, home, gateway), l.set(ctx, second, true))
}

// gateway returns the next hop of the preferred interface's default route.
func (l *Lab) gateway() (netip.Addr, error) {
	link, err := l.laptop.LinkByName(preferred)
	if err != nil {
		return netip.Addr{}, err
	}
	routes, err := l.laptop.RouteList(link, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("handoff: the laptop's %s has no default route", preferred)
}

// readdress carries the preferred interface into the wire and sets its address and default route anew.
func (l *Lab) readdress(wire topology.Wire, from, to netip.Prefix, gateway netip.Addr) error {
	link, err := l.laptop.LinkByName(preferred)
	if err != nil {
		return err
	}
	address := func(p netip.Prefix) *netlink.Addr {
		return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
	}
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		return err
	}
	if err := l.lab.Carry(preferred, wire); err != nil {
		return err
	}
	if err := l.laptop.AddrDel(link, address(from)); err != nil {
		return err
	}
	if err := l.laptop.AddrAdd(link, address(to)); err != nil {
		return err
	}
	return l.laptop.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Gw: gateway.AsSlice(), Priority: metric, Protocol: unix.RTPROT_DHCP})
}

// metric is that of the preferred interface's default route, as DHCP sets it.
const metric = 100

// pause waits for the duration.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
