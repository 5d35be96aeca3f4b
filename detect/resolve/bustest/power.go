package bustest

import (
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Property is a property of a service on the bus that changes while it runs.
type Property struct {
	service, name string
	path          dbus.ObjectPath
	conn          *dbus.Conn

	mu    sync.Mutex
	value any
}

// StartPower puts a UPower on the bus that has the property OnBattery alone, a bool.
func StartPower(t *testing.T, b *Bus, onBattery bool) *Property {
	t.Helper()
	return startProperty(t, b, &Property{service: "org.freedesktop.UPower", path: "/org/freedesktop/UPower", name: "OnBattery", value: onBattery})
}

// StartMetered puts a NetworkManager on the bus that has the property Metered alone, a uint32 (NMMetered).
func StartMetered(t *testing.T, b *Bus, metered uint32) *Property {
	t.Helper()
	return startProperty(t, b, &Property{service: managerName, path: "/org/freedesktop/NetworkManager", name: "Metered", value: metered})
}

func startProperty(t *testing.T, b *Bus, p *Property) *Property {
	t.Helper()
	c, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p.conn = c
	get := properties(func(_ dbus.ObjectPath, name string) (any, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.value, name == p.name
	})
	if err := c.Export(get, p.path, propertiesName); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.RequestName(p.service, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v, %v", p.service, reply, err)
	}
	return p
}

// Set changes the value, and says so on the bus.
func (p *Property) Set(t *testing.T, value any) {
	t.Helper()
	p.mu.Lock()
	p.value = value
	p.mu.Unlock()
	changed := map[string]dbus.Variant{p.name: dbus.MakeVariant(value)}
	if err := p.conn.Emit(p.path, propertiesName+".PropertiesChanged", p.service, changed, []string{}); err != nil {
		t.Fatal(err)
	}
}

// End takes the service away.
func (p *Property) End() { _ = p.conn.Close() }
