package ike

import (
	"fmt"
	"math"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// maxAESBytes is how many octets one AES key seals: about 2^24.5 records of 2^14 octets keep the margin of RFC 8446 §5.5.
// ChaCha20-Poly1305 runs out of sequence numbers first.
const maxAESBytes = 1 << 38

// limit sets the lifetimes of one direction in octets and packets.
func (m *Machine) limit(p *esp.Parameters) {
	hard := func(soft uint64) uint64 {
		if soft > math.MaxUint64-soft/4 {
			return math.MaxUint64
		}
		return soft + max(soft/4, 1)
	}
	if n := m.cfg.Lifetimes.Bytes; n != 0 {
		p.RekeyBytes, p.MaxBytes = m.cut(n), hard(n)
	}
	if n := m.cfg.Lifetimes.Packets; n != 0 {
		p.RekeyPackets, p.MaxPackets = m.cut(n), hard(n)
	}
	if p.Encryption.ID != suite.ChaCha20Poly1305.ID && (p.MaxBytes == 0 || p.MaxBytes > maxAESBytes) {
		p.MaxBytes = maxAESBytes
	}
}

// receiving and sending complete the parameters of one direction.
func (m *Machine) receiving(p esp.Parameters) esp.Parameters {
	p.Window = m.cfg.ReplayWindow
	return p
}

func (m *Machine) sending(c *child, p esp.Parameters) esp.Parameters {
	if !c.noTFC {
		p.TFC = m.cfg.TFCPadding
	}
	return p
}

// refusesTFC tells whether the peer takes no TFC padding on the child SA that the message is about.
func refusesTFC(in *message.Message) bool {
	_, refused := message.FindNotify(in.Payloads, message.ESPTFCPaddingNotSupported)
	return refused
}

// cut returns n less a random part of up to a tenth, so that the ends rarely collide (RFC 7296 §2.8.1).
func (m *Machine) cut(n uint64) uint64 {
	return n - uint64(float64(n/10)*float64(m.randomUpTo(time.Second))/float64(time.Second))
}

// HandleSpent tells the machine that a half of the child SA with our inbound SPI spi has come to the end of its soft lifetime
// in octets, packets or sequence numbers (esp.Outbound.Spent, esp.Inbound.Spent): it is rekeyed. exhausted says that the hard
// one is over too, so that nothing passes any more: unless a successor comes at once, Closed with ErrExpired follows. A driver
// may say so more than once. For an SA that is being replaced or closed it does nothing.
func (m *Machine) HandleSpent(now link.Instant, spi uint32, exhausted bool) {
	c := m.childByIn(spi)
	if !m.running() || c == nil || c.state != childInstalled || c.replacedBy != nil {
		return
	}
	if at := now.Boot + exhaustedTime; exhausted && (c.expireAt == 0 || c.expireAt > at) {
		c.expireAt = at
	}
	if c.spent && !exhausted {
		return
	}
	if c.spent = true; !m.parked {
		m.rekeyChild(now, c)
		return
	}
	c.rekeyAt = now.Boot
}

// exhaustedTime is how long the successor of a child SA that carries nothing more may take.
const exhaustedTime = 10 * time.Second

// expired is the reason for the end of a machine by that of a child SA.
func (c *child) expired() error {
	if c.spent {
		return fmt.Errorf("ike: child SA %d (its octets, packets or sequence numbers are used up): %w", c.id, ErrExpired)
	}
	return fmt.Errorf("ike: child SA %d: %w", c.id, ErrExpired)
}
