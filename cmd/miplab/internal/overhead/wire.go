package overhead

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"mipvpn/tun/packet"
)

const (
	registrationPort = 434 // RFC 5944 §3.3
	typeRequest      = 1   // RFC 5944 §3.3
	typeReply        = 3   // RFC 5944 §3.4
)

// wire hears what crosses the laptop's wire while one datagram goes to and fro.
type wire struct {
	own []netip.Addr // under which the laptop shows there

	mu       sync.Mutex
	up, down []int // lengths of the outermost IPv4 packets
	heard    chan struct{}
}

// frame takes note of a frame that is not a registration.
func (w *wire) frame(f []byte) {
	const header = 14 // Ethernet II
	if len(f) < header || binary.BigEndian.Uint16(f[12:]) != 0x0800 {
		return
	}
	p := packet.IPv4(f[header:])
	if !p.Valid() || registration(p) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.own {
		switch a {
		case p.Src():
			w.up = append(w.up, p.TotalLen())
		case p.Dst():
			w.down = append(w.down, p.TotalLen())
		}
	}
	select {
	case w.heard <- struct{}{}:
	default:
	}
}

// registration reports whether the packet is a registration message and no tunnelled data.
func registration(p packet.IPv4) bool {
	if p.Protocol() != packet.ProtocolUDP {
		return false
	}
	u := packet.UDP(p.Payload())
	if !u.Valid() || u.SrcPort() != registrationPort && u.DstPort() != registrationPort {
		return false
	}
	b := u.Payload()
	return len(b) > 0 && (b[0] == typeRequest || b[0] == typeReply)
}

// Times of one datagram: how long its echo and the frames of both may take, and how many are sent for one length at most.
const (
	echoTime = 2 * time.Second
	attempts = 40
)

// errDisturbed is for a datagram beside which other packets went.
var errDisturbed = errors.New("overhead: other packets went beside the datagram")

// measure returns the lengths of the IPv4 packets that a datagram with n octets of payload and its echo become. A length counts
// when two datagrams in a row have it, each with no other packet beside it.
func (w *wire) measure(ctx context.Context, conn net.Conn, n int) (up, down int, err error) {
	lastUp, lastDown := -1, -1
	for i := range attempts {
		if ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		up, down, err = w.once(conn, n, byte(i))
		if err != nil {
			lastUp = -1
			continue
		}
		if up == lastUp && down == lastDown {
			return up, down, nil
		}
		lastUp, lastDown = up, down
	}
	return 0, 0, fmt.Errorf("overhead: %d datagrams of %d octets did not go undisturbed twice in a row: %w", attempts, n, err)
}

// once sends one datagram full of mark and waits for its echo and for the frames of both.
func (w *wire) once(conn net.Conn, n int, mark byte) (up, down int, err error) {
	w.mu.Lock()
	w.up, w.down = w.up[:0], w.down[:0]
	w.mu.Unlock()
	p := make([]byte, n)
	for i := range p {
		p[i] = mark
	}
	until := time.Now().Add(echoTime)
	if err := conn.SetReadDeadline(until); err != nil {
		return 0, 0, err
	}
	if _, err := conn.Write(p); err != nil {
		return 0, 0, err
	}
	for buf := make([]byte, 65536); ; {
		m, err := conn.Read(buf)
		if err != nil {
			return 0, 0, err
		}
		if m == n && buf[0] == mark {
			break
		}
	}
	patience := time.NewTimer(time.Until(until))
	defer patience.Stop()
	for {
		w.mu.Lock()
		ups, downs := len(w.up), len(w.down)
		if ups == 1 && downs == 1 {
			up, down = w.up[0], w.down[0]
		}
		w.mu.Unlock()
		switch {
		case ups == 1 && downs == 1:
			return up, down, nil
		case ups > 1 || downs > 1:
			return 0, 0, errDisturbed
		}
		select {
		case <-w.heard:
		case <-patience.C:
			return 0, 0, fmt.Errorf("overhead: %d frames out and %d in for a datagram that came back", ups, downs)
		}
	}
}
