//go:build linux

package underlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mipvpn/detect/resolve/bustest"
	"mipvpn/tun/link"
)

// office is a connection of NetworkManager's for the pair's eth0.
var office = fmt.Sprintf("[connection]\nid=office\nuuid=5d2f1d6a-7d3e-4a3e-9c0b-0f3a6e1f7a01\ntype=ethernet\ninterface-name=eth0\n"+
	"[ipv4]\nmethod=manual\naddress1=%v,%v\n[ipv6]\nmethod=disabled\n", addrA, addrB.Addr())

// packagedFile is one of the files that the package installs for desktops.
func packagedFile(t *testing.T, name string) string {
	t.Helper()
	ours, err := os.ReadFile(filepath.Join("../../configs/desktop", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(ours)
}

// kept is what there is of the client's settings in the kernel.
func kept(t *testing.T, h *Host) (text string) {
	t.Helper()
	if err := h.in(func() (err error) {
		text, err = h.network.Dump()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return text
}

// Shows: HST-1, HST-2 (the real NetworkManager manages eth0 and leaves the client's device, rules, routes and kill switch alone where our
// file is installed, or our rule for udev alone; where neither is, it takes some away, and the client puts them back)
func TestNetworkManager(t *testing.T) {
	for _, tc := range []struct{ name, file, at string }{
		{"with our file", "NetworkManager.conf", "NetworkManager/conf.d/90-mipvpn.conf"},
		{"with our rule for udev", "85-mipvpn.rules", "udev/rules.d/85-mipvpn.rules"},
		{"without them", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t)
			holdLine(t, p)
			before := kept(t, p.a)
			told := make(chan link.Restored, 1000)
			stop, err := p.a.KeepSettings(func(r link.Restored, err error) {
				if err != nil {
					t.Error(err)
				}
				told <- r
			})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			packaged, installed := map[string]string{}, tc.file != ""
			if installed {
				packaged[tc.at] = packagedFile(t, tc.file)
			}
			manager := bustest.RunNetworkManager(t, bustest.Start(t), p.nsA,
				map[string]string{"NetworkManager/system-connections/office.nmconnection": office}, packaged)
			for _, command := range []string{
				"connection up office", "device modify eth0 +ipv4.addresses 203.0.113.9/24 +ipv4.routes 198.51.100.0/24", "device reapply eth0",
				"connection down office", "connection up office", "connection reload", "general reload", "networking off", "networking on",
				"connection up office",
			} {
				manager.Command(strings.Fields(command)...)
				switch command {
				case "networking off":
					manager.Until("eth0", "unmanaged")
				case "networking on":
					manager.Until("eth0", "disconnected", "connected")
				}
				if !installed {
					continue
				}
				if state := manager.State("mip0"); state != "unmanaged" {
					t.Errorf("%s: to NetworkManager mip0 is %s", command, state)
				}
				if after := kept(t, p.a); after != before {
					t.Errorf("%s: after it:\n%s\nbefore:\n%s", command, after, before)
				}
			}
			if state := manager.State("eth0"); state != "connected" {
				t.Errorf("to NetworkManager eth0 is %s: nothing was tested", state)
			}
			manager.Stop()
			if installed {
				stop()
				if len(told) > 0 {
					t.Errorf("NetworkManager has taken away %v", <-told)
				}
				if after := kept(t, p.a); after != before {
					t.Errorf("after NetworkManager's end:\n%s\nbefore:\n%s", after, before)
				}
				return
			}
			limit := time.After(time.Minute)
			for back := false; !back; back = kept(t, p.a) == before {
				select {
				case r := <-told:
					t.Logf("NetworkManager took away %v", r)
				case <-limit:
					t.Fatalf("within a minute it was not put back:\n%s\nbefore:\n%s", kept(t, p.a), before)
				}
			}
		})
	}
}
