package topology

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/space"
)

// Lab is the whole network, standing.
type Lab struct {
	boxes  map[string]*space.Space
	fabric *space.Space
	wires  *netlink.Handle // of the fabric

	mu      sync.Mutex
	plugged map[string]Wire // by the laptop's interface
	offers  map[string]time.Time
	closers []func() error
}

// Options say how the lab is made.
type Options struct {
	// Offload leaves segmentation offload on at the external wires. Captures then see superframes, so it is for
	// measurements of throughput alone.
	Offload bool
	// Ordered has everything that comes in on a wire dealt with by one processor: a veth hands packets to that of their
	// sender, so that those of a sender that has moved to another processor may be overtaken.
	Ordered bool
}

// New makes the lab with the laptop's cables unplugged. An error names what could not be made.
func New(o Options) (*Lab, error) {
	l := &Lab{boxes: map[string]*space.Space{}, plugged: map[string]Wire{}, offers: map[string]time.Time{}}
	if err := l.build(o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Box returns the namespace of the box, nil for a name that is none.
func (l *Lab) Box(name string) *space.Space { return l.boxes[name] }

// Boxes returns the names of all boxes in order.
func (l *Lab) Boxes() []string {
	var names []string
	for n := range l.boxes {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Fabric returns the namespace that the wires are in; each is a bridge by the wire's name.
func (l *Lab) Fabric() *space.Space { return l.fabric }

// Interfaces returns the names of the laptop's interfaces.
func (l *Lab) Interfaces() []string { return slices.Clone(laptopPorts) }

// Close takes the lab down.
func (l *Lab) Close() error {
	var errs []error
	for _, c := range slices.Backward(l.closers) {
		errs = append(errs, c())
	}
	l.closers = nil
	return errors.Join(errs...)
}

func (l *Lab) build(o Options) error {
	var err error
	if l.fabric, err = space.New("fabric"); err != nil {
		return err
	}
	l.closers = append(l.closers, l.fabric.Close)
	if err := order(l.fabric, o); err != nil {
		return err
	}
	if l.wires, err = l.fabric.Netlink(); err != nil {
		return err
	}
	l.closers = append(l.closers, func() error { l.wires.Close(); return nil })
	for _, w := range Wires {
		if err := l.addWire(w); err != nil {
			return err
		}
	}
	for _, p := range ports {
		if err := l.addPort(p, o); err != nil {
			return err
		}
	}
	for _, name := range laptopPorts {
		if err := l.addPort(port{box: Laptop, name: name}, o); err != nil {
			return err
		}
	}
	for _, r := range routes {
		if err := l.addRoute(r); err != nil {
			return err
		}
	}
	for _, b := range forwarders {
		if err := l.boxes[b].Sysctl("net.ipv4.ip_forward", "1"); err != nil {
			return fmt.Errorf("topology: %s: forwarding: %w", b, err)
		}
	}
	if err := installFirewall(l.boxes[Firewall]); err != nil {
		return err
	}
	for _, b := range translators {
		if err := installMasquerade(l.boxes[b]); err != nil {
			return err
		}
	}
	return l.startDHCP()
}

// order does what Options.Ordered says for the interfaces that are made in s from now on. Kernels before 6.3 have no such
// setting.
func order(s *space.Space, o Options) error {
	if !o.Ordered {
		return nil
	}
	if err := s.Sysctl("net.core.rps_default_mask", "1"); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("topology: %s: %w", s.Name, err)
	}
	return nil
}

func (l *Lab) addWire(w Wire) error {
	no := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: string(w)}, MulticastSnooping: &no}
	if err := l.wires.LinkAdd(bridge); err != nil {
		return fmt.Errorf("topology: wire %s: %w", w, err)
	}
	if err := l.wires.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("topology: wire %s: %w", w, err)
	}
	return nil
}

// box returns the namespace by the name, made when there is none yet.
func (l *Lab) box(name string, o Options) (*space.Space, error) {
	if s := l.boxes[name]; s != nil {
		return s, nil
	}
	s, err := space.New(name)
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, s.Close)
	if err := order(s, o); err != nil {
		return nil, err
	}
	l.boxes[name] = s
	// Two hops on one wire are the lab's way of having an Internet; nobody is to be redirected past the first. Reverse
	// path filtering is each program's own affair.
	for _, set := range []string{"all", "default"} {
		for _, kv := range [][2]string{{"send_redirects", "0"}, {"accept_redirects", "0"}, {"rp_filter", "0"}} {
			if err := s.Sysctl("net.ipv4.conf."+set+"."+kv[0], kv[1]); err != nil {
				return nil, fmt.Errorf("topology: %s: %s: %w", name, kv[0], err)
			}
		}
	}
	return s, nil
}

// cable names the fabric's end of a box's interface.
func cable(box, port string) string {
	name := box + "." + port
	if len(name) < unix.IFNAMSIZ {
		return name
	}
	return name[:3] + "." + name[len(name)-(unix.IFNAMSIZ-1-4):]
}

func (l *Lab) addPort(p port, o Options) error {
	fail := func(err error) error { return fmt.Errorf("topology: interface %s of %s: %w", p.name, p.box, err) }
	s, err := l.box(p.box, o)
	if err != nil {
		return err
	}
	far := cable(p.box, p.name)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: far}, PeerName: p.name, PeerNamespace: netlink.NsFd(s.FD())}
	if err := l.wires.LinkAdd(pair); err != nil {
		return fail(err)
	}
	end, err := l.wires.LinkByName(far)
	if err != nil {
		return fail(err)
	}
	h, err := s.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	near, err := h.LinkByName(p.name)
	if err != nil {
		return fail(err)
	}
	if !o.Offload && (p.wire == "" || slices.Contains(External, p.wire)) {
		// One segment a frame, so that what a capture shows is what a wire would carry.
		if err := errors.Join(h.LinkSetGSOMaxSegs(near, 1), l.wires.LinkSetGSOMaxSegs(end, 1)); err != nil {
			return fail(err)
		}
	}
	if p.wire != "" {
		if err := l.connect(end, p.wire); err != nil {
			return fail(err)
		}
	}
	if p.address != "" {
		a, err := netlink.ParseAddr(p.address)
		if err != nil {
			return fail(err)
		}
		if err := h.AddrAdd(near, a); err != nil {
			return fail(err)
		}
	}
	if err := h.LinkSetUp(near); err != nil {
		return fail(err)
	}
	return nil
}

// connect puts the fabric's end of a cable into the wire and gives it carrier.
func (l *Lab) connect(end netlink.Link, w Wire) error {
	bridge, err := l.wires.LinkByName(string(w))
	if err != nil {
		return err
	}
	if err := l.wires.LinkSetMaster(end, bridge); err != nil {
		return err
	}
	return l.wires.LinkSetUp(end)
}

func (l *Lab) addRoute(r route) error {
	fail := func(err error) error { return fmt.Errorf("topology: route of %s to %s: %w", r.box, r.to, err) }
	h, err := l.boxes[r.box].Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	_, dst, err := net.ParseCIDR(r.to)
	if err != nil {
		return fail(err)
	}
	kr := &netlink.Route{Dst: dst, Type: unix.RTN_BLACKHOLE}
	if r.via != "" {
		kr = &netlink.Route{Dst: dst, Gw: net.ParseIP(r.via)}
	}
	if err := h.RouteAdd(kr); err != nil {
		return fail(err)
	}
	return nil
}

// Plug puts the cable of the laptop's interface into the wire, out of another one first if need be. The laptop sees its
// carrier go and come.
func (l *Lab) Plug(iface string, w Wire) error {
	if !slices.Contains(Wires, w) {
		return fmt.Errorf("topology: there is no wire %q; there are %v", w, Wires)
	}
	if l.Plugged(iface) != "" {
		if err := l.Unplug(iface); err != nil {
			return err
		}
		time.Sleep(handTime)
	}
	end, err := l.wires.LinkByName(cable(Laptop, iface))
	if err != nil {
		return fmt.Errorf("topology: the laptop's %s: %w", iface, err)
	}
	l.noteOffer(iface)
	if err := l.connect(end, w); err != nil {
		return fmt.Errorf("topology: plugging the laptop's %s into %s: %w", iface, w, err)
	}
	l.mu.Lock()
	l.plugged[iface] = w
	l.mu.Unlock()
	return nil
}

// Carry puts the cable of the laptop's interface from one wire into another at once: the laptop's carrier stays, as it does
// with a radio that finds itself in another network. Addresses are the caller's affair.
func (l *Lab) Carry(iface string, w Wire) error {
	if !slices.Contains(Wires, w) {
		return fmt.Errorf("topology: there is no wire %q; there are %v", w, Wires)
	}
	end, err := l.wires.LinkByName(cable(Laptop, iface))
	if err != nil {
		return fmt.Errorf("topology: the laptop's %s: %w", iface, err)
	}
	if err := l.connect(end, w); err != nil {
		return fmt.Errorf("topology: carrying the laptop's %s into %s: %w", iface, w, err)
	}
	l.mu.Lock()
	l.plugged[iface] = w
	l.mu.Unlock()
	return nil
}

// Unplug pulls the cable of the laptop's interface and waits until the laptop's kernel has said so: a cable that is back
// sooner would go unnoticed by everybody, since notices of carrier are gathered.
func (l *Lab) Unplug(iface string) error {
	fail := func(err error) error { return fmt.Errorf("topology: unplugging the laptop's %s: %w", iface, err) }
	end, err := l.wires.LinkByName(cable(Laptop, iface))
	if err != nil {
		return fail(err)
	}
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	ns := netns.NsHandle(l.boxes[Laptop].FD())
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &ns, ListExisting: true}); err != nil {
		return fail(err)
	}
	if err := errors.Join(l.wires.LinkSetDown(end), l.wires.LinkSetNoMaster(end)); err != nil {
		return fail(err)
	}
	l.mu.Lock()
	delete(l.plugged, iface)
	l.mu.Unlock()
	// The listing of what exists may show the state before or after; the last notice shows it after.
	patience := time.After(noticeTime)
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return fail(errors.New("the kernel's notices ended"))
			}
			if u.Link.Attrs().Name == iface && u.Link.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
				return nil
			}
		case <-patience:
			return fail(errors.New("the kernel gave no notice of the lost carrier"))
		}
	}
}

// handTime is how long a cable is out on its way from one network to another.
const handTime = 300 * time.Millisecond

// noticeTime is the most that the kernel takes to tell of a carrier; it gathers notices for up to a second.
const noticeTime = 5 * time.Second

// Plugged returns the wire that the laptop's interface is in, "" when in none.
func (l *Lab) Plugged(iface string) Wire {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plugged[iface]
}

// Offered returns when the network of the laptop's interface offered what it has: just before the address from DHCP was
// set, or, while there is none, just before the interface got its carrier.
func (l *Lab) Offered(iface string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offers[iface]
}

func (l *Lab) noteOffer(iface string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offers[iface] = time.Now()
}

// addrOf makes a netip.Addr of an IPv4 net.IP, the zero Addr of anything else.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}
