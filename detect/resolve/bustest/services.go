package bustest

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const (
	resolvedName = "org.freedesktop.resolve1"
	managerName  = "org.freedesktop.NetworkManager"
)

// Domain is a domain of a link: one to search, or, with RoutingOnly, one whose names go to the link alone.
type Domain struct {
	Name        string
	RoutingOnly bool
}

// Link is what systemd-resolved has been told of a link.
type Link struct {
	// Servers are its name servers.
	Servers []netip.Addr
	// Domains are those of the link.
	Domains []Domain
	// DefaultRoute says that names of no link's domain are asked there, too.
	DefaultRoute bool
	// DNSSEC, DNSOverTLS, LLMNR and MulticastDNS are those settings, empty when not set.
	DNSSEC, DNSOverTLS, LLMNR, MulticastDNS string
	// Managed says that systemd-networkd manages the link: nobody else may set anything.
	Managed bool
}

// Resolved stands for systemd-resolved.
type Resolved struct {
	conn *dbus.Conn

	mu    sync.Mutex
	links map[int32]Link
	calls []string
	fail  map[string]bool
}

type wireServer struct {
	Family  int32
	Address []byte
}

type wireDomain struct {
	Name        string
	RoutingOnly bool
}

type wireManagerDomain struct {
	Index       int32
	Name        string
	RoutingOnly bool
}

// StartResolved puts the service on the bus, with the links given.
func StartResolved(t *testing.T, b *Bus, links map[int]Link) *Resolved {
	t.Helper()
	r := &Resolved{conn: b.own(t, resolvedName), links: make(map[int32]Link), fail: make(map[string]bool)}
	if err := r.conn.Export(resolvedMethods{r}, "/org/freedesktop/resolve1", resolvedName+".Manager"); err != nil {
		t.Fatal(err)
	}
	if err := r.conn.Export(properties(r.managerProperty), "/org/freedesktop/resolve1", propertiesName); err != nil {
		t.Fatal(err)
	}
	if err := r.conn.ExportSubtree(properties(r.linkProperty), "/org/freedesktop/resolve1/link", propertiesName); err != nil {
		t.Fatal(err)
	}
	for index, l := range links {
		r.SetLink(index, l)
	}
	return r
}

// SetLink has the service know a link as another program has set it, and say so in a signal.
func (r *Resolved) SetLink(index int, l Link) {
	r.mu.Lock()
	r.links[int32(index)] = l
	r.mu.Unlock()
	// What the properties' new values are nobody needs to be told who asks for them.
	_ = r.conn.Emit("/org/freedesktop/resolve1", propertiesName+".PropertiesChanged", resolvedName+".Manager", map[string]dbus.Variant{}, []string{"Domains"})
}

// managerProperty returns the manager's domains.
func (r *Resolved) managerProperty(_ dbus.ObjectPath, name string) (any, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	domains := []wireManagerDomain{}
	for index, l := range r.links {
		for _, d := range l.Domains {
			domains = append(domains, wireManagerDomain{index, d.Name, d.RoutingOnly})
		}
	}
	return domains, name == "Domains"
}

// linkProperty returns a link's servers.
func (r *Resolved) linkProperty(path dbus.ObjectPath, name string) (any, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	servers := []wireServer{}
	for index, l := range r.links {
		for _, a := range l.Servers {
			family := int32(2)
			if a.Is6() {
				family = 10
			}
			if linkPath(index) == path {
				servers = append(servers, wireServer{family, a.AsSlice()})
			}
		}
	}
	return servers, name == "DNS"
}

// properties serves the method Get of org.freedesktop.DBus.Properties from a function of the object's path and the
// property's name.
type properties func(path dbus.ObjectPath, name string) (any, bool)

const propertiesName = "org.freedesktop.DBus.Properties"

// Get is the method.
func (p properties) Get(m dbus.Message, _, name string) (dbus.Variant, *dbus.Error) {
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	v, ok := p(path, name)
	if !ok {
		return dbus.Variant{}, dbus.NewError(propertiesName+".Error.PropertyNotFound", []any{name})
	}
	return dbus.MakeVariant(v), nil
}

// Link returns what the service knows of a link, false for nothing.
func (r *Resolved) Link(index int) (Link, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.links[int32(index)]
	return l, ok
}

// Links returns everything that the service knows.
func (r *Resolved) Links() map[int]Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[int]Link)
	for index, l := range maps.All(r.links) {
		out[int(index)] = l
	}
	return out
}

// Calls returns the names of the methods called so far.
func (r *Resolved) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.calls...)
}

// Fail has the method fail from now on, or work again.
func (r *Resolved) Fail(method string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[method] = on
}

// change notes the call and changes a link.
func (r *Resolved) change(method string, index int32, f func(*Link)) *dbus.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, method)
	if r.fail[method] {
		return dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{method + " was refused"})
	}
	l := r.links[index]
	if l.Managed {
		return dbus.NewError(resolvedName+".LinkBusy", []any{"the link is managed"})
	}
	f(&l)
	r.links[index] = l
	return nil
}

func linkPath(index int32) dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/resolve1/link/_%d", index))
}

// resolvedMethods are the methods of the manager.
type resolvedMethods struct{ r *Resolved }

func (m resolvedMethods) GetLink(index int32) (dbus.ObjectPath, *dbus.Error) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if _, ok := m.r.links[index]; !ok {
		return "", dbus.NewError(resolvedName+".NoSuchLink", []any{fmt.Sprintf("Link %d not known", index)})
	}
	return linkPath(index), nil
}

func (m resolvedMethods) SetLinkDNS(index int32, servers []wireServer) *dbus.Error {
	return m.r.change("SetLinkDNS", index, func(l *Link) {
		l.Servers = nil
		for _, s := range servers {
			if a, ok := netip.AddrFromSlice(s.Address); ok {
				l.Servers = append(l.Servers, a)
			}
		}
	})
}

func (m resolvedMethods) SetLinkDomains(index int32, domains []wireDomain) *dbus.Error {
	return m.r.change("SetLinkDomains", index, func(l *Link) {
		l.Domains = nil
		for _, d := range domains {
			l.Domains = append(l.Domains, Domain(d))
		}
	})
}

func (m resolvedMethods) SetLinkDefaultRoute(index int32, on bool) *dbus.Error {
	return m.r.change("SetLinkDefaultRoute", index, func(l *Link) { l.DefaultRoute = on })
}

func (m resolvedMethods) SetLinkDNSSEC(index int32, mode string) *dbus.Error {
	return m.r.change("SetLinkDNSSEC", index, func(l *Link) { l.DNSSEC = mode })
}

func (m resolvedMethods) SetLinkDNSOverTLS(index int32, mode string) *dbus.Error {
	return m.r.change("SetLinkDNSOverTLS", index, func(l *Link) { l.DNSOverTLS = mode })
}

func (m resolvedMethods) SetLinkLLMNR(index int32, mode string) *dbus.Error {
	return m.r.change("SetLinkLLMNR", index, func(l *Link) { l.LLMNR = mode })
}

func (m resolvedMethods) SetLinkMulticastDNS(index int32, mode string) *dbus.Error {
	return m.r.change("SetLinkMulticastDNS", index, func(l *Link) { l.MulticastDNS = mode })
}

func (m resolvedMethods) RevertLink(index int32) *dbus.Error {
	return m.r.change("RevertLink", index, func(l *Link) { *l = Link{} })
}

func (m resolvedMethods) FlushCaches() *dbus.Error {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.r.calls = append(m.r.calls, "FlushCaches")
	return nil
}

// StartNetworkManager puts a service on the bus that knows the name servers of the interfaces given by name.
func StartNetworkManager(t *testing.T, b *Bus, servers map[string][]netip.Addr) {
	t.Helper()
	c := b.own(t, managerName)
	m := managerMethods{}
	for name, list := range servers {
		n := len(m)
		device := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/NetworkManager/Devices/%d", n))
		config := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/NetworkManager/IP4Config/%d", n))
		config6 := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/NetworkManager/IP6Config/%d", n))
		data, data6 := []map[string]dbus.Variant{}, [][]byte{}
		for _, a := range list {
			if a.Is6() {
				data6 = append(data6, a.AsSlice())
			} else {
				data = append(data, map[string]dbus.Variant{"address": dbus.MakeVariant(a.String())})
			}
		}
		of := func(want string, v any) properties {
			return func(_ dbus.ObjectPath, name string) (any, bool) { return v, name == want }
		}
		configs := func(_ dbus.ObjectPath, name string) (any, bool) {
			v, ok := map[string]dbus.ObjectPath{"Ip4Config": config, "Ip6Config": config6}[name]
			return v, ok
		}
		if err := c.Export(properties(configs), device, propertiesName); err != nil {
			t.Fatal(err)
		}
		if err := c.Export(of("Nameservers", data6), config6, propertiesName); err != nil {
			t.Fatal(err)
		}
		if err := c.Export(of("NameserverData", data), config, propertiesName); err != nil {
			t.Fatal(err)
		}
		m[name] = device
	}
	if err := c.Export(m, "/org/freedesktop/NetworkManager", managerName); err != nil {
		t.Fatal(err)
	}
}

// managerMethods has the devices by interface name.
type managerMethods map[string]dbus.ObjectPath

// GetDeviceByIpIface is NetworkManager's method of that name.
func (m managerMethods) GetDeviceByIpIface(name string) (dbus.ObjectPath, *dbus.Error) {
	if p, ok := m[name]; ok {
		return p, nil
	}
	return "", dbus.NewError(managerName+".UnknownDevice", []any{"No device found for the requested iface."})
}
