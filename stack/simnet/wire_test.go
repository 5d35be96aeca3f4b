package simnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// pair is two hosts on one wire, 10.1.0.1 and 10.1.0.2.
type pair struct {
	*Network
	wire   *Wire
	a, b   *Host
	an, bn *NIC
}

var (
	addrA = netip.MustParseAddr("10.1.0.1")
	addrB = netip.MustParseAddr("10.1.0.2")
)

func newPair(seed uint64, cfg WireConfig) *pair {
	n := New(seed)
	cfg.Name = "wire"
	p := &pair{Network: n, wire: n.NewWire(cfg), a: n.NewHost("a"), b: n.NewHost("b")}
	p.an = p.a.join(p.wire, "eth0", "10.1.0.1/24", "")
	p.bn = p.b.join(p.wire, "eth0", "10.1.0.2/24", "")
	return p
}

// arrival is a datagram as collect notes it.
type arrival struct {
	at      time.Duration
	payload string
	from    netip.AddrPort
	tos     uint8
}

// collect opens a flow on the host that notes what arrives. Call the function after synctest.Wait.
func collect(t *testing.T, h *Host, index int, addr netip.Addr, spec link.FlowSpec) (link.Flow, func() []arrival) {
	t.Helper()
	u, err := h.Underlay(index, addr)
	if err != nil {
		t.Fatal(err)
	}
	var got []arrival
	f, err := u.Open(spec, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			got = append(got, arrival{h.net.Elapsed(), string(p.Bytes()), p.Peer, p.TOS})
		}
		b.Release()
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, func() []arrival {
		synctest.Wait()
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		return got
	}
}

func udp(port uint16) link.FlowSpec { return link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port} }

// mustSend sends and fails the test when that is refused.
func mustSend(t *testing.T, f link.Flow, to netip.AddrPort, payload string) {
	t.Helper()
	if err := f.Send(to, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

func TestLatencyIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{Impairment: Impairment{Latency: 7 * time.Millisecond}})
		defer p.Close()
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		_, got := collect(t, p.b, 0, netip.Addr{}, udp(2000))
		time.Sleep(time.Second)
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "x")
		time.Sleep(time.Second)
		want := arrival{time.Second + 7*time.Millisecond, "x", netip.AddrPortFrom(addrA, 1000), 0}
		if g := got(); len(g) != 1 || g[0] != want {
			t.Errorf("arrived %v, expected %v", g, want)
		}
	})
}

func TestImpairments(t *testing.T) {
	const count = 10000
	tests := []struct {
		name  string
		imp   Impairment
		check func(t *testing.T, got []arrival)
	}{
		{"none", Impairment{}, func(t *testing.T, got []arrival) {
			if len(got) != count {
				t.Errorf("%d of %d arrived", len(got), count)
			}
		}},
		{"loss", Impairment{Loss: 0.2}, func(t *testing.T, got []arrival) {
			if len(got) < count*78/100 || len(got) > count*82/100 {
				t.Errorf("%d of %d arrived at 20 %% loss", len(got), count)
			}
		}},
		{"duplication", Impairment{Duplicate: 0.1}, func(t *testing.T, got []arrival) {
			if len(got) < count*109/100 || len(got) > count*111/100 {
				t.Errorf("%d of %d arrived at 10 %% duplication", len(got), count)
			}
		}},
		{"jitter", Impairment{Latency: time.Millisecond, Jitter: 3 * time.Millisecond}, func(t *testing.T, got []arrival) {
			if len(got) != count || disorder(got) != 0 {
				t.Errorf("%d of %d arrived, %d out of order", len(got), count, disorder(got))
			}
		}},
		{"reordering", Impairment{Latency: time.Millisecond, Reorder: 0.05}, func(t *testing.T, got []arrival) {
			if d := disorder(got); len(got) != count || d < count*4/100 || d > count*6/100 {
				t.Errorf("%d of %d arrived, %d out of order at 5 %% reordering", len(got), count, d)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(7, WireConfig{Impairment: tt.imp})
				defer p.Close()
				from, _ := collect(t, p.a, 1, addrA, udp(1000))
				_, got := collect(t, p.b, 1, addrB, udp(2000))
				for i := range count {
					mustSend(t, from, netip.AddrPortFrom(addrB, 2000), fmt.Sprintf("%06d", i))
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Second)
				tt.check(t, got())
			})
		})
	}
}

// disorder counts the arrivals that come after a later one.
func disorder(got []arrival) int {
	n, top := 0, ""
	for _, a := range got {
		if a.payload < top {
			n++
		} else {
			top = a.payload
		}
	}
	return n
}

func TestRateAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A payload of 958 octets makes a frame of 1000: 8 ms at 1 Mbit/s.
		p := newPair(1, WireConfig{Impairment: Impairment{Rate: 1e6, Queue: 5000}})
		defer p.Close()
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		_, got := collect(t, p.b, 1, addrB, udp(2000))
		for range 20 {
			mustSend(t, from, netip.AddrPortFrom(addrB, 2000), string(make([]byte, 958)))
		}
		time.Sleep(time.Second)
		g := got()
		if len(g) != 6 {
			t.Fatalf("%d arrived, expected one under way and five queued", len(g))
		}
		for i, a := range g {
			if want := time.Duration(i+1)*8*time.Millisecond + minLatency; a.at != want {
				t.Errorf("frame %d arrived at %v, expected %v", i, a.at, want)
			}
		}
	})
}

func TestImpairFromOneSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		p.wire.ImpairFrom(p.bn, Impairment{Latency: time.Second})
		p.wire.Impair(Impairment{Latency: 100 * time.Millisecond})
		rtt, err := p.a.Ping(addrB, 10, 5*time.Second)
		if err != nil || rtt != 1100*time.Millisecond {
			t.Errorf("round trip %v, error %v; expected 100 ms there and 1 s back", rtt, err)
		}
	})
}

func TestTapSeesEveryFrameAndPCAP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{Impairment: Impairment{Loss: 1}})
		defer p.Close()
		var c Capture
		stop := p.wire.Tap(c.Add)
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "protected")
		b := packet.From([]byte("plain"))
		b.Peer = netip.AddrPortFrom(addrB, 2000)
		if err := from.Path(link.Plaintext).Send(packet.One(b)); err != nil {
			t.Fatal(err)
		}
		stop()
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "unseen")
		time.Sleep(time.Millisecond)
		f := c.Frames()
		if len(f) != 2 {
			t.Fatalf("the tap saw %d frames, expected 2", len(f))
		}
		for i, plain := range []bool{false, true} {
			if f[i].Plaintext != plain || !f[i].Lost || f[i].Sender != "a/eth0" || f[i].Wire != "wire" ||
				f[i].Source != p.an.Hardware() || f[i].Destination != p.bn.Hardware() {
				t.Errorf("frame %d is %+v", i, f[i])
			}
		}
		var out bytes.Buffer
		if err := c.WritePCAP(&out); err != nil {
			t.Fatal(err)
		}
		g := out.Bytes()
		if len(g) != 24+2*(16+14)+len(f[0].Packet)+len(f[1].Packet) {
			t.Fatalf("the file has %d octets", len(g))
		}
		if magic, n := binary.LittleEndian.Uint32(g), binary.LittleEndian.Uint32(g[32:]); magic != 0xa1b23c4d || int(n) != 14+len(f[0].Packet) {
			t.Errorf("magic %x, length of the first record %d", magic, n)
		}
		if !bytes.Equal(g[40:40+14], append(append(p.bn.hw[:], p.an.hw[:]...), 8, 0)) {
			t.Errorf("Ethernet header % x", g[40:54])
		}
	})
}
