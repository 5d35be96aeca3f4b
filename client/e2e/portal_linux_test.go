package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/net/dns/dnsmessage"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet/netnstest"
)

// browserVariable makes this test program a browser: it connects to what it is told on its standard input, a line each, and
// says what came of it.
const browserVariable = "MIPVPN_TEST_PORTAL_BROWSER"

func init() {
	if os.Getenv(browserVariable) == "" {
		return
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", "127.0.0.1:53")
	}}
	d := net.Dialer{Timeout: 20 * time.Second, Resolver: &resolver}
	c := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		said := ""
		if r, err := c.Get(in.Text()); err != nil {
			said = "no: " + err.Error()
		} else {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			said = string(body)
		}
		fmt.Println(strings.ReplaceAll(said, "\n", " "))
	}
	os.Exit(0)
}

// kernelHotel is the hotel on this machine's kernel: a laptop in a network namespace, and a router in another, which answers
// in the name of everybody until a person has logged in; then there is an x-HA.
type kernelHotel struct {
	t      *testing.T
	laptop *os.File
	mu     sync.Mutex
	names  []string
	passed bool
	login  func()
}

func newKernelHotel(t *testing.T) *kernelHotel {
	t.Helper()
	h := &kernelHotel{t: t, laptop: netnstest.New(t)}
	router := netnstest.New(t)
	netnstest.Wire(t, h.laptop, "wlan0", netip.MustParsePrefix("172.20.0.100/24"), router, "eth0", netip.PrefixFrom(simnet.LabHotel, 24))
	netnstest.Inside(t, h.laptop, func() error {
		return netnstest.Route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), simnet.LabHotel)
	})
	netnstest.Inside(t, router, func() error {
		for _, a := range []netip.Addr{simnet.LabExternalHA, simnet.LabCorrespondent, netip.MustParseAddr("203.0.113.7")} {
			if err := netnstest.SetUp("lo", netip.PrefixFrom(a, 32)); err != nil {
				return err
			}
		}
		l, err := net.Listen("tcp4", "0.0.0.0:80")
		if err != nil {
			return err
		}
		c, err := net.ListenPacket("udp4", simnet.LabHotel.String()+":53")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: h}
		var work sync.WaitGroup
		work.Go(func() { _ = server.Serve(l) })
		work.Go(func() { h.resolve(c) })
		t.Cleanup(func() {
			if err := errors.Join(server.Close(), c.Close()); err != nil {
				t.Error(err)
			}
			work.Wait()
		})
		return nil
	})
	host := kernelHost(t, router)
	h.login = func() {
		a, err := agent.StartHomeAgent(host, externalConfig(), zap.NewNop())
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return h
}

func kernelHost(t *testing.T, ns *os.File) *underlay.Host {
	t.Helper()
	host, err := underlay.NewHost(underlay.Options{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return host
}

// ServeHTTP is the portal.
func (h *kernelHotel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host != hotelName:
		http.Redirect(w, r, "http://"+hotelName+"/welcome", http.StatusFound)
	case r.URL.Path == "/login":
		h.mu.Lock()
		if !h.passed {
			h.login()
		}
		h.passed = true
		h.mu.Unlock()
		_, _ = io.WriteString(w, "good night")
	default:
		_, _ = io.WriteString(w, "welcome")
	}
}

// resolve is the hotel's name server: every name is its own and an enterprise host's.
func (h *kernelHotel) resolve(c net.PacketConn) {
	p := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(p)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(p[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		h.mu.Lock()
		h.names = append(h.names, strings.ToLower(m.Questions[0].Name.String()))
		h.mu.Unlock()
		m.Response = true
		if m.Questions[0].Type == dnsmessage.TypeA {
			for _, a := range []netip.Addr{simnet.LabCorrespondent, simnet.LabHotel} {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: a.As4()},
				})
			}
		}
		if reply, err := m.Pack(); err == nil {
			_, _ = c.WriteTo(reply, from)
		}
	}
}

// The whole way on the kernel: found, opened, a browser that reaches the portal and nothing else, logged in, closed.
//
// Shows: HST-5, HST-2
func TestCaptivePortalOnTheKernel(t *testing.T) {
	h := newKernelHotel(t)
	cfg := ClientConfig()
	cfg.Portal = config.Portal{Detect: true, Timeout: 10 * time.Minute}
	cfg.DNS.Mode, cfg.DNS.Domains = "off", []string{"corp.example"}
	host := kernelHost(t, h.laptop)
	c, err := client.Start(host, cfg, zaptest.NewLogger(t), client.WithPortals(host), client.WithNames(client.Names{Servers: new(hotel)}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Down(context.Background()), c.Close()); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	untilPortal(ctx, t, c)

	browser := exec.Command("/proc/self/exe")
	browser.Env, browser.Stderr = append(os.Environ(), browserVariable+"=1"), os.Stderr
	browser.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	program, err := os.Open("/proc/self/exe") // whose directory may be for its owner alone
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	browser.Path, browser.ExtraFiles, browser.Dir = "/proc/self/fd/3", []*os.File{program}, "/"
	in, err := browser.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := browser.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	netnstest.Inside(t, h.laptop, browser.Start)
	killed := make(chan error, 1)
	t.Cleanup(func() { _ = browser.Process.Kill() })
	peer := control.Peer{UID: 65534, GID: 65534, PID: int32(browser.Process.Pid)}
	way, closed, end, err := c.OpenPortal(ctx, peer, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := c.JoinPortal(ctx, peer); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	get := func(url string) string {
		t.Helper()
		if _, err := fmt.Fprintln(in, url); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatalf("%s: the browser has ended: %v", url, lines.Err())
		}
		return lines.Text()
	}
	for _, url := range []string{
		"http://10.0.1.20/", "http://192.0.2.20/", "http://203.0.113.7/", "http://host.corp.example/", "http://127.0.0.1/", "http://172.20.0.100/",
	} {
		if got := get(url); !strings.HasPrefix(got, "no: ") {
			t.Errorf("%s says %q", url, got)
		}
	}
	if got := get(way.URL); got != "welcome" {
		t.Errorf("%s says %q", way.URL, got)
	}
	if got := get("http://" + simnet.LabHotel.String() + "/login"); !strings.Contains(got, "welcome") { // a redirect: not the page's name
		t.Errorf("the router by its address says %q", got)
	}
	if _, err := fmt.Fprintln(in, "http://"+hotelName+"/login"); err != nil {
		t.Fatal(err)
	}
	go func() { // the browser may be killed before it has said what it read
		for lines.Scan() {
		}
		killed <- browser.Wait()
	}()
	select {
	case last := <-closed:
		if !last.Passed {
			t.Errorf("closed: %+v", last)
		}
	case <-ctx.Done():
		t.Fatal("the way is still open")
	}
	if err := <-killed; err == nil {
		t.Error("the browser was not killed")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.names {
		if n != hotelName+"." {
			t.Errorf("the hotel was asked for %s", n)
		}
	}
}

func untilPortal(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	events, stop := c.Subscribe()
	defer stop()
	for {
		s, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if blockedByPortal(s) {
			return
		}
		select {
		case <-events:
		case <-ctx.Done():
			t.Fatalf("no portal: state %s, problems %v", s.State, s.Problems)
		}
	}
}
