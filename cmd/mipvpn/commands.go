package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/control"
)

func (a *app) up() *cobra.Command {
	c := &cobra.Command{
		Use: "up", Short: "Take charge of the enterprise's traffic", Args: cobra.NoArgs,
		Long: "Take charge of the enterprise's traffic and find out where the laptop is. The command does not wait for a\nconnection; `mipvpn wait --for connected` does. Where the configuration has a password or PIN come from a person,\nthe command stays on a terminal until the laptop is connected, and asks. A daemon that is restarted is up\nagain by itself until `mipvpn down`.\nWith --json nothing is asked, and the status is printed as `mipvpn status --json` prints it.",
	}
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		err := a.ask(ctx, func(c *control.Client) error { return a.then(ctx, c, c.Up(ctx), *asJSON) })
		if err != nil || *asJSON || a.prompt == nil {
			return err
		}
		return a.serveQuestions(ctx, false)
	}
	return c
}

// then writes the status after a change that went well, where it is wanted as JSON.
func (a *app) then(ctx context.Context, c *control.Client, changed error, asJSON bool) error {
	if changed != nil || !asJSON {
		return changed
	}
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	return writeJSON(a.out, s)
}

func (a *app) down() *cobra.Command {
	c := &cobra.Command{
		Use: "down", Short: "Give the enterprise's traffic back to the host", Args: cobra.NoArgs,
		Long: "Give the enterprise's traffic back to the host. A daemon that ends or dies leaves it blocked: start one and take it\ndown, or, with none running, lift the block with --without-daemon (root, or CAP_NET_ADMIN).\nWith --json the daemon's status is printed as `mipvpn status --json` prints it.",
	}
	asJSON := jsonFlag(c)
	without := c.Flags().Bool("without-daemon", false, "lift what a daemon that is not running any more has left blocked")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		err := a.ask(ctx, func(c *control.Client) error { return a.then(ctx, c, c.Down(ctx), *asJSON) })
		switch {
		case errors.Is(err, control.ErrUnreachable) && *without:
			return failed(errors.Join(forgetWish(a.socket), a.lift()))
		case errors.Is(err, control.ErrUnreachable):
			return failed(fmt.Errorf("%w; without a daemon `mipvpn down --without-daemon` gives the enterprise's traffic back", err))
		}
		return err
	}
	return c
}

func (a *app) mode() *cobra.Command {
	c := &cobra.Command{
		Use: "mode [auto|c|f|cvc|fvc|vc|vf|cvf|fvf]", Short: "Show or pin the access mode", Args: cobra.MaximumNArgs(1),
		Long:      "Show the access mode, pin one, or let the client choose again (auto). A pinned mode without a VPN is used only\nwhile the laptop is proven to be inside. The command does not wait until the mode is in use. With --json the status is\nprinted as `mipvpn status --json` prints it, with `mode` and `mode_policy` in it.",
		ValidArgs: config.ModePolicies(),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && !slices.Contains(config.ModePolicies(), args[0]) {
			return fmt.Errorf("access mode %.80q is not one of %s", args[0], among(config.ModePolicies()))
		}
		ctx := cmd.Context()
		return a.ask(ctx, func(c *control.Client) error {
			if len(args) == 1 {
				return a.then(ctx, c, c.SetMode(ctx, args[0]), *asJSON)
			}
			if *asJSON {
				return a.then(ctx, c, nil, true)
			}
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s (policy %s)\n", orNone(s.Mode), s.ModePolicy)
			return err
		})
	}
	return c
}

func (a *app) status() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show where the laptop is, how that is known, and what is in use", Args: cobra.NoArgs,
	}
	asJSON := jsonFlag(c)
	check := c.Flags().Bool("check", false, "exit with 3 unless user data flows")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd.Context(), func(c *control.Client) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if *asJSON {
				err = writeJSON(a.out, s)
			} else {
				err = writeStatus(a.out, a.screen, s)
			}
			if err == nil && *check && s.State != control.StateConnected {
				err = &exitError{exitNotConnected, fmt.Errorf("not connected: %s", s.State)}
			}
			return err
		})
	}
	return c
}

func (a *app) detect() *cobra.Command {
	c := &cobra.Command{
		Use: "detect", Short: "Show, for each interface, what says whether it is inside", Args: cobra.NoArgs,
		Long: "Show, for each interface, the registrations with both home agents, their timing, and what follows from them.\nWith --again the detection is started anew first; `mipvpn events` shows how it goes.",
	}
	asJSON := jsonFlag(c)
	again := c.Flags().Bool("again", false, "start detection anew")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd.Context(), func(c *control.Client) error {
			d, err := c.Detect(cmd.Context(), *again)
			if err != nil {
				return err
			}
			if *asJSON {
				return writeJSON(a.out, d)
			}
			return writeDetection(a.out, d)
		})
	}
	return c
}

func (a *app) events() *cobra.Command {
	c := &cobra.Command{
		Use: "events", Short: "Show what happens, as it happens", Args: cobra.NoArgs,
		Long: "Show what happens, as it happens, until interrupted or the daemon ends. With --json each event is one document\non a line of its own. With --after it begins with what followed the event that\nhas this cursor (its field in --json), so that a reader that was started anew misses nothing that the daemon has kept: its\nlast thousand events. Where some are missing an event of the kind gap says so.",
	}
	asJSON := jsonFlag(c)
	after := c.Flags().String("after", "", "`CURSOR` of the last event that is known")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		return a.ask(ctx, func(c *control.Client) error {
			err := c.EventsAfter(ctx, *after, nil, func(e control.Event) error {
				if *asJSON {
					return writeLine(a.out, e)
				}
				return writeEvent(a.out, e)
			})
			if ctx.Err() != nil {
				return nil // interrupted, which is how this command ends
			}
			return err
		})
	}
	return c
}

func (a *app) wait() *cobra.Command {
	c := &cobra.Command{
		Use: "wait --for inside|outside|connected", Short: "Wait until the laptop is inside, outside or connected", Args: cobra.NoArgs,
		Long: "Wait until the laptop is proven to be inside, is found to be outside, or is connected. Exits with 124 when the\ntime is up and with 3 when the client is down.",
	}
	asJSON := jsonFlag(c)
	until := c.Flags().String("for", "", "what to wait for: inside, outside or connected")
	timeout := c.Flags().Duration("timeout", 0, "how long to wait, such as 10s; 0 for a day")
	_ = c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(texts(control.Conditions()), cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		condition := control.Condition(*until)
		if !slices.Contains(control.Conditions(), condition) {
			return fmt.Errorf("--for %.80q is not one of %s", *until, among(control.Conditions()))
		}
		if *timeout < 0 || *timeout > control.MaxWait {
			return fmt.Errorf("--timeout %v is not between 0 and %v", *timeout, control.MaxWait)
		}
		return a.ask(cmd.Context(), func(c *control.Client) error {
			s, err := c.Wait(cmd.Context(), condition, *timeout)
			if err != nil {
				return err
			}
			if *asJSON {
				return writeJSON(a.out, s)
			}
			_, err = fmt.Fprintf(a.out, "%s, %s, mode %s\n", s.State, s.Proof.Verdict, orNone(s.Mode))
			return err
		})
	}
	return c
}

// among writes the values that there are.
func among[T ~string](all []T) string { return strings.Join(texts(all), ", ") }

func texts[T ~string](all []T) []string {
	var list []string
	for _, v := range all {
		list = append(list, string(v))
	}
	return list
}
