package foreignagent

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// allSystemsHardware is the IEEE 802 group address of 224.0.0.1 (RFC 1112 §6.4).
var allSystemsHardware = packet.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}

const (
	// solicitedBurst and solicitedInterval bound the answers to solicitations: so many at once, and one more each interval.
	solicitedBurst    = 10
	solicitedInterval = 100 * time.Millisecond
)

// advertiser holds the sequence number and the time of the next periodic advertisement.
type advertiser struct {
	sequence uint16
	periodic bool
	next     time.Duration // boot time
	credit   int           // answers to solicitations that may be sent at once
	credited time.Duration // boot time up to which credit has been given
}

func (a *advertiser) start(interval, now time.Duration) {
	a.periodic = interval > 0
	a.next, a.credit, a.credited = now, solicitedBurst, now
}

func (a *advertiser) deadline() (time.Duration, bool) { return a.next, a.periodic }

// HandleSolicitation answers a solicitation, an ICMP message from its type octet on that arrived in a frame from
// hardware with the IPv4 source given (RFC 5944 §2.3: whatever that is). Errors wrap discovery.ErrMalformed, ErrSource or
// ErrRateLimited.
func (m *Machine) HandleSolicitation(now link.Instant, hardware packet.HardwareAddr, source netip.Addr, message []byte) error {
	if err := discovery.CheckSolicitation(message); err != nil {
		return fmt.Errorf("foreignagent: solicitation from %v: %w", hardware, err)
	}
	if hardware.IsZero() || hardware[0]&1 != 0 {
		return fmt.Errorf("%w: solicitation of %v at %v", ErrSource, source, hardware)
	}
	a := &m.advertiser
	if gained := int((now.Boot - a.credited) / solicitedInterval); gained > 0 {
		a.credit = min(a.credit+gained, solicitedBurst)
		a.credited += time.Duration(gained) * solicitedInterval
	}
	if a.credit == 0 {
		return fmt.Errorf("%w: %v", ErrRateLimited, hardware)
	}
	a.credit--
	m.sendAdvertisement(hardware)
	return nil
}

// advertise sends the periodic advertisement when it is due, and fixes the time of the next one: the interval, slightly
// randomised so that agents do not fall into step (RFC 5944 §2.1).
func (m *Machine) advertise(now link.Instant) {
	a := &m.advertiser
	if !a.periodic || now.Boot < a.next {
		return
	}
	if m.cfg.Challenge {
		m.issue()
	}
	m.sendAdvertisement(allSystemsHardware)
	var r [1]byte
	early := time.Duration(0)
	if _, err := io.ReadFull(m.random, r[:]); err == nil { // without randomness they merely come at the interval
		early = m.cfg.Interval / 8 / 256 * time.Duration(r[0])
	}
	a.next = now.Boot + m.cfg.Interval - early
}

// sendAdvertisement queues an agent advertisement with the next sequence number (RFC 5944 §2.1, §2.3.2).
func (m *Machine) sendAdvertisement(to packet.HardwareAddr) {
	m.sendAdvertisementNumbered(to, m.advertiser.sequence)
	m.advertiser.sequence = discovery.NextSequence(m.advertiser.sequence)
}

// sendAdvertisementNumbered queues an agent advertisement with a sequence number out of turn.
func (m *Machine) sendAdvertisementNumbered(to packet.HardwareAddr, sequence uint16) {
	m.transmits.Push(Transmit{
		To: Advertise, Station: Station{Hardware: to},
		Local: netip.AddrPortFrom(m.cfg.Address, 0), Remote: netip.AddrPortFrom(discovery.AllSystems, 0), Payload: m.numbered(sequence),
	})
}

// Advertisement returns an agent advertisement with the next sequence number, an ICMP message, for who hands it over otherwise
// than on the visited link.
func (m *Machine) Advertisement() []byte {
	message := m.numbered(m.advertiser.sequence)
	m.advertiser.sequence = discovery.NextSequence(m.advertiser.sequence)
	return message
}

// numbered returns an agent advertisement with the sequence number.
func (m *Machine) numbered(sequence uint16) []byte {
	ad := m.cfg.advertisement(sequence, m.visiting >= m.cfg.MaxVisitors)
	ad.Challenge = m.advertised()
	message, err := ad.Append(nil)
	if err != nil {
		return nil // the configuration was checked, so that nothing can fail
	}
	return message
}

func (c *Config) advertisement(sequence uint16, busy bool) discovery.Advertisement {
	flags := discovery.FlagForeignAgent | discovery.FlagReverseTunnel
	if c.RegistrationRequired || c.Revocation {
		flags |= discovery.FlagRegistrationRequired
	}
	if c.Revocation {
		flags |= discovery.FlagRevocation
	}
	if c.Encapsulations.Minimal {
		flags |= discovery.FlagMinimal
	}
	if c.Encapsulations.GRE {
		flags |= discovery.FlagGRE
	}
	if c.BehindNAT {
		flags |= discovery.FlagUDPTunnel
	}
	if busy {
		flags |= discovery.FlagBusy
	}
	ad := discovery.Advertisement{
		Code: discovery.CodeMobileTraffic, Lifetime: c.AdvertisementLifetime,
		Routers:  []discovery.Router{{Address: c.Address}},
		Sequence: sequence, RegistrationLifetime: uint16(c.MaxLifetime / time.Second),
		Flags: flags, CareOfAddresses: []netip.Addr{c.CareOfAddress}, NAI: c.NAI, Extensions: c.Extensions,
	}
	if c.Prefix > 0 {
		ad.PrefixLengths = []uint8{uint8(c.Prefix)}
	}
	return ad
}
