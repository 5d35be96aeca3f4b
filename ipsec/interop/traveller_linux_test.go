package interop

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// traveller is a program on the peer's client: it sends from the address that our gateway has assigned.
type traveller struct {
	t    testing.TB
	udp  *net.UDPConn
	icmp *net.IPConn
	id   uint16
}

func newTraveller(t testing.TB, ns *os.File, from netip.Addr) *traveller {
	t.Helper()
	tr := &traveller{t: t}
	netnstest.Inside(t, ns, func() (err error) {
		if tr.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))); err != nil {
			return err
		}
		tr.icmp, err = net.ListenIP("ip4:icmp", &net.IPAddr{IP: from.AsSlice()})
		return err
	})
	t.Cleanup(func() { tr.udp.Close(); tr.icmp.Close() })
	return tr
}

// data sends packets of several lengths through the tunnel and expects the answers.
func (tr *traveller) data() {
	tr.t.Helper()
	for _, n := range []int{0, 1, 2, 3, 1200} {
		tr.ping(n)
	}
	text := []byte("through the child SA and back")
	deadline(tr.t, tr.udp)
	if _, err := tr.udp.WriteToUDPAddrPort(text, echoService); err != nil {
		tr.t.Fatal(err)
	}
	got := make([]byte, 100)
	n, from, err := tr.udp.ReadFromUDPAddrPort(got)
	if err != nil || from != echoService || !bytes.Equal(got[:n], text) {
		tr.t.Fatalf("came back from %v: %q, %v", from, got[:n], err)
	}
}

func (tr *traveller) ping(n int) {
	tr.t.Helper()
	tr.id++
	request := make([]byte, 8+n)
	request[0] = 8
	binary.BigEndian.PutUint16(request[4:], tr.id)
	for i := range n {
		request[8+i] = byte(i * 3)
	}
	binary.BigEndian.PutUint16(request[2:], packet.Checksum(request, 0))
	deadline(tr.t, tr.icmp)
	if _, err := tr.icmp.WriteToIP(request, &net.IPAddr{IP: insideAddr.AsSlice()}); err != nil {
		tr.t.Fatal(err)
	}
	for p := make([]byte, 2000); ; {
		got, _, err := tr.icmp.ReadFromIP(p)
		if err != nil {
			tr.t.Fatalf("ping of %d octets: %v", n, err)
		}
		if got >= 8 && p[0] == 0 && binary.BigEndian.Uint16(p[4:]) == tr.id {
			if !bytes.Equal(p[8:got], request[8:]) {
				tr.t.Fatalf("echo reply of %d octets differs from the request of %d", got-8, n)
			}
			return
		}
	}
}

func deadline(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}
