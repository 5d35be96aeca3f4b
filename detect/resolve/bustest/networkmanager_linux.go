package bustest

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
)

// RealNetworkManager is the program of that name (Debian package network-manager), in namespaces of its own.
type RealNetworkManager struct {
	// Etc is the directory that is /etc to it and to nobody else.
	Etc string

	t   testing.TB
	dir string
	bus *Bus
	cmd *exec.Cmd
	log *bytes.Buffer
}

// managerConf is what NetworkManager is told everywhere. It does without this machine's polkit, and leaves its name alone.
const managerConf = "[main]\nplugins=keyfile\nauth-polkit=root-only\nno-auto-default=*\nhostname-mode=none\n"

// managerInside has NetworkManager see nothing of this machine: /etc and what packages install for it are the test's, /run and /var/lib
// are empty. Without rules for udev /sys is one that cannot be written, by which NetworkManager knows that no udev tells it of devices;
// with rules a udev of its own does, which cannot change a device's node.
const managerInside = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir /var/lib/NetworkManager
mount --bind "$2/lib/NetworkManager/conf.d" /usr/lib/NetworkManager/conf.d
mount --bind "$2/etc" /etc
if [ -d "$2/lib/udev/rules.d" ]; then
	mount -t sysfs sysfs /sys
	mount --bind /dev /dev
	mount -o remount,bind,ro /dev
	mount --bind "$2/lib/udev/rules.d" /usr/lib/udev/rules.d
	"$3" &
	echo $! >"$2/udev.pid"
	until udevadm control --ping --timeout=1 2>/dev/null; do kill -0 $!; done
	udevadm trigger --action=add --subsystem-match=net --settle
else
	mount -t sysfs -o ro sysfs /sys
fi
exec "$1" --debug --log-level=INFO
`

// udevProgram is the daemon of udev.
const udevProgram = "/usr/lib/systemd/systemd-udevd"

// managerPatience is how long NetworkManager may take for anything.
const managerPatience = 2 * time.Minute

// RunNetworkManager runs the real NetworkManager in the namespace, on the bus, until the test ends or Stop, and returns once it has started
// up. The files of /etc are given by their paths below it ("resolv.conf", "NetworkManager/system-connections/office.nmconnection"), those
// that packages install by theirs below /usr/lib ("NetworkManager/conf.d/90-mipvpn.conf", "udev/rules.d/85-mipvpn.rules"). Where there is
// a rule for udev, the real udev tells NetworkManager of devices by these rules alone. The test is skipped where NetworkManager, or udev
// for its rules, is not installed, or this process is not root.
func RunNetworkManager(t testing.TB, b *Bus, ns *os.File, etc, packaged map[string]string) *RealNetworkManager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a mount namespace of NetworkManager's own")
	}
	const program = "/usr/sbin/NetworkManager"
	for _, p := range []string{program, "/usr/bin/nmcli", "/usr/bin/nm-online", "/usr/lib/NetworkManager/conf.d"} {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("there is no NetworkManager (package network-manager): %v", err)
		}
	}
	rules := slices.ContainsFunc(slices.Collect(maps.Keys(packaged)), func(path string) bool { return strings.HasPrefix(path, "udev/rules.d/") })
	if _, err := os.Stat(udevProgram); rules && err != nil {
		t.Skipf("there is no udev (package udev): %v", err)
	}
	dir := t.TempDir()
	n := &RealNetworkManager{Etc: filepath.Join(dir, "etc"), t: t, dir: dir, bus: b, log: new(bytes.Buffer)}
	put := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil { // connections that others can read are not taken
			t.Fatal(err)
		}
	}
	put(filepath.Join(n.Etc, "NetworkManager/NetworkManager.conf"), managerConf)
	put(filepath.Join(dir, "lib/NetworkManager/conf.d/README"), "")
	for path, text := range etc {
		put(filepath.Join(n.Etc, path), text)
	}
	for path, text := range packaged {
		put(filepath.Join(dir, "lib", path), text)
	}
	for _, name := range []string{"passwd", "group", "nsswitch.conf", "ld.so.cache"} {
		if text, err := os.ReadFile(filepath.Join("/etc", name)); err == nil {
			put(filepath.Join(n.Etc, name), string(text))
		}
	}
	n.cmd = exec.Command("/bin/sh", "-c", managerInside, "sh", program, dir, udevProgram)
	n.cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+b.Address(), "LC_ALL=C")
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.WaitDelay = managerPatience
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	netnstest.Inside(t, ns, n.cmd.Start)
	t.Cleanup(n.Stop)
	n.run("/usr/bin/nm-online", "--quiet", "--wait-for-startup", "--timeout=100")
	return n
}

// Command runs nmcli with these arguments and returns what it prints. The test fails where it fails.
func (n *RealNetworkManager) Command(args ...string) string {
	n.t.Helper()
	return n.run("/usr/bin/nmcli", append([]string{"--wait", "100"}, args...)...)
}

// State returns the state of an interface as NetworkManager shows it, such as "unmanaged", "disconnected" or "connected (externally)".
func (n *RealNetworkManager) State(device string) string {
	n.t.Helper()
	_, text, _ := strings.Cut(n.Command("--get-values", "GENERAL.STATE", "device", "show", device), " (")
	return strings.TrimSuffix(text, ")")
}

// Until waits until an interface has one of these states.
func (n *RealNetworkManager) Until(device string, states ...string) {
	n.t.Helper()
	limit := time.Now().Add(managerPatience)
	for state := n.State(device); !slices.Contains(states, state); state = n.State(device) {
		if time.Now().After(limit) {
			n.t.Fatalf("to NetworkManager %s is %s, expected one of %q", device, state, states)
		}
	}
}

// run runs a program against NetworkManager.
func (n *RealNetworkManager) run(program string, args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), managerPatience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+n.bus.Address(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		n.Stop()
		n.t.Fatalf("%s %s: %v: %s\nNetworkManager's log:\n%s", filepath.Base(program), strings.Join(args, " "), err, out, n.log)
	}
	return strings.TrimSpace(string(out))
}

// Stop ends NetworkManager as the system does when it is stopped, and returns when it has ended. A second call does nothing.
func (n *RealNetworkManager) Stop() {
	if n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(unix.SIGTERM)
	late := time.AfterFunc(managerPatience, func() { _ = n.cmd.Process.Kill() })
	defer late.Stop()
	if text, err := os.ReadFile(filepath.Join(n.dir, "udev.pid")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	}
	_ = n.cmd.Wait()
}
