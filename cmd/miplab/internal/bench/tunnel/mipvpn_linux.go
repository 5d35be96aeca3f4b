package tunnel

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/company"
)

//go:embed templates
var templates embed.FS

// trusted are the networks that the i-HA takes for inside, with the near end's and without.
var (
	inside  = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("192.0.2.0/24")}
	outside = inside[:1]
)

// built says whether the project's own programs are there.
func built(p Programs) error {
	for _, name := range []string{"mipagent", "mipvpn"} {
		if _, err := os.Stat(filepath.Join(p.Binaries, name)); err != nil {
			return fmt.Errorf("not built: %w; build all with `make build`", err)
		}
	}
	return nil
}

// startModeC starts the daemon and an i-HA that takes the near end for inside.
func startModeC(ctx context.Context, s *Site, p Programs, t *Standing) error {
	return t.mipvpn(ctx, p, bench.ModeC, inside)
}

// startModeCVC starts the daemon and one agent with x-HA, VPN gateway, and an i-HA that takes the near end for outside.
func startModeCVC(ctx context.Context, s *Site, p Programs, t *Standing) error {
	return t.mipvpn(ctx, p, bench.ModeCVC, outside)
}

// mipvpn starts agent and daemon and waits until the client is connected in the mode.
func (t *Standing) mipvpn(ctx context.Context, p Programs, mode string, trusted []netip.Prefix) error {
	all, err := company.Secrets()
	if err != nil {
		return err
	}
	parsed, err := template.ParseFS(templates, "templates/*")
	if err != nil {
		return err
	}
	for _, one := range parsed.Templates() {
		var b bytes.Buffer
		if err := one.Execute(&b, map[string]any{"Dir": t.site.Dir, "Encapsulation": p.Encapsulation, "UDP": p.Encapsulation != "ipip",
			"Trusted": trusted, "Outside": mode != bench.ModeC}); err != nil {
			return err
		}
		all[one.Name()] = b.Bytes()
	}
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(t.site.Dir, name), content, 0o600); err != nil {
			return err
		}
	}
	if _, err := t.run(t.site.Far, "mipagent", filepath.Join(p.Binaries, "mipagent"), "run", "--config", filepath.Join(t.site.Dir, "far.toml")); err != nil {
		return err
	}
	if _, err := t.run(t.site.Near, "mipvpn", filepath.Join(p.Binaries, "mipvpn"), "daemon", "--config", filepath.Join(t.site.Dir, "near.toml")); err != nil {
		return err
	}
	t.Path.NearAddress, t.Path.FarAddress = homeAddress, correspondent
	return t.connect(ctx, mode)
}

// connect brings the client up and waits for the mode.
func (t *Standing) connect(ctx context.Context, mode string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	up := false
	var s control.Status
	for {
		err := t.ask(ctx, func(c *control.Client) (err error) {
			if !up {
				if err := c.Up(ctx); err != nil {
					return err
				}
				up = true
			}
			s, err = c.Status(ctx)
			return err
		})
		if err == nil && s.State == control.StateConnected && s.Mode == mode {
			return nil
		}
		if err != nil && !errors.Is(err, control.ErrUnreachable) {
			return err
		}
		if err := t.Err(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the client did not come to mode %s, it is %s in mode %q: %s", mode, s.State, s.Mode, s.Proof.Reason), err)
		}
	}
}

// ask talks to the daemon.
func (t *Standing) ask(ctx context.Context, f func(*control.Client) error) error {
	c, err := control.Dial(ctx, filepath.Join(t.site.Dir, company.Socket))
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}
