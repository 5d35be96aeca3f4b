package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mipvpn/client/control"
	"mipvpn/client/secret"
)

func (a *app) answer() *cobra.Command {
	c := &cobra.Command{
		Use: "answer", Short: "Answer the daemon's questions for passwords and PINs", Args: cobra.NoArgs,
		Long: "Answer the daemon's questions for passwords and PINs until interrupted: from the desktop's key ring where the\nconfiguration says so, on the terminal otherwise. Without a terminal, as mipvpn-answer.service of the\nuser's systemd has it, it answers from the key ring alone. With --store a password is asked for now and put into the key ring.",
	}
	store := c.Flags().String("store", "", "ask for the secret of this `NAME`, as mipvpn status shows it, and put it into the key ring")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("store") {
			if *store == "" {
				return errors.New("--store needs a name: `mipvpn status` shows those that are asked for")
			}
			return failed(a.storeSecret(cmd.Context(), *store))
		}
		return a.serveForEver(cmd.Context())
	}
	return c
}

// reachPause is the time between attempts to reach a daemon that is not there.
const reachPause = 5 * time.Second

// serveForEver answers questions until ctx ends, whatever becomes of the daemon: it is started before it, or restarted.
func (a *app) serveForEver(ctx context.Context) error {
	pause, told := a.pause, false
	if pause == 0 {
		pause = reachPause
	}
	for {
		err := a.serveQuestions(ctx, true)
		if err != nil && !errors.Is(err, control.ErrUnreachable) {
			return err
		}
		if err != nil && !told {
			fmt.Fprintf(a.err, "mipvpn: waiting for the daemon: %s\n", printable(err.Error()))
		}
		told = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// storeSecret puts a secret into the key ring.
func (a *app) storeSecret(ctx context.Context, name string) error {
	if a.prompt == nil || a.keep == nil {
		return errors.New("a terminal to ask on and a desktop's key ring are needed: run it in a terminal of the desktop's session, not as root")
	}
	s, err := a.prompt(ctx, name)
	if err != nil {
		return err
	}
	defer clear(s)
	return a.keep(ctx, name, s)
}

// serveQuestions answers questions: for ever, or until the laptop is connected or nobody is to be asked.
func (a *app) serveQuestions(ctx context.Context, forever bool) error {
	answered := map[uint64]bool{}
	return a.ask(ctx, func(c *control.Client) error {
		err := c.Questions(ctx, func(q control.Questions) (bool, error) {
			for _, o := range q.Open {
				if answered[o.ID] {
					continue
				}
				done, err := a.answerOne(ctx, o)
				if err != nil {
					return false, err
				}
				answered[o.ID] = done
			}
			if forever {
				return true, nil
			}
			return q.Expected && q.State != control.StateConnected && q.State != control.StateDown, nil
		})
		if ctx.Err() != nil {
			return nil // interrupted, which is how this command ends
		}
		return err
	})
}

// answerOne answers one question, and reports whether it was.
func (a *app) answerOne(ctx context.Context, o control.Question) (bool, error) {
	var s []byte
	if o.KeyRing && a.ring != nil {
		found, err := a.ring(ctx, o.Name)
		if err != nil && !errors.Is(err, secret.ErrNoItem) {
			fmt.Fprintf(a.err, "mipvpn: %s\n", printable(err.Error()))
		}
		s = found
	}
	if s == nil {
		if a.prompt == nil {
			return true, nil // somebody with a terminal may
		}
		text := o.Prompt
		if o.Again {
			text = "That was refused. " + text
			if o.Text != "" {
				text = fmt.Sprintf("That was refused (%s). %s", o.Text, o.Prompt)
			}
		}
		var err error
		if s, err = a.prompt(ctx, printable(text)); err != nil {
			return false, err
		}
	}
	defer clear(s)
	err := a.ask(ctx, func(c *control.Client) error { return c.Answer(ctx, o.ID, s) })
	var refused *control.Error
	if errors.As(err, &refused) { // somebody else was quicker, or it is not wanted any more
		fmt.Fprintf(a.err, "mipvpn: %s\n", printable(refused.Message))
		return true, nil
	}
	return err == nil, err
}

// terminalPrompt returns what asks on the terminal of this process, nil without one.
func terminalPrompt() func(ctx context.Context, text string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	return func(ctx context.Context, text string) ([]byte, error) {
		before, err := term.GetState(fd)
		if err != nil {
			return nil, err
		}
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		type read struct {
			s   []byte
			err error
		}
		done := make(chan read, 1)
		fmt.Fprintf(os.Stderr, "%s: ", text)
		go func() {
			s, err := term.ReadPassword(fd)
			done <- read{s, err}
		}()
		select {
		case r := <-done:
			fmt.Fprintln(os.Stderr)
			return r.s, r.err
		case <-interrupted.Done():
			fmt.Fprintln(os.Stderr)
			return nil, errors.Join(context.Canceled, term.Restore(fd, before)) // the reader goes with the process
		}
	}
}

// desktopRing looks a secret up in the key ring of this user's desktop.
func desktopRing(ctx context.Context, name string) ([]byte, error) {
	k, err := secret.OpenKeyRing(ctx)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return k.Lookup(ctx, name)
}

// desktopKeep puts a secret into that key ring.
func desktopKeep(ctx context.Context, name string, s []byte) error {
	k, err := secret.OpenKeyRing(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	return k.Store(ctx, name, s)
}
