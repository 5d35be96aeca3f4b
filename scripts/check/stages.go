package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// namespacePackages hold tests that make network namespaces and start programs. They run after the others, two packages
// at a time, so that the race detector's load elsewhere does not stretch what they see, and one waits while another one works.
var namespacePackages = []string{"mipvpn/cmd/miplab", "mipvpn/tun/device", "mipvpn/tun/hostnet", "mipvpn/stack/underlay",
	"mipvpn/stack/agent", "mipvpn/detect/linkmon"}

// sideBySide is how many tests of such a package, each in namespaces of its own, go on at once where they say that they may: they wait
// for packets and timers most of the time.
const sideBySide = "4"

// sourcePackages hold tests that read all of the source, and make packages of it: they share no memory, and the race detector would
// only make them slow.
var sourcePackages = []string{"mipvpn/scripts"}

// thirdPartyPackages hold tests against programs that are not ours.
var thirdPartyPackages = []string{"mipvpn/ipsec/interop"}

// allocationTest is a test that counts allocations.
var allocationTest = regexp.MustCompile(`(?m)^func (Test\w*Alloc\w*)\(`)

// stages returns all stages in order. All of them have 20 minutes on two cores, and are to take 16 or 17, so that a slower day
// is none of a red one: static checks 2, race and sources 7, namespaces 5 with most of the fuzzing beside them, mutants, soak and
// third parties 2. A test that waits says so by t.Parallel; one that sweeps takes a sample with -short.
func stages(fuzzTotal, fuzzEach time.Duration) []stage {
	return []stage{
		{name: "packages", run: installPackages},
		{name: "format", run: checkFormat},
		{name: "vet", run: func() result { return passes(nil, "go", "vet", "./...") }},
		{name: "vet-darwin", run: func() result { return passes([]string{"GOOS=darwin", "CGO_ENABLED=0"}, "go", "vet", "./...") }},
		{name: "vet-windows", run: func() result { return passes([]string{"GOOS=windows", "CGO_ENABLED=0"}, "go", "vet", "./...") }},
		{name: "staticcheck", run: func() result { return passes(nil, "go", "tool", "-modfile=scripts/tools.mod", "staticcheck", "./...") }},
		{name: "build", run: func() result {
			return passes([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-o", "bin/", "./cmd/...")
		}},
		{name: "race", run: func() result {
			return raced("12m").tests(func(p string) bool {
				return !within(p, namespacePackages) && !within(p, thirdPartyPackages) && !within(p, sourcePackages)
			})
		}},
		{name: "sources", run: func() result {
			return testRun{timeout: "4m", flags: []string{"-vet=off"}}.tests(func(p string) bool { return within(p, sourcePackages) })
		}},
		// The race detector makes pools forget, so that allocations can be counted only without it.
		{name: "allocations", run: func() result {
			counting, err := testsNamed(allocationTest)
			if err != nil {
				return result{failures: []string{err.Error()}}
			}
			return testRun{timeout: "4m", flags: []string{"-vet=off", "-run", "Alloc"}}.tests(func(p string) bool {
				return counting[strings.TrimPrefix(p, "mipvpn/")] != nil
			})
		}},
		{name: "fuzz", beside: true, run: func() result { return fuzzAll(fuzzTotal, fuzzEach) }},
		{name: "namespaces", run: func() result {
			return raced("8m", "-p", "2", "-parallel", sideBySide).tests(func(p string) bool { return within(p, namespacePackages) })
		}},
		{name: "soak", run: soak},
		{name: "mutants", run: playMutants},
		{name: "third-parties", run: func() result {
			return raced("6m", "-p", "1", "-parallel", sideBySide).tests(func(p string) bool { return within(p, thirdPartyPackages) })
		}},
	}
}

// raced runs tests under the race detector, in a build in which released buffers are poisoned and a second release panics. What fails
// is run once more, and sweeps take a sample (-short). Fuzzing goes on beside those with processes of their own, which wait most of the time.
func raced(timeout string, flags ...string) testRun {
	return testRun{race: true, timeout: timeout, second: true, flags: append([]string{"-short", "-vet=off", "-tags", "packetdebug"}, flags...)}
}

// playMutants plays a few builds without a rule: in namespaces, or on the simulated network where those cannot be made (an
// ordinary user, a container). `make mutants` plays all of them.
func playMutants() result {
	args := []string{"run", "./scripts/mutants", "-quick"}
	if !namespaces() {
		args = append(args, "-simulated")
	}
	out, err := command([]string{"CGO_ENABLED=0"}, "go", args...)
	fmt.Print(out)
	if err != nil {
		return result{failures: []string{fmt.Sprintf("mutants: %v\n%s", err, out)}}
	}
	return result{note: lastLine(out)}
}

// namespaces reports whether network namespaces and TUN devices can be made.
func namespaces() bool {
	_, err := command(nil, "unshare", "--net", "true")
	if tun, tunErr := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); tunErr != nil {
		err = tunErr
	} else {
		tun.Close()
	}
	return err == nil
}

// within reports whether the package is one of roots or below one.
func within(pkg string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return pkg == r || strings.HasPrefix(pkg, r+"/") })
}

// checkFormat asks gofmt for the files that it would change.
func checkFormat() result {
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return result{failures: []string{err.Error()}}
	}
	out, err := command(nil, "gofmt", append([]string{"-l"}, files...)...)
	if err != nil {
		return result{failures: []string{fmt.Sprintf("gofmt: %v\n%s", err, out)}}
	}
	var r result
	for f := range strings.FieldsSeq(out) {
		r.failures = append(r.failures, "not formatted: "+f)
	}
	return r
}

// debianPackages are what some tests use and skip without: the race detector's C compiler, the dissector that judges our
// packets, the programs of systemd, the VPN gateway that is not ours, a D-Bus daemon, a token and a TPM that are programs, and a RADIUS server,
// a browser for miplab's page, an EAP peer, a library of Mobile IP messages and a replicated store that are not ours, the programs that docs/operations.md uses, what makes a clean
// Debian, what decides about users' rights, and what manages the networks, devices and secrets of desktops.
var debianPackages = []string{"gcc", "libc6-dev", "systemd", "tshark", "strongswan-charon", "strongswan-swanctl",
	"libstrongswan-standard-plugins", "libstrongswan-extra-plugins", "libcharon-extra-plugins", "libcharon-extauth-plugins", "dbus",
	"openssl", "softhsm2", "opensc", "swtpm", "tpm2-openssl", "freeradius", "eapoltest", "python3-scapy", "nftables", "curl", "etcd-server", "debootstrap", "rpm", "chromium", "polkitd",
	"udev", "gnome-keyring", networkManager}

// installPackages installs the Debian packages that are missing, where that is possible; what is not there is a skip.
func installPackages() result {
	missing := slices.DeleteFunc(slices.Clone(debianPackages), func(p string) bool {
		out, err := command(nil, "dpkg-query", "-W", "-f", "${Status}", p)
		return err == nil && strings.HasSuffix(out, " installed")
	})
	var skips []string
	if _, err := os.Stat("/run/systemd/system"); err == nil && slices.Contains(missing, networkManager) {
		missing = slices.DeleteFunc(missing, func(p string) bool { return p == networkManager })
		skips = append(skips, networkManager+": not installed here, where systemd would start it and it would take over this machine's networks")
	}
	if len(missing) == 0 {
		return result{note: "nothing to install", skips: skips}
	}
	skip := func(why string) result {
		return result{skips: append(skips, strings.Join(missing, ", ")+": "+why)}
	}
	if _, err := command(nil, "apt-get", "--version"); err != nil {
		return skip("not installed, and there is no apt-get here")
	}
	if os.Geteuid() != 0 {
		return skip("not installed, and only root may: apt-get install " + strings.Join(missing, " "))
	}
	env := []string{"DEBIAN_FRONTEND=noninteractive"}
	install := func(packages ...string) (string, error) {
		return command(env, "apt-get", append([]string{"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, packages...)...)
	}
	if _, err := install(missing...); err == nil {
		return result{note: "installed " + strings.Join(missing, " "), skips: skips}
	}
	if out, err := command(env, "apt-get", "update", "-q"); err != nil {
		return skip("apt-get update: " + lastLine(out))
	}
	if _, err := install(missing...); err == nil {
		return result{note: "installed " + strings.Join(missing, " "), skips: skips}
	}
	// One that this release does not have keeps none of the others out.
	var installed []string
	for _, p := range missing {
		if out, err := install(p); err != nil {
			skips = append(skips, p+": apt-get install: "+lastLine(out))
		} else {
			installed = append(installed, p)
		}
	}
	return result{note: "installed " + strings.Join(installed, " "), skips: skips}
}

// networkManager is the package whose program, once started, takes charge of a machine's networks.
const networkManager = "network-manager"

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
