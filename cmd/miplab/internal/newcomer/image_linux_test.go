package newcomer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// image has the machine's /usr be that of the clean Debian itself, which cannot be written to, as it is where the system is an image.
const image = `
mount --bind $clean/usr $root/usr
mount -o remount,bind,ro $root/usr
`

// Shows: HST-7 (the units confine the daemon where /usr is an image, too), HST-2 (the line is held before there is a network)
func TestImage(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	kept := filepath.Join(t.TempDir(), "kept.tar")
	t.Run("an extension", func(t *testing.T) {
		m := newMachine(t, l, "laptop", image)
		m.fails(1, "touch /usr/there", "Read-only file system")
		m.fails(127, "mipvpn version", "not found")
		m.gets(products(t).extension)
		m.follow(t, "docs/administrator.md", "image")
		says(t, "what the packages make", m.must("stat -c '%A %U %n' /etc/mipvpn /etc/mipvpn/*.d"),
			"drwxr-xr-x root /etc/mipvpn\n", "drwxr-xr-x root /etc/mipvpn/hooks.d\n", "drwxr-xr-x root /etc/mipvpn/profiles.d\n")
		m.keys("/etc/mipvpn")
		m.write("/etc/mipvpn/mipvpn.toml", "0644", "up_at_start = true\n"+byHand+impatient)
		m.must("mipvpn config check /etc/mipvpn/mipvpn.toml; systemctl start mipvpn; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
		m.must("systemd-sysext refresh; systemctl restart mipvpn; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20") // as an upgrade does
		m.fails(1, "touch /usr/there", "Read-only file system")
		m.must("systemctl stop mipvpn; mipvpn down --without-daemon; tar -C / -cf /root/kept.tar etc var/lib/extensions var/lib/mipvpn")
		data, err := os.ReadFile(m.outside("/root/kept.tar"))
		if err == nil {
			err = os.WriteFile(kept, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if t.Failed() {
		return
	}
	t.Run("the next start of the system", func(t *testing.T) {
		m := newMachine(t, l, "laptop", image+"tar -C $root -xf "+kept+"\n")
		m.must("mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
		at := func(unit string) int {
			t.Helper()
			us, err := strconv.Atoi(strings.TrimSpace(m.must("systemctl show --property=ActiveEnterTimestampMonotonic --value " + unit)))
			if err != nil || us == 0 {
				t.Errorf("%s is not active: %v", unit, err)
			}
			return us
		}
		if extended, held, network := at("systemd-sysext.service"), at("mipvpn-firewall.service"), at("network-pre.target"); extended > held || held > network {
			t.Errorf("the extension is merged at %d us, the line held at %d, networks begin at %d: want this order", extended, held, network)
		}
	})
}
