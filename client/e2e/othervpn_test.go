package e2e

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"mipvpn/client"
	"mipvpn/client/control"
	"mipvpn/client/vpn"
	"mipvpn/stack"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// boxes is a VPN protocol that is not IPsec: packets in UDP, each sealed with a key that both ends have, under a counter that
// never goes back. A message's first octet says what it is. It is as little as a VPN protocol can be, and all that the client
// asks of one.
type boxes struct{ aead cipher.AEAD }

const (
	boxesPort     = 51820
	boxesOverhead = 8 + chacha20poly1305.Overhead + 1
	boxesHello    = 1 // from the laptop; the gateway answers with the address
	boxesData     = 2
	boxesBye      = 3
)

// boxesAddress is the address that the gateway gives.
var boxesAddress = netip.MustParseAddr("10.0.9.77")

func newBoxes(t *testing.T) *boxes {
	t.Helper()
	a, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &boxes{a}
}

// seal returns counter and sealed text; even counters are the laptop's.
func (p *boxes) seal(counter uint64, kind byte, text []byte) []byte {
	out := binary.BigEndian.AppendUint64(nil, counter)
	var nonce [chacha20poly1305.NonceSize]byte
	copy(nonce[4:], out)
	return p.aead.Seal(out, nonce[:], append([]byte{kind}, text...), nil)
}

// open returns nil for what is not authentic or comes from the wrong end.
func (p *boxes) open(b []byte, parity uint64) (counter uint64, kind byte, text []byte) {
	if len(b) < boxesOverhead {
		return 0, 0, nil
	}
	counter = binary.BigEndian.Uint64(b)
	var nonce [chacha20poly1305.NonceSize]byte
	copy(nonce[4:], b[:8])
	out, err := p.aead.Open(nil, nonce[:], b[8:], nil)
	if err != nil || counter%2 != parity {
		return 0, 0, nil
	}
	return counter, out[0], out[1:]
}

func (*boxes) Name() string                            { return "boxes" }
func (*boxes) Prepare(func(func()), func(error)) bool  { return true }
func (*boxes) Forget()                                 {}
func (*boxes) Explain(error) (code, advice string)     { return "", "look at the gateway of the boxes" }
func (p *boxes) Open(g vpn.Ground) (vpn.Access, error) { return newBoxesAccess(p, g) }

// boxesWay is the laptop's way to the gateway.
type boxesWay struct {
	vpn.Ground
	protocol *boxes
	flow     link.Flow
	link     atomic.Pointer[stack.PacketLink]
	used     atomic.Bool
	sent     atomic.Uint64
	received atomic.Uint64
	tunnel   *boxesTunnel
}

func newBoxesAccess(p *boxes, g vpn.Ground) (vpn.Access, error) {
	w := &boxesWay{Ground: g, protocol: p}
	var err error
	w.flow, err = g.Bearers[0].Link.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(g.Gateway, boxesPort)}, w.receive)
	return w, err
}

func (w *boxesWay) send(kind byte, text []byte) error {
	return w.flow.Send(netip.AddrPort{}, w.protocol.seal(2*w.sent.Add(1), kind, text))
}

// receive opens what comes from the gateway. What the link takes is whole packets.
func (w *boxesWay) receive(b *packet.Batch) {
	data := packet.GetBatch()
	for _, p := range b.Bufs {
		switch _, kind, text := w.protocol.open(p.Bytes(), 1); kind {
		case boxesData:
			w.received.Add(1)
			inner := packet.From(text)
			inner.SA = boxesPort // any mark will do: it has been authenticated
			data.Append(inner)
		case boxesHello:
			if a, ok := netip.AddrFromSlice(text); ok {
				w.Run(func(link.Instant) {
					if w.tunnel != nil {
						w.tunnel.answered(a)
					}
				})
			}
		}
	}
	b.Release()
	l := w.link.Load()
	if l == nil || data.Len() == 0 {
		data.Release()
		return
	}
	l.Deliver(data)
}

func (w *boxesWay) Dial(now link.Instant, _ bool, _ vpn.Ticket) (vpn.Tunnel, error) {
	w.tunnel = &boxesTunnel{way: w, at: now.Boot}
	return w.tunnel, nil
}

// Stand has nothing to do: boxes know one way.
func (w *boxesWay) Stand(link.Instant, []vpn.Bearer) error { return nil }

// Offer implements vpn.Access: there is no agent.
func (w *boxesWay) Offer(netip.Addr) {}

func (w *boxesWay) Use(t vpn.Tunnel) { w.used.Store(t != nil) }

func (w *boxesWay) Link(address netip.Addr) *stack.PacketLink {
	l := stack.NewPacketLink(address, w.Drops, nil)
	l.SetCarrier(func(c link.Class) link.Path { return w.flow.Path(c).Over(w, boxesOverhead, true) })
	w.link.Store(l)
	return l
}

// Apply implements link.Step.
func (w *boxesWay) Apply(b *packet.Batch) {
	b.Cut()
	for i, p := range b.Bufs {
		sealed := packet.From(w.protocol.seal(2*w.sent.Add(1), boxesData, p.Bytes()))
		sealed.CopyMeta(p)
		p.Release()
		b.Bufs[i] = sealed
	}
	if !w.used.Load() {
		b.Drop(w.Drops, packet.DropNoPath)
	}
}

func (w *boxesWay) Close() error { return w.flow.Close() }

// boxesTunnel is one association.
type boxesTunnel struct {
	way    *boxesWay
	events []vpn.Event
	at     time.Duration // of the next hello, 0 for none
	hello  bool
	up     bool
}

func (t *boxesTunnel) answered(a netip.Addr) {
	t.at = 0
	if t.up {
		t.events = append(t.events, vpn.Alive{})
		return
	}
	t.up = true
	t.events = append(t.events, vpn.Up{Address: a, How: "boxes are carried"}, vpn.Ready{})
}

func (t *boxesTunnel) HandleTimeout(now link.Instant) {
	if t.at != 0 && now.Boot >= t.at {
		t.at, t.hello = now.Boot+time.Second, true
	}
}

func (t *boxesTunnel) Deadline() (time.Duration, bool) { return t.at, t.at != 0 }

func (t *boxesTunnel) PollEvent(link.Instant) (vpn.Event, bool) {
	if len(t.events) == 0 {
		return nil, false
	}
	e := t.events[0]
	t.events = t.events[1:]
	return e, true
}

func (t *boxesTunnel) Flush() bool {
	if !t.hello {
		return false
	}
	t.hello = false
	return t.way.send(boxesHello, nil) == nil
}

func (t *boxesTunnel) Park() bool { t.at = 0; return true }

func (t *boxesTunnel) Unpark(now link.Instant) {
	if !t.up {
		t.at = now.Boot
	}
}

func (t *boxesTunnel) CheckLiveness(now link.Instant) error {
	t.at, t.hello = now.Boot+time.Second, true
	return nil
}

func (*boxesTunnel) Suspend(link.Instant) vpn.Ticket { return nil }

func (t *boxesTunnel) Close(_ link.Instant, tell bool) {
	if tell {
		_ = t.way.send(boxesBye, nil) // the gateway forgets in time
	}
	t.way.tunnel = nil
}

func (t *boxesTunnel) Carries() bool           { return t.up }
func (t *boxesTunnel) ThroughAgent() bool      { return false }
func (t *boxesTunnel) Received() uint64        { return t.way.received.Load() }
func (t *boxesTunnel) Committed() bool         { return t.up }
func (t *boxesTunnel) Bearer() netip.Addr      { return t.way.Bearers[0].Link.Addr() }
func (*boxesTunnel) Follows() vpn.Following    { return vpn.FollowsNot }
func (*boxesTunnel) Describe() vpn.Description { return vpn.Description{Encapsulation: "boxes"} }

// boxesGateway is the other end, on the lab's gateway.
type boxesGateway struct {
	protocol *boxes
	flow     link.Flow
	device   link.Device
	sent     atomic.Uint64
	counts   [4]atomic.Uint64 // messages by kind

	mu      sync.Mutex
	laptop  netip.AddrPort
	highest uint64
}

// startBoxesGateway starts it beside nothing else.
func startBoxesGateway(t *testing.T, h *simnet.Host, p *boxes) *boxesGateway {
	t.Helper()
	g := &boxesGateway{protocol: p}
	under, err := h.Underlay(0, simnet.LabGateway)
	if err != nil {
		t.Fatal(err)
	}
	if g.device, err = h.OpenDevice("boxes0", 1400); err != nil {
		t.Fatal(err)
	}
	if err := h.Apply(link.Settings{Device: "boxes0", MTU: 1400, Routes: []netip.Prefix{simnet.LabInnerPool}, Forward: true}); err != nil {
		t.Fatal(err)
	}
	if g.flow, err = under.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: boxesPort}, g.receive); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(g.read)
	t.Cleanup(func() {
		if err := errors.Join(g.flow.Close(), h.Apply(link.Settings{}), g.device.Close()); err != nil {
			t.Error(err)
		}
		reader.Wait()
	})
	return g
}

func (g *boxesGateway) receive(b *packet.Batch) {
	out := packet.GetBatch()
	for _, p := range b.Bufs {
		counter, kind, text := g.protocol.open(p.Bytes(), 0)
		if kind == 0 || int(kind) >= len(g.counts) {
			continue
		}
		g.counts[kind].Add(1)
		g.mu.Lock()
		if counter > g.highest { // only what is new tells where the laptop is
			g.highest, g.laptop = counter, p.Peer
		}
		g.mu.Unlock()
		switch kind {
		case boxesHello:
			_ = g.flow.Send(p.Peer, g.protocol.seal(2*g.sent.Add(1)+1, boxesHello, boxesAddress.AsSlice())) // it asks again
		case boxesData:
			if ip := packet.IPv4(text); ip.Valid() && ip.Src() == boxesAddress {
				out.Append(packet.From(text))
			}
		}
	}
	b.Release()
	if out.Len() == 0 {
		out.Release()
		return
	}
	_ = g.device.Write(out) // a closed device: the test is over
}

func (g *boxesGateway) read() {
	for {
		b := packet.GetBatch()
		if err := g.device.Read(b); err != nil {
			b.Release()
			return
		}
		b.Cut()
		g.mu.Lock()
		to := g.laptop
		g.mu.Unlock()
		for _, p := range b.Bufs {
			_ = g.flow.Send(to, g.protocol.seal(2*g.sent.Add(1)+1, boxesData, p.Bytes())) // lost, as packets are
		}
		b.Release()
	}
}

// TestAnotherVPNProtocol shows that the session lives on through every change of network with a VPN protocol in the place of
// IPsec, and that nothing of it is seen in plaintext outside.
//
// Shows: IKE-11
func TestAnotherVPNProtocol(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newBoxes(t)
		w := world(t, Options{Seed: 11, Start: []client.Option{client.WithVPN(p)}})
		if err := w.VPNGateway.Close(); err != nil {
			t.Fatal(err)
		}
		w.VPNGateway = nil
		g := startBoxesGateway(t, w.Gateway, p)
		j := Watch(w.External()...)
		w.Plug(w.Wlan0, w.Cafe)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		s, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []struct {
			iface   *simnet.NIC
			network *simnet.Wire
			mode    string
		}{{w.Wlan0, w.Office, "c"}, {w.Wlan0, w.Hotspot, "fvc"}, {w.Wlan0, w.OfficeFA, "f"}, {w.Wlan0, w.Cafe, "cvc"}} {
			w.Unplug(change.iface)
			w.Plug(change.iface, change.network)
			status, err := w.UntilMode(40*time.Second, change.mode)
			if err != nil {
				t.Fatalf("in %s: %v", change.mode, err)
			}
			if layer := layerOf(status, "vpn"); change.mode != "c" && change.mode != "f" && (layer.Encapsulation != "boxes" || layer.Local != boxesAddress) {
				t.Errorf("the VPN's layer is %+v", layer)
			}
			time.Sleep(3 * time.Second)
		}
		up, down, err := s.Finish()
		if err != nil {
			t.Error(err)
		}
		if up < 100*chunk || down < 100*chunk || g.counts[boxesData].Load() < 100 {
			t.Errorf("%d octets up, %d down, %d boxes of data", up, down, g.counts[boxesData].Load())
		}
		judge(t, j)
	})
}

func layerOf(s control.Status, kind string) control.Layer {
	for _, l := range s.Layers {
		if l.Kind == kind {
			return l
		}
	}
	return control.Layer{}
}
