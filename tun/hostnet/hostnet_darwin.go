package hostnet

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"mipvpn/tun/link"
)

// Network is the host's network as far as it is kept here: addresses and routes of the utun device by ifconfig(8) and route(8), the
// kill switch by pfctl(8). None of it has been run on a real machine.
type Network struct {
	mu      sync.Mutex
	applied link.Settings
	enabled bool // the packet filter has been turned on, which it counts
}

// New returns a Network; nothing is read or changed before the first Apply. The options' marks, tables and numbers have no meaning
// on darwin.
func New(Options) *Network { return &Network{} }

// Apply puts the network into the state s, and takes back what a crashed run has left, whose device has gone with it. On an error
// part of the change may have been made; the kill switch comes before everything else and goes last. It needs the rights of the
// superuser. Agents' settings (Taken, Forward) are refused with ErrUnsupported.
func (n *Network) Apply(s link.Settings) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.apply(s); err != nil {
		return fmt.Errorf("hostnet: %w", err)
	}
	return nil
}

func (n *Network) apply(s link.Settings) error {
	if err := check(s); err != nil {
		return err
	}
	if err := unsupportedSettings(s); err != nil {
		return err
	}
	s = withBroadcasts(s)
	if s.KillSwitch {
		if err := n.load(pfRules(s, s.Device)); err != nil {
			return err
		}
	}
	for _, c := range darwinCommands(n.applied, s) {
		if _, err := execute(c); err != nil {
			return err
		}
	}
	n.applied = s
	if !s.KillSwitch {
		_, err := execute(run("/sbin/pfctl", "-q", "-a", pfAnchor, "-F", "all"))
		return err
	}
	return nil
}

// load replaces the rules of the anchor, in one transaction of pfctl, and turns the packet filter on.
func (n *Network) load(rules string) error {
	if _, err := execute(pfLoad(rules)); err != nil {
		return err
	}
	if n.enabled {
		return nil
	}
	_, err := execute(run("/sbin/pfctl", "-q", "-E"))
	n.enabled = err == nil
	return err
}

func execute(c command) (string, error) {
	cmd := exec.Command(c.path, c.args...)
	cmd.Stdin = strings.NewReader(c.input)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", c, err, strings.TrimSpace(failed.String()))
	}
	return out.String(), nil
}

// Load writes the kill switch before there is a device, at the system's start. Settings without KillSwitch are an error.
func (n *Network) Load(s link.Settings) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := check(s)
	switch {
	case err != nil:
	case !s.KillSwitch:
		err = errNoKillSwitch
	default:
		err = n.load(pfRules(s, ""))
	}
	if err != nil {
		return fmt.Errorf("hostnet: load: %w", err)
	}
	return nil
}

// Cover does nothing: the rules of pf hold on every interface, those to come included.
func (*Network) Cover([]string) error { return nil }

// Permit fails with ErrUnsupported: pf has no rule that ends by itself at a time, so that the kernel could not hold the line.
func (*Network) Permit(int, time.Duration) error { return errNoPermit }

// Forbid changes nothing: there is never a permit.
func (*Network) Forbid(int) error { return nil }

// Dump returns the anchor's rules and the routing table, for people.
func (*Network) Dump() (string, error) {
	var b strings.Builder
	for _, c := range []command{run("/sbin/pfctl", "-a", pfAnchor, "-s", "rules"), run("/usr/sbin/netstat", "-rn", "-f", "inet")} {
		out, err := execute(c)
		if err != nil {
			return "", fmt.Errorf("hostnet: %w", err)
		}
		fmt.Fprintf(&b, "# %v\n%s", c, out)
	}
	return b.String(), nil
}

// Line returns the anchor's rules.
func (*Network) Line() (Line, error) {
	out, err := execute(run("/sbin/pfctl", "-a", pfAnchor, "-s", "rules"))
	if err != nil {
		return Line{}, fmt.Errorf("hostnet: read the kill switch: %w", err)
	}
	l := Line{Everywhere: true}
	for rule := range strings.Lines(out) {
		if rule = strings.TrimSpace(rule); rule != "" {
			l.Stands = true
			l.Rules = append(l.Rules, LineRule{Table: "pf", Chain: pfAnchor, Text: rule})
		}
	}
	return l, nil
}
