package ike

import (
	"errors"
	"fmt"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// Fragmentation says in which sizes protected messages are sent (RFC 7383). It is used when both ends want it.
type Fragmentation struct {
	// Off neither offers nor accepts it.
	Off bool
	// Size is the length in octets of the longest IP datagram that is sent to begin with (default 1280: RFC 7383 §2.5.1
	// recommends that for IPv6, and for IPv4 allows what suits, Smallest being tried when it does not pass).
	Size int
	// Smallest is the length to fall back to when longer datagrams are not answered (default 576, or Size when that is
	// less; at least 296).
	Smallest int
}

// leastFragment leaves room for 64 octets of content behind all headers, with any cipher and IPv6.
const leastFragment = 296

func (f *Fragmentation) complete() error {
	withDefault(&f.Size, 1280)
	withDefault(&f.Smallest, min(576, f.Size))
	if f.Smallest < leastFragment || f.Size < f.Smallest || f.Size > maxDatagram {
		return fmt.Errorf("%w: Fragmentation: want %d <= Smallest <= Size <= %d, found %d and %d", ErrConfig,
			leastFragment, maxDatagram, f.Smallest, f.Size)
	}
	return nil
}

const (
	// maxDatagram is the longest IP datagram.
	maxDatagram = 65535
	// fragmentTries is how often a request is sent in one size before a smaller one is tried, and fragmentRepeats how often
	// the peer repeats a request before the response is made smaller (RFC 7383 §2.5.2).
	fragmentTries   = 3
	fragmentRepeats = 3
	// maxReassembly bounds the octets kept of one incomplete message (RFC 7383 §5), reassemblyTime the time.
	maxReassembly  = 64 << 10
	reassemblyTime = 30 * time.Second
)

// ErrFragment means that a fragment is of no use: not agreed on, a repetition, or of a set that was given up.
var ErrFragment = errors.New("IKE fragment of no use")

// ErrTooManyFragments means that the peer sent a message of more than 64 KiB in fragments (RFC 7383 §5).
var ErrTooManyFragments = errors.New("the peer's fragmented message is too long")

// fragmentTask agrees on fragmentation in the exchange that makes the IKE SA (RFC 7383 §2.3), both roles.
type fragmentTask struct{}

var fragmentationSupported = message.Notify{Message: message.IKEv2FragmentationSupport}

func (fragmentTask) needed(*Machine) bool { return true }

func (fragmentTask) request(_ link.Instant, m *Machine, x *exchange) error {
	if !m.cfg.Fragmentation.Off {
		x.add(fragmentationSupported)
	}
	return nil
}

func (fragmentTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	m.agreeFragments(in)
	return nil
}

func (fragmentTask) abandon(link.Instant, *Machine) {}

func (fragmentTask) answer(m *Machine, in *message.Message) []message.Payload {
	if !m.agreeFragments(in) {
		return nil
	}
	return []message.Payload{fragmentationSupported}
}

// agreeFragments notes whether the peer can, and tells whether both do.
func (m *Machine) agreeFragments(in *message.Message) bool {
	_, found := message.FindNotify(in.Payloads, message.IKEv2FragmentationSupport)
	m.fragmentSize = 0
	if found && !m.cfg.Fragmentation.Off {
		m.fragmentSize = m.cfg.Fragmentation.Size
	}
	return m.fragmentSize != 0
}

// messageSize returns how long an IKE message may be in IP datagrams of size octets (RFC 7383 Appendix B).
func (m *Machine) messageSize(size int) int {
	size -= 20 + 8
	if m.remote.Addr().Unmap().Is6() {
		size -= 20
	}
	if m.remote.Port() != portIKE {
		size -= 4 // non-ESP marker
	}
	return size
}

// sealed makes the datagrams of a message: one, or its fragments.
func (m *Machine) sealed(s *ikeSA, h message.Header, ps []message.Payload) ([][]byte, error) {
	if s.keys == nil || initial(h.Exchange) || m.fragmentSize == 0 || m.tcp {
		wire, err := s.seal(h, ps)
		return [][]byte{wire}, err
	}
	return m.fragmented(s, h, ps, s.ownCipher())
}

// fragmented makes the fragments of a message, or one when that will do.
func (m *Machine) fragmented(s *ikeSA, h message.Header, ps []message.Payload, c suite.Cipher) ([][]byte, error) {
	counter := func() uint64 { s.sent++; return s.sent }
	return message.AppendFragments(h, ps, c, counter, m.messageSize(m.fragmentSize))
}

// shrink goes on with smaller fragments (RFC 7383 §2.5.2) when the longest of the datagrams of a message is longer than
// those, and tells whether it did. A size set for jumbo frames gets to the default first.
func (m *Machine) shrink(wires [][]byte) bool {
	if m.tcp { // a stream needs no fragments (RFC 9329 §7.5)
		return false
	}
	next := m.cfg.Fragmentation.Smallest
	if m.fragmentSize > 1280 {
		next = max(next, 1280)
	}
	longest := 0
	for _, w := range wires {
		longest = max(longest, len(w))
	}
	if m.fragmentSize <= next || longest <= m.messageSize(next) {
		return false
	}
	m.fragmentSize = next
	return true
}

// refragment sends a request again in smaller fragments once it went unanswered often enough; its timers start over.
func (m *Machine) refragment(now link.Instant, x *exchange) (bool, error) {
	if x.tries < fragmentTries || initial(x.kind) || !m.shrink(x.wires) {
		return false, nil
	}
	wires, err := m.sealed(x.sa, x.sa.header(x.kind, x.id, false), x.payloads)
	if err != nil {
		return false, err
	}
	x.wires = wires
	x.tries, x.interval = 0, m.cfg.Retransmission.Initial
	m.resend(now, x)
	return true, nil
}

// reassembly holds the fragments of one message of the peer, all of them authentic (RFC 7383 §2.6).
type reassembly struct {
	id uint32
	// done is set when the message was complete.
	done   bool
	first  *message.Fragment
	raw    []byte // fragment 1 as it arrived
	chunks [][]byte
	have   int
	// octets are those of the chunks, longest those of the longest fragment's message.
	octets, longest int
	expires         time.Duration
}

func (r *reassembly) total() int { return len(r.chunks) }

// reset forgets what is there and wipes it.
func (r *reassembly) reset() {
	for _, c := range r.chunks {
		clear(c)
	}
	*r = reassembly{}
}

// refuses says why a fragment that is not verified yet is of no use, nil when it may be (RFC 7383 §2.6).
func (r *reassembly) refuses(f *message.Fragment) error {
	number, total := int(f.Number), int(f.Total)
	switch {
	case total > message.MaxFragments:
		return fmt.Errorf("%w: %d fragments, want at most %d", ErrFragment, total, message.MaxFragments)
	case r.id != f.Header.MessageID || r.total() == 0 && !r.done:
		return nil
	case r.done:
		return fmt.Errorf("%w: message %d is complete", ErrFragment, r.id)
	case total < r.total():
		return fmt.Errorf("%w: one of %d fragments, while %d are being collected", ErrFragment, total, r.total())
	case total == r.total() && r.chunks[number-1] != nil:
		return fmt.Errorf("%w: number %d of %d is there", ErrFragment, number, total)
	}
	return nil
}

// add keeps an authentic fragment that was not refused, and tells whether the message is complete.
func (r *reassembly) add(now link.Instant, f *message.Fragment, raw, chunk []byte) (bool, error) {
	if r.id != f.Header.MessageID || r.done || int(f.Total) > r.total() {
		r.reset()
		r.id, r.chunks, r.expires = f.Header.MessageID, make([][]byte, f.Total), now.Boot+reassemblyTime
	}
	r.octets += len(chunk)
	if r.octets > maxReassembly {
		return false, fmt.Errorf("%w: more than %d octets", ErrTooManyFragments, maxReassembly)
	}
	r.chunks[f.Number-1] = append(make([]byte, 0, len(chunk)), chunk...) // not nil, even when empty
	r.longest = max(r.longest, len(raw))
	r.have++
	if f.Number == 1 {
		r.first, r.raw = f, append([]byte(nil), raw...)
	}
	return r.have == r.total(), nil
}

// finish joins the fragments and keeps only that they are done.
func (r *reassembly) finish() (m *message.Message, raw []byte, err error) {
	content := make([]byte, 0, r.octets)
	for _, c := range r.chunks {
		content = append(content, c...)
	}
	m, err = message.Join(r.first, content)
	raw, id := r.raw, r.id
	clear(content)
	r.reset()
	r.id, r.done = id, true
	return m, raw, err
}

// collect takes a fragment whose message ID is expected. Once the message is complete it returns it, verified, and
// fragment 1 as it arrived, which stands for the whole when repetitions are recognised (RFC 7383 §2.6.1); err is that of
// message.Join then. Before, it returns nil and the reason why the fragment is of no use, or nil.
func (m *Machine) collect(now link.Instant, s *ikeSA, f *message.Fragment, d Datagram) (in *message.Message, first []byte, err error) {
	if m.fragmentSize == 0 {
		return nil, nil, fmt.Errorf("ike: %w: fragmentation was not agreed on", ErrFragment)
	}
	r := &s.incoming
	if f.Header.Response() {
		r = &s.exchange.incoming
	}
	if err := r.refuses(f); err != nil {
		return nil, nil, fmt.Errorf("ike: %w", err)
	}
	chunk, err := f.Open(s.peerCipher())
	if err != nil {
		return nil, nil, fmt.Errorf("ike: %w: %w", ErrIntegrity, err)
	}
	complete, err := r.add(now, f, d.Payload, chunk)
	if err != nil {
		err = fmt.Errorf("ike: %v: %w", f.Header.Exchange, err)
		r.reset()
		m.close(now, err)
		return nil, nil, err
	}
	if !complete {
		return nil, nil, nil
	}
	// What the peer's fragments fit into, ours should (RFC 7383 §2.5.1).
	if size := r.longest + m.fragmentSize - m.messageSize(m.fragmentSize); r.total() > 1 && size < m.fragmentSize {
		m.fragmentSize = max(size, m.cfg.Fragmentation.Smallest)
	}
	in, first, err = r.finish()
	return in, first, err
}

// repeatedFragment answers a fragment of the last request, which has been answered before: fragment 1 by the response, the
// others not at all (RFC 7383 §2.6.1). The peer may have split the request anew.
func (m *Machine) repeatedFragment(s *ikeSA, f *message.Fragment, d Datagram) error {
	if f.Header.MessageID+1 != s.expectID || f.Number != 1 || len(s.lastResponse) == 0 || m.fragmentSize == 0 {
		return fmt.Errorf("ike: %w: of request %d, want %d", ErrFragment, f.Header.MessageID, s.expectID)
	}
	c := s.peerCipher()
	if s.lastAnswer != nil {
		c = s.lastAnswer.peer
	}
	if _, err := f.Open(c); err != nil {
		return fmt.Errorf("ike: %w: %w", ErrIntegrity, err)
	}
	m.respondAgain(s, d)
	return nil
}

// respondAgain sends the last response again, in smaller fragments when the peer keeps asking for it (RFC 7383 §2.4).
func (m *Machine) respondAgain(s *ikeSA, d Datagram) {
	s.repeats++
	if a := s.lastAnswer; a != nil && s.keys != nil && s.repeats >= fragmentRepeats && m.shrink(s.lastResponse) {
		if wires, err := m.fragmented(s, a.header, a.payloads, a.own); err == nil {
			s.lastResponse, s.repeats = wires, 0
		}
	}
	for _, wire := range s.lastResponse {
		m.transmit(d.path(), wire)
	}
}

// answer is what the last response was made of, to make it again in other fragments. own and peer are the ciphers of that time:
// IKE_INTERMEDIATE may have changed the keys since (RFC 9242 §3.3.1).
type answer struct {
	header    message.Header
	payloads  []message.Payload
	own, peer suite.Cipher
}
