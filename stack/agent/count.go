package agent

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// Registrations is what an agent has made of registration messages so far.
type Registrations struct {
	// Replies counts the registration replies that it has sent, or passed on to mobile nodes, by their codes.
	Replies map[wire.Code]uint64
	// Discarded counts the messages that were not answered, by reason, one of a fixed set of words.
	Discarded map[string]uint64
}

// registrations counts for Registrations. The zero value is ready; it is safe for concurrent use.
type registrations struct {
	replies   [256]atomic.Uint64
	mu        sync.Mutex
	discarded map[string]uint64
}

// sent counts a message to a mobile node, if it is a registration reply.
func (r *registrations) sent(message []byte) {
	if typ, ok := wire.TypeOf(message); ok && typ == wire.TypeRegistrationReply && len(message) > 1 {
		r.replies[message[1]].Add(1) // type, code: RFC 5944 §3.4
	}
}

// discard counts a message that was discarded for err, unless that is a denial: its reply counts. It returns the reason.
func (r *registrations) discard(err error) string {
	why := discardReason(err)
	if why == "" {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.discarded == nil {
		r.discarded = make(map[string]uint64)
	}
	r.discarded[why]++
	return why
}

// snapshot returns the counts.
func (r *registrations) snapshot() Registrations {
	out := Registrations{Replies: make(map[wire.Code]uint64)}
	for code := range r.replies {
		if n := r.replies[code].Load(); n != 0 {
			out.Replies[wire.Code(code)] = n
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Discarded = maps.Clone(r.discarded)
	return out
}

// discardReason returns the word for the reason for which a message was discarded, "" for one that was answered.
func discardReason(err error) string {
	var denied *homeagent.Denied
	var relayDenied *foreignagent.Denied
	if errors.As(err, &denied) {
		return ""
	}
	if errors.As(err, &relayDenied) {
		if relayDenied.Suppressed {
			return "rate_limited"
		}
		return ""
	}
	for _, c := range []struct {
		err  error
		word string
	}{
		{homeagent.ErrUntrustedSource, "untrusted"}, {homeagent.ErrRefusedSource, "refused"}, {homeagent.ErrUnknownMobileNode, "unknown_mobile_node"},
		{homeagent.ErrRateLimited, "rate_limited"}, {homeagent.ErrPending, "pending"}, {homeagent.ErrNotAuthorized, "unauthorized"}, {homeagent.ErrForeignHome, "unauthorized"},
		{homeagent.ErrSource, "source"}, {foreignagent.ErrSource, "source"}, {foreignagent.ErrNoPending, "no_pending_request"},
		{foreignagent.ErrRateLimited, "rate_limited"}, {foreignagent.ErrAuthentication, "unauthorized"},
		{foreignagent.ErrUnauthenticated, "unauthorized"}, {homeagent.ErrRevocation, "revocation"}, {homeagent.ErrReplay, "revocation"},
		{homeagent.ErrNotRevoked, "revocation"}, {foreignagent.ErrRevocation, "revocation"}, {foreignagent.ErrReplay, "revocation"},
		{foreignagent.ErrNotRevoked, "revocation"},
	} {
		if errors.Is(err, c.err) {
			return c.word
		}
	}
	return "malformed"
}

// Traffic is what has gone one way through an agent's tunnels: octets with the headers of the encapsulation, without the outer IP
// and UDP headers.
type Traffic struct{ Packets, Octets uint64 }

// tunnelTraffic counts what goes through tunnels. The zero value is ready; it is safe for concurrent use.
type tunnelTraffic struct {
	packetsIn, octetsIn, packetsOut, octetsOut atomic.Uint64
}

// sent counts a batch that goes into tunnels, encapsulated.
func (t *tunnelTraffic) sent(b *packet.Batch) {
	var packets, octets uint64
	for _, p := range b.Bufs {
		n, o := sizeOf(p)
		packets, octets = packets+n, octets+o
	}
	t.packetsOut.Add(packets)
	t.octetsOut.Add(octets)
}

// received counts so many packets and octets that have come out of tunnels that they belong to.
func (t *tunnelTraffic) received(packets, octets uint64) {
	t.packetsIn.Add(packets)
	t.octetsIn.Add(octets)
}

// sizeOf returns how many packets p stands for, and their octets as they stand.
func sizeOf(p *packet.Buf) (packets, octets uint64) {
	n := p.Segments()
	return uint64(n), uint64(p.Len() + (n-1)*p.SegmentHeaderLen())
}

func (t *tunnelTraffic) snapshot() (in, out Traffic) {
	return Traffic{t.packetsIn.Load(), t.octetsIn.Load()}, Traffic{t.packetsOut.Load(), t.octetsOut.Load()}
}
