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
	six      bool // IPv6
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
	f := &flow{host: k.host, protocol: spec.Protocol, six: k.addr.Is6(), index: k.index, mtu: k.mtu, remote: spec.Remote, recv: recv, kind: spec.Signalling}
	err := f.open(k, spec)
	if err != nil {
		return nil, fmt.Errorf("underlay: open flow of protocol %d from %v port %d: %w", spec.Protocol, k.addr, spec.Port, err)
	}
	return f, nil
}

func (f *flow) open(k *kernelLink, spec link.FlowSpec) error {
	if f.remote.IsValid() && !f.reaches(f.remote.Addr()) {
		return fmt.Errorf("remote address %v: expected the IP version of %v", f.remote.Addr(), k.addr)
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
	s, err := newSocket(f.family(), typ, protocol, k.host.opts.mark(link.Protected))
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

// family is the address family of the flow's sockets.
func (f *flow) family() int {
	if f.six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// reaches tells whether an address is of the flow's IP version.
func (f *flow) reaches(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Is6() == f.six }

// prepare sets what both sockets of a flow have in common.
func (s *socket) prepare(k *kernelLink, spec link.FlowSpec) error {
	if k.index != 0 {
		if err := s.set("SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, k.index); err != nil {
			return err
		}
	}
	for _, o := range s.told(k) {
		if err := s.set(o.name, o.level, o.option, 1); err != nil {
			return err
		}
	}
	if err := s.set("SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return err
	}
	if spec.Protocol == packet.ProtocolUDP {
		_ = s.set("UDP_GRO", unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it everything comes one by one
	}
	return nil
}

type option struct {
	name          string
	level, option int
}

// told returns the options that have the kernel tell what a flow wants to know of what arrives: TOS, and, where that is open,
// which interface it is.
func (s *socket) told(k *kernelLink) []option {
	interfaces := option{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO}
	list := []option{{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS}}
	if k.addr.Is6() {
		interfaces = option{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}
		list = []option{{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}}
	}
	if k.index == 0 {
		list = append(list, interfaces)
	}
	return list
}

// setTTL sets the time to live of what is sent.
func (s *socket) setTTL(six bool, ttl int) error {
	if six {
		return s.set("IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
	}
	return s.set("IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, ttl)
}

func (f *flow) configure(k *kernelLink, spec link.FlowSpec) error {
	if err := f.prepare(k, spec); err != nil {
		return err
	}
	if err := f.discover(false); err != nil {
		return err
	}
	if spec.TTL != 0 {
		if err := f.setTTL(f.six, int(spec.TTL)); err != nil {
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
		if err := unix.Bind(fd, address(netip.AddrPortFrom(k.addr, spec.Port), f.six)); err != nil {
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
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			f.local = netip.AddrPortFrom(k.addr, uint16(sa.Port))
		case *unix.SockaddrInet6:
			f.local = netip.AddrPortFrom(k.addr, uint16(sa.Port))
		}
		return nil
	})
}

// discover has what is sent from now on bear DF, or not. Neither way does the kernel's own path MTU cache have a say, which
// any ICMP message can change: with DF (IP_PMTUDISC_PROBE) nothing but the interface's MTU makes it refuse a packet, without
// (IP_PMTUDISC_OMIT) nothing else makes it fragment one. It is called by configure, and then under the transmitter's mutex.
func (f *flow) discover(whole bool) error {
	if err := f.socket.discover(f.six, whole); err != nil {
		return err
	}
	f.whole = whole
	return nil
}

// discover sets it for one socket. In IPv6, where only the sender fragments, the modes mean the same.
func (s *socket) discover(six, whole bool) error {
	mode := unix.IP_PMTUDISC_OMIT
	if whole {
		mode = unix.IP_PMTUDISC_PROBE
	}
	if six {
		return s.set("IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, mode)
	}
	return s.set("IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode)
}

func (f *flow) Local() netip.AddrPort { return f.local }

func (f *flow) Remote() netip.AddrPort { return f.remote }

// receiving reports whether the calling goroutine is one that receives on the flow.
func (f *flow) receiving() bool {
	return f.socket.receiving() || f.signals != nil && f.signals.receiving()
}

func (f *flow) Close() error { return closeBoth(f.socket, f.signals) }

// overhead returns the octets of the headers that the kernel writes in front of a payload.
func (f *flow) overhead() int {
	n := packet.IPv4Len
	if f.six {
		n = ipv6Len
	}
	if f.protocol == packet.ProtocolUDP {
		n += packet.UDPLen
	}
	return n
}

func (f *flow) Path(c link.Class) link.Path {
	n := f.overhead()
	return link.Path{Out: &flowSender{flow: f, class: c}, Overhead: n, MTU: f.mtu - n}
}
