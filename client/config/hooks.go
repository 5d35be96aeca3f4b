package config

import (
	"path/filepath"
	"time"

	"mipvpn/client/hook"
)

// Hooks says which programs are run when something happens, table [hooks].
type Hooks struct {
	// Run runs them.
	Run bool
	// Directory holds the programs, an absolute path.
	Directory string
	// Timeout is how long each may run.
	Timeout time.Duration
}

func hooksDefaults() Hooks {
	return Hooks{Run: true, Directory: hook.DefaultDirectory, Timeout: hook.DefaultTimeout}
}

// hooksFields are the keys of [hooks].
func hooksFields() []field {
	return []field{
		{key: "hooks.run", valid: vBool, standard: "true", about: "run the programs of hooks.directory on each event (docs/scripting.md)",
			set: boolean(func(c *Config) *bool { return &c.Hooks.Run })},
		{key: "hooks.directory", valid: "an absolute path in quotes", standard: `"` + hook.DefaultDirectory + `"`, about: "directory of these programs, which nobody but root may write to; it need not exist",
			set: text(4096, filepath.IsAbs, func(c *Config) *string { return &c.Hooks.Directory })},
		{key: "hooks.timeout", valid: vDuration(time.Second) + ` and at most "10m"`, standard: `"30s"`, about: "time after which such a program is ended",
			set: setter{durationShape, hooksTimeout}},
	}
}

func hooksTimeout(c *Config, v any) error {
	d, err := parseDuration(v)
	if err != nil {
		return err
	}
	if d < time.Second || d > 10*time.Minute {
		return found(v)
	}
	c.Hooks.Timeout = d
	return nil
}
