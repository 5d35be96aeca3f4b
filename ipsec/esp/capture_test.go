package esp

import (
	"encoding/csv"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// captureKeys returns the security associations of the capture by SPI, but for those of AES-CTR, which suite has not.
func captureKeys(t *testing.T) map[uint32]*Inbound {
	t.Helper()
	f, err := os.Open("testdata/wireshark/esp_sa")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	sas := make(map[uint32]*Inbound)
	for _, row := range rows {
		var e suite.Encryption
		switch {
		case strings.HasPrefix(row[4], "AES-GCM with 16 octet ICV"):
			e = suite.AESGCM128
		case strings.HasPrefix(row[4], "AES-CBC") && strings.HasPrefix(row[6], "HMAC-SHA-256-128"):
			e = suite.AESCBC128SHA256
		default:
			continue
		}
		spi, err := strconv.ParseUint(row[3], 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		key, err := hex.DecodeString(strings.TrimPrefix(row[5], "0x") + strings.TrimPrefix(row[7], "0x"))
		if err != nil {
			t.Fatal(err)
		}
		sas[uint32(spi)], err = NewInbound(Parameters{SPI: uint32(spi), Encryption: e, Key: key,
			Local: []Selector{AnySelector()}, Remote: []Selector{AnySelector()}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sas
}

// Shows: IKE-9, IKE-3. Every packet of AES-GCM, and of AES-CBC with HMAC-SHA2-256-128, of a capture that others made opens: pings through the tunnel and their answers.
func TestCaptureOfOthers(t *testing.T) {
	sas := captureKeys(t)
	if len(sas) != 4 {
		t.Fatalf("%d security associations of AES-GCM and AES-CBC in the table, want 4", len(sas))
	}
	f, err := os.Open("testdata/wireshark/capture.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[Kind]int)
	requests, replies, used := 0, 0, make(map[uint32]bool)
	for {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		u, ok := gopacket.NewPacket(data, r.LinkType(), gopacket.Default).Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || u.DstPort != PortNATT && u.SrcPort != PortNATT {
			continue
		}
		kind := Classify(u.Payload)
		kinds[kind]++
		if kind != KindESP {
			continue
		}
		p := packet.From(u.Payload)
		var spi uint32
		for _, octet := range p.Bytes()[:4] {
			spi = spi<<8 | uint32(octet)
		}
		in := sas[spi]
		if in == nil {
			continue // AES-CTR, which suite has not
		}
		if reason := in.Open(p); reason != packet.NotDropped {
			t.Errorf("a packet of SPI %08x: %v", spi, reason)
			continue
		}
		used[spi] = true
		ip := packet.IPv4(p.Bytes())
		if ip.Protocol() != packet.ProtocolICMP || !ip.ChecksumOK() || packet.Checksum(ip.Payload(), 0) != 0 {
			t.Errorf("SPI %08x: out came %x", spi, []byte(ip))
			continue
		}
		switch ip.Payload()[0] {
		case 8:
			requests++
		case 0:
			replies++
		}
	}
	if requests == 0 || requests != replies || len(used) != len(sas) {
		t.Errorf("%d echo requests and %d replies of %d security associations", requests, replies, len(used))
	}
	if kinds[KindIKE] == 0 || kinds[KindInvalid] != 0 {
		t.Errorf("kinds of datagrams: %v", kinds)
	}
	t.Logf("%d echo requests, %d replies; kinds %v", requests, replies, kinds)
}
