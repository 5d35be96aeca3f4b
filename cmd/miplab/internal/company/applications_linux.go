package company

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/cmd/miplab/internal/walk"
)

// dnsPort is the port of DNS, on which the correspondent sends back what it gets.
const dnsPort = 53

// applicationPause is the time between two packets of an application.
const applicationPause = 20 * time.Millisecond

// OpenApplications implements walk.World: ICMP echo requests, DNS queries with the canary in the name, and IPv6 to an
// enterprise address, for which the laptop has a default route by each of its interfaces.
func (w *World) OpenApplications(canary []byte) ([]walk.Application, error) {
	if err := w.giveIPv6(); err != nil {
		return nil, err
	}
	if err := w.serveNames(); err != nil {
		return nil, err
	}
	home := topology.InternalHomeAddress.AsSlice()
	correspondent := topology.CorrespondentAddress.AsSlice()
	var all []walk.Application
	var errs []error
	for _, o := range []struct {
		name    string
		network string
		local   net.Addr
		to      net.Addr
		payload []byte
	}{
		{"ICMP", "ip4:icmp", &net.IPAddr{IP: home}, &net.IPAddr{IP: correspondent}, echoRequest(canary)},
		{"DNS", "udp4", &net.UDPAddr{IP: home}, &net.UDPAddr{IP: correspondent, Port: dnsPort}, query(canary)},
		{"IPv6", "udp6", &net.UDPAddr{}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(topology.Correspondent6, servicePort)), canary},
	} {
		var conn net.PacketConn
		err := w.lab.Box(topology.Laptop).Do(func() (err error) {
			conn, err = net.ListenPacket(o.network, address(o.local))
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("company: application %s: %w", o.name, err))
			continue
		}
		all = append(all, startSender(o.name, conn, o.to, o.payload))
	}
	return all, errors.Join(errs...)
}

// address writes a local address as net.ListenPacket takes it.
func address(a net.Addr) string {
	if ip, ok := a.(*net.IPAddr); ok {
		return ip.String()
	}
	if u := a.(*net.UDPAddr); u.IP == nil {
		return "[::]:0"
	}
	return a.String()
}

// serveNames has the correspondent answer on the port of DNS.
func (w *World) serveNames() error {
	err := w.lab.Box(topology.Correspondent).Do(func() (err error) {
		w.names, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(topology.CorrespondentAddress, dnsPort)))
		return err
	})
	if err != nil {
		return fmt.Errorf("company: the correspondent's name service: %w", err)
	}
	go session.Echo(w.names) // ends with the socket
	return nil
}

// giveIPv6 gives each interface of the laptop an IPv6 address and a default route to a router that is always known, so that
// whatever the host lets out is on the wire.
func (w *World) giveIPv6() error {
	h, err := w.lab.Box(topology.Laptop).Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	for i, name := range w.lab.Interfaces() {
		fail := func(err error) error { return fmt.Errorf("company: IPv6 on %s: %w", name, err) }
		if err := w.lab.Box(topology.Laptop).Sysctl("net.ipv6.conf."+name+".disable_ipv6", "0"); err != nil {
			return fail(err)
		}
		l, err := h.LinkByName(name)
		if err != nil {
			return fail(err)
		}
		address, err := netlink.ParseAddr(fmt.Sprintf("2001:db8:%d::2/64", i+1))
		if err != nil {
			return fail(err)
		}
		address.Flags = unix.IFA_F_NODAD
		router := net.ParseIP(fmt.Sprintf("2001:db8:%d::1", i+1))
		err = errors.Join(
			h.AddrReplace(l, address),
			h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V6, State: netlink.NUD_PERMANENT, IP: router, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x66}}),
			h.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Gw: router, Priority: 100 + i}),
		)
		if err != nil {
			return fail(err)
		}
	}
	return nil
}

// sender is an application that sends one packet over and over and counts what comes.
type sender struct {
	name string
	conn net.PacketConn
	stop chan struct{}
	work sync.WaitGroup

	mu    sync.Mutex
	count walk.Count
}

func startSender(name string, conn net.PacketConn, to net.Addr, payload []byte) *sender {
	s := &sender{name: name, conn: conn, stop: make(chan struct{})}
	s.work.Go(func() {
		tick := time.NewTicker(applicationPause)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			_, err := conn.WriteTo(payload, to)
			s.mu.Lock()
			s.count.Sent++
			if err != nil { // outside, the host has no way for it
				s.count.Refused++
			}
			s.mu.Unlock()
		}
	})
	s.work.Go(func() {
		buf := make([]byte, 2048)
		for {
			_, _, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				select {
				case <-s.stop:
					return
				default:
					continue // an ICMP error told of an earlier packet
				}
			}
			s.mu.Lock()
			s.count.Answered++
			s.mu.Unlock()
		}
	})
	return s
}

// Name implements walk.Application.
func (s *sender) Name() string { return s.name }

// Close implements walk.Application.
func (s *sender) Close() (walk.Count, error) {
	close(s.stop)
	err := s.conn.Close()
	s.work.Wait()
	return s.count, err
}

// echoRequest returns an ICMP echo request with the canary (RFC 792).
func echoRequest(canary []byte) []byte {
	m := append([]byte{8, 0, 0, 0, 0x5f, 0x1d, 0, 1}, canary...)
	sum := uint32(0)
	for i := 0; i < len(m); i += 2 {
		sum += uint32(m[i]) << 8
		if i+1 < len(m) {
			sum += uint32(m[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	m[2], m[3] = byte(^sum>>8), byte(^sum)
	return m
}

// query returns a DNS query with the canary for a label (RFC 1035 §4.1); a label may hold any octets.
func query(canary []byte) []byte {
	q := append([]byte{0x5f, 0x1d, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, byte(len(canary)))
	q = append(append(q, canary...), 4)
	q = append(append(q, "corp"...), 7)
	return append(append(q, "example"...), 0, 0, 1, 0, 1)
}
