package agent

import (
	"sync"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// life is how an agent ends: by Close, or by itself when it can do its work no longer.
type life struct {
	failed *failure
	once   *sync.Once
	result *error
}

type failure struct {
	once sync.Once
	done chan struct{}
	err  error
}

func newLife() life {
	return life{failed: &failure{done: make(chan struct{})}, once: new(sync.Once), result: new(error)}
}

// Done is closed when the agent has failed and does its work no longer. Close is still to be called.
func (l life) Done() <-chan struct{} { return l.failed.done }

// Err returns why the agent has failed, nil while it has not.
func (l life) Err() error {
	select {
	case <-l.failed.done:
		return l.failed.err
	default:
		return nil
	}
}

func (l life) fail(err error) {
	l.failed.once.Do(func() {
		l.failed.err = err
		close(l.failed.done)
	})
}

// close calls f once and returns what it returned the first time.
func (l life) close(f func() error) error {
	l.once.Do(func() { *l.result = f() })
	return *l.result
}

// whenReady returns a receiver that drops everything until ready is closed.
func whenReady(ready <-chan struct{}, drops *packet.Drops, recv link.Receiver) link.Receiver {
	return func(b *packet.Batch) {
		select {
		case <-ready:
			recv(b)
		default:
			b.Drop(drops, packet.DropNoFlow)
		}
	}
}
