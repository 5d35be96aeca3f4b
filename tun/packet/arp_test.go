package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
)

// arpGolden was put together by hand from the figure of RFC 826: hardware type, protocol type, the two lengths, operation,
// sender's and target's addresses.
const arpGolden = "0001" + "0800" + "06" + "04" + "0001" + "020000000001" + "0a010032" + "000000000000" + "0a010001"

func TestARPGolden(t *testing.T) {
	octets, _ := hex.DecodeString(arpGolden)
	want := ARP{
		Operation: ARPRequest, SenderHardware: HardwareAddr{2, 0, 0, 0, 0, 1}, Sender: netip.MustParseAddr("10.1.0.50"),
		Target: netip.MustParseAddr("10.1.0.1"),
	}
	got, err := ParseARP(append(bytes.Clone(octets), make([]byte, 18)...)) // Ethernet pads to 46 octets
	if err != nil || got != want {
		t.Errorf("parsed %+v, %v, want %+v", got, err, want)
	}
	if p := want.Append(nil); !bytes.Equal(p, octets) {
		t.Errorf("appended %x, want %x", p, octets)
	}
	answer := want.Answer(HardwareAddr{2, 0, 0, 0, 0, 9})
	if answer != (ARP{ARPReply, HardwareAddr{2, 0, 0, 0, 0, 9}, want.Target, want.SenderHardware, want.Sender}) {
		t.Errorf("answer %+v", answer)
	}
	if g := GratuitousARP(want.Sender, want.SenderHardware); !g.Gratuitous() || want.Gratuitous() || g.TargetHardware != (HardwareAddr{}) {
		t.Errorf("gratuitous %+v", g)
	}
}

func TestARPRefused(t *testing.T) {
	octets, _ := hex.DecodeString(arpGolden)
	for n := range octets {
		if _, err := ParseARP(octets[:n]); !errors.Is(err, ErrARP) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	for i := range 6 {
		p := bytes.Clone(octets)
		p[i] ^= 1
		if _, err := ParseARP(p); !errors.Is(err, ErrARP) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
}

func FuzzParseARP(f *testing.F) {
	octets, _ := hex.DecodeString(arpGolden)
	f.Add(octets)
	f.Add(octets[:27])
	f.Fuzz(func(t *testing.T, p []byte) {
		a, err := ParseARP(p)
		if err != nil {
			return
		}
		if out := a.Append(nil); !bytes.Equal(out, p[:ARPLen]) {
			t.Errorf("%x became %x", p, out)
		}
	})
}
