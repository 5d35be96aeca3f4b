package agent

import (
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// isRevocation reports whether a message is a revocation or the acknowledgement of one (RFC 3543).
func isRevocation(message []byte) bool {
	t, _ := wire.TypeOf(message)
	return t == wire.TypeRevocation || t == wire.TypeRevocationAcknowledgment
}

// handleRevocation has the machine handle a revocation or its acknowledgement, and logs why one was dropped.
func (a *HomeAgent) handleRevocation(now link.Instant, source netip.AddrPort, message []byte) {
	err := a.machine.HandleRevocation(now, source, message)
	if err == nil {
		return
	}
	if suppressed, due := a.notices.due("revocation", now.Boot); due {
		a.log.Warn("revocation message dropped", zap.Stringer("source", source), zap.Error(err), zap.Int("suppressed", suppressed))
	}
}
