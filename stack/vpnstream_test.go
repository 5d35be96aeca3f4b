package stack

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/iketcp"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: IKE-6. IKE messages and ESP go through the TCP connection while that is used, and what is sealed is what the other end
// of the security association opens.
func TestVPNStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{wire: &wire{}, flows: map[uint8]*memoryFlow{}}
		var drops packet.Drops
		var got []Message
		v, err := OpenVPN(m, far, &drops, func(m Message) { got = append(got, m) })
		check(t, err)
		own, other := net.Pipe()
		var ended []error
		stream := v.OpenStream(own, 1500, func(err error) { ended = append(ended, err) })
		parameters := esp.Parameters{SPI: 0x1234, Encryption: suite.AESGCM128, Key: make([]byte, suite.AESGCM128.KeyLen())}
		all, own4 := []esp.Selector{esp.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0"))}, []esp.Selector{esp.AddrSelector(inner)}
		parameters.Local, parameters.Remote = own4, all
		out, err := esp.NewOutbound(parameters, &drops)
		check(t, err)
		parameters.Local, parameters.Remote = all, own4
		in, err := esp.NewInbound(parameters)
		check(t, err)
		l := v.Link(inner)
		v.Use(out, esp.Overhead(suite.AESGCM128), true)
		v.UseStream(stream)
		check(t, stream.Send([]byte("to the gateway")))
		f, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434, Remote: netip.AddrPortFrom(internalAgent, 434)}, func(b *packet.Batch) { b.Release() })
		check(t, err)
		check(t, f.Send(netip.AddrPort{}, []byte("inside")))

		s := iketcp.NewSplitter(true)
		var messages [][]byte
		for len(messages) < 2 {
			n, err := other.Read(s.Space())
			check(t, err)
			s.Filled(n)
			for m, ok, err := s.Next(); ok; m, ok, err = s.Next() {
				check(t, err)
				messages = append(messages, bytes.Clone(m))
			}
		}
		if !bytes.Equal(messages[0], append(make([]byte, 4), "to the gateway"...)) {
			t.Errorf("the gateway got %q", messages[0])
		}
		b := packet.GetBatch()
		b.Append(packet.From(messages[1]))
		var table esp.Table
		table.Add(in)
		table.Open(b, &drops)
		if b.Len() != 1 || !bytes.Contains(b.Bufs[0].Bytes(), []byte("inside")) {
			t.Errorf("ESP opens to %d packets; drops %v", b.Len(), drops.Snapshot())
		}
		b.Release()
		if _, err := other.Write([]byte("\x00\x0f\x00\x00\x00\x00an answer")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(got) != 1 || !got[0].TCP || string(got[0].Payload) != "an answer" {
			t.Errorf("messages: %+v", got)
		}
		_ = other.Close()
		synctest.Wait()
		if len(ended) != 1 {
			t.Errorf("ended: %v", ended)
		}
		check(t, stream.Close())
		v.UseStream(nil)
		if p, ok := l.Path(link.Protected); !ok || !p.Encrypted || p.Out == nil {
			t.Errorf("path without a connection: %+v", p)
		}
		check(t, v.Close())
	})
}
