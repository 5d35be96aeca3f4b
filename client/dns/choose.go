package dns

import (
	"fmt"
	"runtime"
	"strings"
)

// Mode is how the host's resolver is changed.
type Mode string

// The modes.
const (
	// ModeAuto uses systemd-resolved where the resolv.conf is its, and else a resolv.conf that is a file.
	ModeAuto Mode = "auto"
	// ModeResolved uses systemd-resolved.
	ModeResolved Mode = "resolved"
	// ModeResolvConf writes the resolv.conf.
	ModeResolvConf Mode = "resolv.conf"
	// ModeOff changes nothing.
	ModeOff Mode = "off"
)

// Modes returns all modes.
func Modes() []Mode { return []Mode{ModeAuto, ModeResolved, ModeResolvConf, ModeOff} }

// Choose returns which of the two the mode wants on a host whose resolv.conf file is. A resolv.conf belongs to
// systemd-resolved when it is a link to one of its files, or names its server on 127.0.0.53 (a file that an administrator
// has copied). On systems that have a way of their own (SystemResolved) auto and resolved both are that. With ModeOff neither is. Errors wrap ErrManaged: the file is a link to another program's.
func Choose(mode Mode, file *ResolvConf, resolved Settings) (Settings, error) {
	if resolved == nil {
		resolved = noResolved{}
	}
	switch mode {
	case ModeOff:
		return nil, nil
	case ModeResolved:
		return resolved, nil
	case ModeResolvConf:
		return file, nil
	}
	if systemFirst {
		return resolved, nil
	}
	target, err := file.Files.Link(file.path())
	if err != nil {
		return nil, fmt.Errorf("dns: %s: %w", file.path(), err)
	}
	switch {
	case strings.Contains(target, "systemd/resolve"):
		return resolved, nil
	case target != "":
		return nil, fmt.Errorf("%w: %s is a link to %s, of %s: set dns.mode to %q and have %s use systemd-resolved, or make it a file",
			ErrManaged, file.path(), target, owner(target), ModeResolved, owner(target))
	}
	if b, _, err := file.Files.Read(file.path()); err == nil && !isOurs(b) {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" && (f[1] == "127.0.0.53" || f[1] == "127.0.0.54") {
				return resolved, nil
			}
		}
	}
	return file, nil
}

// noResolved stands for systemd-resolved where there is none.
type noResolved struct{}

func (noResolved) Name() string { return resolvedName }

func (noResolved) Set(Plan) (bool, error) {
	return false, fmt.Errorf("dns: systemd-resolved on %s: %w", runtime.GOOS, ErrUnsupported)
}

func (noResolved) Standing() (bool, error) { return false, nil }

func (noResolved) Clear() error { return nil }
