package newcomer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// boot starts systemd as the first process of a machine whose file system is the clean Debian under a layer in memory. It has the
// kernel to itself but for the clock and what is not a network's setting. Its mounts are shared with what it starts, as systemd has them
// on a machine: services get their credentials by a mount. What it is suspended by is a file of its own. Arguments: the clean root, a
// folder to mount in, the folder with packages, its name, and what is done to its file system ($root) before it starts.
const boot = `
set -e
clean=$1 work=$2 packages=$3 name=$4 prepare=$5
echo $name >/proc/sys/kernel/hostname
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs $work
mkdir $work/upper $work/work $work/root $work/cgroup
mount -t overlay -o lowerdir=$clean,upperdir=$work/upper,workdir=$work/work overlay $work/root
root=$work/root
cp $packages/*.deb $root/root
echo $name >$root/etc/hostname
echo 127.0.0.1 localhost $name >$root/etc/hosts
mkdir -p $root/etc/systemd/system
for unit in apt-daily.timer apt-daily-upgrade.timer console-getty.service; do ln -sf /dev/null $root/etc/systemd/system/$unit; done
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount --bind $root/proc/sys/net $root/proc/sys/net
mount -o remount,bind,ro $root/proc/sys
[ ! -e $root/proc/sysrq-trigger ] || mount --bind /dev/null $root/proc/sysrq-trigger
mount -t sysfs -o ro sysfs $root/sys
echo freeze mem >$work/state
[ ! -e $root/sys/power/state ] || mount --bind $work/state $root/sys/power/state
mount -t tmpfs tmpfs $root/run
mount -t tmpfs -o mode=0755 tmpfs $root/dev
for d in null zero full random urandom tty; do : >$root/dev/$d; mount --bind /dev/$d $root/dev/$d; done
mkdir -p $root/dev/net $root/dev/pts $root/dev/shm
: >$root/dev/net/tun
mount --bind /dev/net/tun $root/dev/net/tun
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
eval "$prepare"
mount -t cgroup2 cgroup2 $work/cgroup
mkdir $work/cgroup/${work##*/}
echo 0 >$work/cgroup/${work##*/}/cgroup.procs
exec unshare --cgroup sh -c "mount -t cgroup2 cgroup2 $root/sys/fs/cgroup; cd $root; pivot_root . mnt; umount -l /mnt
mount --make-rshared /
exec setpriv --bounding-set=-sys_time,-sys_rawio,-syslog env -i container=newcomer PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal" </dev/null
`

// removeGroups takes away the control groups that a machine has left, once its last processes are gone.
const removeGroups = `mount --make-rprivate /; mount -t cgroup2 cgroup2 /mnt
for again in $(seq 300); do
	[ -d /mnt/$1 ] || exit 0
	find /mnt/$1 -depth -type d -exec rmdir {} \; 2>/dev/null
	[ ! -d /mnt/$1 ] || sleep 0.1
done
exit 1`

// machine is one that has booted.
type machine struct {
	t *testing.T
	// pid is its first process, here.
	pid int
	lab *lab
}

// lab is what `miplab up` has made.
type lab struct {
	t      *testing.T
	miplab string
	dir    string
}

// newLab has `miplab up` make a lab whose laptop has no client.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces, and a Debian to boot")
	}
	for _, program := range []string{"unshare", "nsenter", "setpriv", "mount", "pivot_root"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	cleanRoot(t)
	l := &lab{t: t, miplab: filepath.Join(products(t).programs, "miplab"), dir: filepath.Join(t.TempDir(), "lab")}
	if out, err := exec.Command(l.miplab, "up", "--without-client", "--dir", l.dir).CombinedOutput(); err != nil {
		t.Skipf("no lab can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(l.miplab, "down", "--dir", l.dir).CombinedOutput(); err != nil {
			t.Errorf("miplab down: %v: %s", err, out)
		}
	})
	return l
}

// network returns the network namespace of one of the lab's boxes. It is there as long as the test runs.
func (l *lab) network(box string) string {
	l.t.Helper()
	// A process of the box's, by which others find its network; it lives as long as its input is open.
	holder := exec.Command(l.miplab, "exec", "--dir", l.dir, box, "--", "sh", "-c", "echo $$; exec cat")
	in, err := holder.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		in.Close()
		_ = holder.Wait()
	})
	said := make([]byte, 32)
	n, err := out.Read(said)
	if err != nil {
		l.t.Fatalf("miplab exec %s: %v", box, err)
	}
	return "/proc/" + strings.TrimSpace(string(said[:n])) + "/ns/net"
}

// plug puts the laptop's cable into another network.
func (l *lab) plug(network string) {
	l.t.Helper()
	if out, err := exec.Command(l.miplab, "plug", "--dir", l.dir, "eth0", network).CombinedOutput(); err != nil {
		l.t.Fatalf("miplab plug eth0 %s: %v: %s", network, err, out)
	}
}

// inside is what to do to a machine before it starts as a script that runs there.
func inside(script string) string {
	return "chroot $root sh -ec \"$(cat <<'END_OF_SCRIPT'\n" + script + "\nEND_OF_SCRIPT\n)\"\n"
}

// newMachine boots a clean Debian in a box of the lab's, such as its laptop, after what is to be done there by then. It
// ends with the test.
func newMachine(t *testing.T, l *lab, box, prepare string) *machine {
	t.Helper()
	work := filepath.Join(filepath.Dir(t.TempDir()), fmt.Sprintf("newcomer-%d-%s-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"), box))
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("nsenter", "--net="+l.network(box), "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
		"sh", "-c", boot, "sh", cleanRoot(t), work, products(t).packages, box, prepare)
	cmd.Stdout, cmd.Stderr = &said, &said
	// The kernel kills it when the thread that has started it ends, which the test's process takes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if out, err := exec.Command("unshare", "--mount", "sh", "-c", removeGroups, "sh", filepath.Base(work)).CombinedOutput(); err != nil {
			t.Logf("control groups of the machine are left: %v: %s", err, out)
		}
	})
	m := &machine{t: t, lab: l}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; {
		select {
		case <-ended:
			t.Skipf("no Debian can be booted here: %s", said.String())
		case <-tick.C:
		}
		if m.pid = child(cmd.Process.Pid); m.pid != 0 {
			// Answered once the system's bus is there; the state is that of what was started: running, or degraded.
			if out, _ := m.run("systemctl is-system-running --wait"); slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(out)) {
				break
			}
		}
		if time.Now().After(end) {
			t.Skipf("the Debian does not come up here: %s", said.String())
		}
	}
	m.must("id alice >/dev/null 2>&1 || useradd --create-home --shell /bin/sh alice")
	return m
}

// child returns the first process of the machine that the process pid has started, 0 before systemd runs there.
func child(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	c, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c)); err != nil || filepath.Base(exe) != "systemd" {
		return 0
	}
	return c
}

// limit is how long one block of commands may take, on a host that is busy with much else.
const limit = 2 * time.Minute

// as runs a script on the machine as one of its users, and returns what it has written, of both streams, and its exit code.
func (m *machine) as(user, script string) (out string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // also while a test is cleaned up
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"setpriv", "--reuid", user, "--regid", user, "--init-groups", "--reset-env", "sh", "-ec", "cd; "+script)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		m.t.Fatalf("%s: %v; it printed:\n%s", script, errors.Join(err, ctx.Err()), said.String())
	}
	return said.String(), cmd.ProcessState.ExitCode()
}

// run is as for root.
func (m *machine) run(script string) (out string, code int) {
	m.t.Helper()
	return m.as("root", script)
}

// must runs what has to go well and returns what it has written.
func (m *machine) must(script string) string {
	m.t.Helper()
	out, code := m.run(script)
	if code != 0 {
		m.t.Fatalf("exit code %d of\n%s\nwhich printed:\n%s\n%s", code, script, out, m.log())
	}
	return out
}

// fails runs what has to end with that exit code and say all that is wanted.
func (m *machine) fails(code int, script string, want ...string) string {
	m.t.Helper()
	out, got := m.run(script)
	if got != code {
		m.t.Errorf("%s: exit code %d, want %d; it printed:\n%s", script, got, code, out)
	}
	says(m.t, script, out, want...)
	return out
}

// says wants all of that in a text.
func says(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: want %q in:\n%s", what, w, text)
		}
	}
}

// awaits repeats a command until all that is wanted is in what it writes: for what comes in its own time.
func (m *machine) awaits(script string, want ...string) string {
	m.t.Helper()
	for end := time.Now().Add(limit); ; {
		out, _ := m.run(script)
		if !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(out, w) }) {
			return out
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s: want %q in:\n%s\n%s", script, want, out, m.log())
		}
		_, _ = m.run("sleep 0.2")
	}
}

// log returns the last of what the services have written.
func (m *machine) log() string {
	out, _ := m.run("journalctl --no-pager --no-hostname -n 25 -u 'mipvpn*' || true")
	return out
}

// outside is where a file of the machine is for this process.
func (m *machine) outside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.pid, path)
}

// gets copies a file from here into root's folder, under its name.
func (m *machine) gets(file string) {
	m.t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(m.outside("/root/"+filepath.Base(file)), data, 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// write puts a file there, whole, with that mode.
func (m *machine) write(path, mode, content string) {
	m.t.Helper()
	m.must("install -D -m " + mode + " /dev/null " + path + "\ncat >" + path + " <<'END_OF_FILE'\n" + content + "\nEND_OF_FILE")
}
