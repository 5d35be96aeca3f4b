package company

import (
	"context"

	"mipvpn/client/control"
)

// socketClient asks the daemon behind a control socket, over a connection of its own each time.
type socketClient struct{ path string }

func (s socketClient) ask(ctx context.Context, f func(*control.Client) error) error {
	c, err := control.Dial(ctx, s.path)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// Up implements scenario.Client.
func (s socketClient) Up(ctx context.Context) error {
	return s.ask(ctx, func(c *control.Client) error { return c.Up(ctx) })
}

// SetMode implements scenario.Client.
func (s socketClient) SetMode(ctx context.Context, policy string) error {
	return s.ask(ctx, func(c *control.Client) error { return c.SetMode(ctx, policy) })
}

// Status implements scenario.Client.
func (s socketClient) Status(ctx context.Context) (control.Status, error) {
	var status control.Status
	err := s.ask(ctx, func(c *control.Client) (err error) {
		status, err = c.Status(ctx)
		return err
	})
	return status, err
}

// Events implements scenario.Client.
func (s socketClient) Events(ctx context.Context, f func(control.Event)) error {
	return s.ask(ctx, func(c *control.Client) error {
		return c.Events(ctx, nil, func(e control.Event) error {
			f(e)
			return nil
		})
	})
}
