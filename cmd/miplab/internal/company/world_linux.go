package company

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"mipvpn/cmd/miplab/internal/capture"
	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
)

// servicePort is the port of the correspondent's TCP and UDP services.
const servicePort = 7000

// World is a lab with its company, the correspondent's services, and captures on its wires: a scenario.World.
type World struct {
	lab             *topology.Lab
	company         *Company
	outside, inside *judge.Judge
	taps            []*capture.Tap
	captures        map[string]string
	listener        *net.TCPListener
	echo            *net.UDPConn
	names           *net.UDPConn // nil unless OpenApplications was called
}

// NewWorld opens the services and the captures. With a directory for pcap files each wire's frames are kept there.
func NewWorld(lab *topology.Lab, c *Company, pcap string) (*World, error) {
	j := func() *judge.Judge {
		return &judge.Judge{Enterprise: topology.EnterprisePrefix, Secret: []netip.Addr{topology.InternalHomeAddress, topology.CorrespondentAddress}}
	}
	w := &World{lab: lab, company: c, outside: j(), inside: j(), captures: map[string]string{}}
	if err := w.open(pcap); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) open(pcap string) error {
	at := netip.AddrPortFrom(topology.CorrespondentAddress, servicePort)
	err := w.lab.Box(topology.Correspondent).Do(func() (err error) {
		if w.listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err != nil {
			return err
		}
		w.echo, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("company: the correspondent's services: %w", err)
	}
	go session.Echo(w.echo) // ends with the socket
	for _, wire := range topology.Wires {
		name, by := string(wire), w.inside
		if slices.Contains(topology.External, wire) {
			by = w.outside
		} else if wire != topology.Core {
			continue
		}
		file := ""
		if pcap != "" {
			file = filepath.Join(pcap, name+".pcap")
			w.captures[name] = file
		}
		tap, err := capture.Open(w.lab.Fabric(), name, file, func(at time.Time, frame []byte) { by.Frame(name, at, frame) })
		if err != nil {
			return err
		}
		w.taps = append(w.taps, tap)
	}
	return nil
}

// Tap has f called for each Ethernet frame on the wire, lent for the call, until stop, which first reads what has arrived.
func (w *World) Tap(wire string, f func(frame []byte)) (stop func() error, err error) {
	tap, err := capture.Open(w.lab.Fabric(), wire, "", func(_ time.Time, frame []byte) { f(frame) })
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := tap.Close()
		return err
	}, nil
}

// Captures returns the files of the captures, by wire; whole once Settle has been called.
func (w *World) Captures() map[string]string { return w.captures }

// Close ends captures and services. Lab and company go on.
func (w *World) Close() error {
	_, err := w.Settle()
	if w.listener != nil {
		err = errors.Join(err, w.listener.Close())
	}
	for _, c := range []*net.UDPConn{w.echo, w.names} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// Describe implements scenario.World.
func (w *World) Describe() string {
	return fmt.Sprintf("%d boxes in network namespaces, each with the real program", len(w.lab.Boxes()))
}

// Client implements scenario.World.
func (w *World) Client() scenario.Client { return w.company.client() }

// Plug implements scenario.World.
func (w *World) Plug(ctx context.Context, iface, network string) (time.Time, error) {
	wire := topology.Wire(network)
	if err := w.lab.Plug(iface, wire); err != nil {
		return time.Time{}, err
	}
	if p, ok := topology.Served[wire]; ok {
		if _, err := w.lab.AwaitAddress(ctx, iface, p); err != nil {
			return time.Time{}, err
		}
	}
	return w.lab.Offered(iface), nil
}

// Unplug implements scenario.World.
func (w *World) Unplug(iface string) error { return w.lab.Unplug(iface) }

// OpenConversation implements scenario.World.
func (w *World) OpenConversation(ctx context.Context) (near, far session.Conn, err error) {
	type accepted struct {
		conn *net.TCPConn
		err  error
	}
	ch := make(chan accepted, 1)
	go func() {
		c, err := w.listener.AcceptTCP()
		ch <- accepted{c, err}
	}()
	conn, err := w.dial(ctx, "tcp4", &net.TCPAddr{IP: topology.InternalHomeAddress.AsSlice()})
	if err != nil {
		w.listener.SetDeadline(time.Now()) // so that the accepting ends
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

// OpenStream implements scenario.World.
func (w *World) OpenStream(ctx context.Context) (net.Conn, error) {
	return w.dial(ctx, "udp4", &net.UDPAddr{IP: topology.InternalHomeAddress.AsSlice()})
}

// dial connects from the laptop's home address to the correspondent's service.
func (w *World) dial(ctx context.Context, network string, from net.Addr) (conn net.Conn, err error) {
	d := net.Dialer{LocalAddr: from}
	err = w.lab.Box(topology.Laptop).Do(func() (err error) {
		conn, err = d.DialContext(ctx, network, netip.AddrPortFrom(topology.CorrespondentAddress, servicePort).String())
		return err
	})
	return conn, err
}

// Outside implements scenario.World.
func (w *World) Outside() *judge.Judge { return w.outside }

// Inside implements scenario.World.
func (w *World) Inside() *judge.Judge { return w.inside }

// Settle implements scenario.World.
func (w *World) Settle() (lost int, err error) {
	for _, t := range w.taps {
		n, closeErr := t.Close()
		lost += n
		err = errors.Join(err, closeErr)
	}
	w.taps = nil
	return lost, err
}

// Err implements scenario.World.
func (w *World) Err() error { return w.company.Err() }
