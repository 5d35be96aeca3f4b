package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Link is where a transfer goes: Dial connects the laptop with Listener, which the correspondent has.
type Link struct {
	Dial     func(ctx context.Context) (net.Conn, error)
	Listener net.Listener
}

// Rates are what a transfer came to in bits of payload a second: Up from the laptop to the correspondent, Down the other
// way.
type Rates struct {
	Up   float64 `json:"up_bits_per_second"`
	Down float64 `json:"down_bits_per_second"`
}

// Measure transfers as much as goes through for the duration, each way on a connection of its own.
func Measure(ctx context.Context, l Link, d time.Duration) (Rates, error) {
	var r Rates
	for _, way := range []struct {
		rate *float64
		up   bool
	}{{&r.Up, true}, {&r.Down, false}} {
		near, far, err := connect(ctx, l)
		if err != nil {
			return r, err
		}
		from, to := near, far
		if !way.up {
			from, to = far, near
		}
		*way.rate, err = transfer(from, to, d)
		near.Close()
		far.Close()
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// connect opens one connection and returns both ends.
func connect(ctx context.Context, l Link) (near, far net.Conn, err error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	ch := make(chan accepted, 1)
	go func() {
		c, err := l.Listener.Accept()
		ch <- accepted{c, err}
	}()
	if near, err = l.Dial(ctx); err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	a := <-ch
	if a.err != nil {
		near.Close()
		return nil, nil, fmt.Errorf("bench: %w", a.err)
	}
	return near, a.conn, nil
}

// warmUp is the part of a transfer, one in so many, that is not counted: TCP has to find its rate.
const warmUp = 5

// transfer sends from one end to the other for the duration and returns the rate at which octets arrived.
func transfer(from, to net.Conn, d time.Duration) (float64, error) {
	end := time.Now().Add(d)
	if err := errors.Join(from.SetDeadline(end), to.SetDeadline(end)); err != nil {
		return 0, err
	}
	go io.Copy(from, zeros{}) // ends with the deadline
	buf := make([]byte, 1<<18)
	begin := end.Add(-d + d/warmUp)
	var octets int64
	var first, last time.Time
	for {
		n, err := to.Read(buf)
		now := time.Now()
		if n > 0 && now.After(begin) {
			if first.IsZero() {
				first = now // its own octets came before
			} else {
				octets += int64(n)
			}
			last = now
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("bench: transfer: %w", err)
		}
	}
	if octets == 0 {
		return 0, errors.New("bench: nothing got through")
	}
	return float64(octets) * 8 / last.Sub(first).Seconds(), nil
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
