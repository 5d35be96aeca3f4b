package capture

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/space"
)

const (
	// snapLen is the longest frame in octets that is kept: a superframe of 64 KiB with its Ethernet header.
	snapLen = 65536 + 14
	// receiveBuffer is the socket's buffer in octets: what arrives while the reader does not run.
	receiveBuffer = 16 << 20
)

// Tap is a running capture.
type Tap struct {
	socket *os.File
	done   sync.WaitGroup
	file   *os.File
	buffer *bufio.Writer
	writer *pcapgo.Writer
	err    error // of writing; read after done
}

// Open captures all frames that cross the bridge of this name in the namespace and calls f for each. With a file name the
// frames are kept there.
func Open(s *space.Space, bridge, file string, f func(at time.Time, frame []byte)) (*Tap, error) {
	t := &Tap{}
	if file != "" {
		var err error
		if t.file, err = os.Create(file); err != nil {
			return nil, fmt.Errorf("capture: %w", err)
		}
		t.buffer = bufio.NewWriterSize(t.file, 1<<16)
		t.writer = pcapgo.NewWriterNanos(t.buffer)
		if err := t.writer.WriteFileHeader(snapLen, layers.LinkTypeEthernet); err != nil {
			t.file.Close()
			return nil, fmt.Errorf("capture: %s: %w", file, err)
		}
	}
	err := s.Do(func() (err error) { t.socket, err = packetSocket(bridge); return err })
	if err != nil {
		if t.file != nil {
			t.file.Close()
		}
		return nil, fmt.Errorf("capture: %s: %w", bridge, err)
	}
	t.done.Go(func() { t.read(f) })
	return t, nil
}

// packetSocket opens a promiscuous packet socket on the interface.
func packetSocket(iface string) (*os.File, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	// Bound with its protocol, so that nothing of other interfaces is queued before.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fail := func(call string, err error) (*os.File, error) {
		unix.Close(fd)
		return nil, os.NewSyscallError(call, err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return fail("setsockopt SO_RCVBUF", err)
		}
	}
	mreq := &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
		return fail("setsockopt PACKET_ADD_MEMBERSHIP", err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		return fail("bind", err)
	}
	return os.NewFile(uintptr(fd), "packet socket on "+iface), nil
}

func (t *Tap) read(f func(at time.Time, frame []byte)) {
	buf := make([]byte, snapLen)
	for {
		n, err := t.socket.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // Close: all that had arrived has been read
		}
		if err != nil {
			t.err = err
			return
		}
		now := time.Now()
		if t.writer != nil && t.err == nil {
			t.err = t.writer.WritePacket(gopacket.CaptureInfo{Timestamp: now, CaptureLength: n, Length: n}, buf[:n])
		}
		f(now, buf[:n])
	}
}

// Close reads what has arrived, ends the capture and returns how many frames the socket lost for want of room.
func (t *Tap) Close() (lost int, err error) {
	// An expired deadline does not keep data from being read: drain once without waiting, then stop.
	err = t.socket.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	t.done.Wait()
	raw, rawErr := t.socket.SyscallConn()
	if rawErr == nil {
		rawErr = raw.Control(func(fd uintptr) {
			stats, statErr := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if statErr != nil {
				err = errors.Join(err, os.NewSyscallError("getsockopt PACKET_STATISTICS", statErr))
				return
			}
			lost = int(stats.Drops)
		})
	}
	err = errors.Join(err, rawErr, t.err, t.socket.Close())
	if t.file != nil {
		err = errors.Join(err, t.buffer.Flush(), t.file.Close())
	}
	return lost, err
}
