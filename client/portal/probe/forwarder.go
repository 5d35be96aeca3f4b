package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/portal"
	"mipvpn/tun/link"
)

const (
	// queryTime is how long a query may take.
	queryTime = 5 * time.Second
	// maxQueries is how many queries are under way at once; more are not answered.
	maxQueries = 16
)

// Forwarder answers the DNS queries of a portal's browser.
type Forwarder struct {
	// Interface is whose name servers are asked, through it.
	Interface link.Interface
	// Names says what may be asked for.
	Names portal.Names
	// Resolver asks the name servers.
	Resolver Resolver
	// Learn is told the addresses that the browser is about to be told. With an error the browser is told nothing.
	Learn func([]netip.Addr) error
	// Log gets what failed; nil for none.
	Log *zap.Logger
}

// Serve answers the queries that come to c until ctx ends, and closes c. It returns nil when ctx ended, else the error that
// ended it.
func (f *Forwarder) Serve(ctx context.Context, c net.PacketConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	slots := make(chan struct{}, maxQueries)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("probe: read a query: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			continue // the browser asks again
		}
		message := append([]byte(nil), buf[:n]...)
		work.Go(func() {
			defer func() { <-slots }()
			answer, err := f.answer(ctx, message)
			if err != nil {
				f.debug("a query of the portal's browser is not answered", err)
				return
			}
			if _, err := c.WriteTo(answer, from); err != nil {
				f.debug("an answer for the portal's browser is not sent", err)
			}
		})
	}
}

// answer returns the answer to one query, an error for what is none.
func (f *Forwarder) answer(ctx context.Context, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	q, forward, err := f.Names.Query(message)
	if err != nil {
		return nil, err
	}
	if !forward {
		return q.Refusal(false)
	}
	reply, err := f.Resolver.Exchange(ctx, f.Interface, q.Message())
	if err != nil {
		f.debug("the name servers of the interface do not answer", err)
		return q.Refusal(true)
	}
	answer, addresses, err := q.Answer(reply)
	if err != nil {
		f.debug("an answer of a name server is not understood", err)
		return q.Refusal(true)
	}
	if len(addresses) > 0 {
		if err := f.Learn(addresses); err != nil {
			f.debug("the way to an address of the portal is not opened", err)
			return q.Refusal(true)
		}
	}
	return answer, nil
}

func (f *Forwarder) debug(message string, err error) {
	if f.Log != nil {
		f.Log.Debug(message, zap.String("interface", f.Interface.Name), zap.Error(err))
	}
}
