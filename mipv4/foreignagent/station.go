package foreignagent

import (
	"fmt"

	"mipvpn/tun/packet"
)

// Station is a mobile node as the agent reaches it: on the visited link by a link-layer address, or, where the agent is in a VPN
// gateway, through a tunnel. One of both is set. It is comparable.
type Station struct {
	// Hardware is the link-layer address.
	Hardware packet.HardwareAddr
	// Session is the number of the VPN session that the tunnel belongs to.
	Session uint64
}

// String returns the link-layer address or "session N".
func (s Station) String() string {
	if s.Session != 0 {
		return fmt.Sprintf("session %d", s.Session)
	}
	return s.Hardware.String()
}

// answerable reports whether replies can be sent there.
func (s Station) answerable() bool {
	return s.Session != 0 || !s.Hardware.IsZero() && s.Hardware[0]&1 == 0
}
