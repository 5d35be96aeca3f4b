package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// flow is a UDP or raw socket bound to the link's address and, for a link of one interface, to that.
//
// Raw sockets have the kernel write the outer header on sending; on receipt it is stripped here. That one exists for a
// protocol keeps the kernel from answering with ICMP protocol unreachable. No flow is connected in the kernel's sense: the
// remote endpoint is checked here, so that a flow can be opened before there is a route and ICMP errors of strangers have
// no effect on it.
type flow struct {
	*socket
	host     *Host
	protocol uint8
	index    int
	mtu      int // of the link
	local    netip.AddrPort
	remote   netip.AddrPort
	recv     link.Receiver
	tx       *transmitter
	kind     link.Signalling
	signals  *socket     // what is signalling goes this way; nil where there is only one socket
	gso      atomic.Bool // UDP segmentation offload works here
	whole    bool        // what is sent bears DF, as the socket is set now; under tx's mutex
}

var _ link.Flow = (*flow)(nil)

func openFlow(k *kernelLink, spec link.FlowSpec, recv link.Receiver) (*flow, error) {
	f := &flow{host: k.host, protocol: spec.Protocol, index: k.index, mtu: k.mtu, remote: spec.Remote, recv: recv, kind: spec.Signalling}
	err := f.open(k, spec)
	if err != nil {
		return nil, fmt.Errorf("underlay: open flow of protocol %d from %v port %d: %w", spec.Protocol, k.addr, spec.Port, err)
	}
	return f, nil
}

func (f *flow) open(k *kernelLink, spec link.FlowSpec) error {
	if f.remote.IsValid() && !f.remote.Addr().Is4() {
		return fmt.Errorf("remote address %v: expected IPv4", f.remote.Addr())
	}
	typ, protocol := unix.SOCK_DGRAM, 0
	if spec.Protocol != packet.ProtocolUDP {
		if spec.Port != 0 || f.remote.Port() != 0 {
			return errors.New("a port was given for a protocol without ports")
		}
		if spec.Protocol == 0 {
			return errors.New("protocol 0 cannot be opened")
		}
		if err := refuseKernelTunnel(spec.Protocol); err != nil {
			return err
		}
		typ, protocol = unix.SOCK_RAW, int(spec.Protocol)
	}
	s, err := newSocket(unix.AF_INET, typ, protocol, k.host.opts.mark(link.Protected))
	if err != nil {
		return err
	}
	f.socket = s
	if err := f.configure(k, spec); err != nil {
		s.discard()
		return err
	}
	f.tx = newTransmitter(s)
	if program := classify(spec.Signalling); program != nil && spec.Protocol == packet.ProtocolUDP {
		f.openSignals(k, spec, program)
	}
	s.start(newFlowReceiver(f, s, receiveMessages).run)
	if f.signals != nil {
		f.signals.start(newFlowReceiver(f, f.signals, signalMessages).run)
	}
	return nil
}

// prepare sets what both sockets of a flow have in common.
func (s *socket) prepare(k *kernelLink, spec link.FlowSpec) error {
	if k.index != 0 {
		if err := s.set("SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, k.index); err != nil {
			return err
		}
	} else if err := s.set("IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil { // which interface it is
		return err
	}
	if err := s.set("IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1); err != nil {
		return err
	}
	if err := s.set("SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return err
	}
	if spec.Protocol == packet.ProtocolUDP {
		_ = s.set("UDP_GRO", unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it everything comes one by one
	}
	return nil
}

func (f *flow) configure(k *kernelLink, spec link.FlowSpec) error {
	if err := f.prepare(k, spec); err != nil {
		return err
	}
	if err := f.discover(false); err != nil {
		return err
	}
	if spec.TTL != 0 {
		if err := f.set("IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, int(spec.TTL)); err != nil {
			return err
		}
	}
	if spec.Protocol == packet.ProtocolUDP {
		// Old kernels do not have it; everything then goes one by one.
		f.gso.Store(f.control(func(fd int) error {
			_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
			return err
		}) == nil)
	}
	if spec.Signalling == link.SignallingAll {
		if err := f.set("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, signalPriority); err != nil {
			return err
		}
	}
	return f.control(func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(spec.Port), Addr: k.addr.As4()}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		f.local = netip.AddrPortFrom(k.addr, 0)
		if spec.Protocol != packet.ProtocolUDP {
			return nil
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return fmt.Errorf("read the socket's name: %w", err)
		}
		if sa4, ok := sa.(*unix.SockaddrInet4); ok {
			f.local = netip.AddrPortFrom(k.addr, uint16(sa4.Port))
		}
		return nil
	})
}

// discover has what is sent from now on bear DF, or not. Neither way does the kernel's own path MTU cache have a say, which
// any ICMP message can change: with DF (IP_PMTUDISC_PROBE) nothing but the interface's MTU makes it refuse a packet, without
// (IP_PMTUDISC_OMIT) nothing else makes it fragment one. It is called by configure, and then under the transmitter's mutex.
func (f *flow) discover(whole bool) error {
	mode := unix.IP_PMTUDISC_OMIT
	if whole {
		mode = unix.IP_PMTUDISC_PROBE
	}
	if err := f.set("IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode); err != nil {
		return err
	}
	f.whole = whole
	return nil
}

func (f *flow) Local() netip.AddrPort { return f.local }

func (f *flow) Remote() netip.AddrPort { return f.remote }

func (f *flow) Close() error { return closeBoth(f.socket, f.signals) }

// overhead returns the octets of the headers that the kernel writes in front of a payload.
func (f *flow) overhead() int {
	if f.protocol == packet.ProtocolUDP {
		return packet.IPv4Len + packet.UDPLen
	}
	return packet.IPv4Len
}

func (f *flow) Path(c link.Class) link.Path {
	n := f.overhead()
	return link.Path{Out: &flowSender{flow: f, class: c}, Overhead: n, MTU: f.mtu - n}
}
