package simnet

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// natted is a chain whose router is a NAT for the left side, with a second host on the right.
type natted struct {
	*chain
	second *Host
}

var (
	rightToo = netip.MustParseAddr("10.2.0.2")
	external = netip.MustParseAddr("10.2.0.254")
)

func newNatted(cfg NATConfig) *natted {
	c := newChain(5)
	n := &natted{chain: c, second: c.NewHost("second")}
	n.second.join(c.rw, "eth0", "10.2.0.2/24", "10.2.0.254")
	cfg.Outside = c.rr
	c.router.SetNAT(cfg)
	return n
}

// RFC 4787 §4.1 and §5: the three mappings by the three filterings.
func TestNATMappingAndFiltering(t *testing.T) {
	all := []Dependence{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	for _, mapping := range all {
		for _, filtering := range all {
			t.Run(fmt.Sprintf("mapping %v, filtering %v", mapping, filtering), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNatted(NATConfig{Mapping: mapping, Filtering: filtering})
					defer n.Close()
					inside, got := collect(t, n.left, 1, addrA, udp(1000))
					one, gotOne := collect(t, n.right, 1, right, udp(2000))
					otherPort, gotPort := collect(t, n.right, 1, right, udp(2001))
					otherHost, gotHost := collect(t, n.second, 1, rightToo, udp(2000))

					send := func(to netip.AddrPort) {
						mustSend(t, inside, to, "out")
						time.Sleep(10 * time.Millisecond)
					}
					send(netip.AddrPortFrom(right, 2000))
					first := gotOne()[0].from
					if first.Addr() != external || first.Port() == 1000 {
						t.Fatalf("the source outside is %v", first)
					}
					// Filtering: who may answer to the first mapping when only right:2000 has been sent to.
					try := func(f link.Flow, want bool, who string) {
						t.Helper()
						before := len(got())
						mustSend(t, f, first, who)
						time.Sleep(10 * time.Millisecond)
						if in := len(got()) > before; in != want {
							t.Errorf("a packet from %s passed: %v, expected %v", who, in, want)
						}
					}
					try(one, true, "the same endpoint")
					try(otherPort, filtering != AddressAndPortDependent, "another port of the same address")
					try(otherHost, filtering == EndpointIndependent, "another address")
					// Mapping: which destinations see another port.
					send(netip.AddrPortFrom(right, 2001))
					if same := gotPort()[0].from == first; same != (mapping != AddressAndPortDependent) {
						t.Errorf("another port of the same address sees the same mapping: %v", same)
					}
					send(netip.AddrPortFrom(rightToo, 2000))
					if same := gotHost()[0].from == first; same != (mapping == EndpointIndependent) {
						t.Errorf("another address sees the same mapping: %v", same)
					}
					if g := got(); g[0].payload != "the same endpoint" || g[0].from != netip.AddrPortFrom(right, 2000) {
						t.Errorf("what came in is %+v", g[0])
					}
				})
			})
		}
	}
}

func TestNATTimeout(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNatted(NATConfig{Timeout: time.Minute, InboundRefresh: refresh})
			defer n.Close()
			inside, got := collect(t, n.left, 1, addrA, udp(1000))
			outside, seen := collect(t, n.right, 1, right, udp(2000))
			out := func() netip.AddrPort {
				mustSend(t, inside, netip.AddrPortFrom(right, 2000), "out")
				time.Sleep(time.Second)
				g := seen()
				return g[len(g)-1].from
			}
			first := out()
			time.Sleep(50 * time.Second)
			if again := out(); again != first {
				t.Errorf("the mapping went from %v to %v while in use", first, again)
			}
			time.Sleep(50 * time.Second)
			mustSend(t, outside, first, "in")
			time.Sleep(50 * time.Second)
			mustSend(t, outside, first, "in later")
			time.Sleep(time.Second)
			want := 1
			if refresh {
				want = 2
			}
			if g := got(); len(g) != want {
				t.Errorf("inbound refresh %v: %d packets came in, expected %d", refresh, len(g), want)
			}
			time.Sleep(2 * time.Minute)
			if again := out(); again == first {
				t.Errorf("the mapping %v outlived its timeout", first)
			}
		})
	}
}

func TestNATPreservesPortsWhereFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNatted(NATConfig{PreservePorts: true})
		defer n.Close()
		more := n.NewHost("more")
		more.join(n.lw, "eth0", "10.1.0.3/24", "10.1.0.254")
		a, _ := collect(t, n.left, 1, addrA, udp(1000))
		b, _ := collect(t, more, 1, netip.MustParseAddr("10.1.0.3"), udp(1000))
		_, got := collect(t, n.right, 1, right, udp(2000))
		mustSend(t, a, netip.AddrPortFrom(right, 2000), "a")
		time.Sleep(time.Second)
		mustSend(t, b, netip.AddrPortFrom(right, 2000), "b")
		time.Sleep(time.Second)
		if g := got(); g[0].from.Port() != 1000 || g[1].from.Port() == 1000 {
			t.Errorf("outside ports %d and %d", g[0].from.Port(), g[1].from.Port())
		}
	})
}

func TestNATProtocols(t *testing.T) {
	esp := link.FlowSpec{Protocol: packet.ProtocolESP}
	for _, pass := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			cfg := NATConfig{}
			if pass {
				cfg.Protocols = []uint8{packet.ProtocolESP}
			}
			n := newNatted(cfg)
			defer n.Close()
			inside, in := collect(t, n.left, 1, addrA, esp)
			outside, out := collect(t, n.right, 1, right, esp)
			unknown, _ := collect(t, n.second, 1, rightToo, esp)
			mustSend(t, unknown, netip.AddrPortFrom(external, 0), "unasked")
			mustSend(t, inside, netip.AddrPortFrom(right, 0), "out")
			time.Sleep(time.Second)
			mustSend(t, outside, netip.AddrPortFrom(external, 0), "back")
			mustSend(t, unknown, netip.AddrPortFrom(external, 0), "unasked")
			time.Sleep(time.Second)
			o, i := out(), in()
			switch {
			case !pass && (len(o) != 0 || len(i) != 0):
				t.Errorf("protocol 50 passed: out %v, in %v", o, i)
			case pass && (len(o) != 1 || o[0].from.Addr() != external || len(i) != 1 || i[0].payload != "back"):
				t.Errorf("with pass-through: out %v, in %v", o, i)
			}
		})
	}
}

// ICMP errors come back to the host inside that they are about, with its own packet quoted (RFC 5508 §4).
func TestNATTranslatesICMPErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNatted(NATConfig{Filtering: AddressAndPortDependent})
		defer n.Close()
		inside, _ := collect(t, n.left, 1, addrA, udp(1000))
		_, icmp := collect(t, n.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolICMP})
		mustSend(t, inside, netip.AddrPortFrom(right, 9), "x")
		time.Sleep(time.Second)
		g := icmp()
		if len(g) != 1 || g[0].from.Addr() != right {
			t.Fatalf("got %v, expected port unreachable from the host outside", g)
		}
		m := []byte(g[0].payload)
		q := packet.IPv4(m[8:])
		if m[0] != 3 || m[1] != 3 || packet.Checksum(m, 0) != 0 || q.Src() != addrA || q.Dst() != right || q[:20].ChecksumOK() != true {
			t.Errorf("ICMP % x", m)
		}
		if port := packet.UDP(q[20:]).SrcPort(); port != 1000 {
			t.Errorf("the quoted source port is %d, expected that inside", port)
		}
		// The other way: an error of the host inside, about a packet that came in through its mapping.
		_, outICMP := collect(t, n.right, 1, right, link.FlowSpec{Protocol: packet.ProtocolICMP})
		outside, seen := collect(t, n.right, 1, right, udp(2000))
		mustSend(t, inside, netip.AddrPortFrom(right, 2000), "x")
		time.Sleep(time.Second)
		mapped := seen()[0].from
		inside.Close()
		mustSend(t, outside, mapped, "nobody listens")
		time.Sleep(time.Second)
		o := outICMP()
		if len(o) != 1 || o[0].from.Addr() != external {
			t.Fatalf("got %v, expected port unreachable from the NAT's address", o)
		}
		q = packet.IPv4([]byte(o[0].payload)[8:])
		if q.Dst() != external || packet.UDP(q[20:]).DstPort() != mapped.Port() {
			t.Errorf("the quoted destination is %v port %d, expected %v", q.Dst(), packet.UDP(q[20:]).DstPort(), mapped)
		}
	})
}

func TestNATPingAndFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNatted(NATConfig{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent})
		defer n.Close()
		if _, err := n.left.Ping(right, 3000, time.Second); err != nil {
			t.Errorf("ping in fragments through the NAT: %v", err)
		}
		if _, err := n.right.Ping(addrA, 10, time.Second); err == nil {
			t.Error("a ping came in from outside")
		}
		inside, _ := collect(t, n.left, 1, addrA, udp(1000))
		_, got := collect(t, n.right, 1, right, udp(2000))
		mustSend(t, inside, netip.AddrPortFrom(right, 2000), string(make([]byte, 4000)))
		time.Sleep(time.Second)
		if g := got(); len(g) != 1 || len(g[0].payload) != 4000 || g[0].from.Addr() != external {
			t.Errorf("%d datagrams arrived", len(g))
		}
	})
}

func TestFirewall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		c.router.SetFirewall(
			Rule{In: c.rl, Protocol: packet.ProtocolUDP, DestinationPort: 666, Verdict: Reject},
			Rule{In: c.rl, Destination: netip.MustParsePrefix("10.2.0.1/32"), Verdict: Accept},
			Rule{In: c.rl, ToHost: true, Verdict: Accept},
		)
		inside, in := collect(t, c.left, 1, addrA, udp(1000))
		outside, out := collect(t, c.right, 1, right, udp(2000))
		_, icmp := collect(t, c.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolICMP})
		send := func(f link.Flow, to netip.AddrPort, payload string) {
			mustSend(t, f, to, payload)
			time.Sleep(100 * time.Millisecond)
		}
		send(outside, netip.AddrPortFrom(addrA, 1000), "unasked")
		send(inside, netip.AddrPortFrom(right, 2000), "request")
		send(outside, netip.AddrPortFrom(addrA, 1000), "answer")
		send(inside, netip.AddrPortFrom(right, 9), "to nobody")
		send(inside, netip.AddrPortFrom(right, 666), "rejected")
		if g := out(); len(g) != 1 || g[0].payload != "request" {
			t.Errorf("outside got %v", g)
		}
		if g := in(); len(g) != 1 || g[0].payload != "answer" {
			t.Errorf("inside got %v", g)
		}
		if g := icmp(); len(g) != 2 || g[0].payload[:2] != "\x03\x03" || g[1].payload[:2] != "\x03\x0d" {
			t.Errorf("inside got ICMP %+v, expected port unreachable, then prohibited", g)
		}
		time.Sleep(4 * time.Minute)
		send(outside, netip.AddrPortFrom(addrA, 1000), "too late")
		if g := in(); len(g) != 1 {
			t.Errorf("after the conversation was forgotten inside got %v", g)
		}
		if err := pingError(t, c.left, netip.MustParseAddr("10.1.0.254"), 0); err != nil {
			t.Errorf("ping of the firewall from inside: %v", err)
		}
		if err := pingError(t, c.right, external, 0); err == nil {
			t.Error("the firewall answered a ping from outside")
		}
	})
}

// The gateway of the lab forwards what comes out of its device, and nothing that comes from the Internet.
func TestLabGatewayDoesNotLeadInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		dev, err := l.Gateway.OpenDevice("vpn0", 1400)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Gateway.Apply(link.Settings{Device: "vpn0", Routes: []netip.Prefix{LabInnerPool}, Forward: true}); err != nil {
			t.Fatal(err)
		}
		l.InternetRouter.RemoveRoute(LabEnterprise)
		l.InternetRouter.AddRoute(Route{Prefix: LabEnterprise, Via: LabGateway})
		_, got := collect(t, l.Correspondent, 0, netip.Addr{}, udp(5000))
		attack, _ := collect(t, l.ExternalFA, 0, LabExternalFA, udp(1000))
		mustSend(t, attack, netip.AddrPortFrom(LabCorrespondent, 5000), "through the gateway")
		q := packet.From([]byte("decapsulated"))
		inner := netip.MustParseAddrPort("10.0.9.5:1000")
		packet.PushUDP(q, inner, netip.AddrPortFrom(LabCorrespondent, 5000))
		packet.PushIPv4(q, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: inner.Addr(), Dst: LabCorrespondent})
		if err := dev.Write(packet.One(q)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if g := got(); len(g) != 1 || g[0].payload != "decapsulated" {
			t.Fatalf("the correspondent got %v", g)
		}
		u, err := l.Correspondent.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.WriteToAddrPort([]byte("back"), inner); err != nil {
			t.Fatal(err)
		}
		b := packet.GetBatch()
		if err := dev.Read(b); err != nil || packet.IPv4(b.Bufs[0].Bytes()).Dst() != inner.Addr() {
			t.Errorf("the gateway's device got %v, %v", b.Bufs, err)
		}
	})
}
