package ike

import (
	"fmt"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// childState is where a child SA pair stands.
type childState uint8

const (
	childInstalled childState = iota // in use
	childDeleting                    // our Delete payload is queued or sent
	childDraining                    // rekeyed and deleted; its inbound half takes packets in flight for a while
	childGone                        // forgotten
)

// child is one child SA pair. It belongs to the machine, so that a rekeying of the IKE SA need not move it.
type child struct {
	id ChildID
	// in is the SPI of our inbound SA, out the peer's.
	in, out       uint32
	local, remote []esp.Selector
	suite         childSuite
	state         childState
	// standby is set until the peer is known to receive on it (RFC 7296 §2.8).
	standby bool
	// replacedBy is the child SA that rekeys this one, once it is there.
	replacedBy *child
	// rekey is our own rekeying of it, queued or outstanding.
	rekey *childTask
	// spent is set when HandleSpent was called.
	spent bool
	// source is the sequence number of the packet that has moved the endpoint last.
	source uint64
	// noTFC is set when the peer takes no TFC padding (ESP_TFC_PADDING_NOT_SUPPORTED, RFC 7296 §1.3.1).
	noTFC bool
	// agent is set when it goes through the foreign agent in the gateway.
	agent bool
	// reason is what ChildRemoved will say.
	reason error
	// Boot times, 0 for never: rekeying, the end of life, when a replaced one that the peer should have deleted is deleted
	// by us or the draining ends.
	rekeyAt, expireAt, removeAt time.Duration
}

func (m *Machine) childByID(id ChildID) *child {
	for _, c := range m.children {
		if c.id == id && c.state != childDraining {
			return c
		}
	}
	return nil
}

func (m *Machine) childByIn(spi uint32) *child {
	for _, c := range m.children {
		if c.in == spi {
			return c
		}
	}
	return nil
}

// childByOut finds the child SA by the SPI that the peer calls it by: that of the peer's inbound SA.
func (m *Machine) childByOut(spi uint32) *child {
	for _, c := range m.children {
		if c.out == spi && c.state != childDraining {
			return c
		}
	}
	return nil
}

// install makes a child SA and tells the driver. Keys are those of the directions from and to the exchange's initiator;
// ours is set when that is this end.
func (m *Machine) install(now link.Instant, c *child, keyI, keyR []byte, ours bool, old *child) {
	m.lastChild++
	c.id = m.lastChild
	c.rekeyAt = m.jittered(now, m.cfg.Lifetimes.Child)
	if life := m.cfg.Lifetimes.Child; life > 0 {
		c.expireAt = now.Boot + life + m.cfg.Lifetimes.Grace
	}
	keyIn, keyOut := keyI, keyR
	if ours {
		keyIn, keyOut = keyR, keyI
	}
	half := func(spi uint32, key []byte) esp.Parameters {
		p := esp.Parameters{
			SPI: spi, Encryption: c.suite.encryption, Key: key, ESN: c.suite.esn,
			Local: append([]esp.Selector(nil), c.local...), Remote: append([]esp.Selector(nil), c.remote...),
		}
		m.limit(&p)
		return p
	}
	e := ChildInstalled{
		ID: c.id, Inbound: m.receiving(half(c.in, keyIn)), Outbound: m.sending(c, half(c.out, keyOut)), UDPEncapsulation: m.encapsulate,
		Local: m.local, Remote: m.remote, TCP: m.tcp, Standby: c.standby, Suite: c.suite.String(), GatewayAgent: c.agent,
	}
	if old != nil {
		e.Replaces = old.id
	}
	m.children = append(m.children, c)
	m.emit(e)
}

// liveChildren counts the child SAs that have not been replaced.
func (m *Machine) liveChildren() int {
	n := 0
	for _, c := range m.children {
		if c.state == childInstalled && c.replacedBy == nil {
			n++
		}
	}
	return n
}

// activate says that the outbound half may be used.
func (m *Machine) activate(c *child) {
	if c != nil && c.standby && c.state == childInstalled {
		c.standby = false
		m.emit(ChildActivated{ID: c.id})
	}
}

// finishChild ends a child SA that both ends have closed. A rekeyed one drains first.
func (m *Machine) finishChild(now link.Instant, c *child, reason error) {
	if c.replacedBy == nil {
		m.removeChild(c, reason)
		return
	}
	m.activate(c.replacedBy)
	c.state, c.reason = childDraining, ErrReplaced
	c.rekeyAt, c.expireAt, c.removeAt = 0, 0, now.Boot+drainTime
}

// removeChild forgets a child SA, and first those that it has replaced and that still drain: without a successor nothing
// must be left that a driver could fall back to.
func (m *Machine) removeChild(c *child, reason error) {
	for _, o := range append([]*child(nil), m.children...) {
		if o.replacedBy == c && o.state == childDraining {
			m.removeChild(o, o.reason)
		}
	}
	for i, o := range m.children {
		if o == c {
			m.children = append(m.children[:i:i], m.children[i+1:]...)
			c.state = childGone
			m.emit(ChildRemoved{ID: c.id, Inbound: c.in, Outbound: c.out, Reason: reason})
			return
		}
	}
}

// rekeyChild starts a rekeying.
func (m *Machine) rekeyChild(now link.Instant, c *child) {
	c.rekeyAt = 0
	if c.rekey != nil {
		return
	}
	c.rekey = &childTask{old: c, local: c.local, remote: c.remote, agent: c.agent}
	m.enqueue(now, m.current, newExchange(message.CreateChildSA, c.rekey))
}

// deleteChild starts to close a child SA.
func (m *Machine) deleteChild(now link.Instant, c *child, reason error) {
	if c.state != childInstalled {
		return
	}
	c.state, c.reason = childDeleting, reason
	c.rekeyAt, c.expireAt, c.removeAt = 0, 0, 0
	m.enqueue(now, m.current, newExchange(message.Informational, &deleteChildTask{child: c}))
}

func (m *Machine) childTimeout(now link.Instant, c *child) {
	switch {
	case m.err != nil || m.deleting:
	case due(now, c.removeAt):
		c.removeAt = 0
		if c.state == childDraining {
			m.removeChild(c, c.reason)
		} else {
			m.deleteChild(now, c, ErrReplaced)
		}
	case due(now, c.expireAt):
		m.close(now, c.expired(), deleteIKE)
	case due(now, c.rekeyAt):
		m.rekeyChild(now, c)
	}
}

// retryTime is how long after a temporary failure an operation is tried again: 2 to 10 s, so that the ends fall out of
// step (RFC 7296 §2.25 wants no immediate retry).
func (m *Machine) retryTime(now link.Instant) time.Duration {
	return now.Boot + 2*time.Second + m.randomUpTo(8*time.Second)
}

// busyLimit is how long TEMPORARY_FAILURE may go on (RFC 7296 §2.25: several minutes).
const busyLimit = 5 * time.Minute

// noteBusy remembers that the peer answers TEMPORARY_FAILURE; when it has for minutes, the IKE SA is closed.
func (m *Machine) noteBusy(now link.Instant, s *ikeSA) error {
	if s.busySince == 0 {
		s.busySince = now.Boot
	}
	if now.Since(s.busySince) > busyLimit {
		return fatal(fmt.Errorf("%w: TEMPORARY_FAILURE for %v", ErrOutOfSync, now.Since(s.busySince)), deleteIKE)
	}
	return nil
}
