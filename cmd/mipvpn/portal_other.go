//go:build !linux

package main

import (
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"mipvpn/tun/hostnet"
)

// browserProcess is a browser on the way to a portal.
type browserProcess struct {
	*exec.Cmd
	names string
}

func (*browserProcess) kill() {}

// startBrowser fails: this operating system has nothing to confine a browser with.
func (*app) startBrowser(string, string, string) (*browserProcess, error) {
	return nil, fmt.Errorf("a browser cannot be confined on %s: %w", runtime.GOOS, hostnet.ErrUnsupported)
}

// portalBrowser is the helper, which there is none of.
func (*app) portalBrowser() *cobra.Command {
	return &cobra.Command{Use: portalBrowserCommand, Hidden: true, RunE: func(*cobra.Command, []string) error {
		return failed(fmt.Errorf("a browser cannot be confined on %s: %w", runtime.GOOS, hostnet.ErrUnsupported))
	}}
}
