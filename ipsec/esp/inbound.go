package esp

import (
	"encoding/binary"
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
	maxBytes      uint64
	usage         counters

	mu     sync.Mutex
	window window
}

// NewInbound returns the receiving half made from p. Errors: ErrSPI, and those of suite.Encryption.NewCipher.
func NewInbound(p Parameters) (*Inbound, error) {
	c, err := p.cipher()
	if err != nil {
		return nil, err
	}
	return &Inbound{spi: p.SPI, cipher: c, esn: p.ESN, local: compile(p.Local), remote: compile(p.Remote),
		maxBytes: limitOr(p.MaxBytes)}, nil
}

// SPI returns the SPI of the packets that Open takes, in host order.
func (in *Inbound) SPI() uint32 { return in.spi }

// Usage returns what has been authenticated so far, dummy packets and packets outside the selectors included: any of it
// proves that the peer lives.
func (in *Inbound) Usage() Usage { return in.usage.read() }

// Open turns the ESP packet in p, which begins with its SPI, into the IPv4 packet inside, sets Buf.SA, and returns
// NotDropped. For any other result the packet is to be dropped under that reason, and its content is undefined. The
// order is that of RFC 4303 §3.4: replay, integrity, then the window is moved; then padding, next header, and the
// selectors (RFC 4301 §5.2, step 4). The outer TOS octet is taken from Buf.TOS for its ECN field.
func (in *Inbound) Open(p *packet.Buf) packet.DropReason {
	whole := p.Bytes()
	overhead := headerLen + in.cipher.IVLen() + trailerLen + in.cipher.ICVLen()
	if len(whole) < overhead {
		return packet.DropMalformed
	}
	if binary.BigEndian.Uint32(whole) != in.spi {
		return packet.DropUnknownSPI
	}
	if in.usage.bytes.Load() >= in.maxBytes {
		return packet.DropSAExhausted
	}
	seq, ok := in.sequence(binary.BigEndian.Uint32(whole[4:]))
	if !ok {
		return packet.DropReplayed
	}
	text, err := in.decrypt(whole, seq)
	if err != nil {
		return packet.DropAuthFailed
	}
	in.mu.Lock()
	ok = in.window.mark(seq)
	in.mu.Unlock()
	if !ok {
		return packet.DropReplayed // another goroutine was faster with the same packet
	}
	in.usage.add(1, len(text)-trailerLen)
	return in.unwrap(p, text)
}

// sequence returns the 64-bit sequence number that the packet's 32 bits stand for, and whether it may be accepted.
func (in *Inbound) sequence(low uint32) (uint64, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	seq := uint64(low)
	if in.esn {
		seq = in.window.extend(low)
	}
	return seq, in.window.fresh(seq)
}

func (in *Inbound) decrypt(whole []byte, seq uint64) ([]byte, error) {
	if !in.esn {
		return in.cipher.Open(whole[:headerLen], whole[headerLen:])
	}
	aad := aads.Get().(*[12]byte)
	defer aads.Put(aad)
	putAAD(aad, in.spi, seq)
	return in.cipher.Open(aad[:], whole[headerLen:])
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
