package resolve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/godbus/dbus/v5"

	"mipvpn/tun/link"
)

// SystemServers reads the name servers of interfaces from what manages them on this machine, the first that knows any:
// systemd-resolved, NetworkManager, the lease of systemd-networkd, that of dhclient, and as the last way out a resolv.conf,
// which is about no interface in particular.
type SystemServers struct {
	// Bus connects to the system bus; nil leaves systemd-resolved and NetworkManager out. The connection is closed after use.
	Bus func(ctx context.Context) (*dbus.Conn, error)
	// Root is put in front of the paths of files; empty for the machine's own.
	Root string
	// ResolvConf returns the content of the resolv.conf as it would be without this program, nil for none.
	ResolvConf func() ([]byte, error)
	// Own are servers of this program's own, which are never returned: asking them would go round in a circle.
	Own []netip.Addr
}

var _ Servers = (*SystemServers)(nil)

// Servers implements the interface. A source that fails is passed over; its error is returned if no other knows any server.
func (s *SystemServers) Servers(ctx context.Context, i link.Interface) ([]netip.Addr, error) {
	var errs []error
	for _, source := range []struct {
		name string
		read func(context.Context, link.Interface) ([]netip.Addr, error)
	}{
		{"systemd-resolved and NetworkManager", s.overBus}, {"the lease of systemd-networkd", s.networkd},
		{"the lease of dhclient", s.dhclient}, {"resolv.conf", s.resolvConf},
	} {
		list, err := source.read(ctx, i)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("resolve: name servers from %s: %w", source.name, err))
		}
		if list = s.usable(list); len(list) > 0 {
			return list, nil
		}
	}
	return nil, errors.Join(errs...)
}

// usable leaves out servers that cannot be asked through an interface.
func (s *SystemServers) usable(list []netip.Addr) []netip.Addr {
	return usable(list, s.Own)
}

// overBus asks systemd-resolved and NetworkManager.
func (s *SystemServers) overBus(ctx context.Context, i link.Interface) ([]netip.Addr, error) {
	if s.Bus == nil {
		return nil, nil
	}
	conn, err := s.Bus(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	list, resolved := resolvedServers(ctx, conn, i.Index)
	if list = s.usable(list); len(list) > 0 {
		return list, nil
	}
	list, network := managerServers(ctx, conn, i.Name)
	if len(list) > 0 {
		return list, nil
	}
	return nil, errors.Join(notThere(resolved), notThere(network))
}

// notThere leaves out the error that a service, or what it would know, is not there.
func notThere(err error) error {
	var e dbus.Error
	if errors.As(err, &e) {
		switch e.Name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.resolve1.NoSuchLink",
			"org.freedesktop.NetworkManager.UnknownDevice", "org.freedesktop.DBus.Error.UnknownObject":
			return nil
		}
	}
	return err
}

// resolvedServers asks systemd-resolved (org.freedesktop.resolve1(5)): the property DNS of the link, of type a(iay).
func resolvedServers(ctx context.Context, conn *dbus.Conn, index int) ([]netip.Addr, error) {
	var path dbus.ObjectPath
	manager := conn.Object("org.freedesktop.resolve1", "/org/freedesktop/resolve1")
	if err := manager.CallWithContext(ctx, "org.freedesktop.resolve1.Manager.GetLink", dbus.FlagNoAutoStart, int32(index)).Store(&path); err != nil {
		return nil, err
	}
	var v dbus.Variant
	if err := property(ctx, conn, "org.freedesktop.resolve1", path, "org.freedesktop.resolve1.Link", "DNS", &v); err != nil {
		return nil, err
	}
	var servers []struct {
		Family  int32
		Address []byte
	}
	if err := dbus.Store([]any{v.Value()}, &servers); err != nil {
		return nil, fmt.Errorf("the property DNS: %w", err)
	}
	var out []netip.Addr
	for _, server := range servers {
		if a, ok := netip.AddrFromSlice(server.Address); ok {
			out = appendServer(out, a.String())
		}
	}
	return out, nil
}

// managerServers asks NetworkManager: the property NameserverData of the device's IP4Config, of type aa{sv}, and Nameservers of its
// IP6Config, of type aay. What there is none of is passed over.
func managerServers(ctx context.Context, conn *dbus.Conn, name string) ([]netip.Addr, error) {
	const service = "org.freedesktop.NetworkManager"
	var device dbus.ObjectPath
	manager := conn.Object(service, "/org/freedesktop/NetworkManager")
	if err := manager.CallWithContext(ctx, service+".GetDeviceByIpIface", dbus.FlagNoAutoStart, name).Store(&device); err != nil {
		return nil, err
	}
	// list stores the list of servers of one IP version.
	list := func(version, what string, servers any) error {
		var v dbus.Variant
		if err := property(ctx, conn, service, device, service+".Device", "Ip"+version+"Config", &v); err != nil {
			return err
		}
		config, ok := v.Value().(dbus.ObjectPath)
		if !ok || config == "/" {
			return nil
		}
		if err := property(ctx, conn, service, config, service+".IP"+version+"Config", what, &v); err != nil {
			return err
		}
		if err := dbus.Store([]any{v.Value()}, servers); err != nil {
			return fmt.Errorf("the property %s: %w", what, err)
		}
		return nil
	}
	var out []netip.Addr
	var four []map[string]dbus.Variant
	err4 := list("4", "NameserverData", &four)
	for _, server := range four {
		if a, ok := server["address"].Value().(string); ok {
			out = appendServer(out, a)
		}
	}
	var six [][]byte
	err6 := list("6", "Nameservers", &six)
	for _, server := range six {
		if a, ok := netip.AddrFromSlice(server); ok {
			out = appendServer(out, a.String())
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(err4, err6)
	}
	return out, nil
}

func property(ctx context.Context, conn *dbus.Conn, service string, path dbus.ObjectPath, iface, name string, v *dbus.Variant) error {
	return conn.Object(service, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, iface, name).Store(v)
}

// networkd reads the lease of systemd-networkd.
func (s *SystemServers) networkd(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	text, err := readText(filepath.Join("/", s.Root, "run/systemd/netif/leases", strconv.Itoa(i.Index)))
	return ParseNetworkdLease(text), err
}

// dhclientLeases are where distributions have dhclient keep its leases; %s stands for the interface.
var dhclientLeases = []string{
	"var/lib/dhcp/dhclient.%s.leases", "var/lib/dhcp/dhclient.leases", "var/lib/dhclient/dhclient-%s.leases", "var/lib/dhclient/dhclient.leases",
}

// dhclient reads the lease of dhclient.
func (s *SystemServers) dhclient(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	if filepath.Base(i.Name) != i.Name {
		return nil, nil
	}
	var errs []error
	for _, pattern := range dhclientLeases {
		path := pattern
		if filepath.Base(pattern) != "dhclient.leases" {
			path = fmt.Sprintf(pattern, i.Name)
		}
		text, err := readText(filepath.Join("/", s.Root, path))
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		if list := ParseDhclientLeases(text, i.Name); len(list) > 0 {
			return list, nil
		}
	}
	return nil, errors.Join(errs...)
}

// resolvConf reads the resolv.conf.
func (s *SystemServers) resolvConf(context.Context, link.Interface) ([]netip.Addr, error) {
	if s.ResolvConf == nil {
		return nil, nil
	}
	text, err := s.ResolvConf()
	if err != nil {
		return nil, err
	}
	return ParseResolvConf(string(text[:min(len(text), maxText)])), nil
}

// readText reads the beginning of a file.
func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(b), err
}

// SystemBus connects to the system bus.
func SystemBus(ctx context.Context) (*dbus.Conn, error) {
	return dbus.ConnectSystemBus(dbus.WithContext(ctx))
}

// NewSystemServers returns this machine's sources. own is the address of this program's own name server, and original returns
// the resolv.conf as it would be without this program.
func NewSystemServers(own netip.Addr, original func() ([]byte, error)) *SystemServers {
	return &SystemServers{Bus: SystemBus, ResolvConf: original, Own: []netip.Addr{own}}
}
