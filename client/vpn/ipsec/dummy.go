package ipsec

import (
	"encoding/binary"
	"io"
	"time"

	"go.uber.org/zap"

	"mipvpn/tun/link"
)

// dummyLongest is the length of the longest dummy packet inside, in octets, where packets are not padded to one length.
const dummyLongest = 1300

// dummyDeadline returns when the next dummy packet is due, false when there is none: packets do not leave through this tunnel, or
// nothing may be sent.
func (t *tunnel) dummyDeadline() (time.Duration, bool) {
	return t.dummyAt, t.dummyAt != 0 && t.access.used == t && t.current != 0 && !t.parked
}

// sendDummy sends a dummy packet when one is due, and has another one sent after half to one and a half of the interval.
func (t *tunnel) sendDummy(now link.Instant) {
	interval := t.access.cfg.Gateway.DummyInterval
	if interval == 0 {
		return
	}
	at, ok := t.dummyDeadline()
	if ok && now.Boot < at {
		return
	}
	var random [8]byte
	if _, err := io.ReadFull(t.access.Random, random[:]); err != nil {
		t.access.Log.Debug("dummy packets", zap.Error(err))
		return
	}
	t.dummyAt = now.Boot + interval/2 + time.Duration(float64(interval)*float64(binary.BigEndian.Uint32(random[:]))/(1<<32))
	if !ok {
		return // it begins
	}
	n := max(t.access.cfg.Gateway.TFCPadding, int(binary.BigEndian.Uint16(random[4:]))%dummyLongest)
	if err := t.access.flows.SendDummy(n); err != nil {
		t.access.Log.Debug("dummy packet not sent", zap.Error(err))
	}
}
