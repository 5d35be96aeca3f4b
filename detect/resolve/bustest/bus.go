package bustest

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// configuration of the bus: anybody on it may own and call everything.
const configuration = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%PATH%</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
`

// Bus is a running message bus.
type Bus struct {
	address string
}

// Start starts a bus that ends with the test. The test is skipped where there is no dbus-daemon.
func Start(t *testing.T) *Bus {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon (package dbus)")
	}
	dir, err := os.MkdirTemp("", "bus") // short: a socket's path has 108 octets at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // services of other users come, too
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(configuration, "%PATH%", filepath.Join(dir, "bus"))), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "--config-file="+file, "--nofork", "--nopidfile", "--print-address=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon gives no address: %v", err)
	}
	return &Bus{address: strings.TrimSpace(address)}
}

// Address returns the bus's address, for DBUS_SYSTEM_BUS_ADDRESS.
func (b *Bus) Address() string { return b.address }

// Connect connects to the bus; it is of the type that this program's own connectors have.
func (b *Bus) Connect(ctx context.Context) (*dbus.Conn, error) {
	return dbus.Connect(b.address, dbus.WithContext(ctx))
}

// own connects for as long as the test and takes the name.
func (b *Bus) own(t *testing.T, name string) *dbus.Conn {
	t.Helper()
	c, err := b.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if reply, err := c.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v, %v", name, reply, err)
	}
	return c
}
