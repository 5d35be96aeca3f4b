package bustest

import (
	"fmt"
	"testing"

	"github.com/godbus/dbus/v5"
)

// StartNetworkManagerLeases puts a service on the bus that knows the options of the DHCP leases of the interfaces given by
// name; nil for one without a lease.
func StartNetworkManagerLeases(t *testing.T, b *Bus, leases map[string]map[string]any) {
	t.Helper()
	c := b.own(t, managerName)
	m := managerMethods{}
	for name, options := range leases {
		n := len(m)
		device := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/NetworkManager/Devices/%d", n))
		config := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/NetworkManager/DHCP4Config/%d", n))
		if options == nil {
			config = "/"
		}
		data := map[string]dbus.Variant{}
		for k, v := range options {
			data[k] = dbus.MakeVariant(v)
		}
		of := func(want string, v any) properties {
			return func(_ dbus.ObjectPath, name string) (any, bool) { return v, name == want }
		}
		if err := c.Export(of("Dhcp4Config", config), device, propertiesName); err != nil {
			t.Fatal(err)
		}
		if options != nil {
			if err := c.Export(of("Options", data), config, propertiesName); err != nil {
				t.Fatal(err)
			}
		}
		m[name] = device
	}
	if err := c.Export(m, "/org/freedesktop/NetworkManager", managerName); err != nil {
		t.Fatal(err)
	}
}
