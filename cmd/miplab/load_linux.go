package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/load"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
)

const (
	loadDatagrams = 200 // each way in each network, at least
	loadPort      = 7200
	loadBuffer    = 8 << 20 // octets, of the UDP sockets: what is lost there shows nothing
)

// soakLoad moves the laptop under full load. There are no captures, which would lose frames.
func soakLoad(ctx context.Context, o soakOptions, out, errOut io.Writer) error {
	wires := topology.Options{Offload: o.offload, Ordered: true}
	return soakCompany(ctx, o, wires, out, errOut, func(lab *topology.Lab, c *company.Company, log io.Writer) (soakReport, bool, error) {
		r, err := load.Run(ctx, load.Config{
			Seed: o.seed, Transitions: o.transitions, Octets: int64(o.megabytes) << 20, Datagrams: loadDatagrams, Patience: o.patience, Log: log,
		}, &loadWorld{Company: c, lab: lab, offload: o.offload})
		if err != nil {
			return nil, false, err
		}
		status, err := c.Status(ctx)
		r.Drops = status.Counters.Drops
		return r, err == nil && r.Passed, err
	})
}

// loadWorld is the lab with its company as a load.World.
type loadWorld struct {
	*company.Company
	lab     *topology.Lab
	offload bool
}

var _ load.World = (*loadWorld)(nil)

// Describe implements load.World.
func (w *loadWorld) Describe() string {
	wires := "single frames"
	if w.offload {
		wires = "superframes"
	}
	return fmt.Sprintf("%d boxes in network namespaces, each with the real program, wires that carry %s", len(w.lab.Boxes()), wires)
}

// Status implements load.World.
func (w *loadWorld) Status(ctx context.Context) (control.Status, error) { return w.Company.Status(ctx) }

// Plug implements load.World.
func (w *loadWorld) Plug(iface, network string) error {
	return w.lab.Plug(iface, topology.Wire(network))
}

// Unplug implements load.World.
func (w *loadWorld) Unplug(iface string) error { return w.lab.Unplug(iface) }

// Connect implements load.World.
func (w *loadWorld) Connect(ctx context.Context) (near, far session.Conn, err error) {
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(topology.CorrespondentAddress, loadPort))
	var listener *net.TCPListener
	err = w.lab.Box(topology.Correspondent).Do(func() (err error) {
		listener, err = net.ListenTCP("tcp4", at)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	type accepted struct {
		conn *net.TCPConn
		err  error
	}
	ch := make(chan accepted, 1)
	go func() {
		c, err := listener.AcceptTCP()
		ch <- accepted{c, err}
	}()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: topology.InternalHomeAddress.AsSlice()}}
	var conn net.Conn
	err = w.lab.Box(topology.Laptop).Do(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp4", at.String())
		return err
	})
	if err != nil {
		listener.Close() // so that the accepting ends
		<-ch
		return nil, nil, err
	}
	a := <-ch
	if a.err != nil {
		conn.Close()
		return nil, nil, a.err
	}
	return conn.(*net.TCPConn), a.conn, nil
}

// Sockets implements load.World.
func (w *loadWorld) Sockets() (near, far load.Socket, err error) {
	open := func(box string, local, remote netip.Addr) (s *loadSocket, err error) {
		err = w.lab.Box(box).Do(func() error {
			conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, loadPort)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, loadPort)))
			if err != nil {
				return err
			}
			if s, err = newLoadSocket(conn); err != nil {
				conn.Close()
			}
			return err
		})
		return s, err
	}
	n, err := open(topology.Laptop, topology.InternalHomeAddress, topology.CorrespondentAddress)
	if err != nil {
		return nil, nil, err
	}
	f, err := open(topology.Correspondent, topology.CorrespondentAddress, topology.InternalHomeAddress)
	if err != nil {
		n.Close()
		return nil, nil, err
	}
	return n, f, nil
}

// loadSocket is a load.Socket of the kernel.
type loadSocket struct {
	*net.UDPConn
	raw syscall.RawConn
}

func newLoadSocket(conn *net.UDPConn) (*loadSocket, error) {
	s := &loadSocket{UDPConn: conn}
	var err error
	if s.raw, err = conn.SyscallConn(); err != nil {
		return nil, err
	}
	if e := s.raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, loadBuffer) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, loadBuffer)
		}
	}); e != nil {
		return nil, e
	}
	return s, err
}

// SendTrain implements load.Socket by UDP_SEGMENT.
func (s *loadSocket) SendTrain(p []byte, size int) error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) }); e != nil {
		return e
	}
	if err == nil {
		_, err = s.Write(p)
	}
	return err
}
