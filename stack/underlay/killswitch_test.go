//go:build linux

package underlay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// holdLine puts the kill switch on host A of the pair.
func holdLine(t *testing.T, p *pair) {
	t.Helper()
	dev, err := p.a.OpenDevice("mip0", 1380)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	err = p.a.Apply(link.Settings{
		Device: "mip0", Address: homeA, MTU: 1380, Routes: []netip.Prefix{homes, addrB.Masked()}, Shielded: []netip.Addr{homeA}, KillSwitch: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// came takes packets until one ends in the last text and returns whether one before it ended in the text.
func came(t *testing.T, in inbox, text, last string) (yes bool) {
	t.Helper()
	for ended := false; !ended; {
		for _, b := range in.take(t, 1) {
			yes = yes || bytes.HasSuffix(b.Bytes(), []byte(text))
			ended = ended || bytes.HasSuffix(b.Bytes(), []byte(last))
		}
	}
	return yes
}

// Shows: DET-4, HST-2 (the marks of flows and frames under the kill switch: protected passes always, plaintext under a permit)
func TestPlaintextNeedsAPermit(t *testing.T) {
	p := newPair(t)
	holdLine(t, p)
	flowed, framed := newInbox(), newInbox()
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, flowed.receive)
	b := openTestFrames(t, p.b, p.indexB, framed.receive)
	a := openTestFrames(t, p.a, p.indexA, newInbox().receive)
	to := netip.AddrPortFrom(addrB.Addr(), 434)
	f := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: to}, newInbox().receive)
	flow := func(c link.Class, text string) { _ = f.Path(c).Send(packet.One(packet.From([]byte(text)))) } // a drop may be told
	frame := func(c link.Class, text string) {
		q := udpPacket(netip.AddrPortFrom(homeA, 9), netip.MustParseAddrPort("10.9.0.9:9"), text)
		q.Hardware = b.Hardware()
		_ = a.Out(c).Send(packet.One(q))
	}
	// round sends plaintext and then protected by both ways, and returns whether the plaintext came, by flow and by frame.
	round := func() (byFlow, byFrame bool) {
		t.Helper()
		flow(link.Plaintext, "plaintext flow")
		flow(link.Protected, "protected flow")
		frame(link.Plaintext, "plaintext frame")
		frame(link.Protected, "protected frame")
		return came(t, flowed, "plaintext flow", "protected flow"), came(t, framed, "plaintext frame", "protected frame")
	}
	expect := func(when string, want bool) {
		t.Helper()
		if byFlow, byFrame := round(); byFlow != want || byFrame != want {
			t.Errorf("%s: plaintext passed by flow %v, by frame %v; want %v", when, byFlow, byFrame, want)
		}
	}
	expect("without a permit", false)
	if err := p.a.Permit(p.indexA, p.a.Now().Boot+time.Hour); err != nil {
		t.Fatal(err)
	}
	expect("under a permit", true)
	if err := p.a.Forbid(p.indexA); err != nil {
		t.Fatal(err)
	}
	expect("after it was taken back", false)
	if err := p.a.Permit(p.indexA, p.a.Now().Boot-time.Second); err == nil {
		t.Error("a permit for a time that has gone by was given")
	}
	expect("after its time", false)
}

// Shows: HST-2 (no interface is told of before the kill switch stands on it)
func TestInterfacesAreCovered(t *testing.T) {
	p := newPair(t)
	holdLine(t, p)
	netnstest.Wire(t, p.nsA, "wlan0", netip.Prefix{}, p.nsB, "wlan0", netip.Prefix{})
	index := netnstest.Index(t, p.nsA, "wlan0")
	far := newInbox()
	openTestFrames(t, p.b, netnstest.Index(t, p.nsB, "wlan0"), far.receive)
	list, err := p.a.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[1].Index != index {
		t.Fatalf("interfaces %+v, want eth0 and wlan0", list)
	}
	a := openTestFrames(t, p.a, index, newInbox().receive)
	// The kernel drops what is sent before it has taken note of the carrier, so the last kind is sent until it comes.
	send := func(c link.Class, text string) {
		q := udpPacket(netip.AddrPortFrom(homeA, 9), netip.MustParseAddrPort("10.9.0.9:9"), text)
		q.Hardware = packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		_ = a.Out(c).Send(packet.One(q))
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if time.Now().After(end) {
			t.Fatal("nothing arrives over wlan0")
		}
		send(link.Plaintext, "plaintext")
		send(link.Protected, "protected")
		select {
		case batch := <-far:
			if !bytes.HasSuffix(batch.Bufs[0].Bytes(), []byte("protected")) {
				t.Errorf("%q came over an interface without a permit", batch.Bufs[0].Bytes())
			}
			return
		default:
		}
	}
}
