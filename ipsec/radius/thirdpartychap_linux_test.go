package radius

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"mipvpn/tun/hostnet/netnstest"
)

// FreeRADIUS checks answers to challenges, with a Message-Authenticator in each of its own.
//
// Shows: AGT-4
func TestFreeRADIUSCHAP(t *testing.T) {
	ns := netnstest.New(t)
	startFreeRADIUS(t, ns, "1.3")
	conn := listen(t, ns, "127.0.0.1:0")
	local := netip.MustParseAddr("127.0.0.1")
	for password, want := range map[string]error{"secret": nil, "wrong": ErrRejected} {
		c := newClient(t, Config{Servers: []Server{{Address: netip.AddrPortFrom(local, 1812), Secret: secret}}, Address: local})
		if _, err := c.Authenticate(at(0), "alice", "10.0.8.100", chapOf(password, bytes.Repeat([]byte{3}, 32))); err != nil {
			t.Fatal(err)
		}
		switch e := roundTrip(t, c, conn).(type) {
		case Accepted:
			if want != nil {
				t.Errorf("password %q: accepted", password)
			}
		case Failed:
			if want == nil || !errors.Is(e.Err, want) {
				t.Errorf("password %q: %v", password, e.Err)
			}
		}
	}
}
