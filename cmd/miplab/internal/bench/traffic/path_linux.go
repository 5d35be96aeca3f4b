package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"mipvpn/cmd/miplab/internal/space"
)

// Path is where the traffic goes: the application's two ends, each a namespace and an address in it.
type Path struct {
	Near, Far               *space.Space
	NearAddress, FarAddress netip.Addr
}

// Ports of the far end's services.
const (
	tcpPort = 7100
	udpPort = 7101
)

// patience is how long a connection may take, and a datagram that nothing else tells of.
const patience = 10 * time.Second

// chunk is how many octets the applications write and read at once.
const chunk = 256 << 10

// Flow is one TCP connection over which one end sends as fast as it goes.
type Flow struct {
	from, to *net.TCPConn
	octets   atomic.Uint64
	ended    chan error // of the reader
}

// OpenFlow connects the near end with the far one; data goes up, or down when up is not set. It sends until Close.
func OpenFlow(ctx context.Context, p Path, up bool) (*Flow, error) {
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.FarAddress, tcpPort))
	var l *net.TCPListener
	if err := p.Far.Do(func() (err error) { l, err = net.ListenTCP("tcp4", at); return err }); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	defer l.Close()
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var near net.Conn
	err := p.Near.Do(func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: p.NearAddress.AsSlice()}}
		near, err = d.DialContext(ctx, "tcp4", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	far, err := l.AcceptTCP()
	if err != nil {
		near.Close()
		return nil, fmt.Errorf("traffic: %w", err)
	}
	f := &Flow{from: near.(*net.TCPConn), to: far, ended: make(chan error, 1)}
	if !up {
		f.from, f.to = f.to, f.from
	}
	go f.write()
	go f.read()
	return f, nil
}

// write sends until the connection is closed.
func (f *Flow) write() {
	data := make([]byte, chunk)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for {
		if _, err := f.from.Write(data); err != nil {
			return // Close, or the reader tells
		}
	}
}

func (f *Flow) read() {
	data := make([]byte, chunk)
	for {
		n, err := f.to.Read(data)
		f.octets.Add(uint64(n))
		if err != nil {
			f.ended <- err
			return
		}
	}
}

// Octets is how many octets of payload have arrived.
func (f *Flow) Octets() uint64 { return f.octets.Load() }

// Close ends the connection at once, with what is on its way. An error tells that it had ended before.
func (f *Flow) Close() error {
	f.from.SetLinger(0)
	f.to.SetLinger(0)
	err := errors.Join(f.to.Close(), f.from.Close())
	if end := <-f.ended; !errors.Is(end, net.ErrClosed) {
		if end == io.EOF {
			end = io.ErrUnexpectedEOF
		}
		err = errors.Join(err, fmt.Errorf("traffic: the flow ended by itself: %w", end))
	}
	return err
}
