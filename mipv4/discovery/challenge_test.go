package discovery

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// An advertisement with a challenge is taken, and each new challenge is known without the agent counting as changed.
//
// Shows: MIP-9 (advertisement challenge, RFC 4721 §2)
func TestAdvertisedChallenge(t *testing.T) {
	m, err := NewMachine(Config{}, bytes.NewReader(make([]byte, 100)))
	if err != nil {
		t.Fatal(err)
	}
	now := link.Instant{Boot: time.Hour}
	agent := netip.MustParseAddr("172.16.5.1")
	var messages [][]byte
	for i := range 3 {
		ad := Advertisement{
			Lifetime: 3 * time.Second, Sequence: uint16(i), RegistrationLifetime: 600, Flags: FlagForeignAgent | FlagReverseTunnel,
			CareOfAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.40")}, Challenge: bytes.Repeat([]byte{byte(i + 1)}, 8),
		}
		p, err := ad.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, p)
		if err := m.HandleAdvertisement(now, p, agent, packet.HardwareAddr{2, 0, 0, 0, 0, 1}); err != nil {
			t.Fatal(err)
		}
		if got := m.Agents()[0].Challenge; !bytes.Equal(got, ad.Challenge) {
			t.Errorf("challenge %x, want %x", got, ad.Challenge)
		}
	}
	if _, ok := m.PollEvent(); !ok {
		t.Error("the agent was not found")
	}
	if e, ok := m.PollEvent(); ok {
		t.Errorf("another challenge is %+v", e)
	}
	long := Advertisement{Challenge: make([]byte, 256)}
	if _, err := long.Append(nil); err == nil {
		t.Error("a challenge of 256 octets was written")
	}
	got := dissect.Fields(t, dissect.ICMP, messages[:1], "icmp.mip.type", "icmp.mip.challenge")
	if d := cmp.Diff([][]string{{"16,24", "0101010101010101"}}, got); d != "" {
		t.Errorf("to tshark (-want +got):\n%s", d)
	}
}
