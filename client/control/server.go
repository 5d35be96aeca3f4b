package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// maxConnections is how many connections are served at once.
	maxConnections = 64
	// maxGuests is how many of them may be of users whom the authority does not allow everything, so that these cannot keep others out.
	maxGuests = 48
	// requestTime is how long a peer may take to send its first request, or the next one.
	requestTime = time.Minute
	// writeTime is how long a peer may take to read an answer.
	writeTime = 10 * time.Second
	// acceptPause is how long the server waits when the system cannot give it a connection, for want of descriptors most
	// often.
	acceptPause = 100 * time.Millisecond
)

// Server answers requests from a Backend.
type Server struct {
	backend   Backend
	authority atomic.Pointer[Authority]
	log       *zap.Logger
	slots     chan struct{}
	guests    chan struct{}
	reload    Reloader
	profiles  Profiler
	judge     atomic.Pointer[Judge]
	owner     atomic.Int64 // the user who has brought the client up, -1 for nobody
}

// NewServer returns a server that obeys those whom the authority allows. A nil log is none.
func NewServer(backend Backend, authority Authority, log *zap.Logger) *Server {
	if log == nil {
		log = zap.NewNop()
	}
	s := &Server{backend: backend, log: log, slots: make(chan struct{}, maxConnections), guests: make(chan struct{}, maxGuests)}
	s.SetAuthority(authority)
	s.owner.Store(noOwner)
	return s
}

// SetAuthority has the server obey those whom another authority allows, on connections that begin from now on.
func (s *Server) SetAuthority(a Authority) { s.authority.Store(&a) }

// Serve accepts connections until ctx ends or the listener is closed, and returns when all of them have ended. The
// listener is closed then. The error is nil when ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	connections, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("control: accept: %w", err)
			}
			s.log.Warn("control connection not accepted", zap.Error(err))
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-s.slots }()
			peer, err := PeerOf(c)
			if err != nil {
				s.log.Warn("control connection refused", zap.Error(err))
				c.Close()
				return
			}
			s.ServeConn(connections, c, peer)
		})
	}
}

// ServeConn serves one connection with that peer until either side closes it or ctx ends, and closes it. It works on any
// net.Conn with deadlines, net.Pipe among them.
func (s *Server) ServeConn(ctx context.Context, c net.Conn, peer Peer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	k := &conn{Conn: c, in: bufio.NewReaderSize(c, MaxRequest), peer: peer}
	k.all = s.authority.Load().Allows(peer)
	if !k.all {
		select {
		case s.guests <- struct{}{}:
			defer func() { <-s.guests }()
		default:
			return
		}
		if s.judge.Load() == nil {
			s.refuse(k, RightAdminister, nil)
			return
		}
	}
	for {
		line, err := k.request()
		if len(bytes.TrimSpace(line)) == 0 && err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				k.answer(failure(KindUsage, fmt.Sprintf("%v: longer than %d octets", ErrRequest, MaxRequest)))
			}
			return
		}
		r, bad := ParseRequest(line)
		if len(r.Secret) > 0 {
			clear(line)
		}
		if bad != nil {
			k.answer(failure(KindUsage, bad.Error()))
			return // what follows cannot be told apart
		}
		if !s.permits(ctx, k, r) {
			clear(r.Secret)
			continue // who may not do one thing may do another
		}
		if !s.serve(ctx, k, r) || err != nil {
			return
		}
	}
}

// conn is one connection.
type conn struct {
	net.Conn
	in   *bufio.Reader
	peer Peer
	all  bool // the peer may do everything
}

// request reads one line, valid until the next. The error is bufio.ErrBufferFull, with no line, for one that is too long.
func (k *conn) request() ([]byte, error) {
	if err := k.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return nil, err
	}
	line, err := k.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	return line, err
}

// answer writes one document and reports whether that worked.
func (k *conn) answer(r Response) bool {
	r.Schema = Schema
	p, err := json.Marshal(r)
	if err != nil { // a float that is not a number, from a Backend
		p, _ = json.Marshal(Response{Schema: Schema, Error: &Error{KindFailed, "the answer cannot be written: " + err.Error()}})
	}
	if err := k.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return false
	}
	_, err = k.Write(append(p, '\n'))
	return err == nil
}

// gone calls f when the peer closes the connection or sends anything, which ends what it waits for. The returned function
// ends the watch and reports whether the connection can go on.
func (k *conn) gone(f func()) (end func() bool) {
	ended := make(chan bool, 1)
	_ = k.SetReadDeadline(time.Time{})
	go func() {
		_, err := k.in.Peek(1)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			ended <- true // end came first
			return
		}
		f()
		ended <- err == nil
	}()
	return func() bool {
		_ = k.SetReadDeadline(time.Now())
		return <-ended
	}
}

// serve answers one request and reports whether the connection goes on.
func (s *Server) serve(ctx context.Context, k *conn, r Request) bool {
	switch r.Op {
	case OpEvents:
		s.events(ctx, k, r.After)
		return false
	case OpWait:
		return s.wait(ctx, k, r)
	case OpPortal:
		s.portal(ctx, k, r)
		return false
	case OpQuestions:
		s.questions(ctx, k)
		return false
	case OpAnswer:
		return k.answer(s.takeAnswer(r))
	case OpPortalJoin:
		return k.answer(s.joinPortal(ctx, k))
	case OpReload:
		return k.answer(s.reloaded(ctx, r.Anew))
	case OpProfiles, OpProfile:
		return k.answer(s.profile(ctx, r))
	}
	answer := s.ask(ctx, r)
	if r.Op == OpUp && answer.Error == nil && !k.all { // root's session, and a script's, is that of whoever comes up behind them
		s.owner.CompareAndSwap(noOwner, int64(k.peer.UID))
	}
	return k.answer(answer)
}

// ask answers the requests with a single answer.
func (s *Server) ask(ctx context.Context, r Request) Response {
	var answer Response
	var err error
	switch r.Op {
	case OpUp:
		err = s.backend.Up(ctx)
	case OpDown:
		if err = s.backend.Down(ctx); err == nil {
			s.owner.Store(noOwner)
		}
	case OpMode:
		err = s.backend.SetMode(ctx, r.Mode)
	case OpStatus:
		answer.Status, err = pointer(s.status(ctx))
	case OpDetect:
		answer.Detection, err = pointer(s.backend.Detect(ctx, r.Again))
	case OpProbe:
		answer.Probe, err = pointer(s.backend.Probe(ctx))
	case OpPing:
		answer.Ping, err = pointer(s.backend.Ping(ctx))
	case OpExplain:
		address, _ := netip.ParseAddr(r.Address) // checked with the request
		answer.Explanation, err = pointer(s.backend.Explain(ctx, address))
	}
	if err != nil {
		return failure(KindFailed, err.Error())
	}
	return answer
}

// events writes events until the peer has had enough or the client ends.
func (s *Server) events(ctx context.Context, k *conn, after string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, unsubscribe := s.backend.SubscribeAfter(after)
	defer unsubscribe()
	end := k.gone(cancel)
	defer end()
	if !k.answer(Response{}) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok || !k.answer(Response{Event: &e}) {
				return
			}
		}
	}
}

// wait answers once the condition holds, the time is up, or it cannot come true.
func (s *Server) wait(ctx context.Context, k *conn, r Request) bool {
	limit := time.Duration(r.Timeout) * time.Millisecond
	if limit == 0 {
		limit = MaxWait
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	end := k.gone(cancel)
	answer := s.await(ctx, r.For)
	if ctx.Err() == context.DeadlineExceeded && answer.Error != nil {
		answer = failure(KindTimeout, fmt.Sprintf("not %s within %v%s", r.For, limit, s.hindrance()))
	}
	goesOn := end()
	return k.answer(answer) && goesOn
}

// hindrance says what the client is about and what keeps it from more, for who has waited in vain.
func (s *Server) hindrance() string {
	ctx, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	status, err := s.status(ctx)
	if err != nil {
		return ""
	}
	text := fmt.Sprintf(": the client is %s", status.State)
	for _, p := range status.Problems {
		text += "; " + p.String()
	}
	if len(status.Problems) == 0 {
		text += "; `mipvpn status` and `mipvpn doctor` say more"
	}
	return text
}

// statusPatience is how long the status may take for that.
const statusPatience = time.Second

// await looks at the status at once and after each event.
func (s *Server) await(ctx context.Context, c Condition) Response {
	events, unsubscribe := s.backend.Subscribe()
	defer unsubscribe()
	for {
		status, err := s.status(ctx)
		switch {
		case err != nil:
			return failure(KindFailed, err.Error())
		case c.Holds(status):
			return Response{Status: &status}
		case status.State == StateDown:
			return failure(KindNotConnected, "the client is down: run `mipvpn up`")
		}
		select {
		case <-ctx.Done():
			return failure(KindFailed, ctx.Err().Error())
		case _, ok := <-events:
			if !ok {
				return failure(KindNotConnected, "the daemon is ending")
			}
		}
	}
}

func failure(k Kind, message string) Response {
	return Response{Error: &Error{Kind: k, Message: message}}
}

// pointer returns a pointer to v, or nil and the error.
func pointer[T any](v T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return &v, nil
}
