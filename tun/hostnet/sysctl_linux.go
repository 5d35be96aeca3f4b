package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mipvpn/tun/link"
)

// sysctlRoot is where the kernel shows the variables of the calling thread's network namespace.
const sysctlRoot = "/proc/sys/"

// sysctlChanges are values to be written, by path below sysctlRoot.
type sysctlChanges map[string]string

// planSysctls returns what is to be written for the settings, and the values from before, to be kept until they are
// restored: of what saved has those still in use, and those of the variables that change now. others is what other Networks
// of the namespace have changed: those of it that are wanted here as well are kept as they were before all of them, and none
// is restored.
//
//   - ip_forward as asked.
//   - arp_ignore 1: answer ARP for addresses of the interface itself only, so not for the device's (RFC 5944 §5.7: no
//     ARP for a home address away from home). arp_announce 2: do not name the device's address in ARP requests either.
//   - rp_filter 1, the strict check of the source's route, becomes 2, the loose one: answers from inside a prefix that is
//     routed into the device arrive on physical interfaces.
//   - under a kill switch accept_redirects 0, IPv6's too: a neighbour says nothing about where packets go.
//   - no IPv6 on the device itself.
func planSysctls(s link.Settings, saved, others map[string]string) (sysctlChanges, map[string]string, error) {
	write, keep := make(sysctlChanges), make(map[string]string)
	// want notes that a variable is to have a value unless ok says that the present one will do.
	want := func(path, value string, ok func(int) bool) error {
		now, err := readSysctl(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		before, changed := saved[path]
		if !changed {
			before, changed = others[path]
		}
		if changed {
			keep[path] = before
		}
		n, err := strconv.Atoi(now)
		if err == nil && ok(n) {
			return nil
		}
		if !changed {
			keep[path] = now
		}
		write[path] = value
		return nil
	}
	atLeast := func(least int) func(int) bool { return func(n int) bool { return n >= least } }
	var errs []error
	if s.Forward {
		errs = append(errs, want("net/ipv4/ip_forward", "1", atLeast(1)))
	}
	if s.Address.IsValid() || len(s.Shielded) > 0 {
		errs = append(errs,
			want("net/ipv4/conf/all/arp_ignore", "1", atLeast(1)),
			want("net/ipv4/conf/all/arp_announce", "2", atLeast(2)))
	}
	if s.Device != "" {
		list, err := filepath.Glob(sysctlRoot + "net/ipv4/conf/*/rp_filter")
		errs = append(errs, err)
		for _, p := range list {
			errs = append(errs, want(strings.TrimPrefix(p, sysctlRoot), "2", func(n int) bool { return n != 1 }))
		}
		// The device takes this with it when it goes: nothing to keep.
		path := "net/ipv6/conf/" + s.Device + "/disable_ipv6"
		if now, err := readSysctl(path); err == nil && now != "1" {
			write[path] = "1"
		}
	}
	if s.KillSwitch {
		for _, family := range []string{"ipv4", "ipv6"} {
			list, err := filepath.Glob(sysctlRoot + "net/" + family + "/conf/*/accept_redirects")
			errs = append(errs, err)
			for _, p := range list {
				errs = append(errs, want(strings.TrimPrefix(p, sysctlRoot), "0", func(n int) bool { return n == 0 }))
			}
		}
	}
	for path, before := range saved {
		if _, kept := keep[path]; !kept && !has(others, path) {
			write[path] = before
		}
	}
	return write, keep, errors.Join(errs...)
}

// write does what put does.
func (c sysctlChanges) write() error {
	_, err := c.put()
	return err
}

// put writes the values, in the order of their paths, and returns how many. Interfaces that have gone are passed over.
func (c sysctlChanges) put() (written int, err error) {
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(c)) {
		err := os.WriteFile(sysctlRoot+path, []byte(c[path]), 0)
		switch {
		case err == nil:
			written++
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("set sysctl %s to %s: %w", path, c[path], err))
		}
	}
	return written, errors.Join(errs...)
}

// restoreSysctls writes the values from before, but for the variables that others have changed as well.
func restoreSysctls(saved, others map[string]string) error {
	write := make(sysctlChanges)
	for path, before := range saved {
		if !has(others, path) {
			write[path] = before
		}
	}
	return write.write()
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

func readSysctl(path string) (string, error) {
	p, err := os.ReadFile(sysctlRoot + path)
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(p)), nil
}
