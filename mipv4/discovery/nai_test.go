package discovery

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/tun/packet"
)

// with returns the advertisement of a with extensions behind it, the checksum set.
func with(t *testing.T, a Advertisement, extensions ...byte) []byte {
	t.Helper()
	p, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p = append(p, extensions...)
	p[2], p[3] = 0, 0
	binary.BigEndian.PutUint16(p[2:], packet.Checksum(p, 0))
	return p
}

// Shows: DET-11 (the NAI in agent advertisements, RFC 4857 §8.2)
func TestAgentNAI(t *testing.T) {
	a := Advertisement{Lifetime: 3e9, Flags: FlagForeignAgent, CareOfAddresses: []netip.Addr{netip.MustParseAddr("10.0.1.40")}, NAI: "fa@corp.example"}
	p := with(t, a)
	if want, _ := hex.DecodeString("881003" + hex.EncodeToString([]byte(a.NAI))); !bytes.HasSuffix(p, want) { // type 136, length 16, sub-type 3
		t.Errorf("advertisement ends in % x, want % x", p[len(p)-18:], want)
	}
	a.NAI = ""
	for name, tc := range map[string]struct {
		p    []byte
		want string
	}{
		"the agent's":             {p, "fa@corp.example"},
		"none":                    {with(t, a), ""},
		"a home agent's":          {with(t, a, 136, 4, 1, 'a', '@', 'b'), ""},
		"empty":                   {with(t, a, 136, 1, 3, 0), ""},
		"without sub-type":        {with(t, a, 136, 0), ""},
		"a mobile node's":         {with(t, a, 131, 4, 'a', '@', 'b', 'c'), "a@bc"},
		"both, the agent's last":  {with(t, a, 131, 3, 'a', '@', 'b', 136, 4, 3, 'c', '@', 'd', 0), "c@d"},
		"both, the agent's first": {with(t, a, 136, 4, 3, 'c', '@', 'd', 131, 3, 'a', '@', 'b', 0), "c@d"},
	} {
		got, err := ParseAdvertisement(tc.p)
		if err != nil || got.NAI != tc.want {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, tc.want)
		}
	}
	a.NAI = strings.Repeat("x", maxNAI)
	if got, err := ParseAdvertisement(with(t, a)); err != nil || got.NAI != a.NAI {
		t.Errorf("the longest: %v", err)
	}
	a.NAI += "x"
	if _, err := a.Append(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}
