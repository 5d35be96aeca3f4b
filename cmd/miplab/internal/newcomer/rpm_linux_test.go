package newcomer

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// layered installs, replaces and removes the .rpm packages in a file system in which no system runs, as a tool does that makes an image.
// Arguments: the clean root, a folder to mount in, the folder with packages.
const layered = `
set -e
clean=$1 work=$2 packages=$3
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs $work
mkdir $work/upper $work/work $work/root
mount -t overlay -o lowerdir=$clean,upperdir=$work/upper,workdir=$work/work overlay $work/root
root=$work/root
mount -t proc proc $root/proc
for d in null zero urandom; do [ -e $root/dev/$d ] || : >$root/dev/$d; mount --bind /dev/$d $root/dev/$d; done
rpm --root $root --initdb
rpm --root $root --nodeps --install $packages/mipvpn-*.rpm $packages/mipagent-*.rpm
rpm --root $root --nodeps --verify mipvpn mipagent
rpm --query --package --queryformat 'made on %{BUILDHOST}\n' $packages/mipvpn-*.rpm
chroot $root sh -ec 'id -un mipagent; stat -c "%A %U %n" /etc/mipvpn /etc/mipvpn/*.d; mipvpn version; systemctl is-enabled mipvpn mipvpn-firewall mipagent || echo none is enabled'
rpm --root $root --nodeps --upgrade --force $packages/mipvpn-*.rpm
rpm --root $root --nodeps --verify mipvpn mipagent
rpm --root $root --nodeps --erase mipvpn mipagent
chroot $root sh -c 'ls -d /etc/mipvpn /usr/bin/mip* /usr/lib/systemd/system/mip*' || echo nothing is left
`

// The .rpm packages are installed by rpm itself, and their scripts run, where no system does.
func TestLayered(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system to install in")
	}
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed")
	}
	work := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", layered, "sh", cleanRoot(t), work, products(t).packages).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	says(t, "rpm", string(out), "mipagent\n", "drwxr-xr-x root /etc/mipvpn\n", "/etc/mipvpn/profiles.d\n", "made on localhost\n", "mipvpn ", "disabled\ndisabled\ndisabled\nnone is enabled\n", "nothing is left\n")
}
