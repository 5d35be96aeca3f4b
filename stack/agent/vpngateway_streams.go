package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/stack/tcpflow"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// maxStreams bounds the TCP connections of all clients, maxStreamsAddress those from one address, behind which a NAT
	// may have many clients.
	maxStreams        = 4096
	maxStreamsAddress = 64
	// streamPatience is how long a connection may be of no session: new, or replaced by another one (RFC 9329 §6.1).
	streamPatience = 30 * time.Second
	// streamUseless is how many ESP packets in a row with SPIs that nobody has show that the stream is corrupt
	// (RFC 9329 §6.1).
	streamUseless = 64
)

// stream is the TCP connection of a client.
type stream struct {
	flow    *tcpflow.Flow
	session gateway.SessionID // 0 for none
	expiry  *time.Timer       // closes it while it is of no session
	useless int               // of its receiver
}

// streams are the TCP connections of clients (RFC 9329), by the other end's endpoint.
type streams struct {
	listeners []net.Listener // one for each outer address
	accepting sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	byRemote  map[netip.AddrPort]*stream
	byAddress map[netip.Addr]int
	bySession map[gateway.SessionID]*stream
}

// listen accepts TCP connections, on hosts that have such.
func (g *Gateway) listen() error {
	host, ok := g.host.(link.StreamHost)
	if !ok || g.cfg.NoTCP {
		return nil
	}
	port := g.cfg.TCPPort
	if port == 0 {
		port = esp.PortNATT
	}
	t := &g.streams
	t.byRemote, t.byAddress, t.bySession = make(map[netip.AddrPort]*stream), make(map[netip.Addr]int), make(map[gateway.SessionID]*stream)
	for _, address := range append([]netip.Addr{g.cfg.Address}, g.cfg.Additional...) {
		l, err := host.ListenStream(netip.AddrPortFrom(address, port))
		if err != nil {
			return err
		}
		t.listeners = append(t.listeners, l)
		t.accepting.Go(func() { g.accept(l) })
	}
	return nil
}

// accept takes connections until the listener is closed.
func (g *Gateway) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Such as too many open files: what is there goes on.
			g.log.Warn("TCP connection could not be accepted", zap.Error(err))
			time.Sleep(100 * time.Millisecond)
		default:
			g.admitStream(c)
		}
	}
}

// admitStream makes a stream of a connection, within the bounds.
func (g *Gateway) admitStream(c net.Conn) {
	t := &g.streams
	t.mu.Lock()
	defer t.mu.Unlock()
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if t.closed || len(t.byRemote) >= maxStreams || t.byAddress[from] >= maxStreamsAddress {
		_ = c.Close()
		return
	}
	s := &stream{}
	s.flow = tcpflow.New(c, tcpflow.Options{MTU: g.from(g.cfg.Address).natt.Path(link.Protected).MTU + packet.IPv4Len + packet.UDPLen, Drops: &g.drops,
		Receive: func(f *tcpflow.Flow, b *packet.Batch) { g.receiveStream(s, f, b) },
		Ended: func(_ *tcpflow.Flow, err error) {
			if !errors.Is(err, io.EOF) {
				g.log.Debug("TCP connection of a client ended", zap.Error(err))
			}
			go g.endStream(s)
		}})
	t.byRemote[s.flow.Remote()] = s
	t.byAddress[from]++
	s.expiry = time.AfterFunc(streamPatience, func() { g.endStream(s) })
}

// endStream closes a stream and forgets it.
func (g *Gateway) endStream(s *stream) {
	t := &g.streams
	t.mu.Lock()
	s.expiry.Stop()
	remote := s.flow.Remote()
	if t.byRemote[remote] == s {
		delete(t.byRemote, remote)
		if t.byAddress[remote.Addr()]--; t.byAddress[remote.Addr()] == 0 {
			delete(t.byAddress, remote.Addr())
		}
	}
	if t.bySession[s.session] == s {
		delete(t.bySession, s.session)
	}
	t.mu.Unlock()
	_ = s.flow.Close()
}

// claim makes the stream from the endpoint that of the session, and lets the one it had before end; without a stream from
// there, such as when the session has gone over to UDP, it has none.
func (t *streams) claim(session gateway.SessionID, remote netip.AddrPort, tcp bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var next *stream
	if tcp {
		next = t.byRemote[remote]
	}
	if old := t.bySession[session]; old != nil && old != next {
		old.session = 0
		old.expiry.Reset(streamPatience)
		delete(t.bySession, session)
	}
	if next != nil {
		next.expiry.Stop()
		next.session = session
		t.bySession[session] = next
	}
}

// flow returns the stream to the endpoint, nil when there is none.
func (t *streams) flow(remote netip.AddrPort) *tcpflow.Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byRemote[remote]; s != nil {
		return s.flow
	}
	return nil
}

// receiveStream takes what has arrived in a stream: as on UDP port 4500.
func (g *Gateway) receiveStream(s *stream, f *tcpflow.Flow, b *packet.Batch) {
	b.Keep(&g.drops, func(p *packet.Buf) packet.DropReason {
		switch esp.Classify(p.Bytes()) {
		case esp.KindKeepalive:
			return packet.Delivered
		case esp.KindIKE:
			g.handleMessageTCP(f.Local(), p.Peer, p.Bytes()[esp.MarkerLen:])
			return packet.Delivered
		case esp.KindESP:
			s.useless++
			if g.inbound.Lookup(binary.BigEndian.Uint32(p.Bytes())) != nil {
				s.useless = 0
			}
			return packet.NotDropped
		case esp.KindInvalid:
		}
		return packet.DropMalformed
	})
	if s.useless >= streamUseless {
		s.useless = 0
		g.log.Debug("TCP connection of a client carries nothing of use", zap.Stringer("remote", f.Remote()))
		go g.endStream(s)
	}
	g.receiveESP(f.Local().Addr(), b)
}

// sendStream sends an IKE message in the stream to the endpoint.
func (g *Gateway) sendStream(remote netip.AddrPort, payload []byte) error {
	f := g.streams.flow(remote)
	if f == nil {
		return fmt.Errorf("agent: no TCP connection from %v", remote)
	}
	return f.Send(remote, append(make([]byte, esp.MarkerLen, esp.MarkerLen+len(payload)), payload...))
}

// closeStreams ends all streams and the listening.
func (g *Gateway) closeStreams() error {
	t := &g.streams
	var errs []error
	for _, l := range t.listeners {
		errs = append(errs, l.Close())
	}
	t.accepting.Wait()
	t.mu.Lock()
	t.closed = true
	all := make([]*stream, 0, len(t.byRemote))
	for _, s := range t.byRemote {
		all = append(all, s)
	}
	t.mu.Unlock()
	var wait sync.WaitGroup
	for _, s := range all {
		wait.Go(func() { g.endStream(s) })
	}
	wait.Wait()
	return errors.Join(errs...)
}
