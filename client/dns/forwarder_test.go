package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/query"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

var forwarderAddr = netip.MustParseAddr("127.0.77.53")

// simSockets are the sockets of a simulated host.
type simSockets struct{ *simnet.Host }

func (s simSockets) ListenUDP(local netip.AddrPort) (net.PacketConn, error) {
	return s.Host.ListenUDP(local)
}
func (s simSockets) ListenTCP(local netip.AddrPort) (net.Listener, error) {
	return s.Host.ListenTCP(local)
}
func (s simSockets) DialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	left := time.Duration(0)
	if at, ok := ctx.Deadline(); ok {
		left = max(time.Until(at), 1)
	}
	return s.Host.DialTCP(remote, left)
}

// server is a name server of the simulated network: it answers every A question with its own address, or, when large is set,
// with more than UDP holds.
type server struct {
	mu    sync.Mutex
	asked []string // "udp wiki.corp.example."
	self  netip.Addr
	large bool
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *server) answer(network string, p []byte) []byte {
	var q, a dns.Msg
	if q.Unpack(p) != nil {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, network+" "+strings.ToLower(q.Question[0].Name))
	s.mu.Unlock()
	a.SetReply(&q)
	n := 1
	if s.large {
		n = 100
	}
	for i := range n {
		addr := s.self.As4()
		addr[3] += byte(i)
		a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: addr[:]})
	}
	out, err := a.Pack()
	if err != nil {
		return nil
	}
	if network == "udp" {
		out = query.Fit(p, out)
	}
	return out
}

// serveOn starts a name server on a host, over UDP and TCP.
func serveOn(t *testing.T, h *simnet.Host, self netip.Addr, large bool) *server {
	t.Helper()
	s := &server{self: self, large: large}
	u, err := h.ListenUDP(netip.AddrPortFrom(self, 53))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := u.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			if out := s.answer("udp", buf[:n]); out != nil {
				_, _ = u.WriteToAddrPort(out, from)
			}
		}
	}()
	l, err := h.ListenTCP(netip.AddrPortFrom(self, 53))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					p, err := readMessage(c)
					if err != nil || writeMessage(c, s.answer("tcp", p)) != nil {
						return
					}
				}
			}()
		}
	}()
	return s
}

// ask has an application of the host ask the forwarder over UDP, and returns the code and the addresses.
func ask(t *testing.T, h *simnet.Host, name string, kind uint16) (string, []string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	u, err := h.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.WriteToAddrPort(p, netip.AddrPortFrom(forwarderAddr, 53)); err != nil {
		t.Fatal(err)
	}
	if err := u.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _, err := u.ReadFromAddrPort(buf)
	if err != nil {
		return "no answer", nil
	}
	return read(t, m, buf[:n])
}

// read checks that p answers m.
func read(t *testing.T, m *dns.Msg, p []byte) (string, []string) {
	t.Helper()
	var a dns.Msg
	if err := a.Unpack(p); err != nil {
		t.Fatal(err)
	}
	if a.Id != m.Id || len(a.Question) != 1 || a.Question[0] != m.Question[0] || !a.Response {
		t.Errorf("answer\n%v\nto\n%v", &a, m)
	}
	var addrs []string
	for _, rr := range a.Answer {
		if r, ok := rr.(*dns.A); ok {
			addrs = append(addrs, r.A.String())
		}
	}
	code := dns.RcodeToString[a.Rcode]
	if a.Truncated {
		code += " truncated"
	}
	return code, addrs
}

// theOutside is an interface's servers, over the flows of a host.
type theOutside struct {
	r       *resolve.Resolver
	host    *simnet.Host
	servers []netip.Addr
}

func (o *theOutside) Servers(context.Context) ([]netip.Addr, error) { return o.servers, nil }

func (o *theOutside) Exchange(ctx context.Context, message []byte) ([]byte, error) {
	all, err := o.host.Interfaces()
	if err != nil {
		return nil, err
	}
	return o.r.Exchange(ctx, all[0], message)
}

type fixed struct{ o *theOutside }

func (f fixed) Servers(ctx context.Context, _ link.Interface) ([]netip.Addr, error) {
	return f.o.Servers(ctx)
}

// inOffice has the laptop in the office, where both the enterprise's server (on the correspondent) and a network's own server
// (on the firewall) can be reached.
func inOffice(t *testing.T, large bool, f func(t *testing.T, l *simnet.Lab, forwarder *Forwarder, in, out *server)) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(11)
		defer l.Close()
		in := serveOn(t, l.Correspondent, simnet.LabCorrespondent, large)
		gateway := netip.MustParseAddr("10.0.2.1")
		out := serveOn(t, l.Firewall, gateway, large)
		l.Plug(l.Eth0, l.Office)
		time.Sleep(time.Second)
		o := &theOutside{host: l.Laptop, servers: []netip.Addr{gateway}}
		o.r = resolve.New(l.Laptop, fixed{o}, rand.Reader)
		forwarder, err := Listen(simSockets{l.Laptop}, l.Laptop, forwarderAddr, o, rand.Reader, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		f(t, l, forwarder, in, out)
		if err := forwarder.Close(); err != nil {
			t.Error(err)
		}
	})
}

func enterprise(inside ...netip.Addr) Routing {
	return Routing{Domains: Reverse(query.Domains{"corp.example."}, []netip.Prefix{simnet.LabEnterprise}), Inside: inside}
}

// Shows: HST-3 (split DNS: which name is asked where, and which nowhere)
func TestForwarderSplit(t *testing.T) {
	inOffice(t, false, func(t *testing.T, l *simnet.Lab, f *Forwarder, in, out *server) {
		f.Set(enterprise(simnet.LabCorrespondent))
		for _, tc := range []struct {
			name string
			kind uint16
			code string
			addr string
			in   bool
			out  bool
		}{
			{"wiki.corp.example.", dns.TypeA, "NOERROR", "10.0.1.20", true, false},
			{"CORP.Example.", dns.TypeMX, "NOERROR", "10.0.1.20", true, false},
			{"20.1.0.10.in-addr.arpa.", dns.TypePTR, "NOERROR", "10.0.1.20", true, false},
			{"www.example.com.", dns.TypeA, "NOERROR", "10.0.2.1", false, true},
			{"20.1.1.10.in-addr.arpa.", dns.TypePTR, "NOERROR", "10.0.2.1", false, true},
			{"com.", dns.TypeDS, "NOERROR", "10.0.2.1", false, true},
			{".", dns.TypeNS, "NOERROR", "10.0.2.1", false, true},
			{"wiki.corp.example.hotel.example.", dns.TypeA, "NXDOMAIN", "", false, false},
			{"wiki.", dns.TypeA, "NXDOMAIN", "", false, false},
			{"wiki.", dns.TypeHTTPS, "NXDOMAIN", "", false, false},
		} {
			before, beforeOut := len(in.questions()), len(out.questions())
			code, addrs := ask(t, l.Laptop, tc.name, tc.kind)
			if code != tc.code || strings.Join(addrs, " ") != tc.addr {
				t.Errorf("%s: %s %v, expected %s %s", tc.name, code, addrs, tc.code, tc.addr)
			}
			if now, nowOut := len(in.questions())-before == 1, len(out.questions())-beforeOut == 1; now != tc.in || nowOut != tc.out {
				t.Errorf("%s: asked inside %v, outside %v", tc.name, now, nowOut)
			}
		}
		if code, _ := ask(t, l.Laptop, CheckLabel+"1.corp.example.", dns.TypeA); code == "SERVFAIL" {
			t.Errorf("the doctor's question: %s", code)
		}
		if got, want := f.Counts(), (Counts{Inside: 4, Outside: 4, Refused: 3, Checks: 1}); got != want {
			t.Errorf("counts %+v, expected %+v", got, want)
		}
	})
}

// Shows: HST-3 (an enterprise name is not asked outside when no enterprise server is known, or none answers)
func TestForwarderNeverOutside(t *testing.T) {
	inOffice(t, false, func(t *testing.T, l *simnet.Lab, f *Forwarder, in, out *server) {
		f.Set(enterprise())
		if code, _ := ask(t, l.Laptop, "wiki.corp.example.", dns.TypeA); code != "SERVFAIL" {
			t.Errorf("without servers: %s", code)
		}
		f.Set(enterprise(netip.MustParseAddr("10.0.1.99"))) // nobody
		if code, _ := ask(t, l.Laptop, "wiki.corp.example.", dns.TypeA); code != "SERVFAIL" {
			t.Errorf("with a dead server: %s", code)
		}
		r := enterprise()
		r.Full = true
		f.Set(r)
		if code, _ := ask(t, l.Laptop, "www.example.com.", dns.TypeA); code != "SERVFAIL" {
			t.Errorf("full, without servers: %s", code)
		}
		if q := append(out.questions(), in.questions()...); len(q) != 0 {
			t.Errorf("asked %v", q)
		}
		r.Inside = []netip.Addr{simnet.LabCorrespondent}
		f.Set(r)
		if code, addrs := ask(t, l.Laptop, "www.example.com.", dns.TypeA); code != "NOERROR" || addrs[0] != "10.0.1.20" || len(out.questions()) != 0 {
			t.Errorf("full: %s %v", code, addrs)
		}
		if n := f.Counts().Failed; n != 3 {
			t.Errorf("%d failures counted", n)
		}
	})
}

// Shows: HST-3 (what UDP does not hold goes over TCP, inside and outside)
func TestForwarderLarge(t *testing.T) {
	inOffice(t, true, func(t *testing.T, l *simnet.Lab, f *Forwarder, in, out *server) {
		f.Set(enterprise(netip.MustParseAddr("10.0.1.99"), simnet.LabCorrespondent))
		for name, s := range map[string]*server{"wiki.corp.example.": in, "www.example.com.": out} {
			if code, addrs := ask(t, l.Laptop, name, dns.TypeA); code != "NOERROR truncated" || len(addrs) != 0 {
				t.Errorf("%s over UDP: %s, %d addresses", name, code, len(addrs))
			}
			c, err := l.Laptop.DialTCP(netip.AddrPortFrom(forwarderAddr, 53), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // on one connection
				m := new(dns.Msg)
				m.SetQuestion(name, dns.TypeA)
				p, err := m.Pack()
				if err != nil {
					t.Fatal(err)
				}
				if err := writeMessage(c, p); err != nil {
					t.Fatal(err)
				}
				answer, err := readMessage(c)
				if err != nil {
					t.Fatal(err)
				}
				if code, addrs := read(t, m, answer); code != "NOERROR" || len(addrs) != 100 {
					t.Errorf("%s over TCP: %s, %d addresses", name, code, len(addrs))
				}
			}
			if q := s.questions(); !slices.Contains(q, "tcp "+name) || slices.ContainsFunc(q, func(s string) bool { return !strings.HasSuffix(s, name) }) {
				t.Errorf("%s was asked as %v", name, q)
			}
			_ = c.Close()
		}
	})
}

// TestForwarderHostile shows that what is no question gets no answer, that a flood ends in as many answers as fit, and that Close
// ends what is going on.
func TestForwarderHostile(t *testing.T) {
	inOffice(t, false, func(t *testing.T, l *simnet.Lab, f *Forwarder, in, out *server) {
		f.Set(enterprise(netip.MustParseAddr("10.0.1.99")))
		u, err := l.Laptop.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(forwarderAddr, 53)
		for _, p := range []string{"", "x", strings.Repeat("\x00", 12), strings.Repeat("\xff", 512), "\x00\x01\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"} {
			_, _ = u.WriteToAddrPort([]byte(p), to)
		}
		c, err := l.Laptop.DialTCP(to, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte{0, 3, 'a', 'b', 'c'}); err != nil {
			t.Fatal(err)
		}
		if _, err := readMessage(c); err == nil {
			t.Error("what is no question was answered over TCP")
		}
		q, err := query.NewQuery("wiki.corp.example.", query.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * maxQuestions {
			binary.BigEndian.PutUint16(q, uint16(i))
			_, _ = u.WriteToAddrPort(q, to)
		}
		if err := u.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		answers, buf := 0, make([]byte, 512)
		for {
			n, _, err := u.ReadFromAddrPort(buf)
			if err != nil {
				break
			}
			if n < 12 || buf[3]&0xf != query.RcodeServerFailure {
				t.Fatalf("answer %x", buf[:n])
			}
			answers++
		}
		if answers == 0 || answers > 2*maxQuestions || len(out.questions()) != 0 {
			t.Errorf("%d answers, asked outside: %v", answers, out.questions())
		}
		_, _ = u.WriteToAddrPort(q, to) // going on at Close
		time.Sleep(time.Second)
	})
}

// TestListenTaken shows that an address in use is an error that names it.
func TestListenTaken(t *testing.T) {
	inOffice(t, false, func(t *testing.T, l *simnet.Lab, f *Forwarder, _, _ *server) {
		_, err := Listen(simSockets{l.Laptop}, l.Laptop, forwarderAddr, &theOutside{}, rand.Reader, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(forwarderAddr)) {
			t.Errorf("error %v", err)
		}
	})
}
