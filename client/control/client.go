package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"
)

// ErrUnreachable is returned when no daemon answers on the socket, or it goes away before its answer.
var ErrUnreachable = errors.New("the mipvpn daemon is not reachable")

// ErrPermission is returned when the socket may not be opened. A daemon's own refusal is an *Error of KindPermission.
var ErrPermission = errors.New("no permission to talk to the mipvpn daemon")

// maxAnswer is the greatest length of one answer in octets.
const maxAnswer = 16 << 20

// ErrAnswer is returned for an answer that is not understood: a daemon of another version.
var ErrAnswer = errors.New("the daemon's answer is not understood")

// Client asks a daemon. Its methods may be called from one goroutine at a time.
type Client struct {
	conn        net.Conn
	in          *bufio.Reader
	interactive bool
}

// Dial connects to the daemon's socket. The error wraps ErrUnreachable or ErrPermission.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", ErrPermission, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return NewClient(c), nil
}

// NewClient asks the daemon at the other end of c, which it owns from then on.
func NewClient(c net.Conn) *Client {
	return &Client{conn: c, in: bufio.NewReader(c)}
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Interactive has a person be asked for a password by the system where an operation takes that, which then waits for it.
func (c *Client) Interactive() { c.interactive = true }

// Up brings the client up (Backend.Up).
func (c *Client) Up(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Op: OpUp})
	return err
}

// Down takes the client down (Backend.Down).
func (c *Client) Down(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Op: OpDown})
	return err
}

// Status returns the client's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	r, err := c.ask(ctx, Request{Op: OpStatus})
	return value(r.Status, err)
}

// SetMode sets the mode policy (Backend.SetMode).
func (c *Client) SetMode(ctx context.Context, policy string) error {
	_, err := c.ask(ctx, Request{Op: OpMode, Mode: policy})
	return err
}

// Detect returns what detection knows (Backend.Detect).
func (c *Client) Detect(ctx context.Context, again bool) (Detection, error) {
	r, err := c.ask(ctx, Request{Op: OpDetect, Again: again})
	return value(r.Detection, err)
}

// Wait returns the status once the condition holds. A daemon's error is an *Error of KindTimeout after timeout, or of
// KindNotConnected when the client is down. A timeout of 0 waits as long as MaxWait.
func (c *Client) Wait(ctx context.Context, until Condition, timeout time.Duration) (Status, error) {
	if timeout > 0 && timeout < time.Millisecond {
		timeout = time.Millisecond
	}
	r, err := c.ask(ctx, Request{Op: OpWait, For: until, Timeout: timeout.Milliseconds()})
	return value(r.Status, err)
}

// Events calls f for each event from now on, until f returns an error, which Events returns, or ctx ends, for which it
// returns ctx's error. The first call of subscribed, unless nil, comes when no event can be missed any more. The
// connection is used up.
func (c *Client) Events(ctx context.Context, subscribed func(), f func(Event) error) error {
	return c.EventsAfter(ctx, "", subscribed, f)
}

// EventsAfter is Events that begins after the event with that cursor (Backend.SubscribeAfter).
func (c *Client) EventsAfter(ctx context.Context, cursor string, subscribed func(), f func(Event) error) error {
	defer c.conn.Close()
	if _, err := c.ask(ctx, Request{Op: OpEvents, After: cursor}); err != nil {
		return err
	}
	if subscribed != nil {
		subscribed()
	}
	for {
		r, err := c.read(ctx)
		if err != nil {
			return err
		}
		if r.Event == nil {
			return fmt.Errorf("%w: an event was expected", ErrAnswer)
		}
		if err := f(*r.Event); err != nil {
			return err
		}
	}
}

// ask sends a request and reads the first answer.
func (c *Client) ask(ctx context.Context, r Request) (Response, error) {
	r.Schema, r.Interactive = Schema, c.interactive
	p, err := json.Marshal(r)
	if err != nil {
		return Response{}, err
	}
	// A daemon that refuses the peer answers without reading: writing must not stand in the way of its answer. An error of
	// writing shows in reading.
	go func() { _, _ = c.conn.Write(append(p, '\n')) }()
	return c.read(ctx)
}

// read reads one answer.
func (c *Client) read(ctx context.Context) (Response, error) {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxAnswer {
			return Response{}, fmt.Errorf("%w: longer than %d octets", ErrAnswer, maxAnswer)
		}
		if err == nil {
			break
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if ctx.Err() != nil {
			return Response{}, ctx.Err()
		}
		return Response{}, fmt.Errorf("%w: the connection ended before the answer: %w", ErrUnreachable, err)
	}
	var r Response
	if err := json.Unmarshal(line, &r); err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if r.Schema != Schema {
		return Response{}, fmt.Errorf("%w: schema %d, expected %d", ErrAnswer, r.Schema, Schema)
	}
	if r.Error != nil {
		return Response{}, r.Error
	}
	return r, nil
}

// value returns what p points to; an answer without it is an error.
func value[T any](p *T, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	if p == nil {
		return zero, fmt.Errorf("%w: its document is missing", ErrAnswer)
	}
	return *p, nil
}
