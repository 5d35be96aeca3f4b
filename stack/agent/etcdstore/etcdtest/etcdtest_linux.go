package etcdtest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mipvpn/tun/hostnet/netnstest"
)

// Servers are three etcd servers that make a cluster.
type Servers struct {
	t    testing.TB
	do   func(func() error) error
	dir  string
	at   [6]netip.AddrPort // of each server: for clients, for its peers
	each [3]*exec.Cmd
	out  [3]*bytes.Buffer
}

// Start starts three etcd servers at free ports of that address, in the namespace, or in that of the process where it is nil, and
// waits until each answers. It skips the test where there is no etcd.
func Start(t testing.TB, ns *os.File, at netip.Addr) *Servers {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("needs etcd (Debian package etcd-server)")
	}
	if ns == nil {
		own, err := os.Open("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		if os.Geteuid() != 0 {
			t.Skip("needs root for network namespaces")
		}
		ns = own
	}
	s := &Servers{t: t, do: netnstest.Enter(t, ns), dir: t.TempDir()}
	s.findPorts(at)
	for i := range s.each {
		s.start(i)
	}
	t.Cleanup(func() {
		for i := range s.each {
			s.Kill(i)
			if t.Failed() {
				t.Logf("etcd %d said:\n%s", i, s.out[i])
			}
		}
	})
	for i := range s.each {
		s.await(i)
	}
	return s
}

// findPorts finds free ports. They are found together, so that they differ.
func (s *Servers) findPorts(at netip.Addr) {
	s.t.Helper()
	err := s.do(func() error {
		for i := range s.at {
			l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
			if err != nil {
				return err
			}
			defer l.Close()
			s.at[i] = l.Addr().(*net.TCPAddr).AddrPort()
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// Endpoint returns the URL of one of them, 0 to 2.
func (s *Servers) Endpoint(i int) string { return "http://" + s.at[2*i].String() }

// Endpoints returns the URLs of all of them.
func (s *Servers) Endpoints() []string { return []string{s.Endpoint(0), s.Endpoint(1), s.Endpoint(2)} }

func (s *Servers) peer(i int) string { return "http://" + s.at[2*i+1].String() }

// start starts one server, which goes on with the data that it has.
func (s *Servers) start(i int) {
	s.t.Helper()
	var members []string
	for j := range s.each {
		members = append(members, fmt.Sprintf("etcd%d=%s", j, s.peer(j)))
	}
	cmd := exec.Command("etcd", "--name", fmt.Sprintf("etcd%d", i), "--data-dir", filepath.Join(s.dir, fmt.Sprint(i)),
		"--listen-client-urls", s.Endpoint(i), "--advertise-client-urls", s.Endpoint(i),
		"--listen-peer-urls", s.peer(i), "--initial-advertise-peer-urls", s.peer(i),
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "warn")
	s.out[i] = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = s.out[i], s.out[i]
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	s.each[i] = cmd
}

// await waits until a server answers requests with the agreement of the others.
func (s *Servers) await(i int) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.do(func() error { return s.ask(s.at[2*i]) })
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("etcd %d does not answer within a minute: %v", i, err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// ask asks the server there how it is. All of it happens on the calling thread, which is in the servers' namespace.
func (s *Servers) ask(server netip.AddrPort) error {
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(server))
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(c, "GET /health HTTP/1.0\r\nHost: %v\r\n\r\n", server); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", r.Status)
	}
	return nil
}

// Kill ends a server at once, as a crash of its machine does.
func (s *Servers) Kill(i int) {
	if s.each[i] == nil {
		return
	}
	_ = s.each[i].Process.Kill()
	_ = s.each[i].Wait()
	s.each[i] = nil
}

// Restart starts a server that was killed, and waits until it answers.
func (s *Servers) Restart(i int) {
	s.t.Helper()
	s.start(i)
	s.await(i)
}
