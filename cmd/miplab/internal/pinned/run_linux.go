package pinned

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"mipvpn/stack/underlay"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Options say how an end is run. The zero value is ready.
type Options struct {
	// Namespace is the open network namespace to run in, nil for the calling thread's.
	Namespace *os.File
	// Drops counts what is dropped; nil counts nothing.
	Drops *packet.Drops
	// Ready is called once packets can go; nil for nobody to be told.
	Ready func()
}

// Run runs the end until the context is done, and takes away what it made. It needs CAP_NET_ADMIN and CAP_NET_RAW.
func (e End) Run(ctx context.Context, o Options) error {
	if err := e.run(ctx, o); err != nil {
		return fmt.Errorf("pinned: %v: %w", e, err)
	}
	return nil
}

func (e End) run(ctx context.Context, o Options) (err error) {
	if err := e.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrEnd, err)
	}
	network, err := openNetwork(o.Namespace)
	if err != nil {
		return err
	}
	defer network.Close()
	host, err := underlay.NewHost(underlay.Options{Drops: o.Drops, Namespace: o.Namespace})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	below, err := e.below(network, host)
	if err != nil {
		return err
	}
	if e.Kind == Relay {
		r, err := newRelay(e, below, o.Drops)
		if err != nil {
			return err
		}
		o.ready()
		<-ctx.Done()
		return r.close()
	}
	mtu, err := e.mtu(below.MTU())
	if err != nil {
		return err
	}
	dev, err := host.OpenDevice(e.Device, mtu)
	if err != nil {
		return err
	}
	c, err := e.compose(below, dev, host, o.Drops)
	if err != nil {
		return errors.Join(err, dev.Close())
	}
	if err := e.configure(network); err != nil {
		return errors.Join(err, dev.Close(), c.close())
	}
	stop := context.AfterFunc(ctx, func() { _ = dev.Close() })
	o.ready()
	err = c.run()
	if stop() {
		err = errors.Join(err, dev.Close())
	}
	return errors.Join(err, c.close())
}

func (o Options) ready() {
	if o.Ready != nil {
		o.Ready()
	}
}

func openNetwork(namespace *os.File) (*netlink.Handle, error) {
	if namespace == nil {
		return netlink.NewHandle()
	}
	return netlink.NewHandleAt(netns.NsHandle(int(namespace.Fd())))
}

// below returns the link that the end stands on: of its local address wherever that is, as agents have it, or of the
// interface by which the host reaches the remote endpoint, as the client has it.
func (e End) below(network *netlink.Handle, host *underlay.Host) (link.Link, error) {
	if e.Local.IsValid() {
		return host.Underlay(0, e.Local.Addr())
	}
	routes, err := network.RouteGet(e.Remote.Addr().AsSlice())
	if err != nil {
		return nil, fmt.Errorf("find the way to %v: %w", e.Remote.Addr(), err)
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("there is no way to %v", e.Remote.Addr())
	}
	src, _ := netip.AddrFromSlice(routes[0].Src.To4())
	return host.Underlay(routes[0].LinkIndex, src)
}

// configure sets the device's address and routes.
func (e End) configure(network *netlink.Handle) error {
	iface, err := network.LinkByName(e.Device)
	if err != nil {
		return fmt.Errorf("find device %s: %w", e.Device, err)
	}
	if err := network.AddrAdd(iface, &netlink.Addr{IPNet: ipNet(e.Address)}); err != nil {
		return fmt.Errorf("add address %v: %w", e.Address, err)
	}
	if err := network.LinkSetUp(iface); err != nil {
		return fmt.Errorf("bring %s up: %w", e.Device, err)
	}
	for _, p := range e.Routes {
		if err := network.RouteAdd(&netlink.Route{LinkIndex: iface.Attrs().Index, Dst: ipNet(p.Masked())}); err != nil {
			return fmt.Errorf("add route to %v: %w", p, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
