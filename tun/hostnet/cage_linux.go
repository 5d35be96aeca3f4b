package hostnet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A cage is a control group whose processes' packets nftables can tell: what a socket sends bears the group that its process
// was in when it opened it. A process cannot leave it by itself, for that takes the right to write to a group above.
type cage interface {
	// name says what kind it is, for people.
	name() string
	// comment says where it is, for knownCage.
	comment() string
	// match fits the packets of its processes.
	match() []expr.Any
	// join puts a process into it.
	join(pid int) error
	// remove kills its processes and removes it; it need not be there any more.
	remove() error
}

// cages makes the kinds in the order of preference. Each fails where this kernel does not have it.
var cages = []func(Options) (cage, error){newUnified, newNetClass}

const (
	kindUnified  = "cgroupv2"
	kindNetClass = "net_cls"
)

// cageMounts is where hierarchies are mounted that the system has not mounted.
const cageMounts = "/run/mipvpn"

// knownCage returns the cage that a comment tells of.
func knownCage(text string) (cage, bool) {
	kind, path, ok := strings.Cut(text, " ")
	switch {
	case !ok || !filepath.IsAbs(path):
		return nil, false
	case kind == kindUnified:
		return &unified{group: group{path}}, true
	case kind == kindNetClass:
		return &netClass{group: group{path}}, true
	}
	return nil, false
}

// joinCage puts the process into the cage if it is the user's, all of its identities being theirs. A number of a process that
// has ended may become somebody else's: the process is held by a descriptor, and lives before and after.
func joinCage(g cage, pid int, user uint32) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	if !ownedBy(status, user) {
		return fmt.Errorf("%w: it is not the user's %d", unix.EPERM, user)
	}
	if err := lives(fd); err != nil {
		return err
	}
	if err := g.join(pid); err != nil {
		return err
	}
	return lives(fd)
}

// lives returns ESRCH when the descriptor's process has ended (pidfd_open(2)). A signal 0 would tell, too, but takes CAP_KILL for
// somebody else's process, which the daemon's unit does not give it.
func lives(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return unix.ESRCH
		default:
			return nil
		}
	}
}

// ownedBy reports whether a status file (proc_pid_status(5)) names the user as the real, effective, saved and file system user.
func ownedBy(status []byte, user uint32) bool {
	for line := range bytes.Lines(status) {
		f := strings.Fields(string(line))
		if len(f) != 5 || f[0] != "Uid:" {
			continue
		}
		for _, id := range f[1:] {
			if id != strconv.FormatUint(uint64(user), 10) {
				return false
			}
		}
		return true
	}
	return false
}

// group is the directory of a control group.
type group struct{ dir string }

func (g group) join(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0)
}

// remove kills what is in the group until it is empty.
func (g group) remove() error {
	for range closeTries {
		err := os.Remove(g.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err := g.kill(); err != nil {
			return err
		}
		time.Sleep(closePause)
	}
	return fmt.Errorf("processes in %s do not end", g.dir)
}

// kill kills the processes that are in the group: by cgroup.kill where the kernel has it (Linux 5.14), else one by one.
func (g group) kill() error {
	if os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return nil
	}
	list, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, line := range strings.Fields(string(list)) {
		pid, err := strconv.Atoi(line)
		if err == nil && pid > 1 {
			_ = unix.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	return nil
}

// unified is a group of the unified hierarchy (cgroup v2), known by its number: `socket cgroupv2 level N`, Linux 5.13.
type unified struct {
	group
	level uint32
	id    uint64
}

// newUnified makes a group below this process's own, so that a service manager that ends the service ends the group too.
func newUnified(o Options) (cage, error) {
	mount, err := hierarchy("cgroup2", "")
	if err != nil {
		return nil, fmt.Errorf("cgroup v2: %w", err)
	}
	own, err := ownGroup("0", "")
	if err != nil {
		return nil, fmt.Errorf("cgroup v2: %w", err)
	}
	name, err := groupName(o)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(own, name)
	u := &unified{group: group{filepath.Join(mount, path)}, level: uint32(len(strings.Split(strings.Trim(path, "/"), "/")))}
	if err := os.Mkdir(u.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cgroup v2: %w", err)
	}
	var s unix.Stat_t
	if err := unix.Stat(u.dir, &s); err != nil {
		return nil, fmt.Errorf("cgroup v2: %s: %w", u.dir, err)
	}
	u.id = s.Ino
	return u, nil
}

func (u *unified) name() string    { return "cgroup v2" }
func (u *unified) comment() string { return kindUnified + " " + u.dir }

func (u *unified) match() []expr.Any {
	return []expr.Any{
		&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: u.level, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint64(nil, u.id)},
	}
}

// netClass is a group of the net_cls controller (cgroup v1), known by its class: `meta cgroup`. It is for kernels whose
// nftables cannot tell the groups of cgroup v2.
type netClass struct {
	group
	class uint32
}

func newNetClass(o Options) (cage, error) {
	mount, err := hierarchy("cgroup", "net_cls")
	if err != nil {
		return nil, fmt.Errorf("net_cls: %w", err)
	}
	name, err := groupName(o)
	if err != nil {
		return nil, err
	}
	// Any number that nobody else uses: the mark is one.
	g := &netClass{group: group{filepath.Join(mount, name)}, class: o.PortalMark}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("net_cls: %w", err)
	}
	class := strconv.AppendUint(nil, uint64(g.class), 10)
	if err := os.WriteFile(filepath.Join(g.dir, "net_cls.classid"), class, 0); err != nil {
		return nil, fmt.Errorf("net_cls: %w", err)
	}
	return g, nil
}

func (g *netClass) name() string      { return "cgroup v1 net_cls" }
func (g *netClass) comment() string   { return kindNetClass + " " + g.dir }
func (g *netClass) match() []expr.Any { return meta(expr.MetaKeyCGROUP, native(g.class)) }

// groupName is the name of the group: that of the table and the number of the network namespace that it is for.
func groupName(o Options) (string, error) {
	var s unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &s); err != nil {
		return "", fmt.Errorf("tell the network namespace: %w", err)
	}
	return fmt.Sprintf("%s%s-%d", o.Name, portalSuffix, s.Ino), nil
}

// hierarchy returns where the hierarchy of that file system type, and for cgroup v1 with that controller, is mounted. It
// mounts one where the system has none.
func hierarchy(kind, controller string) (string, error) {
	list, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	if dir, ok := findHierarchy(list, kind, controller); ok {
		return dir, nil
	}
	dir := filepath.Join(cageMounts, kind, controller)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("mipvpn", dir, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, controller); err != nil {
		return "", fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return dir, nil
}

// findHierarchy looks for a hierarchy in a mountinfo file (proc_pid_mountinfo(5)): its root is the whole of it, and it may be
// written to.
func findHierarchy(mountinfo []byte, kind, controller string) (dir string, found bool) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 || g[0] != kind || f[3] != "/" {
			continue
		}
		if controller != "" && !slices.Contains(strings.Split(g[2], ","), controller) {
			continue
		}
		if slices.Contains(strings.Split(f[5], ","), "ro") || slices.Contains(strings.Split(g[2], ","), "ro") {
			continue
		}
		return unescapeMount(f[4]), true
	}
	return "", false
}

// unescapeMount undoes the octal escapes of a mountinfo file.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// ownGroup returns the path of this process's group in the hierarchy with that number and controllers (cgroups(7)).
func ownGroup(number, controllers string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(part) == 3 && part[0] == number && part[1] == controllers {
			if slices.Contains(strings.Split(part[2], "/"), "..") {
				return "", fmt.Errorf("this process's group %s is outside what is mounted", part[2])
			}
			return part[2], nil
		}
	}
	return "", fmt.Errorf("this process is in no group of hierarchy %s", number)
}
