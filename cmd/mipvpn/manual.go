package main

import (
	"path/filepath"

	"mipvpn/client/config"
	"mipvpn/client/config/profile"
	"mipvpn/client/hook"
	"mipvpn/cmd/manual"
)

// manualPage is what mipvpn(1) says beside commands and flags.
func manualPage() manual.About {
	return manual.About{
		Section: 1, Version: thisBuild().Version,
		Exits: [][2]string{
			{"0", "done"}, {"1", "failed; standard error says why and what to do"}, {"2", "wrong usage"}, {"3", "not connected (`status --check`), or down (`wait`)"},
			{"4", "not permitted"}, {"5", "the daemon is not running"}, {"124", "the time of `--timeout` is up"},
		},
		Environment: [][2]string{{socketVariable, "unix socket of the daemon, where `--socket` does not say"}},
		Files: [][2]string{
			{config.DefaultPath, "the configuration, mipvpn.toml(5)"}, {filepath.Join(filepath.Dir(config.DefaultPath), profile.Directory), "other configurations, `mipvpn profile`"}, {hook.DefaultDirectory, "programs that are run when something happens, mipvpn-hooks(7)"},
			{config.DefaultSocket, "socket of the daemon"}, {gatewaysPath, "hardware addresses of the gateways of networks that were inside or outside"},
		},
		See: []string{"mipvpn.toml(5)", "mipvpn-hooks(7)", "mipvpn-user(7)", "mipvpn-administrator(7)", "mipvpn-errors(7)", "mipagent(8)", "miplab(1)"},
	}
}
