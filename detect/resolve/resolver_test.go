package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"mipvpn/detect/resolve/query"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// fixedServers are the servers of each interface, by name.
type fixedServers map[string][]netip.Addr

func (f fixedServers) Servers(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	return f[i.Name], nil
}

// serve answers on UDP port 53 of the host as zone says, until the network ends; it counts questions.
func serve(t *testing.T, h *simnet.Host, zone map[string]string) *atomic.Int64 {
	t.Helper()
	c, err := h.ListenUDP(netip.AddrPortFrom(netip.Addr{}, Port))
	if err != nil {
		t.Fatal(err)
	}
	asked := new(atomic.Int64)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			var q, a dns.Msg
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			name, _ := query.Canonical(q.Question[0].Name)
			if addr, ok := zone[name]; ok {
				a.SetReply(&q)
				rr, err := dns.NewRR(q.Question[0].Name + " 60 IN A " + addr)
				if err != nil {
					return
				}
				a.Answer = []dns.RR{rr}
			} else {
				a.SetRcode(&q, dns.RcodeNameError)
				soa, err := dns.NewRR("example. 30 IN SOA a.example. b.example. 1 1 1 1 30")
				if err != nil {
					return
				}
				a.Ns = []dns.RR{soa}
			}
			if p, err := a.Pack(); err == nil {
				_, _ = c.WriteToAddrPort(p, from)
			}
		}
	}()
	return asked
}

func onLab(t *testing.T, f func(t *testing.T, l *simnet.Lab, eth0 func() link.Interface)) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(7)
		defer l.Close()
		f(t, l, func() link.Interface {
			all, err := l.Laptop.Interfaces()
			if err != nil {
				t.Fatal(err)
			}
			return all[slices.IndexFunc(all, func(i link.Interface) bool { return i.Name == "eth0" })]
		})
	})
}

// Shows: HST-3 (a name is asked for through the interface concerned, of that interface's servers, on the wire of that
// interface; what is found is kept for each interface and forgotten with its network)
func TestAddressesThroughInterface(t *testing.T) {
	onLab(t, func(t *testing.T, l *simnet.Lab, eth0 func() link.Interface) {
		cafe := serve(t, l.CafeNAT, map[string]string{"gw.corp.example.": "192.0.2.10"})
		office := serve(t, l.Firewall, map[string]string{"gw.corp.example.": "10.0.1.30"})
		servers := fixedServers{"eth0": {netip.MustParseAddr("192.168.1.1")}, "wlan0": {netip.MustParseAddr("10.0.2.1")}}
		r := New(l.Laptop, servers, rand.Reader)
		l.Plug(l.Eth0, l.Cafe)
		l.Plug(l.Wlan0, l.Office)
		time.Sleep(time.Second)
		i := eth0()
		var onOffice atomic.Int64
		defer l.Office.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolUDP {
				onOffice.Add(1)
			}
		})()
		for range 2 {
			got, err := r.Addresses(t.Context(), i, "GW.corp.example")
			if err != nil || !slices.Equal(got, []netip.Addr{simnet.LabGateway}) {
				t.Fatalf("%v, %v", got, err)
			}
			got[0] = netip.Addr{} // the caller's
		}
		if cafe.Load() != 1 || office.Load() != 0 || onOffice.Load() != 0 {
			t.Errorf("%d questions at the café, %d at the office and %d packets there", cafe.Load(), office.Load(), onOffice.Load())
		}
		for range 2 {
			if _, err := r.Addresses(t.Context(), i, "nobody.example"); !errors.Is(err, query.ErrNoName) {
				t.Errorf("a name that there is not: %v", err)
			}
		}
		if cafe.Load() != 2 {
			t.Errorf("%d questions: that there is no name is not kept", cafe.Load())
		}
		time.Sleep(31 * time.Second)
		if _, err := r.Addresses(t.Context(), i, "nobody.example"); !errors.Is(err, query.ErrNoName) || cafe.Load() != 3 {
			t.Errorf("after its time: %v, %d questions", err, cafe.Load())
		}
		r.Forget(i.Index)
		if _, err := r.Addresses(t.Context(), i, "gw.corp.example"); err != nil || cafe.Load() != 4 {
			t.Errorf("after Forget: %v, %d questions", err, cafe.Load())
		}
		time.Sleep(61 * time.Second)
		if _, err := r.Addresses(t.Context(), i, "gw.corp.example"); err != nil || cafe.Load() != 5 {
			t.Errorf("after the TTL: %v, %d questions", err, cafe.Load())
		}
		if got, err := r.Addresses(t.Context(), i, "192.0.2.77"); err != nil || got[0] != netip.MustParseAddr("192.0.2.77") || cafe.Load() != 5 {
			t.Errorf("an address: %v, %v", got, err)
		}
	})
}

// Shows: HST-3 (loss, a dead server, no server, no address, a caller that waits no longer)
func TestAddressesFailures(t *testing.T) {
	onLab(t, func(t *testing.T, l *simnet.Lab, eth0 func() link.Interface) {
		asked := serve(t, l.CafeNAT, map[string]string{"gw.corp.example.": "192.0.2.10"})
		dead, live := netip.MustParseAddr("192.0.2.99"), netip.MustParseAddr("192.168.1.1")
		l.Plug(l.Eth0, l.Cafe)
		time.Sleep(time.Second)
		i := eth0()
		r := New(l.Laptop, fixedServers{"eth0": {dead, live}}, rand.Reader)
		if got, err := r.Addresses(t.Context(), i, "gw.corp.example"); err != nil || got[0] != simnet.LabGateway || asked.Load() != 1 {
			t.Errorf("behind a dead server: %v, %v", got, err)
		}
		for name, tc := range map[string]struct {
			servers fixedServers
			i       link.Interface
			want    error
		}{
			"no server":      {fixedServers{}, i, query.ErrNoServers},
			"only loopback":  {fixedServers{"eth0": {netip.MustParseAddr("127.0.0.53")}}, i, query.ErrNoServers},
			"a dead server":  {fixedServers{"eth0": {dead}}, i, query.ErrNoAnswer},
			"no address":     {fixedServers{"eth0": {live}}, link.Interface{Index: i.Index, Name: "eth0"}, ErrNoAddress},
			"another's face": {fixedServers{"eth0": {live}}, link.Interface{Index: i.Index, Name: "eth0", Address: netip.MustParsePrefix("192.168.1.200/24")}, simnet.ErrLinkDown},
		} {
			if _, err := New(l.Laptop, tc.servers, rand.Reader).Addresses(t.Context(), tc.i, "gw.corp.example"); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := New(l.Laptop, fixedServers{"eth0": {dead}}, rand.Reader).Addresses(ctx, i, "gw.corp.example"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that waits no longer: %v", err)
		}
		m, err := query.NewQuery("gw.corp.example.", query.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := r.Exchange(t.Context(), i, m); err != nil || len(a) <= len(m) {
			t.Errorf("exchange: %x, %v", a, err)
		}
	})
}

// Shows: HST-3 (an answer from another port or address, or to another's question, is not taken: cache poisoning)
func TestForgedAnswers(t *testing.T) {
	onLab(t, func(t *testing.T, l *simnet.Lab, eth0 func() link.Interface) {
		l.Plug(l.Eth0, l.Cafe)
		time.Sleep(time.Second)
		i := eth0()
		forger, err := l.CafeNAT.ListenUDP(netip.AddrPortFrom(netip.MustParseAddr("192.168.1.1"), 5353))
		if err != nil {
			t.Fatal(err)
		}
		var forged atomic.Int64
		questions := make(chan []byte, 16)
		defer l.Cafe.Tap(func(f simnet.Frame) {
			if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Dst() == netip.MustParseAddr("192.168.1.1") && ip.Protocol() == packet.ProtocolUDP {
				questions <- slices.Clone(f.Packet)
			}
		})()
		go func() { // sees the question, ID and all, and answers from a port that is not the server's
			for p := range questions {
				u := packet.UDP(packet.IPv4(p).Payload())
				var q, a dns.Msg
				if q.Unpack(u.Payload()) != nil {
					continue
				}
				a.SetReply(&q)
				a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, 66}}}
				if b, err := a.Pack(); err == nil {
					_, _ = forger.WriteToAddrPort(b, netip.AddrPortFrom(packet.IPv4(p).Src(), u.SrcPort()))
					forged.Add(1)
				}
			}
		}()
		r := New(l.Laptop, fixedServers{"eth0": {netip.MustParseAddr("192.168.1.1")}}, rand.Reader)
		if got, err := r.Addresses(t.Context(), i, "gw.corp.example"); !errors.Is(err, query.ErrNoAnswer) {
			t.Errorf("%v, %v", got, err)
		}
		if forged.Load() == 0 {
			t.Error("nothing was forged: nothing was tested")
		}
		close(questions)
	})
}
