package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/query"
	"mipvpn/tun/link"
)

const (
	// maxQuestions is how many questions are being answered at a time; those beyond are dropped and asked again.
	maxQuestions = 256
	// maxStreams is how many TCP connections applications may have open at a time.
	maxStreams = 64
	// answerLimit is how long a question may take. The C library asks again after five seconds.
	answerLimit = 20 * time.Second
	// streamIdle is how long a TCP connection may be silent (RFC 7766 §6.2.3).
	streamIdle = 10 * time.Second
)

// ErrClosed means that the Forwarder has been closed.
var ErrClosed = errors.New("dns: closed")

// Sockets are ordinary sockets of this host: what they send goes by the host's routes, the tunnel among them.
type Sockets interface {
	// ListenUDP opens a UDP socket, on the zero Addr for any address, on port 0 for a free one that nobody can guess.
	ListenUDP(local netip.AddrPort) (net.PacketConn, error)
	// ListenTCP opens a listener.
	ListenTCP(local netip.AddrPort) (net.Listener, error)
	// DialTCP opens a TCP connection.
	DialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error)
}

// Outside is the interface in use, outside the tunnel.
type Outside interface {
	// Exchange gets a query answered over UDP by the interface's servers. The answer has the query's ID and spelling.
	Exchange(ctx context.Context, message []byte) ([]byte, error)
	// Servers returns those of the interface's servers that the host's own routes lead to, for questions over TCP.
	Servers(ctx context.Context) ([]netip.Addr, error)
}

// Counts are what a Forwarder has done since it was started.
type Counts struct {
	// Inside and Outside are questions sent on, Refused those answered on the spot for their name, Failed those that were
	// answered with a failure of ours.
	Inside, Outside, Refused, Failed uint64
	// Checks are those of all questions whose name begins with CheckLabel.
	Checks uint64
}

// CheckLabel is what the first label of a name begins with that is asked about only to see whether the question arrives. What stands
// behind it is another one each time, so that no cache has the answer.
const CheckLabel = "mipvpn-doctor-asks-"

// Forwarder is a DNS server on a loopback address.
type Forwarder struct {
	sockets Sockets
	clock   link.Clock
	outside Outside
	rand    io.Reader
	log     *zap.Logger
	local   netip.AddrPort

	routing atomic.Pointer[Routing]
	counts  struct{ inside, outside, refused, failed, checks atomic.Uint64 }

	udp       net.PacketConn
	tcp       net.Listener
	ctx       context.Context
	cancel    context.CancelFunc
	questions chan struct{}
	streams   chan struct{}
	work      sync.WaitGroup
}

// Listen starts a Forwarder on port 53 of the address, over UDP and TCP, with an empty Routing: everything that may go
// outside does. rand must be good for keys and safe for concurrent use. Errors: what the sockets say, such as that the
// address is taken.
func Listen(sockets Sockets, clock link.Clock, local netip.Addr, outside Outside, rand io.Reader, log *zap.Logger) (*Forwarder, error) {
	f := &Forwarder{
		sockets: sockets, clock: clock, outside: outside, rand: rand, log: log, local: netip.AddrPortFrom(local, resolve.Port),
		questions: make(chan struct{}, maxQuestions), streams: make(chan struct{}, maxStreams),
	}
	f.routing.Store(&Routing{})
	var err error
	if f.udp, err = sockets.ListenUDP(f.local); err != nil {
		return nil, fmt.Errorf("dns: listen on %v: %w", f.local, err)
	}
	if f.tcp, err = sockets.ListenTCP(f.local); err != nil {
		return nil, errors.Join(fmt.Errorf("dns: listen on %v: %w", f.local, err), f.udp.Close())
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.work.Go(f.serveUDP)
	f.work.Go(f.serveTCP)
	return f, nil
}

// Set changes where questions go from now on. What has been asked goes on.
func (f *Forwarder) Set(r Routing) {
	r.Domains = append(query.Domains(nil), r.Domains...)
	r.Inside = append([]netip.Addr(nil), r.Inside...)
	f.routing.Store(&r)
}

// Counts returns the counters.
func (f *Forwarder) Counts() Counts {
	c := &f.counts
	return Counts{Inside: c.inside.Load(), Outside: c.outside.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(), Checks: c.checks.Load()}
}

// Close ends the Forwarder and waits for what it is doing.
func (f *Forwarder) Close() error {
	f.cancel()
	err := errors.Join(f.udp.Close(), f.tcp.Close())
	f.work.Wait()
	return err
}

func (f *Forwarder) serveUDP() {
	buf := make([]byte, query.MaxMessage)
	for {
		n, from, err := f.udp.ReadFrom(buf)
		if err != nil {
			if f.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				continue // an ICMP message of an application that has gone
			}
			return
		}
		message := append([]byte(nil), buf[:n]...)
		select {
		case f.questions <- struct{}{}:
		default:
			continue
		}
		f.work.Go(func() {
			defer func() { <-f.questions }()
			if answer := f.answer(message, false); answer != nil {
				_, _ = f.udp.WriteTo(query.Fit(message, answer), from) // lost: asked again
			}
		})
	}
}

func (f *Forwarder) serveTCP() {
	for {
		c, err := f.tcp.Accept()
		if err != nil {
			if f.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				continue
			}
			return
		}
		select {
		case f.streams <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		f.work.Go(func() {
			defer func() { <-f.streams }()
			stop := context.AfterFunc(f.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			f.serveStream(c)
			_ = c.Close()
		})
	}
}

// serveStream answers the questions of one connection, one after the other (RFC 1035 §4.2.2).
func (f *Forwarder) serveStream(c net.Conn) {
	for {
		if c.SetReadDeadline(time.Now().Add(streamIdle)) != nil || f.ctx.Err() != nil {
			return
		}
		message, err := readMessage(c)
		if err != nil {
			return
		}
		answer := f.answer(message, true)
		if answer == nil || writeMessage(c, answer) != nil {
			return
		}
	}
}

// readMessage reads a message behind its length.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeMessage writes a message behind its length, in one segment (RFC 7766 §8).
func writeMessage(w io.Writer, message []byte) error {
	if len(message) > query.MaxMessage {
		return fmt.Errorf("dns: a message of %d octets, at most %d fit", len(message), query.MaxMessage)
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message))), message...))
	return err
}

// answer returns the answer to a message, nil for what is none.
func (f *Forwarder) answer(message []byte, stream bool) []byte {
	q, err := query.ParseQuestion(message)
	if err != nil {
		return nil
	}
	if strings.HasPrefix(q.Name, CheckLabel) {
		f.counts.checks.Add(1)
	}
	ctx, cancel := context.WithTimeout(f.ctx, answerLimit)
	defer cancel()
	r := f.routing.Load()
	var answer []byte
	switch r.decide(q) {
	case inside:
		f.counts.inside.Add(1)
		answer, err = f.askInside(ctx, r, message, stream)
	case outside:
		f.counts.outside.Add(1)
		answer, err = f.askOutside(ctx, message, stream)
	default:
		f.counts.refused.Add(1)
		answer, err = query.Failure(message, query.RcodeNameError)
	}
	if err == nil {
		return answer
	}
	f.counts.failed.Add(1)
	f.log.Debug("a question has no answer", zap.Error(err))
	failure, err := query.Failure(message, query.RcodeServerFailure)
	if err != nil {
		return nil
	}
	return failure
}

// askInside asks the enterprise's servers, over TCP where the application asked over TCP.
func (f *Forwarder) askInside(ctx context.Context, r *Routing, message []byte, stream bool) ([]byte, error) {
	servers := resolve.Endpoints(r.Inside)
	servers = slices.DeleteFunc(servers, func(s netip.AddrPort) bool { return !s.Addr().Is4() }) // nothing carries IPv6
	if len(servers) == 0 {
		return nil, query.ErrNoServers
	}
	if stream {
		return f.askStreams(ctx, servers, message)
	}
	return resolve.Exchange(ctx, f.clock, message, servers, f.rand, f.open)
}

// askOutside asks the servers of the interface in use.
func (f *Forwarder) askOutside(ctx context.Context, message []byte, stream bool) ([]byte, error) {
	if !stream {
		return f.outside.Exchange(ctx, message)
	}
	servers, err := f.outside.Servers(ctx)
	if err != nil {
		return nil, err
	}
	return f.askStreams(ctx, resolve.Endpoints(servers), message)
}

// askStreams asks one server after the other over TCP.
func (f *Forwarder) askStreams(ctx context.Context, servers []netip.AddrPort, message []byte) ([]byte, error) {
	errs := []error{query.ErrNoAnswer}
	for _, s := range servers {
		one, cancel := context.WithTimeout(ctx, streamIdle)
		answer, err := f.askStream(one, s, message)
		cancel()
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// askStream asks one server over TCP. The connection is of this question alone, so that it has nothing to be confused with.
func (f *Forwarder) askStream(ctx context.Context, server netip.AddrPort, message []byte) ([]byte, error) {
	c, err := f.sockets.DialTCP(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("dns: ask %v: %w", server, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = writeMessage(c, message); err != nil {
		return nil, fmt.Errorf("dns: ask %v: %w", server, err)
	}
	answer, err := readMessage(c)
	if err == nil && (len(answer) < 12 || answer[2]&0x80 == 0 || [2]byte(answer) != [2]byte(message)) {
		err = query.ErrRejected
	}
	if err != nil {
		return nil, fmt.Errorf("dns: answer of %v: %w", server, err)
	}
	return answer, nil
}

// open opens a conversation with a server by the host's routes.
func (f *Forwarder) open(server netip.AddrPort, receive func([]byte)) (func([]byte) error, func(), error) {
	c, err := f.sockets.ListenUDP(netip.AddrPort{})
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, query.MaxMessage)
		for {
			n, from, err := c.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // such as an ICMP message: the server may answer yet
				if f.ctx.Err() != nil {
					return
				}
				continue
			}
			if a, ok := from.(*net.UDPAddr); ok {
				if at := a.AddrPort(); netip.AddrPortFrom(at.Addr().Unmap(), at.Port()) == server {
					receive(append([]byte(nil), buf[:n]...))
				}
			}
		}
	}()
	send := func(p []byte) error {
		_, err := c.WriteTo(p, net.UDPAddrFromAddrPort(server))
		return err
	}
	return send, func() {
		_ = c.Close()
		<-done
	}, nil
}
