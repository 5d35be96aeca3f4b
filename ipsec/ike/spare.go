package ike

import (
	"time"

	"mipvpn/tun/link"
)

// Spare has the machine send less of its own accord while power or octets are dear: liveness checks are factor times rarer, and so are
// NAT keepalives of a network whose NAT nothing has been learned of, up to Config.KeepaliveLimit and as long as the peer (by MOBIKE)
// shows that the mapping holds. A factor of 1, or less, ends that. Where Config.Dead is set, liveness checks stay as they are: the peer
// counts as dead no later. CheckLiveness and all else that asks the peer is not changed.
func (m *Machine) Spare(now link.Instant, factor int) {
	if m.spare = max(factor, 1); m.keepaliveAt != 0 {
		m.keepaliveAt = min(m.keepaliveAt, now.Boot+m.keepaliveInterval())
	}
}

// livenessInterval is how long the peer may be silent.
func (m *Machine) livenessInterval() time.Duration {
	if m.cfg.Dead > 0 {
		return m.cfg.Liveness
	}
	return m.cfg.Liveness * time.Duration(max(m.spare, 1))
}

// sparedKeepalive is the interval of keepalives that is used for the sake of power, 0 for none. What has been learned of a NAT counts
// more, and a loss must show itself.
func (m *Machine) sparedKeepalive() time.Duration {
	k := &m.keep
	spared := min(m.cfg.Keepalive*time.Duration(max(m.spare, 1)), m.cfg.KeepaliveLimit)
	if m.spare <= 1 || !m.mobike.on || m.cfg.Liveness < 0 || k.interval != 0 || k.failed != 0 && spared >= k.failed {
		return 0
	}
	return spared
}
