package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/client/control"
)

const (
	// monitorInterval is how often the daemon is asked.
	monitorInterval = time.Second
	// monitorPatience is how long it may take to answer.
	monitorPatience = 3 * time.Second
)

// console is a terminal that one program has to itself: keys arrive as they are pressed, and nothing is echoed.
type console struct {
	in  io.Reader
	out io.Writer
	// size returns the columns and lines that there are now.
	size func() (width, height int)
	// resized yields when the size may have changed, nil where nobody tells.
	resized <-chan struct{}
	colour  bool
	// leave gives the terminal back as it was.
	leave func() error
}

// What is sent to take the terminal and to give it back: the alternate screen without a cursor (xterm's private modes 1049 and 25).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

func (a *app) monitor() *cobra.Command {
	return &cobra.Command{
		Use: "monitor", Short: "Watch interfaces, proofs, layers, throughput and changes, live", Args: cobra.NoArgs,
		Long: `Watch the client on a terminal, asked once a second: where the laptop is and for how long the proof of that holds, the
interfaces, the layers, what is carried and dropped, and the last changes. It asks the daemon and nobody else, and changes
nothing. Behind a reason for drops stands how many there were since the view began. A daemon that ends is waited for.

Keys: q or ctrl-c ends, p or the space bar holds the picture and lets it go on.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.console == nil {
				return &exitError{exitFailed, errors.New("monitor needs a terminal, and not one with TERM=dumb: `mipvpn status` and `mipvpn events` do without")}
			}
			p := &poller{socket: a.socket}
			defer p.close()
			if _, err := p.status(cmd.Context()); errors.Is(err, control.ErrPermission) || refusesUs(err) {
				return failed(err)
			}
			c, err := a.console()
			if err != nil {
				return failed(err)
			}
			return failed(errors.Join(watch(cmd.Context(), c, p.status), c.leave()))
		},
	}
}

// refusesUs reports whether the daemon has answered that it does not answer us.
func refusesUs(err error) bool {
	answer, ok := errors.AsType[*control.Error](err)
	return ok && answer.Kind == control.KindPermission
}

// poller asks the daemon on one connection, and on a new one when that has ended. One goroutine at a time may use it.
type poller struct {
	socket string
	client *control.Client
}

// status returns the daemon's status, or why there is none within monitorPatience.
func (p *poller) status(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, monitorPatience)
	defer cancel()
	if p.client == nil {
		c, err := control.Dial(ctx, p.socket)
		if err != nil {
			return control.Status{}, err
		}
		p.client = c
	}
	s, err := p.client.Status(ctx)
	if err != nil {
		p.close()
	}
	return s, err
}

func (p *poller) close() {
	if p.client != nil {
		_ = p.client.Close() // it has nothing to say any more
		p.client = nil
	}
}

// polled is an answer of the daemon, or that there was none.
type polled struct {
	status control.Status
	err    error
	at     time.Time
}

// watch shows what poll returns, until a key or ctx ends it. poll is called by one goroutine at a time, which has returned when watch does.
func watch(ctx context.Context, c *console, poll func(context.Context) (control.Status, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make(chan byte)
	go readKeys(ctx, c.in, keys) // ends with the terminal, or at the next key
	answers := make(chan polled, 1)
	asking := false
	ask := func() {
		asking = true
		go func() {
			s, err := poll(ctx)
			answers <- polled{s, err, time.Now()}
		}()
	}
	defer func() {
		if cancel(); asking {
			<-answers
		}
	}()
	m := monitor{screen: screen{colour: c.colour}}
	draw := func() error {
		m.width, m.height = c.size()
		_, err := io.WriteString(c.out, m.frame())
		return err
	}
	if _, err := io.WriteString(c.out, enterScreen); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-next.C:
			ask()
			continue
		case p := <-answers:
			asking = false
			next.Reset(monitorInterval)
			m.take(p)
		case <-c.resized:
		case k, more := <-keys:
			if !more || m.press(k) {
				cancel()
			}
		}
		if ctx.Err() != nil {
			_, err := io.WriteString(c.out, leaveScreen)
			return err
		}
		if err := draw(); err != nil {
			return errors.Join(fmt.Errorf("monitor: %w", err))
		}
	}
}

// readKeys hands over each octet that is typed, and closes the channel when no more come.
func readKeys(ctx context.Context, in io.Reader, keys chan<- byte) {
	defer close(keys)
	var b [64]byte
	for {
		n, err := in.Read(b[:])
		for _, k := range b[:n] {
			select {
			case keys <- k:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}
