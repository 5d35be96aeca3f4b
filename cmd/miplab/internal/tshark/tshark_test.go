package tshark

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// write writes a capture of UDP datagrams, each from the first address to the second with a body.
func write(t *testing.T, datagrams ...[3]string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, d := range datagrams {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(d[0]), DstIP: net.ParseIP(d[1])}
		udp := &layers.UDP{SrcPort: 434, DstPort: 434}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(d[2]))
		if err != nil {
			t.Fatal(err)
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}
		if err := w.WritePacket(info, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// TestSecondOpinion shows that tshark sees a canary, a home address outside a registration, and a registration that is
// cut short, and nothing in a registration that is whole.
func TestSecondOpinion(t *testing.T) {
	if err := Available(); errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	const canary = "sixteen octets!!"
	home := netip.MustParseAddr("10.0.8.100")
	whole := "\x01\x62\x00\x3c" + "\x0a\x00\x08\x64" + "\x0a\x00\x01\x0a" + "\xc0\xa8\x01\x64" + "timestmp"
	file := write(t,
		[3]string{"192.168.1.100", "10.0.1.10", whole},
		[3]string{"10.0.8.100", "172.16.5.1", whole},
		[3]string{"192.168.1.100", "192.0.2.20", "\x04\x04\x00\x00" + canary},
		[3]string{"10.0.8.100", "192.0.2.20", "\x00\x00\x00\x00"},
		[3]string{"192.168.1.100", "10.0.1.10", whole[:10]},
	)
	leaks, err := Leaks(file, []byte(canary), home)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaks) != 2 || leaks[0][0] != '3' || leaks[1][0] != '4' {
		t.Errorf("leaks %q, want frames 3 and 4", leaks)
	}
	bad, err := Malformed(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bad) == 0 || bad[len(bad)-1][0] != '5' {
		t.Errorf("malformed %q, want frame 5 among them", bad)
	}
	if whole, err := Frames(file, "frame.number <= 2 && !_ws.malformed && mip"); err != nil || len(whole) != 2 {
		t.Errorf("whole registrations: %q, %v; want frames 1 and 2", whole, err)
	}
	if _, err := Frames(file, "no.such.field == 1"); err == nil {
		t.Error("a filter that is none was taken")
	}
}
