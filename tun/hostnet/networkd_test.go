//go:build linux

package hostnet

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// networkd is where Debian has systemd-networkd.
const networkd = "/lib/systemd/systemd-networkd"

// catchAll gives every interface an address: what is found in guides, and takes over devices of others.
const catchAll = "[Match]\nName=*\n[Network]\nDHCP=no\nAddress=10.9.9.9/24\nIPv6AcceptRA=no\n"

// startNetworkd runs systemd-networkd in the namespace, with these files and nothing of this machine's, until the test ends.
func startNetworkd(t *testing.T, ns *os.File, files string) (stop func()) {
	t.Helper()
	if _, err := os.Stat(networkd); err != nil {
		t.Skipf("needs systemd-networkd: %v", err)
	}
	const inside = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/network
cp "$1"/* /run/systemd/network
mount -t sysfs -o ro sysfs /sys
exec ` + networkd
	cmd := exec.Command("/bin/sh", "-c", inside, "sh", files)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	netnstest.Inside(t, ns, cmd.Start)
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	return stop
}

// untilAddress waits until the interface has an address of catchAll.
func untilAddress(t *testing.T, ns *os.File, name string) {
	t.Helper()
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	defer close(done)
	handle := netns.NsHandle(ns.Fd())
	if err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{Namespace: &handle, ListExisting: true}); err != nil {
		t.Fatal(err)
	}
	var index int
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	limit := time.After(time.Minute)
	for {
		select {
		case u := <-updates:
			if u.NewAddr && u.LinkIndex == index && u.LinkAddress.IP.String() == "10.9.9.9" {
				return
			}
		case <-limit:
			t.Fatalf("systemd-networkd has given %s no address within a minute", name)
		}
	}
}

// Shows: HST-1 (systemd-networkd with a file for every interface leaves the client's device alone where ours is installed; where it is
// not, the client puts its own back)
func TestNetworkd(t *testing.T) {
	for _, installed := range []bool{true, false} {
		t.Run(map[bool]string{true: "with our file", false: "without it"}[installed], func(t *testing.T) {
			ns := newNamespace(t)
			openDevice(t, ns, "mip0")
			n := New(Options{})
			apply(t, ns, n, guarded())
			before := state(t, ns, n)
			files := t.TempDir()
			if err := os.WriteFile(filepath.Join(files, "90-all.network"), []byte(catchAll), 0o644); err != nil {
				t.Fatal(err)
			}
			if installed {
				ours, err := os.ReadFile("../../configs/desktop/10-mipvpn.network")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(files, "10-mipvpn.network"), ours, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			stop := startNetworkd(t, ns, files)
			untilAddress(t, ns, "eth0")
			if !installed {
				untilAddress(t, ns, "mip0")
			}
			stop()
			if after := state(t, ns, n); (after == before) != installed {
				t.Errorf("our file installed %v, after systemd-networkd:\n%s\nbefore:\n%s", installed, after, before)
			}
			var r link.Restored
			netnstest.Inside(t, ns, func() (err error) {
				r, err = n.Restore()
				return err
			})
			if after := state(t, ns, n); after != before || strings.Contains(after, "10.9.9.9") {
				t.Errorf("after %v was put back:\n%s\nbefore:\n%s", r, after, before)
			}
		})
	}
}
