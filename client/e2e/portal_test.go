package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// hotelName is the name of the hotel's page.
const hotelName = "portal.hotel.example"

// hotel is a network with a captive portal and what runs on its router: the page and a name server.
type hotel struct {
	*simnet.Hotel
	mu     sync.Mutex
	asked  []string // names
	work   sync.WaitGroup
	closes []io.Closer
}

// Servers implements resolve.Servers: DHCP has told of the router.
func (h *hotel) Servers(context.Context, link.Interface) ([]netip.Addr, error) {
	return []netip.Addr{simnet.LabHotel}, nil
}

// open puts a hotel into the lab of the options.
func openHotel(t *testing.T, o *Options) *hotel {
	h := &hotel{}
	var laptop *simnet.Host
	o.Lab = func(l *simnet.Lab) {
		h.Hotel, laptop = l.AddHotel(), l.Laptop
		h.serve(t)
	}
	o.Client = func(c *config.Config) {
		c.Portal = config.Portal{Detect: true, Timeout: 10 * time.Minute}
		c.DNS.Mode, c.DNS.Domains = "off", []string{"corp.example"}
	}
	o.Start = append(o.Start, func(c *client.Client) { client.WithPortals(laptop)(c) }, client.WithNames(client.Names{Servers: h}))
	return h
}

func (h *hotel) serve(t *testing.T) {
	t.Helper()
	l, err := h.Router.ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), 80))
	if err != nil {
		t.Fatal(err)
	}
	names, err := h.Router.ListenUDP(netip.AddrPortFrom(simnet.LabHotel, 53))
	if err != nil {
		t.Fatal(err)
	}
	h.closes = []io.Closer{l, names}
	h.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.work.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				answer := "HTTP/1.1 302 Found\r\nLocation: http://" + hotelName + "/welcome?to=" + r.Host + "\r\nContent-Length: 0\r\n\r\n"
				if r.Host == hotelName {
					answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome"
					if guest, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && r.URL.Path == "/login" {
						h.Portal.Login(guest.Addr())
					}
				}
				_, _ = io.WriteString(c, answer)
			})
		}
	})
	h.work.Go(func() {
		p := make([]byte, 1500)
		for {
			n, from, err := names.ReadFromAddrPort(p)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(p[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			h.mu.Lock()
			h.asked = append(h.asked, m.Questions[0].Name.String())
			h.mu.Unlock()
			m.Response = true
			m.Answers = []dnsmessage.Resource{
				{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: simnet.LabHotel.As4()}},
				{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: simnet.LabCorrespondent.As4()}},
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = names.WriteToAddrPort(reply, from)
			}
		}
	})
}

// close ends what runs on the router; the world's end does not wait for it.
func (h *hotel) close(t *testing.T) {
	t.Helper()
	for _, c := range h.closes {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	h.work.Wait()
}

// browserOf is a browser on the way to a portal.
type browserOf struct {
	*testing.T
	w   *World
	way *simnet.PortalWay
}

// lookUp asks the way's name server.
func (b browserOf) lookUp(name string) (addresses []netip.Addr) {
	b.Helper()
	q, err := (&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}).Pack()
	if err != nil {
		b.Fatal(err)
	}
	c, err := b.w.Laptop.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	if _, err := c.WriteToAddrPort(q, b.way.Resolver()); err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 1500)
	n, _, err := c.ReadFromAddrPort(p)
	if err != nil {
		b.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(p[:n]); err != nil {
		b.Fatal(err)
	}
	for _, r := range m.Answers {
		addresses = append(addresses, netip.AddrFrom4(r.Body.(*dnsmessage.AResource).A))
	}
	return addresses
}

// get reads a page of the hotel's.
func (b browserOf) get(to netip.Addr, path string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := b.way.Dial(ctx, netip.AddrPortFrom(to, 80))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, hotelName); err != nil {
		b.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(body)
}

// confined checks that the browser reaches no more than it has to.
func (b browserOf) confined() {
	b.Helper()
	for _, a := range []netip.Addr{simnet.LabCorrespondent, simnet.LabInternalHA, simnet.LabExternalHA, simnet.LabGateway, netip.MustParseAddr("203.0.113.7")} {
		if c, err := b.way.Dial(context.Background(), netip.AddrPortFrom(a, 80)); !errors.Is(err, simnet.ErrConfined) {
			b.Errorf("the browser reaches %v: %v", a, err)
			if err == nil {
				c.Close()
			}
		}
	}
}

// someone is the user at the screen.
var someone = control.Peer{UID: 1000, GID: 1000, PID: 4242}

func blockedByPortal(s control.Status) bool {
	return s.State == control.StateBlocked && slices.ContainsFunc(s.Problems, func(p control.Problem) bool {
		return strings.Contains(p.Message, "captive portal at "+hotelName+", run `mipvpn portal`")
	})
}

// portalOf returns the portal of wlan0.
func portalOf(s control.Status) *control.Portal {
	for _, i := range s.Interfaces {
		if i.Name == "wlan0" {
			return i.Portal
		}
	}
	return nil
}

// Shows: HST-5, DET-18
func TestCaptivePortal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Seed: 91}
		h := openHotel(t, &o)
		w := world(t, o)
		defer h.close(t)
		judge := Watch(append(w.External(), h.Wire)...)
		defer judge.Stop()
		p, err := StartProbe(w)
		if err != nil {
			t.Fatal(err)
		}
		events, stop := w.Client.Subscribe()
		defer stop()
		w.Plug(w.Wlan0, h.Wire)
		s, err := w.Until(time.Minute, blockedByPortal)
		if err != nil {
			t.Fatal(err)
		}
		portal := portalOf(s)
		if portal == nil {
			t.Fatalf("interfaces %+v", s.Interfaces)
		}
		if portal.Host != hotelName || portal.Open || !strings.HasPrefix(portal.URL, "http://"+hotelName+"/welcome") {
			t.Errorf("portal %+v", portal)
		}

		ctx := context.Background()
		if _, _, _, err := w.Client.OpenPortal(ctx, control.Peer{PID: 1}, "", 0); !errors.Is(err, control.ErrRefused) {
			t.Errorf("opened for root: %v", err)
		}
		if _, _, _, err := w.Client.OpenPortal(ctx, someone, "eth0", 0); !errors.Is(err, control.ErrRefused) {
			t.Errorf("opened where there is no portal: %v", err)
		}
		if err := w.Client.JoinPortal(ctx, someone); !errors.Is(err, control.ErrRefused) {
			t.Errorf("joined what is not open: %v", err)
		}
		way, closed, _, err := w.Client.OpenPortal(ctx, someone, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if way.Interface != "wlan0" || way.URL != portal.URL || way.ExpiresIn != 600 || way.Closed != "" {
			t.Errorf("way %+v", way)
		}
		if _, _, _, err := w.Client.OpenPortal(ctx, someone, "", 0); !errors.Is(err, control.ErrRefused) {
			t.Errorf("opened twice: %v", err)
		}
		if err := w.Client.JoinPortal(ctx, control.Peer{UID: 1001, PID: 77}); !errors.Is(err, control.ErrRefused) {
			t.Errorf("another user's process joined: %v", err)
		}
		if err := w.Client.JoinPortal(ctx, someone); err != nil {
			t.Fatal(err)
		}
		b := browserOf{t, w, w.Laptop.Portal()}
		if joined := b.way.Joined(); !slices.Equal(joined, []int{4242}) {
			t.Errorf("joined: %v", joined)
		}
		b.confined()
		if got := b.lookUp("host.corp.example."); len(got) > 0 {
			t.Errorf("an enterprise name leads to %v", got)
		}
		if got := b.lookUp(hotelName + "."); !slices.Equal(got, []netip.Addr{simnet.LabHotel}) { // and not to the correspondent
			t.Fatalf("the portal's name leads to %v", got)
		}
		if got := b.get(simnet.LabHotel, "/welcome"); got != "welcome" {
			t.Errorf("the page says %q", got)
		}
		b.confined()
		time.Sleep(2 * time.Minute) // a person looks for a pen; what was admitted is held open
		s, err = w.Client.Status(ctx)
		if err != nil || !blockedByPortal(s) || portalOf(s) == nil || !portalOf(s).Open {
			t.Errorf("status %+v, %v", s, err)
		}
		b.get(simnet.LabHotel, "/login")
		at := w.Elapsed()
		last := <-closed
		if !last.Passed || last.Closed == "" {
			t.Errorf("closed: %+v", last)
		}
		if d := w.Elapsed() - at; d > 5*time.Second {
			t.Errorf("noticed the login after %v", d)
		}
		if w.Laptop.Portal() != nil {
			t.Error("the way is still open")
		}
		if s, err = w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		if portalOf(s) != nil || len(s.Problems) != 0 {
			t.Errorf("portal %+v, problems %v", portalOf(s), s.Problems)
		}
		time.Sleep(time.Second)
		if _, back, _ := p.Counts(); back == 0 {
			t.Error("nothing came through the VPN")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if leaks, frames := judge.Leaks(); len(leaks) > 0 || frames == 0 {
			t.Errorf("%d of %d frames leaked, the first %+v", len(leaks), frames, leaks[:min(len(leaks), 1)])
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if slices.ContainsFunc(h.asked, func(n string) bool { return !strings.EqualFold(n, hotelName+".") }) {
			t.Errorf("the hotel was asked for %q", h.asked)
		}
		var told []string
		for len(events) > 0 {
			if e := <-events; e.Kind == "portal" {
				told = append(told, e.Message)
			}
		}
		if len(told) != 4 || !strings.Contains(told[0], "captive portal at "+hotelName) || !strings.Contains(told[1], "is open for a browser of user 1000") ||
			!strings.Contains(strings.Join(told[2:], "\n"), "passed") {
			t.Errorf("events %q", told)
		}
	})
}

// The way closes by itself: when its time is up, when the browser ends, when the laptop is in another network, and with the
// client.
//
// Shows: HST-5
func TestPortalWayCloses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do     func(w *World, end func())
		reason string
	}{
		"its time is up":     {func(*World, func()) { time.Sleep(2 * time.Minute) }, "time is up"},
		"the browser ends":   {func(_ *World, end func()) { end() }, "the browser has ended"},
		"another network":    {func(w *World, _ func()) { w.Plug(w.Wlan0, w.Cafe) }, "wlan0: "},
		"no network":         {func(w *World, _ func()) { w.Unplug(w.Wlan0) }, "wlan0: "},
		"a person goes home": {func(w *World, _ func()) { _ = w.Client.Down(context.Background()) }, "a person took the client down"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Seed: 92}
				h := openHotel(t, &o)
				w := world(t, o)
				defer h.close(t)
				w.Plug(w.Wlan0, h.Wire)
				if _, err := w.Until(time.Minute, blockedByPortal); err != nil {
					t.Fatal(err)
				}
				_, closed, end, err := w.Client.OpenPortal(context.Background(), someone, "wlan0", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				way := w.Laptop.Portal()
				if c, err := way.Dial(context.Background(), netip.AddrPortFrom(simnet.LabHotel, 80)); err != nil {
					t.Errorf("the router is not reached: %v", err)
				} else if err := c.Close(); err != nil {
					t.Error(err)
				}
				c.do(w, end)
				last := <-closed
				if last.Passed || !strings.Contains(last.Closed, c.reason) {
					t.Errorf("closed: %+v", last)
				}
				if _, err := way.Dial(context.Background(), netip.AddrPortFrom(simnet.LabHotel, 80)); !errors.Is(err, simnet.ErrConfined) {
					t.Errorf("the way leads on: %v", err)
				}
				if w.Laptop.Portal() != nil {
					t.Error("the way is there")
				}
			})
		})
	}
}

// A daemon that dies leaves nothing open: what was admitted ends by itself, as the kernel's elements do.
//
// Shows: HST-5, HST-2
func TestPortalWayEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Seed: 93}
		h := openHotel(t, &o)
		w := world(t, o)
		defer h.close(t)
		w.Plug(w.Wlan0, h.Wire)
		if _, err := w.Until(time.Minute, blockedByPortal); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := w.Client.OpenPortal(context.Background(), someone, "", 0); err != nil {
			t.Fatal(err)
		}
		way := w.Laptop.Portal()
		w.Laptop.Suspend() // the daemon does nothing any more, as when it has been killed
		defer w.Laptop.Resume()
		time.Sleep(time.Minute)
		if _, err := way.Dial(context.Background(), netip.AddrPortFrom(simnet.LabHotel, 80)); !errors.Is(err, simnet.ErrConfined) {
			t.Errorf("the way leads on: %v", err)
		}
	})
}

// A network that only drops UDP 434 is no portal.
//
// Shows: HST-5, DET-18
func TestNoPortalWhereNothingForeignAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Seed: 94}
		h := openHotel(t, &o)
		w := world(t, o)
		defer h.close(t)
		w.CafeNAT.SetFirewall(simnet.Rule{Protocol: 17, DestinationPort: 434, Verdict: simnet.Drop}, simnet.Rule{Verdict: simnet.Accept})
		events, stop := w.Client.Subscribe()
		defer stop()
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.Until(time.Minute, func(s control.Status) bool { return s.State == control.StateBlocked }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		s, err := w.Client.Status(context.Background())
		if err != nil || s.State != control.StateBlocked || portalOf(s) != nil {
			t.Errorf("state %s, interfaces %+v, %v", s.State, s.Interfaces, err)
		}
		for len(events) > 0 {
			if e := <-events; e.Kind == "portal" {
				t.Errorf("event %s", e.Message)
			}
		}
		if _, _, _, err := w.Client.OpenPortal(context.Background(), someone, "", 0); !errors.Is(err, control.ErrRefused) {
			t.Errorf("opened: %v", err)
		}
	})
}
