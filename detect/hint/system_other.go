//go:build !linux

package hint

import (
	"context"
	"errors"
	"runtime"

	"github.com/godbus/dbus/v5"

	"mipvpn/tun/link"
)

// SystemLeases knows no lease on this system.
type SystemLeases struct {
	// Bus, Root and Inform are for other systems.
	Bus    func(ctx context.Context) (*dbus.Conn, error)
	Root   string
	Inform bool
}

// Domain returns errors.ErrUnsupported with the name of the system.
func (*SystemLeases) Domain(context.Context, link.Interface) (string, error) {
	return "", errors.Join(errors.ErrUnsupported, errors.New("hint: DHCP leases are not read on "+runtime.GOOS))
}
