package company

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/program"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/ipsec/interop/charon"
)

// agentBoxes are the boxes that run mipagent, each with the file of its name.
var agentBoxes = []string{topology.InternalHA, topology.ExternalHA, topology.InternalFA, topology.ExternalFA, topology.Gateway}

// Company is the lab's programs, running.
type Company struct {
	lab      *topology.Lab
	dir      string
	binaries string
	programs []*program.Program
	// strongSwan is the VPN gateway where it is not mipagent.
	strongSwan *charon.Daemon
}

// Binaries names the directory of the programs mipagent and mipvpn: that of this program.
func Binaries() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("company: %w", err)
	}
	return filepath.Dir(self), nil
}

// Start writes the configuration into the directory, starts all programs and returns once the client, if there is one, answers. binaries is
// the directory of mipagent and mipvpn.
func Start(ctx context.Context, lab *topology.Lab, dir, binaries string, o Options) (*Company, error) {
	for _, name := range []string{"mipagent", "mipvpn"} {
		if _, err := os.Stat(filepath.Join(binaries, name)); err != nil {
			return nil, fmt.Errorf("company: the program %s is not next to this one; build all with `make build`: %w", name, err)
		}
	}
	if err := WriteFiles(dir, o); err != nil {
		return nil, err
	}
	c := &Company{lab: lab, dir: dir, binaries: binaries}
	if err := c.start(ctx, binaries, o); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Company) start(ctx context.Context, binaries string, o Options) error {
	for _, box := range agentBoxes {
		if box == topology.Gateway && o.StrongSwan {
			daemon, err := startStrongSwan(c.lab.Box(box), c.dir)
			if err != nil {
				return err
			}
			c.strongSwan = daemon
			continue
		}
		if err := c.run(box, filepath.Join(binaries, "mipagent"), "run", "--config", filepath.Join(c.dir, box+".toml")); err != nil {
			return err
		}
	}
	if o.WithoutClient {
		return nil
	}
	return c.StartClient(ctx)
}

// Capabilities are what the programs may do at most, as their units in configs/systemd say (capabilities(7)).
var Capabilities = []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"}

// leastPrivilege returns the arguments by which setpriv runs a program with Capabilities and no way to get more.
func leastPrivilege() []string {
	set := "-all"
	for _, c := range Capabilities {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return []string{"--bounding-set=" + set, "--inh-caps=-all", "--no-new-privs"}
}

// run runs a program in a box with the privileges of its unit, where the system has setpriv.
func (c *Company) run(box, path string, args ...string) error {
	name := filepath.Base(path) + " in " + box
	if setpriv, err := exec.LookPath("setpriv"); err == nil {
		path, args = setpriv, slices.Concat(leastPrivilege(), []string{path}, args)
	}
	p, err := program.Start(c.lab.Box(box), name, filepath.Join(c.dir, box+".log"), path, args...)
	if err != nil {
		return err
	}
	c.programs = append(c.programs, p)
	return nil
}

// awaitDaemon waits until the client answers on its socket.
func (c *Company) awaitDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.client().Status(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, control.ErrUnreachable) {
			return fmt.Errorf("company: the client does not answer: %w", err)
		}
		if err := c.Err(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("company: the client does not answer: %w", err)
		}
	}
}

func (c *Company) client() socketClient { return socketClient{filepath.Join(c.dir, Socket)} }

// Err says which program has ended by itself, nil while all run.
func (c *Company) Err() error {
	for _, p := range c.programs {
		if err := p.Err(); err != nil {
			return err
		}
	}
	if c.strongSwan != nil {
		select {
		case <-c.strongSwan.Done():
			return fmt.Errorf("company: charon has ended:\n%s", c.strongSwan.Tail(12))
		default:
		}
	}
	return nil
}

// Tail returns the last lines of each program's output, for the person who looks for what went wrong.
func (c *Company) Tail(lines int) string {
	var b strings.Builder
	for _, p := range c.programs {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Name(), p.Tail(lines))
	}
	if c.strongSwan != nil {
		fmt.Fprintf(&b, "--- charon\n%s\n", c.strongSwan.Tail(lines))
	}
	return b.String()
}

// Stop ends all programs, the client first.
func (c *Company) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.programs) {
		errs = append(errs, p.Stop())
	}
	if c.strongSwan != nil {
		errs = append(errs, c.strongSwan.Stop())
	}
	c.programs, c.strongSwan = nil, nil
	return errors.Join(errs...)
}

// Up brings the client up.
func (c *Company) Up(ctx context.Context) error { return c.client().Up(ctx) }

// Status returns the client's state.
func (c *Company) Status(ctx context.Context) (control.Status, error) { return c.client().Status(ctx) }
