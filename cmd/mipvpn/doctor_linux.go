package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet"
)

// leastKernel is the first kernel with the egress hook of nftables, which the kill switch needs.
const leastKernel = "5.16"

// examineHost checks this machine.
func examineHost() []finding {
	var u unix.Utsname
	release := ""
	if err := unix.Uname(&u); err == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	out := []finding{kernelCheck(release)}
	out = append(out, reversePathCheck("/proc/sys/net/ipv4/conf"))
	network := hostnet.New(hostnet.Options{})
	out = append(out, killSwitchCheck(network.Dump()))
	out = append(out, rivalChecks(network.Rivals())...)
	state, err := unix.Adjtimex(new(unix.Timex))
	return append(out, clockCheck(state, err))
}

// rivalChecks tells of other VPNs and firewalls in the kernel's network.
func rivalChecks(list []hostnet.Rival, err error) (out []finding) {
	what := map[hostnet.RivalKind]struct{ name, says, advice string }{
		hostnet.RivalRule: {"policy rule", "is asked before the client's rules: %s %s",
			"if it is another VPN's, take that down; else see to it that its table has no route for the company's addresses (`ip rule`, `ip route show table all`)"},
		hostnet.RivalTunnel: {"other VPN", "a tunnel of another program takes the place of the default route: %s (%s)",
			"take the other VPN down, or have it leave the company's addresses and the home agents' alone; two VPNs that both want everything do not go together"},
		hostnet.RivalFirewall: {"other kill switch", "chain %s %s",
			"have it let out UDP 434, 500 and 4500, and the IP protocols 4, 47, 50 and 55; in nftables the client's own packets bear the marks 0x6d690001 and 0x6d690002"},
		hostnet.RivalIPsec: {"other IPsec", "the kernel has an IPsec policy for %s %s",
			"take the other IPsec down (`ip xfrm policy`, `swanctl --list-sas`): it takes packets before, or after, the client does"},
	}
	for _, r := range list {
		k := what[r.Kind]
		out = append(out, finding{k.name, checkWarning, fmt.Sprintf(k.says, r.Name, r.Text), k.advice})
	}
	switch {
	case err != nil:
		out = append(out, finding{"other VPNs", checkSkipped, "not all of the kernel's network can be read: " + err.Error(), "run `mipvpn doctor` as root to have it looked at"})
	case len(list) == 0:
		out = append(out, finding{"other VPNs", checkOK, "none is seen in the kernel's rules, routes, firewall and IPsec policies", ""})
	}
	return out
}

// clockCheck says whether something keeps this machine's clock right, from the state that adjtimex(2) returns.
func clockCheck(state int, err error) finding {
	k := finding{Name: "time", Result: checkOK, Message: "the clock is kept right"}
	switch {
	case err != nil:
		k.Result, k.Message = checkSkipped, "the kernel does not say whether the clock is kept right: "+err.Error()
	case state == unix.TIME_ERROR:
		k.Result, k.Message = checkWarning, "nothing keeps the clock right"
		k.Advice = "turn on the time service (`timedatectl set-ntp true`): certificates are judged by the clock"
	}
	return k
}

// kernelCheck checks the kernel's version, which begins with two numbers.
func kernelCheck(release string) finding {
	k := finding{Name: "kernel", Result: checkOK, Message: "Linux " + release}
	major, minor, ok := kernelVersion(release)
	switch {
	case !ok:
		k.Result, k.Message = checkWarning, fmt.Sprintf("version %q is not understood", release)
		k.Advice = "Linux " + leastKernel + " or newer is needed"
	case major < 5 || major == 5 && minor < 16:
		k.Result = checkFailed
		k.Message += ": its nftables has no egress hook on interfaces, without which the kill switch cannot hold packet sockets back"
		k.Advice = "install Linux " + leastKernel + " or newer (on Ubuntu 22.04: linux-generic-hwe-22.04)"
	}
	return k
}

func kernelVersion(release string) (major, minor int, ok bool) {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}

// reversePathCheck looks for interfaces whose strict check of the source's route would drop what comes back from inside.
func reversePathCheck(dir string) finding {
	k := finding{Name: "rp_filter", Result: checkOK, Message: "no interface checks the source's route strictly"}
	files, err := filepath.Glob(filepath.Join(dir, "*", "rp_filter"))
	if err != nil || len(files) == 0 {
		k.Result, k.Message = checkSkipped, "cannot be read"
		return k
	}
	var strict []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == "1" {
			strict = append(strict, filepath.Base(filepath.Dir(f)))
		}
	}
	if len(strict) > 0 {
		k.Result, k.Message = checkWarning, "strict on "+strings.Join(strict, ", ")+": while the client is up it should be loose (2)"
		k.Advice = "the client sets it at `up`; something has set it back: look for net.ipv4.conf.*.rp_filter in /etc/sysctl.d, or run `mipvpn down; mipvpn up`"
	}
	return k
}

// killSwitchCheck reads what the kernel holds.
func killSwitchCheck(dump string, err error) finding {
	k := finding{Name: "kill switch", Result: checkOK, Message: "its rules are in the kernel"}
	switch {
	case err != nil:
		k.Result, k.Message, k.Advice = checkSkipped, "the kernel's rules cannot be read: "+err.Error(), "run `mipvpn doctor` as root to have them checked"
	case !strings.Contains(dump, "killswitch "):
		k.Result, k.Message = checkWarning, "its rules are not in the kernel: nothing keeps the enterprise's traffic in the tunnel"
		k.Advice = "run `mipvpn up`; if it is up, report this as a bug"
	}
	return k
}
