package company

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"mipvpn/cmd/miplab/internal/program"
	"mipvpn/cmd/miplab/internal/topology"
)

// clientName names the daemon among the programs.
const clientName = "mipvpn in " + topology.Laptop

// KillClient kills the laptop's daemon with SIGKILL and returns when the process has ended. It is no error that it had ended.
func (c *Company) KillClient() error {
	i := slices.IndexFunc(c.programs, func(p *program.Program) bool { return p.Name() == clientName })
	if i < 0 {
		return fmt.Errorf("company: there is no daemon to be killed")
	}
	p := c.programs[i]
	c.programs = slices.Delete(c.programs, i, i+1)
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("company: killing the daemon: %w", err)
	}
	<-p.Done()
	return nil
}

// StartClient starts the laptop's daemon again and returns once it answers.
func (c *Company) StartClient(ctx context.Context) error {
	if err := c.run(topology.Laptop, filepath.Join(c.binaries, "mipvpn"), "daemon", "--config", filepath.Join(c.dir, ClientConfig)); err != nil {
		return err
	}
	return c.awaitDaemon(ctx)
}

// Kill implements walk.World.
func (w *World) Kill() error { return w.company.KillClient() }

// Start implements walk.World.
func (w *World) Start(ctx context.Context) error { return w.company.StartClient(ctx) }
