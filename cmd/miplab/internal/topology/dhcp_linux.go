package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/space"
)

// leaseTime is what the servers grant. The client asks anew after half of it (RFC 2131 §4.4.5).
const leaseTime = 12 * time.Hour

// startDHCP starts the servers of all scopes and a client for each of the laptop's interfaces.
func (l *Lab) startDHCP() error {
	for _, sc := range scopes {
		s := &dhcpServer{scope: sc, leases: map[string]netip.Addr{}, next: sc.first}
		var server *server4.Server
		err := l.boxes[sc.box].Do(func() (err error) {
			server, err = server4.NewServer(sc.port, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, s.handle)
			return err
		})
		if err != nil {
			return fmt.Errorf("topology: DHCP server of %s: %w", sc.box, err)
		}
		var served sync.WaitGroup
		served.Go(func() { server.Serve() })
		l.closers = append(l.closers, func() error {
			server.Close()
			served.Wait()
			return nil
		})
	}
	for i, name := range laptopPorts {
		c := &dhcpClient{box: l.boxes[Laptop], name: name, metric: 100 + i, offered: l.noteOffer}
		stop, err := c.start()
		if err != nil {
			return err
		}
		l.closers = append(l.closers, stop)
	}
	return nil
}

// dhcpServer answers for one scope. A client keeps its address for as long as the lab stands.
type dhcpServer struct {
	scope scope

	mu     sync.Mutex
	leases map[string]netip.Addr // by client hardware address
	next   netip.Addr
}

// lease returns the client's address, a fresh one for a new client, false when there is none left.
func (s *dhcpServer) lease(hw string) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.leases[hw]; ok {
		return a, true
	}
	if s.scope.last.Less(s.next) {
		return netip.Addr{}, false
	}
	a := s.next
	s.leases[hw], s.next = a, a.Next()
	return a, true
}

// handle answers DISCOVER with an offer and REQUEST with an acknowledgement, or a refusal when the client asks for
// another address than its own (RFC 2131 §4.3.2).
func (s *dhcpServer) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	var kind dhcpv4.MessageType
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
	default:
		return
	}
	addr, ok := s.lease(m.ClientHWAddr.String())
	if !ok {
		return
	}
	wanted := addrOf(m.RequestedIPAddress())
	if kind == dhcpv4.MessageTypeAck && wanted.IsValid() && wanted != addr {
		kind = dhcpv4.MessageTypeNak
	}
	router := net.IP(s.scope.router.AsSlice())
	mods := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(router),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(router))}
	if kind != dhcpv4.MessageTypeNak {
		mods = append(mods, dhcpv4.WithYourIP(net.IP(addr.AsSlice())), dhcpv4.WithRouter(router), dhcpv4.WithDNS(router),
			dhcpv4.WithNetmask(net.CIDRMask(s.scope.prefix.Bits(), 32)), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)),
			dhcpv4.WithOption(dhcpv4.OptDomainName(s.scope.domain)))
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, mods...)
	if err != nil {
		return
	}
	conn.WriteTo(reply.ToBytes(), peer) // a lost answer is asked for again
}

// dhcpClient does for one interface what a laptop's network service does: with carrier it asks for an address and sets
// address and default route, without carrier it takes them away.
type dhcpClient struct {
	box    *space.Space
	name   string
	metric int
	// offered is called with the name just before an address is set.
	offered func(name string)
}

// start watches the interface until stop is called.
func (c *dhcpClient) start() (stop func() error, err error) {
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	ns := netns.NsHandle(c.box.FD())
	err = netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &ns, ListExisting: true})
	if err != nil {
		return nil, fmt.Errorf("topology: DHCP client of %s: %w", c.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.watch(ctx, updates) })
	return func() error {
		cancel()
		close(done)
		running.Wait()
		return nil
	}, nil
}

func (c *dhcpClient) watch(ctx context.Context, updates <-chan netlink.LinkUpdate) {
	carrier, leave := false, func() {}
	defer func() { leave() }()
	for {
		select {
		case <-ctx.Done():
			return
		case u, ok := <-updates:
			if !ok {
				return
			}
			if u.Link.Attrs().Name != c.name {
				continue
			}
			now := u.Link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 && u.Header.Type == unix.RTM_NEWLINK
			if now == carrier {
				continue
			}
			carrier = now
			leave()
			leave = func() {}
			if carrier {
				leave = c.join(ctx)
			} else {
				c.clear()
			}
		}
	}
}

// join holds a lease until leave is called.
func (c *dhcpClient) join(ctx context.Context) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var holding sync.WaitGroup
	holding.Go(func() { c.hold(ctx) })
	return func() {
		cancel()
		holding.Wait()
	}
}

// hold asks for a lease and keeps it until ctx ends.
func (c *dhcpClient) hold(ctx context.Context) {
	for {
		lease, err := c.ask(ctx)
		if err == nil {
			err = c.configure(lease.ACK)
		}
		wait := leaseTime / 2
		if err != nil {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (c *dhcpClient) ask(ctx context.Context) (*nclient4.Lease, error) {
	var client *nclient4.Client
	err := c.box.Do(func() (err error) {
		client, err = nclient4.New(c.name, nclient4.WithTimeout(250*time.Millisecond), nclient4.WithRetry(5))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Request(ctx)
}

// configure sets the interface's address and default route from the acknowledgement.
func (c *dhcpClient) configure(ack *dhcpv4.DHCPv4) error {
	h, err := c.box.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	iface, err := h.LinkByName(c.name)
	if err != nil {
		return err
	}
	c.offered(c.name)
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: ack.SubnetMask()}}
	if err := h.AddrReplace(iface, addr); err != nil {
		return err
	}
	for _, router := range ack.Router() {
		_, all, _ := net.ParseCIDR("0.0.0.0/0")
		return h.RouteReplace(&netlink.Route{LinkIndex: iface.Attrs().Index, Dst: all, Gw: router, Priority: c.metric, Protocol: unix.RTPROT_DHCP})
	}
	return errors.New("topology: the DHCP server named no router")
}

// clear takes the interface's addresses away, and with them its routes.
func (c *dhcpClient) clear() {
	h, err := c.box.Netlink()
	if err != nil {
		return
	}
	defer h.Close()
	iface, err := h.LinkByName(c.name)
	if err != nil {
		return
	}
	addrs, err := h.AddrList(iface, unix.AF_INET)
	if err != nil {
		return
	}
	for _, a := range addrs {
		h.AddrDel(iface, &a) // gone already is as good
	}
}

// Address returns the laptop's address on the interface, the zero Prefix while it has none.
func (l *Lab) Address(iface string) (netip.Prefix, error) {
	h, err := l.boxes[Laptop].Netlink()
	if err != nil {
		return netip.Prefix{}, err
	}
	defer h.Close()
	link, err := h.LinkByName(iface)
	if err != nil {
		return netip.Prefix{}, err
	}
	addrs, err := h.AddrList(link, unix.AF_INET)
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}, err
	}
	ones, _ := addrs[0].Mask.Size()
	return netip.PrefixFrom(addrOf(addrs[0].IP), ones), nil
}

// AwaitAddress waits until the laptop has an address on the interface that lies in the network, and a default route
// through it.
func (l *Lab) AwaitAddress(ctx context.Context, iface string, network netip.Prefix) (netip.Prefix, error) {
	return l.await(ctx, iface, "an address of "+network.String(), func(p netip.Prefix, routed bool) bool {
		return routed && p.IsValid() && network.Contains(p.Addr())
	})
}

// AwaitNoAddress waits until the laptop has no address on the interface.
func (l *Lab) AwaitNoAddress(ctx context.Context, iface string) error {
	_, err := l.await(ctx, iface, "no address", func(p netip.Prefix, _ bool) bool { return !p.IsValid() })
	return err
}

func (l *Lab) await(ctx context.Context, iface, what string, good func(p netip.Prefix, routed bool) bool) (netip.Prefix, error) {
	addrs, routes := make(chan netlink.AddrUpdate, 64), make(chan netlink.RouteUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	ns := netns.NsHandle(l.boxes[Laptop].FD())
	err := errors.Join(
		netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{Namespace: &ns}),
		netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: &ns}))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("topology: watching addresses and routes: %w", err)
	}
	for {
		p, err := l.Address(iface)
		if err != nil {
			return p, err
		}
		routed, err := l.routed(iface)
		if err != nil || good(p, routed) {
			return p, err
		}
		select {
		case <-ctx.Done():
			return netip.Prefix{}, fmt.Errorf("topology: waiting for %s on the laptop's %s, which has %v: %w", what, iface, p, ctx.Err())
		case <-addrs:
		case <-routes:
		}
	}
}

// routed reports whether the laptop has a default route through the interface.
func (l *Lab) routed(iface string) (bool, error) {
	h, err := l.boxes[Laptop].Netlink()
	if err != nil {
		return false, err
	}
	defer h.Close()
	link, err := h.LinkByName(iface)
	if err != nil {
		return false, err
	}
	all, err := h.RouteList(link, unix.AF_INET)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(r netlink.Route) bool { return r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) }), nil
}
