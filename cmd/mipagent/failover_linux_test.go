package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent/etcdstore/etcdtest"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// mobileNodeCount is how many mobile nodes register at the two agents.
const mobileNodeCount = 200

// segment is one Ethernet: two home agents, etcd, the mobile nodes and a correspondent, each in its namespace.
type segment struct {
	t                                *testing.T
	bridge                           *os.File
	etcd, mobileNodes, correspondent *os.File
	agents                           [2]*os.File
}

var (
	sharedHA       = netip.MustParseAddr("10.0.1.10")
	correspondent4 = netip.MustParseAddr("10.0.1.40")
)

func newSegment(t *testing.T) *segment {
	t.Helper()
	s := &segment{t: t, bridge: netnstest.New(t)}
	netnstest.Inside(t, s.bridge, func() error {
		a := netlink.NewLinkAttrs()
		a.Name = "br0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			return err
		}
		return netnstest.SetUp("br0", netip.Prefix{})
	})
	s.agents[0], s.agents[1] = s.plug("ha0", "10.0.1.11/24"), s.plug("ha1", "10.0.1.12/24")
	s.etcd, s.mobileNodes, s.correspondent = s.plug("etcd", "10.0.1.31/24"), s.plug("mn", "10.0.1.20/24"), s.plug("cn", "10.0.1.40/24")
	netnstest.Inside(t, s.correspondent, func() error { return netnstest.Route(netip.MustParsePrefix("10.0.8.0/24"), sharedHA) })
	return s
}

// plug makes a namespace with an interface eth0 on the segment.
func (s *segment) plug(port, address string) *os.File {
	s.t.Helper()
	ns := netnstest.New(s.t)
	netnstest.Wire(s.t, ns, "eth0", netip.MustParsePrefix(address), s.bridge, port, netip.Prefix{})
	netnstest.Inside(s.t, s.bridge, func() error {
		p, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		b, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(p, b)
	})
	return ns
}

// lockedBuffer is a process's output, which is read while it runs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// process is mipagent as a process of its own.
type process struct {
	cmd *exec.Cmd
	out *lockedBuffer
}

// start starts mipagent in the namespace with the configuration file.
func (s *segment) start(ns *os.File, file string) *process {
	s.t.Helper()
	p := &process{cmd: exec.Command("/proc/self/exe", "run", "--config", file), out: new(lockedBuffer)}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), asMipagent+"=yes")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := netnstest.Enter(s.t, ns)(p.cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		p.end(os.Kill)
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", file, p.out)
		}
	})
	return p
}

// end sends the process a signal and waits for its end; doing so again does nothing.
func (p *process) end(signal os.Signal) {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(signal)
		_ = p.cmd.Wait()
	}
}

// await waits until the condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// fleet is many mobile nodes behind one care-of address and one UDP port, each with a UDP tunnel of its own. They know that they are
// registered by their replies alone.
type fleet struct {
	t    *testing.T
	conn *net.UDPConn
	key  auth.Key
	sa   [mobileNodeCount]*auth.SecurityAssociation

	mu       sync.Mutex
	requests [mobileNodeCount][]byte    // the newest of each
	accepted [mobileNodeCount][]byte    // the newest of each that was accepted
	codes    [mobileNodeCount]wire.Code // of the newest reply
	replies  int
	echoes   [mobileNodeCount]uint16 // the sequence number of the newest echo reply from the correspondent
}

func newFleet(t *testing.T, ns *os.File) *fleet {
	t.Helper()
	f := &fleet{t: t, key: bytes.Repeat([]byte{0x5a}, 16)}
	for i := range f.sa {
		var err error
		if f.sa[i], err = auth.New(auth.Parameters{SPI: 1001, Algorithm: auth.HMACSHA256, Key: bytes.Clone(f.key)}); err != nil {
			t.Fatal(err)
		}
	}
	netnstest.Inside(t, ns, func() (err error) {
		f.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.0.1.20:5434")))
		return err
	})
	var reader sync.WaitGroup
	reader.Go(f.read)
	t.Cleanup(func() { f.conn.Close(); reader.Wait() })
	return f
}

func homeAt(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 8, byte(i + 1)}) }

// configured returns the mobile nodes as a file that mobile_nodes names.
func (f *fleet) configured() string {
	var b strings.Builder
	b.WriteString("schema = 1\n")
	for i := range f.sa {
		fmt.Fprintf(&b, "[[mobile_node]]\nhome_address = %q\nspi = 1001\nalgorithm = \"hmac-sha256\"\nkey = %q\n", homeAt(i), hex.EncodeToString(f.key))
	}
	return b.String()
}

// configuration writes the configuration of a home agent for the mobile nodes, with what rest adds to its table, and returns its path.
// The tolerance of timestamps is so great that only the state of replay protection can tell an old request.
func (f *fleet) configuration(dir, name, rest string) string {
	f.t.Helper()
	text := `schema = 1
[home_agent.internal]
address = "10.0.1.10"
home_networks = ["10.0.8.0/24"]
trusted_networks = ["10.0.0.0/16"]
timestamp_tolerance = "10m"
mobile_nodes = "nodes.toml"
` + rest + `[control]
socket = ""
`
	file := filepath.Join(dir, name+".toml")
	for path, text := range map[string]string{file: text, filepath.Join(dir, "nodes.toml"): f.configured()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	return file
}

// read takes replies and what comes out of the tunnels.
func (f *fleet) read() {
	buf := make([]byte, 2048)
	for {
		n, _, err := f.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		p := buf[:n]
		f.mu.Lock()
		if typ, ok := wire.TypeOf(p); ok && typ == wire.TypeRegistrationReply {
			f.takeReply(p)
		} else if len(p) > tunnel.DataHeaderLen && p[0] == tunnel.TypeData {
			ip := packet.IPv4(p[tunnel.DataHeaderLen:])
			if typ, id, seq, ok := tunnel.ParseEcho(ip); ok && typ == tunnel.ICMPEchoReply && ip.Src() == correspondent4 && int(id) < len(f.echoes) && ip.Dst() == homeAt(int(id)) {
				f.echoes[id] = seq
			}
		}
		f.mu.Unlock()
	}
}

func (f *fleet) takeReply(p []byte) {
	reply, err := wire.ParseRegistrationReply(p)
	if err != nil {
		f.t.Error(err)
		return
	}
	home := reply.HomeAddress.As4()
	i := int(home[3]) - 1
	if i < 0 || i >= mobileNodeCount || f.sa[i].Verify(p, reply.Offset(reply.Extensions.Index(wire.ExtMobileHomeAuthentication)), wire.ExtMobileHomeAuthentication) != nil {
		f.t.Errorf("a reply that is not authentic, for %v", reply.HomeAddress)
		return
	}
	f.replies++
	f.codes[i] = reply.Code
	if request, err := wire.ParseRegistrationRequest(f.requests[i]); err == nil && reply.Code == wire.CodeAccepted && request.Identification.Low() == reply.Identification.Low() {
		f.accepted[i] = f.requests[i]
	}
}

// register sends a new request of one mobile node.
func (f *fleet) register(i int) {
	f.t.Helper()
	r := wire.RegistrationRequest{
		Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 1800, HomeAddress: homeAt(i), HomeAgent: sharedHA,
		CareOfAddress: netip.MustParseAddr("10.0.1.20"), Identification: wire.IdentificationAt(time.Now()),
		Extensions: wire.Extensions{wire.UDPTunnelRequest{Force: true}.Extension()},
	}
	p, err := r.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	p = f.sa[i].AppendExtension(p, wire.ExtMobileHomeAuthentication)
	f.mu.Lock()
	f.requests[i] = p
	f.mu.Unlock()
	f.send(p)
}

// send sends to the home agent. What the network says is not looked at: the other end may be gone.
func (f *fleet) send(p []byte) {
	_, _ = f.conn.WriteToUDPAddrPort(p, netip.AddrPortFrom(sharedHA, wire.Port))
}

// load has all mobile nodes register, again and again, until stop is closed.
func (f *fleet) load(stop <-chan struct{}) {
	for {
		for i := range f.sa {
			select {
			case <-stop:
				return
			default:
				f.register(i)
				<-time.After(200 * time.Microsecond)
			}
		}
	}
}

// count returns how many replies came, and how many mobile nodes know that they are registered.
func (f *fleet) count() (replies, registered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.accepted {
		if a != nil {
			registered++
		}
	}
	return f.replies, registered
}

// superseded waits until a mobile node has registered again, and returns its request before that.
func (f *fleet) superseded(i int) (old []byte) {
	f.t.Helper()
	f.mu.Lock()
	old = f.accepted[i]
	f.mu.Unlock()
	await(f.t, "a mobile node has registered again", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !bytes.Equal(f.accepted[i], old)
	})
	return old
}

// replay sends an old request of a mobile node, which must be denied as one.
func (f *fleet) replay(i int, old []byte) {
	f.t.Helper()
	const none = wire.Code(255)
	f.mu.Lock()
	f.codes[i] = none
	f.mu.Unlock()
	await(f.t, "an old request is answered", func() bool {
		f.send(old)
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.codes[i] != none
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.codes[i] != wire.CodeIdentificationMismatch {
		f.t.Errorf("an old request was answered with code %v", f.codes[i])
	}
}

// carry has each registered mobile node exchange a packet with the correspondent through its tunnel, and nothing else. It returns how
// long the first one took.
func (f *fleet) carry(sequence uint16) (first time.Duration) {
	f.t.Helper()
	begin := time.Now()
	for deadline := begin.Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		f.mu.Lock()
		var left []int
		for i := range f.sa {
			if f.accepted[i] != nil && f.echoes[i] != sequence {
				left = append(left, i)
			} else if f.echoes[i] == sequence && first == 0 {
				first = time.Since(begin)
			}
		}
		f.mu.Unlock()
		if len(left) == 0 {
			return first
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d mobile nodes that are registered have no connection, %v among them", len(left), homeAt(left[0]))
		}
		for _, i := range left {
			f.send(tunnel.AppendEchoRequest(nil, homeAt(i), correspondent4, uint16(i), sequence))
		}
	}
}

// Shows: AGT-5 (two agents in front of one virtual home network, with a real etcd of three servers: one of those is killed while mobile
// nodes register, and then the active agent; every mobile node that was told of a binding has its connections at the other agent
// without doing anything, and what it sent before is not accepted again; the first agent comes back, and takes over when the second one is stopped).
func TestFailover(t *testing.T) {
	s := newSegment(t)
	servers := etcdtest.Start(t, s.etcd, netip.MustParseAddr("10.0.1.31"))
	f := newFleet(t, s.mobileNodes)
	dir := t.TempDir()
	cluster := fmt.Sprintf("[home_agent.internal.cluster]\netcd = [%q, %q, %q]\ninterface = \"eth0\"\n", servers.Endpoint(0), servers.Endpoint(1), servers.Endpoint(2))
	files := [2]string{f.configuration(dir, "a", cluster+"name = \"a\"\n"), f.configuration(dir, "b", cluster+"name = \"b\"\n")}
	const active, standsBy = "this home agent is the active one", "this one stands by"
	a := s.start(s.agents[0], files[0])
	await(t, "the first agent is active", func() bool { return strings.Contains(a.out.String(), active) })
	b := s.start(s.agents[1], files[1])
	await(t, "the second agent stands by", func() bool { return strings.Contains(b.out.String(), standsBy) })

	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { f.load(stop) })
	await(t, "all mobile nodes are registered", func() bool { _, n := f.count(); return n == mobileNodeCount })
	servers.Kill(0)
	before, _ := f.count()
	await(t, "registrations go on without one of the etcd servers", func() bool { n, _ := f.count(); return n > before+3*mobileNodeCount })
	old := f.superseded(7)
	a.end(os.Kill)
	close(stop)
	load.Wait()
	replies, registered := f.count()
	if strings.Contains(b.out.String(), active) {
		t.Fatal("the second agent was active before the first one was killed")
	}
	t.Logf("killed after %d replies; the first connection goes on %v later", replies, f.carry(1).Round(10*time.Millisecond))
	if !strings.Contains(b.out.String(), active) || registered != mobileNodeCount {
		t.Fatalf("%d mobile nodes had connections at nobody's", registered)
	}

	// The replay state came over as well.
	f.replay(7, old)
	await(t, "a new request is accepted", func() bool {
		f.register(7)
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.codes[7] == wire.CodeAccepted
	})

	// The first agent comes back, and takes over when the second one ends as it should.
	a = s.start(s.agents[0], files[0])
	await(t, "the first agent stands by", func() bool { return strings.Contains(a.out.String(), standsBy) })
	b.end(syscall.SIGTERM)
	if code := b.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("the second agent ended with exit code %d", code)
	}
	t.Logf("the first connection goes on %v after the second agent was stopped", f.carry(2).Round(10*time.Millisecond))
	if !strings.Contains(a.out.String(), active) {
		t.Error("connections at nobody's")
	}
}

// Shows: AGT-5 (a home agent that stands alone, killed while mobile nodes register and started again: every mobile node that was told
// of a binding has its connections without doing anything, and what it sent before is not accepted again).
func TestRestartLosesNothing(t *testing.T) {
	s := newSegment(t)
	f := newFleet(t, s.mobileNodes)
	netnstest.Inside(t, s.agents[0], func() error { return netnstest.SetUp("eth0", netip.PrefixFrom(sharedHA, 24)) })
	file := f.configuration(t.TempDir(), "a", "store = \"bindings.db\"\n")
	a := s.start(s.agents[0], file)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { f.load(stop) })
	await(t, "all mobile nodes are registered", func() bool { _, n := f.count(); return n == mobileNodeCount })
	old := f.superseded(7)
	a.end(os.Kill)
	close(stop)
	load.Wait()
	s.start(s.agents[0], file)
	replies, _ := f.count()
	t.Logf("killed after %d replies; the first connection goes on %v later", replies, f.carry(1).Round(10*time.Millisecond))
	f.replay(7, old)
}
