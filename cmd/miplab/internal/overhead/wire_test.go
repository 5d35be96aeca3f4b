package overhead

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/packet"
)

var laptop, agent = netip.MustParseAddr("203.0.113.100"), netip.MustParseAddr("192.0.2.20")

// ethernet returns a frame with an IPv4 packet of n octets.
func ethernet(src, dst netip.Addr, protocol uint8, n int) []byte {
	b := packet.From(make([]byte, n-packet.IPv4Len))
	defer b.Release()
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: protocol, Src: src, Dst: dst})
	return append([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0}, b.Bytes()...)
}

// mirror is a connection whose datagrams come back, each as a frame with so many octets more on the wire.
type mirror struct {
	net.Conn
	wire    *wire
	up      int
	down    int
	disturb func(sent int) // called before each echo
	sent    int
	inner   int // length of the packet that is under way
	back    chan []byte
	until   time.Time
}

func (m *mirror) SetReadDeadline(t time.Time) error { m.until = t; return nil }

func (m *mirror) Write(p []byte) (int, error) {
	m.sent++
	m.wire.frame(ethernet(laptop, agent, packet.ProtocolESP, udpHeader+len(p)+m.up))
	if m.disturb != nil {
		m.disturb(m.sent)
	}
	m.wire.frame(ethernet(agent, laptop, packet.ProtocolESP, udpHeader+len(p)+m.down))
	m.back <- bytes.Clone(p)
	return len(p), nil
}

func (m *mirror) Read(p []byte) (int, error) {
	select {
	case b := <-m.back:
		return copy(p, b), nil
	case <-time.After(time.Until(m.until)):
		return 0, io.ErrNoProgress
	}
}

func newMirror(up, down int) *mirror {
	return &mirror{wire: &wire{own: []netip.Addr{laptop}, heard: make(chan struct{}, 1)}, up: up, down: down, back: make(chan []byte, 1)}
}

// TestMeasure shows that a length counts when nothing went beside the datagram, and that registrations, other hosts' packets and
// other protocols are not taken for it.
func TestMeasure(t *testing.T) {
	m := newMirror(97, 94)
	request := ethernet(laptop, agent, packet.ProtocolUDP, 60)
	binary.BigEndian.PutUint16(request[14+20+2:], registrationPort)
	binary.BigEndian.PutUint16(request[14+20+4:], 40)
	request[14+28] = typeRequest
	m.disturb = func(sent int) {
		m.wire.frame(ethernet(agent, netip.MustParseAddr("203.0.113.9"), packet.ProtocolESP, 300))
		m.wire.frame([]byte{1, 2, 3})
		m.wire.frame(append(make([]byte, 12), 8, 6)) // ARP
		m.wire.frame(request)
		if sent == 2 || sent == 4 {
			m.wire.frame(ethernet(laptop, agent, packet.ProtocolESP, 120))
		}
	}
	up, down, err := m.wire.measure(t.Context(), m, firstPayload)
	if err != nil || up != udpHeader+firstPayload+97 || down != udpHeader+firstPayload+94 {
		t.Errorf("%d out and %d in, %v", up, down, err)
	}
	if m.sent != 6 {
		t.Errorf("%d datagrams were sent, want 6: the first, the second and the fourth are of no use", m.sent)
	}
	m.disturb = func(int) { m.wire.frame(ethernet(laptop, agent, packet.ProtocolESP, 120)) }
	if _, _, err := m.wire.measure(t.Context(), m, firstPayload); !errors.Is(err, errDisturbed) {
		t.Errorf("beside other packets all the time: %v, want %v", err, errDisturbed)
	}
}

// TestMeasureWithoutFrames shows that an echo without a frame on the wire is an error: somebody looked at the wrong wire.
func TestMeasureWithoutFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(0, 0)
		m.wire.own = nil
		if _, _, err := m.wire.measure(t.Context(), m, firstPayload); err == nil || !strings.Contains(err.Error(), "0 frames out and 0 in") {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestReport shows that one octet too many on the wire, and a most that is not reached, fail the report by name.
// Shows: MEC-OVH (the judgement of what is measured)
func TestReport(t *testing.T) {
	for _, c := range []struct {
		name     string
		up, down func(want int) int
		fails    string
	}{
		{"as on paper", func(n int) int { return n }, func(n int) int { return n }, ""},
		{"one too many out", func(n int) int { return n + 1 }, func(n int) int { return n }, "on paper"},
		{"one too few in", func(n int) int { return n }, func(n int) int { return n - 1 }, "on paper"},
	} {
		r := newReport()
		f := Figure{Composition: at(stack.ModeVF)}
		m := newMirror(0, 0)
		m.disturb = func(int) {
			want := at(stack.ModeVF).Added(GCM, m.inner, false)
			m.down = c.down(want)
		}
		if err := f.fill(t.Context(), m.wire, sized{m, c.up}); err != nil {
			t.Fatal(err)
		}
		r.add(f)
		r.Settle()
		var text bytes.Buffer
		if err := r.WriteTable(&text); err != nil {
			t.Error(err)
		}
		if r.Passed != (c.fails == "") || !strings.Contains(strings.Join(r.Failures, "\n"), c.fails) || !strings.Contains(text.String(), c.fails) {
			t.Errorf("%s: passed %v with failures %q", c.name, r.Passed, r.Failures)
		}
		if c.fails == "" && !strings.Contains(text.String(), "57 / 57 (vf)") {
			t.Errorf("the table has no cell of vf:\n%s", text.String())
		}
	}
}

// sized sets the mirror's octets out by the length of what is sent.
type sized struct {
	*mirror
	more func(want int) int
}

func (s sized) Write(p []byte) (int, error) {
	s.inner = udpHeader + len(p)
	s.up = s.more(at(stack.ModeVF).Added(GCM, s.inner, false))
	return s.mirror.Write(p)
}
