package hint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// SystemLeases reads the domain name of an interface's DHCP lease from what manages it on this machine: NetworkManager over
// D-Bus, the lease files of systemd-networkd and dhclient, and where none of these knows of a lease, the DHCP server itself.
type SystemLeases struct {
	// Bus connects to the system bus; nil leaves NetworkManager out. The connection is closed after use.
	Bus func(ctx context.Context) (*dbus.Conn, error)
	// Root is put in front of the paths of files; empty for the machine's own.
	Root string
	// Inform asks the DHCP server where no lease can be read (RFC 2131 §3.4). That needs the port of a DHCP client, 68, and
	// fails where another program holds it.
	Inform bool
}

// Domain returns the domain name of the interface's lease, empty where none is known. The error says what could not be
// asked, when nothing else knew.
func (s *SystemLeases) Domain(ctx context.Context, i link.Interface) (string, error) {
	var errs []error
	for _, source := range []struct {
		name string
		read func(context.Context, link.Interface) (string, error)
	}{
		{"NetworkManager", s.manager}, {"the lease of systemd-networkd", s.networkd}, {"the lease of dhclient", s.dhclient}, {"the DHCP server", s.inform},
	} {
		domain, err := source.read(ctx, i)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("hint: domain from %s: %w", source.name, err))
		}
		if domain != "" {
			return domain, nil
		}
	}
	return "", errors.Join(errs...)
}

// manager asks NetworkManager: the option domain_name in the property Options of the device's DHCP4Config.
func (s *SystemLeases) manager(ctx context.Context, i link.Interface) (string, error) {
	const service = "org.freedesktop.NetworkManager"
	if s.Bus == nil {
		return "", nil
	}
	conn, err := s.Bus(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var device dbus.ObjectPath
	err = conn.Object(service, "/org/freedesktop/NetworkManager").
		CallWithContext(ctx, service+".GetDeviceByIpIface", dbus.FlagNoAutoStart, i.Name).Store(&device)
	if err != nil {
		return "", notThere(err)
	}
	property := func(path dbus.ObjectPath, iface, name string) (v dbus.Variant, err error) {
		err = conn.Object(service, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, iface, name).Store(&v)
		return v, err
	}
	v, err := property(device, service+".Device", "Dhcp4Config")
	if err != nil {
		return "", notThere(err)
	}
	lease, ok := v.Value().(dbus.ObjectPath)
	if !ok || lease == "/" {
		return "", nil
	}
	if v, err = property(lease, service+".DHCP4Config", "Options"); err != nil {
		return "", notThere(err)
	}
	options, _ := v.Value().(map[string]dbus.Variant)
	domain, _ := options["domain_name"].Value().(string)
	return name(domain), nil
}

// notThere leaves out the error that a service, or what it would know, is not there.
func notThere(err error) error {
	var e dbus.Error
	if errors.As(err, &e) {
		switch e.Name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
			"org.freedesktop.NetworkManager.UnknownDevice", "org.freedesktop.DBus.Error.UnknownObject":
			return nil
		}
	}
	return err
}

func (s *SystemLeases) networkd(_ context.Context, i link.Interface) (string, error) {
	text, err := s.read("run/systemd/netif/leases/" + strconv.Itoa(i.Index))
	return ParseNetworkdLease(text), err
}

// dhclient reads the lease of dhclient where distributions keep it.
func (s *SystemLeases) dhclient(_ context.Context, i link.Interface) (string, error) {
	if filepath.Base(i.Name) != i.Name {
		return "", nil
	}
	var errs []error
	for _, path := range []string{
		"var/lib/dhcp/dhclient." + i.Name + ".leases", "var/lib/dhcp/dhclient.leases",
		"var/lib/dhclient/dhclient-" + i.Name + ".leases", "var/lib/dhclient/dhclient.leases",
	} {
		text, err := s.read(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		if domain := ParseDhclientLeases(text, i.Name); domain != "" {
			return domain, nil
		}
	}
	return "", errors.Join(errs...)
}

// read reads the beginning of a file.
func (s *SystemLeases) read(path string) (string, error) {
	f, err := os.Open(filepath.Join("/", s.Root, path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(b), err
}

const (
	// informTries is how often the DHCP server is asked, informWait how long each time.
	informTries = 3
	informWait  = time.Second
)

// inform asks the DHCP server through the interface.
func (s *SystemLeases) inform(ctx context.Context, i link.Interface) (string, error) {
	if !s.Inform || !i.Up || !i.Address.IsValid() {
		return "", nil
	}
	message, xid, err := inform(i)
	if err != nil {
		return "", err
	}
	conn, err := listenDHCP(ctx, i)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1500)
	for range informTries {
		if _, err := conn.WriteToUDPAddrPort(message, netip.AddrPortFrom(broadcast, dhcpv4.ServerPort)); err != nil {
			return "", err
		}
		if err := conn.SetReadDeadline(time.Now().Add(informWait)); err != nil {
			return "", err
		}
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return "", err
			}
			if domain, ok := answer(buf[:n], i.Hardware, xid); ok {
				return domain, nil
			}
		}
	}
	return "", nil // no server, or one that answers leases alone
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// listenDHCP opens a DHCP client's socket on the interface.
func listenDHCP(ctx context.Context, i link.Interface) (*net.UDPConn, error) {
	var failed error
	l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, i.Name),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(err, failed)
	}}
	conn, err := l.ListenPacket(ctx, "udp4", netip.AddrPortFrom(i.Address.Addr(), dhcpv4.ClientPort).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
