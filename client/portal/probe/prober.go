package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"mipvpn/client/portal"
	"mipvpn/tun/link"
)

// Dialer opens TCP connections bound to an interface, past the TUN device.
type Dialer interface {
	// DialThrough opens a TCP connection that leaves by the interface with this index and by no other.
	DialThrough(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error)
}

// Resolver asks the name servers of an interface, through that interface.
type Resolver interface {
	// Addresses returns the IPv4 addresses of a name, at least one.
	Addresses(ctx context.Context, i link.Interface, name string) ([]netip.Addr, error)
	// Exchange gets a DNS message answered; the answer has the query's identifier.
	Exchange(ctx context.Context, i link.Interface, message []byte) ([]byte, error)
}

const (
	// Time is how long a question may take.
	Time = 10 * time.Second
	// maxAnswer bounds what is read of an answer, header and body, in octets.
	maxAnswer = 64 << 10
)

// Prober asks questions.
type Prober struct {
	dialer   Dialer
	resolver Resolver
}

// New returns a Prober. The resolver may be nil where no question names a host.
func New(dialer Dialer, resolver Resolver) *Prober { return &Prober{dialer, resolver} }

// Ask makes the question's request through the interface and reports what came of it. It takes at most Time and follows
// nothing that the answer says.
func (p *Prober) Ask(ctx context.Context, i link.Interface, q portal.Question) portal.Observation {
	ctx, cancel := context.WithTimeout(ctx, Time)
	defer cancel()
	address, err := netip.ParseAddr(q.Host)
	if err != nil {
		if p.resolver == nil {
			return portal.Observation{Failure: "there is nobody to ask for the name of the probe's server"}
		}
		list, err := p.resolver.Addresses(ctx, i, q.Host)
		if err != nil || len(list) == 0 {
			return portal.Observation{Failure: "the name servers of the interface do not know the probe's server"}
		}
		address = list[0]
	}
	c, err := p.dialer.DialThrough(ctx, i.Index, netip.AddrPortFrom(address, q.Port))
	if err != nil {
		return portal.Observation{Failure: why(err)}
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	return converse(c, q)
}

// converse makes the request on a connection and reads the answer.
func converse(c net.Conn, q portal.Question) portal.Observation {
	o := portal.Observation{Connected: true}
	// Portals answer browsers only, and many tell one by these fields.
	request := "GET " + q.Path + " HTTP/1.1\r\nHost: " + q.Authority() + "\r\nUser-Agent: Mozilla/5.0\r\n" +
		"Accept: text/html,*/*\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(c, request); err != nil {
		o.Failure = why(err)
		return o
	}
	r, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), &http.Request{Method: http.MethodGet})
	if err != nil {
		o.Failure = "what answers does not speak HTTP"
		return o
	}
	defer r.Body.Close()
	o.Status, o.Location = r.StatusCode, r.Header.Get("Location")
	o.Body, _ = io.ReadAll(io.LimitReader(r.Body, portal.MaxBody)) // what came before an error is looked at
	return o
}

// why says in plain words what a connection failed of, without anything that came from the other end.
func why(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing answers in time"
	}
	return "no connection can be made"
}
