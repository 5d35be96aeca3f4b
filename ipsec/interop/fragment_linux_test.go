package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
)

// Shows: IKE-6, GDL-1 (strongSwan). IKE_AUTH messages of about 3000 octets in both directions, split in several sizes.
func TestCharonFragments(t *testing.T) {
	for _, tc := range []struct {
		name, extra, extraDaemon string
		size                     int
		sent, received           bool // in fragments
	}{
		{"as it is", "", "", 0, true, true},
		{"small", "", "charon { fragment_size = 400 }", 576, true, true},
		{"larger than Ethernet's frames", "", "charon { fragment_size = 9000 }", 1280, true, false},
		{"forced", "connections { mobile { fragmentation = force } }", "", 1280, true, true},
		{"only accepted", "connections { mobile { fragmentation = accept } }", "", 1280, true, false},
		{"refused", "connections { mobile { fragmentation = no } }", "", 1280, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			names := make([]string, 300)
			for n := range names {
				names[n] = fmt.Sprintf("10.0.%d.%d", n/250+1, n%250+1)
			}
			l := newLab(t, tc.extra+"\npools { tia { dns = "+strings.Join(names, ",")+" } }", tc.extraDaemon)
			c := l.connect(func(cfg *ike.InitiatorConfig) {
				cfg.Fragmentation.Size = tc.size
				cfg.RemoteSelectors = []esp.Selector{esp.PrefixSelector(netip.MustParsePrefix("10.0.0.0/16"))}
				for n := range 180 {
					net := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(n), 0}), 24)
					cfg.RemoteSelectors = append(cfg.RemoteSelectors, esp.PrefixSelector(net))
				}
			})
			log := l.daemon.Tail(2000)
			if sent := strings.Contains(log, "reassembled fragmented IKE message"); sent != tc.sent {
				t.Errorf("charon got our request in fragments: %t", sent)
			}
			if received := strings.Contains(log, "splitting IKE message"); received != tc.received {
				t.Errorf("charon sent its response in fragments: %t", received)
			}
			l.rekeyChild(c)
		})
	}
}
