package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"mipvpn/client/portal"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// guest is the laptop in the hotel, whose portal says what answer writes.
type guest struct {
	*simnet.Lab
	hotel *simnet.Hotel
	iface link.Interface
}

func newGuest(t *testing.T, answer func(r *http.Request) string) *guest {
	t.Helper()
	g := &guest{Lab: simnet.NewLab(1)}
	g.hotel = g.AddHotel()
	l, err := g.hotel.Router.ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), 80))
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, _ = io.WriteString(c, answer(r))
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), g.Close()); err != nil {
			t.Error(err)
		}
		work.Wait()
	})
	g.Plug(g.Wlan0, g.hotel.Wire)
	time.Sleep(5 * time.Second) // for an address
	list, err := g.Laptop.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.Name == "wlan0" {
			g.iface = i
		}
	}
	if !g.iface.Address.IsValid() {
		t.Fatalf("no address: %+v", list)
	}
	return g
}

// Shows: HST-5
func TestAskMeetsThePortal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuest(t, func(r *http.Request) string {
			return fmt.Sprintf("HTTP/1.1 302 Found\r\nLocation: http://172.20.0.1/login?for=%s\r\nContent-Length: 0\r\n\r\n", r.Host)
		})
		p := New(g.Laptop, nil)
		q := portal.AskHomeAgent(simnet.LabExternalHA)
		o := p.Ask(context.Background(), g.iface, q)
		if !o.Connected || o.Status != 302 || o.Location != "http://172.20.0.1/login?for=192.0.2.20" || o.Failure != "" {
			t.Errorf("%+v", o)
		}
		// The x-HA itself serves no HTTP.
		g.hotel.Portal.Login(g.iface.Address.Addr())
		if o := p.Ask(context.Background(), g.iface, q); o.Connected || o.Failure == "" {
			t.Errorf("%+v", o)
		}
		// Nor does anybody answer where there is nobody; the question ends by itself.
		g.Unplug(g.Wlan0)
		if o := p.Ask(context.Background(), g.iface, q); o.Connected || o.Failure == "" {
			t.Errorf("%+v", o)
		}
		if o := p.Ask(context.Background(), g.iface, portal.Question{Host: "probe.example", Port: 80, Path: "/"}); o.Connected || o.Failure == "" {
			t.Errorf("without a resolver: %+v", o)
		}
	})
}

// Whatever a portal answers, the question ends and what is kept of the answer is bounded.
//
// Shows: HST-5
func TestAskBoundsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("a", 1<<20)
		answers := map[string]string{
			"a long body":       "HTTP/1.1 200 OK\r\n\r\n" + long,
			"a long field":      "HTTP/1.1 302 Found\r\nLocation: http://" + long,
			"many fields":       "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<17),
			"not HTTP":          "SSH-2.0-x\r\n",
			"chunks of nothing": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
			"a promise":         "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
		}
		var current string
		g := newGuest(t, func(*http.Request) string { return current })
		for name, answer := range answers {
			current = answer
			o := New(g.Laptop, nil).Ask(context.Background(), g.iface, portal.AskHomeAgent(simnet.LabExternalHA))
			if !o.Connected || len(o.Body) > portal.MaxBody || len(o.Location) > maxAnswer {
				t.Errorf("%s: connected %v, body of %d, location of %d octets", name, o.Connected, len(o.Body), len(o.Location))
			}
		}
	})
}

func FuzzConverse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		near, far := net.Pipe()
		var work sync.WaitGroup
		work.Go(func() {
			if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
				t.Error(err)
			}
			_, _ = far.Write(answer)
			far.Close()
		})
		o := converse(near, portal.AskHomeAgent(simnet.LabExternalHA))
		near.Close()
		work.Wait()
		if !o.Connected || len(o.Body) > portal.MaxBody {
			t.Errorf("%+v", o)
		}
	})
}

// oracle is a Resolver that knows one name.
type oracle struct {
	asked []string
	mu    sync.Mutex
}

func (o *oracle) Addresses(context.Context, link.Interface, string) ([]netip.Addr, error) {
	return []netip.Addr{simnet.LabHotel}, nil
}

func (o *oracle) Exchange(_ context.Context, _ link.Interface, message []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(message); err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.asked = append(o.asked, m.Questions[0].Name.String())
	o.mu.Unlock()
	if m.Questions[0].Name.String() == "silent.example." {
		return nil, errors.New("nobody answers")
	}
	m.Response = true
	for _, a := range []string{"203.0.113.5", "10.0.1.20"} {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	return m.Pack()
}

// Shows: HST-5, HST-3
func TestForwarder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := simnet.NewLab(1)
		c, err := lab.Laptop.ListenLocal()
		if err != nil {
			t.Fatal(err)
		}
		o := &oracle{}
		var learnt []netip.Addr
		refuse := false
		f := &Forwarder{
			Names:    portal.Names{Forbidden: portal.Forbidden{Prefixes: []netip.Prefix{simnet.LabEnterprise}}, Domains: []string{"corp.example"}},
			Resolver: o,
			Learn: func(a []netip.Addr) error {
				if refuse {
					return errors.New("no")
				}
				learnt = append(learnt, a...)
				return nil
			},
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- f.Serve(ctx, c) }()
		browser, err := lab.Laptop.ListenLocal()
		if err != nil {
			t.Fatal(err)
		}
		ask := func(name string) (code dnsmessage.RCode, addresses []string) {
			t.Helper()
			q, err := (&dnsmessage.Message{
				Header:    dnsmessage.Header{ID: 9, RecursionDesired: true},
				Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
			}).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := browser.WriteTo(q, c.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 1000)
			if err := browser.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			n, _, err := browser.ReadFrom(p)
			if err != nil {
				t.Fatal(err)
			}
			var m dnsmessage.Message
			if err := m.Unpack(p[:n]); err != nil || m.ID != 9 {
				t.Fatalf("%v, %v", m.GoString(), err)
			}
			for _, r := range m.Answers {
				addresses = append(addresses, netip.AddrFrom4(r.Body.(*dnsmessage.AResource).A).String())
			}
			return m.RCode, addresses
		}
		if code, addresses := ask("portal.example."); code != 0 || !slices.Equal(addresses, []string{"203.0.113.5"}) {
			t.Errorf("told %v %v", code, addresses)
		}
		if len(learnt) != 1 || learnt[0] != netip.MustParseAddr("203.0.113.5") {
			t.Errorf("learnt %v", learnt)
		}
		if code, addresses := ask("host.corp.example."); code != dnsmessage.RCodeNameError || len(addresses) > 0 {
			t.Errorf("an enterprise name: told %v %v", code, addresses)
		}
		if code, _ := ask("silent.example."); code != dnsmessage.RCodeServerFailure {
			t.Errorf("nobody answers: told %v", code)
		}
		refuse = true // an address that the way does not lead to is not told
		if code, addresses := ask("other.example."); code != dnsmessage.RCodeServerFailure || len(addresses) > 0 {
			t.Errorf("not admitted: told %v %v", code, addresses)
		}
		if _, err := browser.WriteTo([]byte("nonsense"), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o.mu.Lock()
		if want := []string{"portal.example.", "silent.example.", "other.example."}; !slices.Equal(o.asked, want) {
			t.Errorf("asked outside for %q, expected %q", o.asked, want)
		}
		o.mu.Unlock()
		cancel()
		if err := errors.Join(<-ended, browser.Close(), lab.Close()); err != nil {
			t.Error(err)
		}
	})
}
