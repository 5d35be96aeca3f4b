//go:build linux

package hostnet

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

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
