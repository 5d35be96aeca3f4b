package esp

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Inbound is the receiving half of a child SA.
type Inbound struct {
	spi           uint32
	cipher        suite.Cipher
	esn           bool
	local, remote []compiled
	limits        limits
	usage         counters // authenticated
	delivered     counters // handed out

	mu     sync.Mutex
	window window
	newest netip.AddrPort // source of the packet at the window's top
}

// NewInbound returns the receiving half made from p. Errors: ErrSPI, and those of suite.Encryption.NewCipher.
func NewInbound(p Parameters) (*Inbound, error) {
	c, err := p.cipher()
	if err != nil {
		return nil, err
	}
	in := &Inbound{spi: p.SPI, cipher: c, esn: p.ESN, local: compile(p.Local), remote: compile(p.Remote)}
	in.limits.set(p)
	in.window = newWindow(p.Window)
	return in, nil
}

// SPI returns the SPI of the packets that Open takes, in host order.
func (in *Inbound) SPI() uint32 { return in.spi }

// Usage returns what has been authenticated so far, padding, dummy packets and packets outside the selectors included: any of
// it proves that the peer lives, and lifetimes go by it.
func (in *Inbound) Usage() Usage { return in.usage.read() }

// Delivered returns the inner packets that Open has handed out and their octets, without padding.
func (in *Inbound) Delivered() Usage { return in.delivered.read() }

// Spent reports whether the soft lifetime is over, so that the SA is to be rekeyed.
func (in *Inbound) Spent() bool { return in.limits.spent(in.usage.read()) }

// Exhausted reports whether the hard lifetime is over, so that nothing more is taken.
func (in *Inbound) Exhausted() bool { return in.limits.exhausted(in.usage.read()) }

// LifeOver reports once for the soft and once for the hard lifetime that it is over.
func (in *Inbound) LifeOver() bool { return in.limits.due(in.usage.read()) }

// Open turns the ESP packet in p, which begins with its SPI, into the IPv4 packet inside, sets Buf.SA, and returns
// NotDropped. For any other result the packet is to be dropped under that reason, and its content is undefined. The
// order is that of RFC 4303 §3.4: replay, integrity, then the window is moved; then padding, next header, and the
// selectors (RFC 4301 §5.2, step 4). The outer TOS octet is taken from Buf.TOS for its ECN field.
func (in *Inbound) Open(p *packet.Buf) packet.DropReason {
	s := scratches.Get().(*scratch)
	defer s.release()
	run := [1]*packet.Buf{p}
	in.open(s, run[:])
	return s.reasons[0]
}

// maxRun is the number of packets of one SA that are opened together at most.
const maxRun = packet.BatchSize

// open does what Open does with the first packets of the run, which has maxRun at most, and leaves in s.reasons what becomes
// of each. It returns how many packets that were, at least one.
func (in *Inbound) open(s *scratch, run []*packet.Buf) int {
	run = run[:in.check(s, run)]
	head, tail := headerLen+in.cipher.IVLen(), in.cipher.ICVLen()
	for i, p := range run {
		if s.reasons[i] != packet.NotDropped {
			continue
		}
		whole := p.Bytes()
		if _, err := in.cipher.OpenWith(&s.cipher, s.aadOf(whole, in.esn, in.spi, s.seqs[i]), whole[headerLen:]); err != nil {
			s.reasons[i] = packet.DropAuthFailed
		}
	}
	in.mark(s, run)
	packets, octets := 0, 0
	for i, p := range run {
		if s.reasons[i] != packet.NotDropped {
			continue
		}
		whole := p.Bytes()
		if s.reasons[i] = in.unwrap(p, whole[head:len(whole)-tail]); s.reasons[i] == packet.NotDropped {
			packets++
			octets += p.Len()
		}
	}
	in.delivered.add(packets, octets)
	return len(run)
}

// overhead returns the octets of an ESP packet with nothing in it.
func (in *Inbound) overhead() int {
	return headerLen + in.cipher.IVLen() + trailerLen + in.cipher.ICVLen()
}

// check is the preliminary check of RFC 4303 §3.4.3 for the packets of the run. It returns for how many of them it could be
// made now, at least one.
func (in *Inbound) check(s *scratch, run []*packet.Buf) int {
	overhead, spent := in.overhead(), in.Exhausted()
	in.mu.Lock()
	defer in.mu.Unlock()
	top, highest := in.window.top, in.window.top
	for i, p := range run {
		whole := p.Bytes()
		if len(whole) < overhead {
			s.reasons[i] = packet.DropMalformed
			continue
		}
		if binary.BigEndian.Uint32(whole) != in.spi {
			s.reasons[i] = packet.DropUnknownSPI
			continue
		}
		if spent {
			s.reasons[i] = packet.DropSAExhausted
			continue
		}
		low := binary.BigEndian.Uint32(whole[4:])
		seq := uint64(low)
		if in.esn {
			// What the 32 bits stand for depends on which packets before this one turn out authentic. It grows with the window's
			// top, so when it is the same for the lowest and for the highest top that there can be, it is certain.
			seq = in.window.extend(top, low)
			if seq != in.window.extend(highest, low) {
				return i
			}
		}
		s.seqs[i] = seq
		if !in.window.fresh(seq) {
			s.reasons[i] = packet.DropReplayed
			continue
		}
		s.reasons[i] = packet.NotDropped
		highest = max(highest, seq)
	}
	return len(run)
}

// mark moves the window for the packets of the run that are authentic, in their order, and counts them. A packet that is in
// the run twice, or that another goroutine has opened meanwhile, is found here.
func (in *Inbound) mark(s *scratch, run []*packet.Buf) {
	overhead, used := in.overhead(), in.usage.read()
	packets, octets, newest := 0, 0, -1
	in.mu.Lock()
	for i, p := range run {
		switch {
		case s.reasons[i] != packet.NotDropped:
		case used.Bytes+uint64(octets) >= in.limits.hard.Bytes, used.Packets+uint64(packets) >= in.limits.hard.Packets:
			s.reasons[i] = packet.DropSAExhausted
		case !in.window.mark(s.seqs[i]):
			s.reasons[i] = packet.DropReplayed
		default:
			packets++
			octets += p.Len() - overhead
			if s.seqs[i] == in.window.top {
				newest = i
			}
		}
	}
	if newest >= 0 {
		in.newest = run[newest].Peer
	}
	in.mu.Unlock()
	in.usage.add(packets, octets)
}

// unwrap takes ESP off the packet whose decrypted part is text.
func (in *Inbound) unwrap(p *packet.Buf, text []byte) packet.DropReason {
	next, pad := text[len(text)-1], int(text[len(text)-2])
	if next == nextHeaderDummy {
		return packet.DropDummy
	}
	n := len(text) - trailerLen - pad
	if n < 0 {
		return packet.DropMalformed
	}
	for i, octet := range text[n : n+pad] {
		if octet != byte(i+1) { // RFC 4303 §2.4
			return packet.DropMalformed
		}
	}
	if next != nextHeaderIPv4 {
		return packet.DropUnsupported
	}
	ip := packet.IPv4(text[:n])
	if !ip.Valid() {
		return packet.DropMalformed
	}
	src, dst := sides(ip)
	if !src.matches(in.remote) || !dst.matches(in.local) {
		return packet.DropSelector
	}
	tos, ok := decapsulateECN(p.TOS, ip.TOS())
	if !ok {
		return packet.DropPolicy
	}
	if tos != ip.TOS() {
		ip.SetTOS(tos)
	}
	p.Pull(headerLen + in.cipher.IVLen())
	p.Trim(ip.TotalLen()) // what follows is TFC padding (RFC 4303 §2.7)
	p.SA = in.spi
	return packet.NotDropped
}

// decapsulateECN returns the inner TOS octet with the ECN field that RFC 6040 §4.2, Figure 4 has for these fields, and
// false where it has the packet dropped.
func decapsulateECN(outer, inner uint8) (uint8, bool) {
	const notECT, ect1, ect0, ce, mask = 0, 1, 2, 3, 3
	switch {
	case outer&mask == ce && inner&mask == notECT:
		return 0, false
	case outer&mask == ce:
		return inner | ce, true
	case outer&mask == ect1 && inner&mask == ect0:
		return inner&^mask | ect1, true
	}
	return inner, true
}
