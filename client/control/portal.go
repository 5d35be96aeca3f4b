package control

import (
	"context"
	"fmt"
	"time"
)

// Portal is the captive portal that is suspected on an interface (HST-5).
type Portal struct {
	// Host is the name or address of the portal's page, and URL the page; both are empty where the portal names none. What a
	// portal says has been checked: it is printable ASCII and names nothing of the enterprise's by address.
	Host string `json:"host"`
	URL  string `json:"url"`
	// Reason says in plain words how the portal is known.
	Reason string `json:"reason"`
	// Open says that the way to it is open for a browser.
	Open bool `json:"open"`
}

// PortalWay is the way to a captive portal as it stands, the answer to OpPortal.
type PortalWay struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Interface is the name of the interface that the way leads through.
	Interface string `json:"interface"`
	// URL is what the browser is to open.
	URL string `json:"url"`
	// Browser is the configured browser, empty for none.
	Browser string `json:"browser"`
	// Confinement says by what means the kernel knows the browser's packets.
	Confinement string `json:"confinement"`
	// ExpiresIn is the time in seconds until the way closes.
	ExpiresIn float64 `json:"expires_in_s"`
	// Closed says in plain words why the way has been closed, empty while it is open. Passed says that it was because a home
	// agent has answered.
	Closed string `json:"closed"`
	Passed bool   `json:"passed"`
}

// PortalBackend is a Backend that opens ways to captive portals.
type PortalBackend interface {
	// OpenPortal opens the way to the captive portal on the interface (empty: the one where one is suspected) for a browser of
	// the peer's user, for at most limit (0: as configured). The channel yields the way once when it has closed, and then is
	// closed; closing the way takes the function returned. An error that wraps ErrRefused says why there is none.
	OpenPortal(ctx context.Context, peer Peer, iface string, limit time.Duration) (way PortalWay, closed <-chan PortalWay, end func(), err error)
	// JoinPortal puts the peer's process into the way that its user has open: what it sends from then on goes to the portal
	// and nowhere else, and it is killed when the way closes.
	JoinPortal(ctx context.Context, peer Peer) error
}

// portal opens a way and holds it open until the peer goes or the way is closed.
func (s *Server) portal(ctx context.Context, k *conn, r Request) {
	b, ok := s.backend.(PortalBackend)
	if !ok {
		k.answer(failure(KindFailed, "this daemon opens no ways to captive portals"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	way, closed, end, err := b.OpenPortal(ctx, k.peer, r.Interface, time.Duration(r.Timeout)*time.Millisecond)
	if err != nil {
		k.answer(failure(KindFailed, err.Error()))
		return
	}
	defer end()
	watch := k.gone(cancel)
	defer watch()
	if !k.answer(Response{Portal: &way}) {
		return
	}
	select {
	case <-ctx.Done():
	case last, ok := <-closed:
		if ok {
			k.answer(Response{Portal: &last})
		}
	}
}

// joinPortal puts the peer's process into the way.
func (s *Server) joinPortal(ctx context.Context, k *conn) Response {
	b, ok := s.backend.(PortalBackend)
	if !ok {
		return failure(KindFailed, "this daemon opens no ways to captive portals")
	}
	if err := b.JoinPortal(ctx, k.peer); err != nil {
		return failure(KindFailed, err.Error())
	}
	return Response{}
}

// Portal opens the way to a captive portal on the interface (empty: the one where one is suspected), for at most limit (0: as
// configured), and calls opened once it is open. It returns the way once it is closed, which it is at the latest when ctx
// ends or opened returns an error, which Portal returns then. The connection is used up.
func (c *Client) Portal(ctx context.Context, iface string, limit time.Duration, opened func(PortalWay) error) (PortalWay, error) {
	defer c.conn.Close()
	r, err := c.ask(ctx, Request{Op: OpPortal, Interface: iface, Timeout: limit.Milliseconds()})
	way, err := value(r.Portal, err)
	if err != nil {
		return PortalWay{}, err
	}
	if err := opened(way); err != nil {
		return PortalWay{}, err
	}
	for way.Closed == "" {
		r, err := c.read(ctx)
		if err != nil {
			return PortalWay{}, err
		}
		if way, err = value(r.Portal, nil); err != nil {
			return PortalWay{}, err
		}
	}
	return way, nil
}

// JoinPortal puts this process into the way to a captive portal that its user has open (PortalBackend.JoinPortal).
func (c *Client) JoinPortal(ctx context.Context) error {
	_, err := c.ask(ctx, Request{Op: OpPortalJoin})
	return err
}

// MaxPortal is the longest time that the way to a captive portal can be asked for.
const MaxPortal = time.Hour

// checkPortal checks the fields of the portal operations.
func (r Request) checkPortal() error {
	switch {
	case r.Interface != "" && r.Op != OpPortal:
		return fmt.Errorf("%w: operation %q does not take \"interface\"", ErrRequest, r.Op)
	case len(r.Interface) > 64:
		return fmt.Errorf("%w: interface of %d octets, at most 64", ErrRequest, len(r.Interface))
	case r.Op == OpPortal && (r.For != "" || r.Timeout < 0 || r.Timeout > MaxPortal.Milliseconds()):
		return fmt.Errorf("%w: operation %q takes a timeout of 0 to %d ms and no condition", ErrRequest, r.Op, MaxPortal.Milliseconds())
	}
	return nil
}
