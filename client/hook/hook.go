package hook

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"

	"mipvpn/client/control"
)

const (
	// DefaultTimeout is how long a program may run.
	DefaultTimeout = 30 * time.Second
	// queued is how many events wait while a program runs.
	queued = 64
	// shown is how many octets of a program's output are logged.
	shown = 2048
	// lastTime is how long Close waits for the programs of the last events.
	lastTime = 5 * time.Second
)

// Source is the client as hooks see it; a control.Backend is one.
type Source interface {
	// Subscribe returns all events from now on, as control.Backend does.
	Subscribe() (events <-chan control.Event, cancel func())
	// Status returns the whole state.
	Status(ctx context.Context) (control.Status, error)
}

// Config says what is run.
type Config struct {
	// Directory holds the programs. It is read anew for each event, so that they may come and go; it need not exist.
	Directory string
	// Timeout is how long each may run, DefaultTimeout when zero.
	Timeout time.Duration
	// Prefixes are the destinations that go through the client, for CISCO_SPLIT_INC.
	Prefixes []netip.Prefix

	last time.Duration // lastTime when zero
}

// Runner runs the programs.
type Runner struct {
	cfg    Config
	source Source
	log    *zap.Logger
	cancel func() // of the subscription
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	queue  []occasion
	missed int // events given up since the last that was run
	ended  bool
	wake   chan struct{}

	refused map[string]string // why a file was not run, as logged last
}

// occasion is one event to run programs for.
type occasion struct {
	control.Event
	missed int
}

// Start subscribes to the events of the source and runs programs for them until Close.
func Start(source Source, cfg Config, log *zap.Logger) *Runner {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.last == 0 {
		cfg.last = lastTime
	}
	ctx, stop := context.WithCancel(context.Background())
	events, cancel := source.Subscribe()
	r := &Runner{cfg: cfg, source: source, log: log, cancel: cancel, stop: stop, wake: make(chan struct{}, 1), refused: make(map[string]string)}
	r.done.Go(func() { r.take(events) })
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Close ends the subscription. Programs of events that have happened are run yet, for a few seconds together.
func (r *Runner) Close() {
	r.cancel()
	late := time.AfterFunc(r.cfg.last, r.stop)
	r.done.Wait()
	late.Stop()
	r.stop()
}

// take puts events into the queue and never waits.
func (r *Runner) take(events <-chan control.Event) {
	for e := range events {
		r.put(e)
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.signal()
}

func (r *Runner) put(e control.Event) {
	r.mu.Lock()
	if len(r.queue) == queued {
		r.queue = r.queue[1:]
		r.missed++
	}
	r.queue = append(r.queue, occasion{Event: e})
	r.mu.Unlock()
	r.signal()
}

func (r *Runner) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next returns the oldest event in the queue; ended says that none will come any more.
func (r *Runner) next() (o occasion, ok, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return occasion{}, false, r.ended
	}
	o = r.queue[0]
	r.queue = r.queue[1:]
	o.missed, r.missed = r.missed, 0
	return o, true, false
}

func (r *Runner) run(ctx context.Context) {
	for {
		o, ok, ended := r.next()
		switch {
		case ok:
			r.programs(ctx, o)
		case ended:
			return
		default:
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// programs runs all programs for one event.
func (r *Runner) programs(ctx context.Context, o occasion) {
	files, refused := list(r.cfg.Directory)
	r.complain(refused)
	if len(files) == 0 {
		return
	}
	if o.missed > 0 {
		r.log.Warn("hooks are too slow: events were given up", zap.Int("events", o.missed))
	}
	status, err := r.source.Status(ctx)
	if err != nil {
		status = control.Status{State: o.State, Mode: o.Mode} // the client is ending
	}
	env := environment(o, status, r.cfg.Prefixes)
	for _, f := range files {
		r.program(ctx, f, o, env)
	}
}

// complain logs why files are not run, once until that changes.
func (r *Runner) complain(refused map[string]string) {
	for file, why := range refused {
		if r.refused[file] != why {
			r.log.Warn("hook is not run", zap.String("file", file), zap.String("reason", why))
		}
	}
	r.refused = refused
}

// program runs one program. Its first argument is the kind of the event.
func (r *Runner) program(ctx context.Context, file string, o occasion, env []string) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, o.Kind)
	cmd.Dir, cmd.Env = "/", env
	out := &head{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // what it has left in the background may hold its output open
	own(cmd)
	err := cmd.Run()
	fields := []zap.Field{zap.String("file", file), zap.String("event", o.Kind), zap.Uint64("sequence", o.Sequence), zap.String("output", out.String())}
	switch {
	case ctx.Err() != nil:
		r.log.Warn("hook was ended: it took too long", append(fields, zap.Duration("timeout", r.cfg.Timeout))...)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		r.log.Warn("hook failed", append(fields, zap.Error(err))...)
	default:
		r.log.Debug("hook was run", fields...)
	}
}

// head keeps the beginning of what is written.
type head struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := shown - len(h.buf); room > 0 {
		h.buf = append(h.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String returns what was kept as one line for the log.
func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, string(h.buf)))
}

// path returns the search path of the programs: the daemon's own may be empty.
func path() string {
	if p := os.Getenv("PATH"); p != "" {
		return p
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
