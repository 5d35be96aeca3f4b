//go:build linux

package underlay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func openTestFrames(t testing.TB, h *Host, index int, recv link.Receiver) link.Frames {
	t.Helper()
	f, err := h.OpenFrames(index, recv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// udpPacket returns an IPv4 packet of UDP with a payload.
func udpPacket(src, dst netip.AddrPort, payload string) *packet.Buf {
	b := packet.From([]byte(payload))
	packet.PushUDP(b, src, dst)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	return b
}

func TestFrames(t *testing.T) {
	p := newPair(t)
	atA, atB := newInbox(), newInbox()
	a := openTestFrames(t, p.a, p.indexA, atA.receive)
	b := openTestFrames(t, p.b, p.indexB, atB.receive)
	var (
		src = netip.MustParseAddrPort("10.0.8.100:1000")
		dst = netip.MustParseAddrPort("10.0.1.20:2000")
	)
	for i, to := range []packet.HardwareAddr{
		b.Hardware(),
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x01, 0x00, 0x5e, 0, 0, 11}, // 224.0.0.11, which the kernel has not joined
	} {
		q := udpPacket(src, dst, fmt.Sprint("frame ", i))
		want := bytes.Clone(q.Bytes())
		q.Hardware = to
		if err := a.Out(link.Plaintext).Send(packet.One(q)); err != nil {
			t.Fatal(err)
		}
		got := atB.take(t, 1)[0]
		if !bytes.Equal(got.Bytes(), want) || got.Hardware != a.Hardware() || got.Interface != p.indexB {
			t.Errorf("to %v: received % x from %v on interface %d, want % x from %v on %d",
				to, got.Bytes(), got.Hardware, got.Interface, want, a.Hardware(), p.indexB)
		}
	}
	// A frame to another station is not ours; the one after it is.
	other := packet.GetBatch()
	for i, to := range []packet.HardwareAddr{{2, 0, 0, 0, 0, 9}, b.Hardware()} {
		q := udpPacket(src, dst, fmt.Sprint("station ", i))
		q.Hardware = to
		other.Append(q)
	}
	if err := a.Out(link.Protected).Send(other); err != nil {
		t.Fatal(err)
	}
	if got := atB.take(t, 1)[0].Bytes(); !bytes.HasSuffix(got, []byte("station 1")) {
		t.Errorf("received %q, a frame to another station", got)
	}
	select {
	case batch := <-atA:
		t.Errorf("received own frame % x", batch.Bufs[0].Bytes())
	default:
	}
}

func TestFrameTooBig(t *testing.T) {
	p := newPair(t)
	a := openTestFrames(t, p.a, p.indexA, newInbox().receive)
	q := packet.Get(1600)
	q.Extend(1600)
	q.Hardware = packet.HardwareAddr{2, 0, 0, 0, 0, 9}
	if err := a.Out(link.Protected).Send(packet.One(q)); err == nil {
		t.Error("a frame of 1600 octets was sent on an interface with MTU 1500")
	}
	if n := p.a.opts.Drops.Of(packet.DropTooBig); n != 1 {
		t.Errorf("%d packets counted as too_big, want 1", n)
	}
}

// A kernel's TCP leaves checksums and segmentation to the interface, so that what crosses a veth pair are superpackets
// with partial checksums. Frames gives them as packets that could have crossed a real wire.
func TestFramesCutSuperpackets(t *testing.T) {
	p := newPair(t)
	data := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. "), 20000)
	type segment struct {
		seq  uint32
		data []byte
	}
	segments := make(chan segment, 1<<16)
	broken := make(chan string, 1)
	openTestFrames(t, p.b, p.indexB, func(batch *packet.Batch) {
		for _, b := range batch.Bufs {
			if why := checkTCP(b.Bytes()); why != "" {
				select {
				case broken <- why:
				default:
				}
			}
			ip := packet.IPv4(b.Bytes())
			tcp := ip.Payload()
			if binary.BigEndian.Uint16(tcp[2:]) == 7000 { // the direction of the data
				segments <- segment{binary.BigEndian.Uint32(tcp[4:]), bytes.Clone(tcp[int(tcp[12]>>4)*4:])}
			}
		}
		batch.Release()
	})
	copied := sendTCP(t, p, netip.AddrPortFrom(addrB.Addr(), 7000), data)
	if !bytes.Equal(copied, data) {
		t.Fatal("the kernel's own TCP lost data")
	}
	// The stream put together from the segments is the one sent.
	first := <-segments
	got, seen := make([]byte, len(data)), make([]bool, len(data))
	for have := 0; have < len(data); {
		s := <-segments // also what TCP sends again
		off := int(s.seq - first.seq - 1)
		for i, c := range s.data {
			if k := off + i; k >= 0 && k < len(got) {
				if !seen[k] {
					seen[k] = true
					have++
				}
				got[k] = c
			}
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("the segments do not make up the stream")
	}
	select {
	case why := <-broken:
		t.Error(why)
	default:
	}
}

// checkTCP says what is wrong with a TCP packet as a wire of MTU 1500 would have it, or returns the empty string.
func checkTCP(p []byte) string {
	ip := packet.IPv4(p)
	switch {
	case !ip.Valid() || !ip.ChecksumOK():
		return fmt.Sprintf("IPv4 header % x is wrong", p[:min(len(p), 20)])
	case ip.Protocol() != packet.ProtocolTCP:
		return fmt.Sprintf("protocol %d", ip.Protocol())
	case len(p) > 1500 || ip.TotalLen() != len(p):
		return fmt.Sprintf("packet of %d octets says that it has %d", len(p), ip.TotalLen())
	case packet.TransportChecksum(ip.Payload(), ip.Src(), ip.Dst(), packet.ProtocolTCP) != 0:
		return fmt.Sprintf("TCP checksum of a packet of %d octets is wrong", len(p))
	}
	return ""
}

// sendTCP sends data from A to B with the kernels' TCP and returns what B has received.
func sendTCP(t *testing.T, p *pair, to netip.AddrPort, data []byte) []byte {
	t.Helper()
	var listener net.Listener
	var client net.Conn
	netnstest.Inside(t, p.nsB, func() (err error) {
		listener, err = net.Listen("tcp4", to.String())
		return err
	})
	defer listener.Close()
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer c.Close()
		all, err := io.ReadAll(c)
		done <- result{all, err}
	}()
	netnstest.Inside(t, p.nsA, func() (err error) {
		client, err = dialTCP(to)
		return err
	})
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.data
}

// dialTCP connects from the calling thread; net.Dial could do so from another, in another namespace.
func dialTCP(to netip.AddrPort) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	return net.FileConn(f)
}
