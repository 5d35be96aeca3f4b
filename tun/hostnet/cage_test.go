//go:build linux

package hostnet

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// joining is a cage that does something when a process comes.
type joining struct {
	cage
	joined func() error
}

func (j joining) join(int) error { return j.joined() }

// A process that has ended is not put into the cage, and one that ends meanwhile is an error: its number may be somebody else's by then.
func TestCageTakesTheLiving(t *testing.T) {
	for when, want := range map[string]error{"before": unix.ESRCH, "meanwhile": unix.ESRCH, "later": nil} {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		end := func() error { // and it is not waited for: its number stays its own
			fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			err = in.Close()
			for err == nil && lives(fd) == nil {
				if _, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); errors.Is(err, unix.EINTR) {
					err = nil
				}
			}
			return err
		}
		joined := false
		g := joining{joined: func() error {
			joined = true
			if when == "meanwhile" {
				return end()
			}
			return nil
		}}
		if when == "before" {
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		if err := joinCage(g, cmd.Process.Pid, uint32(os.Geteuid())); !errors.Is(err, want) || joined != (when != "before") {
			t.Errorf("a process that ends %s: %v, joined %v", when, err, joined)
		}
		if when == "later" {
			err = end()
		}
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// Where no hierarchy of control groups is mounted the daemon mounts one for itself.
func TestCageMountsItsHierarchy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
	for kind, newCage := range map[string]func(Options) (cage, error){kindUnified: newUnified, kindNetClass: newNetClass} {
		t.Run(kind, func(t *testing.T) {
			done := make(chan error)
			made := ""
			go func() {
				runtime.LockOSThread() // never unlocked: the thread and its mounts end with the goroutine
				done <- func() error {
					if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
						return err
					}
					if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
						return err
					}
					if err := unmountHierarchies(); err != nil {
						return err
					}
					if err := unix.Mount("test", "/run", "tmpfs", 0, ""); err != nil { // for the directories
						return err
					}
					g, err := newCage(Options{}.WithDefaults())
					if err != nil {
						return err
					}
					made = g.comment()
					return g.remove()
				}()
			}()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(made, " "+cageMounts+"/") {
				t.Errorf("cage %q, expected below %s", made, cageMounts)
			}
		})
	}
}

// unmountHierarchies unmounts what findHierarchy finds.
func unmountHierarchies() error {
	for {
		list, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		dir, found := findHierarchy(list, "cgroup2", "")
		if !found {
			dir, found = findHierarchy(list, "cgroup", "net_cls")
		}
		if !found {
			return nil
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return err
		}
	}
}
