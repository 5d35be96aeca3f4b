package nat64

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// hopLimit is what neighbour discovery has, so that no router has passed it on (RFC 4861 §6.1.1, §6.1.2).
const hopLimit = 255

// Watch solicits router advertisements on an interface and calls f with the NAT64 prefixes of each one that has such, until ctx
// ends; then it returns ctx's error. It works in the network namespace of the calling thread and needs CAP_NET_RAW. Errors: what
// the system says about the socket.
func Watch(ctx context.Context, index int, f func([]Advertised)) error {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return fmt.Errorf("nat64: listen for router advertisements: %w", err)
	}
	defer c.Close()
	p := c.IPv6PacketConn()
	link := &net.Interface{Index: index}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	for _, step := range []func() error{
		func() error { return p.SetICMPFilter(&only) },
		func() error { return p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true) },
		func() error { return p.JoinGroup(link, &net.IPAddr{IP: net.IPv6linklocalallnodes}) },
		func() error { return p.SetMulticastHopLimit(hopLimit) },
		func() error { return p.SetMulticastInterface(link) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("nat64: listen for router advertisements on interface %d: %w", index, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// Without an address yet the solicitation fails; the next advertisement comes by itself.
	_, _ = p.WriteTo(append([]byte{byte(ipv6.ICMPTypeRouterSolicitation)}, make([]byte, 7)...), nil, &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: fmt.Sprint(index)})
	buf := make([]byte, 65536)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("nat64: %w", err)
		case err != nil || cm == nil:
			continue // an error of an earlier solicitation
		}
		router, ok := from.(*net.IPAddr)
		if !ok || !router.IP.IsLinkLocalUnicast() || cm.HopLimit != hopLimit || cm.IfIndex != index {
			continue // RFC 4861 §6.1.2
		}
		if list, err := Prefixes64(buf[:n]); err == nil && len(list) > 0 {
			f(list)
		}
	}
}
