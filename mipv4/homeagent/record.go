package homeagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// recordVersion is the version of the form in which records are encoded. A record of a greater version is refused.
const recordVersion = 1

// maxRecord is the greatest length of an encoded record in octets.
const maxRecord = 1 << 16

// ErrRecord means that an encoded record is damaged, or of a version that this program does not know.
var ErrRecord = errors.New("homeagent: unreadable record of a mobile node")

// Record is what the home agent must still know of one mobile node after a restart: its bindings, and the state of the replay
// protection (RFC 5944 §5.7). It replaces an older record with the same Key. Times are of the wall clock: agents that share
// records must have the right time, as timestamps need anyway.
//
// New state goes in as a field with omitempty, filled in by Machine.record and taken back by Machine.Restore.
type Record struct {
	// HomeAddress is the mobile node's, the zero Addr while none is assigned.
	HomeAddress netip.Addr `json:"home,omitzero"`
	// NAI is that of a mobile node whose home address is assigned, else "".
	NAI string `json:"nai,omitempty"`
	// Last is the Identification of the last request accepted, 0 for none.
	Last wire.Identification `json:"last,omitempty"`
	// Nonce is the counter of the nonce that the next request must have (auth.NextNonceCounter), 0 for none given out yet.
	Nonce uint32 `json:"nonce,omitempty"`
	// Bindings are the mobile node's, the newest last.
	Bindings []BindingRecord `json:"bindings,omitempty"`
}

// BindingRecord is one binding of a Record.
type BindingRecord struct {
	// CareOfAddress is the one registered.
	CareOfAddress netip.Addr `json:"care_of"`
	// Identification is that of the request that made or renewed the binding.
	Identification wire.Identification `json:"id"`
	// Granted is the lifetime in seconds; wire.LifetimeInfinite has no end.
	Granted uint16 `json:"granted"`
	// Until is when the binding ends, the zero time for never.
	Until time.Time `json:"until,omitzero"`
	// Encapsulation is the tunnel's form by its name, as tunnel.Encapsulation's String gives it.
	Encapsulation string `json:"encapsulation"`
	// Remote is the tunnel's far end, as in Tunnel.
	Remote netip.AddrPort `json:"remote"`
	// ReverseTunnel and Switched are as in Tunnel.
	ReverseTunnel bool       `json:"reverse,omitempty"`
	Switched      netip.Addr `json:"switched,omitzero"`
	// Broadcasts is as in Tunnel, by its name; "" for none.
	Broadcasts string `json:"broadcasts,omitempty"`
	// UDPReply is what was said of UDP tunnelling, nil for nothing; a repeated request gets it again.
	UDPReply *wire.UDPTunnelReply `json:"udp,omitempty"`
	// Revocable is what was agreed about revocation, nil for nothing.
	Revocable *Revocability `json:"revocable,omitempty"`
}

// Key is what the record is stored under: unique among the mobile nodes of one home agent, and without an octet that needs
// quoting.
func (r *Record) Key() string {
	if r.NAI != "" {
		return "nai/" + url.PathEscape(r.NAI)
	}
	return "address/" + r.HomeAddress.String()
}

// Empty reports whether there is nothing to be kept, so that a stored record with the same key is to be deleted.
func (r *Record) Empty() bool {
	return r.Last == 0 && r.Nonce == 0 && len(r.Bindings) == 0 && (r.NAI == "" || !r.HomeAddress.IsValid())
}

// versioned is a record as it is encoded.
type versioned struct {
	Version int `json:"v"`
	Record
}

// Encode returns the record as JSON with its version.
func (r *Record) Encode() []byte {
	data, err := json.Marshal(versioned{recordVersion, *r})
	if err != nil {
		panic(err) // no type in it can fail
	}
	return data
}

// ParseRecord reads what Encode wrote. Errors wrap ErrRecord.
func ParseRecord(data []byte) (Record, error) {
	if len(data) > maxRecord {
		return Record{}, fmt.Errorf("%w: %d octets, at most %d are read", ErrRecord, len(data), maxRecord)
	}
	var v versioned
	if err := json.Unmarshal(data, &v); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if v.Version < 1 || v.Version > recordVersion {
		return Record{}, fmt.Errorf("%w: its version is %d, this program reads 1 to %d: a newer mipagent wrote it", ErrRecord, v.Version, recordVersion)
	}
	if !v.HomeAddress.Is4() && (v.NAI == "" || v.HomeAddress.IsValid() || len(v.Bindings) > 0) {
		return Record{}, fmt.Errorf("%w: home address %v: expected an IPv4 address", ErrRecord, v.HomeAddress)
	}
	return v.Record, nil
}

// touch notes that what is to be kept of a mobile node has changed.
func (m *Machine) touch(n *node) {
	if m.cfg.Durable && !n.touched {
		n.touched = true
		m.touched.Push(n)
	}
}

// PollRecord returns the record of the next mobile node whose state has changed, with Config.Durable alone. A driver that
// stores bindings polls records before replies, and sends a reply only when the records polled before it are durable: a mobile
// node must never be told of a binding that a restart forgets, nor a request be accepted twice.
func (m *Machine) PollRecord(now link.Instant) (Record, bool) {
	n, ok := m.touched.Pop()
	if !ok {
		return Record{}, false
	}
	n.touched = false
	return m.record(now, n), true
}

// record returns what is to be kept of a mobile node.
func (m *Machine) record(now link.Instant, n *node) Record {
	r := Record{HomeAddress: n.home, NAI: n.assignedTo(), Last: n.last, Nonce: n.nonce}
	for _, b := range n.bindings {
		s := BindingRecord{
			CareOfAddress: b.careOf, Identification: b.identification, Granted: b.granted,
			Encapsulation: b.tunnel.Encapsulation.String(), Remote: b.tunnel.Remote,
			ReverseTunnel: b.tunnel.ReverseTunnel, Switched: b.tunnel.Switched, UDPReply: b.udpReply, Revocable: b.revocable,
		}
		if b.tunnel.Broadcasts != NoBroadcasts {
			s.Broadcasts = b.tunnel.Broadcasts.String()
		}
		if b.granted != wire.LifetimeInfinite {
			s.Until = now.Wall.Add(b.until() - now.Boot).UTC().Round(0)
		}
		r.Bindings = append(r.Bindings, s)
	}
	return r
}

// Restore takes a record back, before the first request. Bindings that have ended, or that the configuration permits no longer,
// are left out. Errors: ErrUnknownMobileNode for a mobile node that is not configured (any longer), whose
// record is kept for the case that Reload brings it (back); and ErrRecord, which leaves the machine unchanged.
func (m *Machine) Restore(now link.Instant, r Record) error {
	n, err := m.restoredNode(r)
	if err != nil {
		m.unclaimed[r.Key()] = r
		return err
	}
	var restored []*binding
	for _, s := range r.Bindings {
		b, err := m.restored(now, n, s)
		if err != nil {
			return fmt.Errorf("%w: mobile node %v: %w", ErrRecord, r.HomeAddress, err)
		}
		if b == nil || slices.ContainsFunc(restored, func(o *binding) bool { return o.careOf == b.careOf }) || n.binding(b.careOf) != nil {
			continue
		}
		restored = append(restored, b)
	}
	n.last, n.nonce = max(n.last, r.Last), max(n.nonce, r.Nonce)
	if extra := len(n.bindings) + len(restored) - max(1, m.limits(n).Bindings); extra > 0 {
		restored = restored[min(extra, len(restored)):]
	}
	m.restoreHome(now, n, r.HomeAddress, len(restored) > 0)
	for _, b := range restored {
		if b.granted != wire.LifetimeInfinite {
			m.ends.Set(&b.ending, b.until())
		}
		n.bindings = append(n.bindings, b)
		m.count++
		m.event(b, Restored)
	}
	if len(restored) > 0 {
		m.table.set(n.home, n.tunnels())
	}
	return nil
}

// claim gives a mobile node that was added by Reload the state that is known of it from before.
func (m *Machine) claim(now link.Instant, n *node) {
	key := (&Record{HomeAddress: n.home, NAI: n.assignedTo()}).Key()
	if r, ok := m.unclaimed[key]; ok {
		delete(m.unclaimed, key)
		_ = m.Restore(now, r) // a record that makes no sense is that of nobody
	}
}

// restored returns the binding that s tells of, its timer not set, or nil when it has ended or is not permitted. A clock that was
// set back does not make it last longer than was granted.
func (m *Machine) restored(now link.Instant, n *node, s BindingRecord) (*binding, error) {
	t := &Tunnel{Remote: s.Remote, ReverseTunnel: s.ReverseTunnel, Switched: s.Switched}
	var ok bool
	if t.Encapsulation, ok = encapsulations[s.Encapsulation]; !ok {
		return nil, fmt.Errorf("encapsulation %q", s.Encapsulation)
	}
	if t.Broadcasts, ok = parseBroadcasts(s.Broadcasts); !ok {
		return nil, fmt.Errorf("broadcasts %q", s.Broadcasts)
	}
	if !m.cfg.Broadcasts {
		t.Broadcasts = NoBroadcasts
	}
	if !usable(s.CareOfAddress) || !usable(s.Remote.Addr()) || s.Switched.IsValid() && !s.Switched.Is4() {
		return nil, fmt.Errorf("care-of address %v, far end %v, switched to %v", s.CareOfAddress, s.Remote, s.Switched)
	}
	if s.Granted == 0 || (s.Granted == wire.LifetimeInfinite) != s.Until.IsZero() {
		return nil, fmt.Errorf("lifetime of %d s that ends at %v", s.Granted, s.Until)
	}
	if r := s.Revocable; r != nil && (!usable(r.Peer.Addr()) || r.Peer.Port() == 0) {
		return nil, fmt.Errorf("revocations go to %v", r.Peer)
	}
	left := s.Until.Sub(now.Wall)
	switch {
	case s.Granted != wire.LifetimeInfinite && left <= 0:
		return nil, nil
	case contains(m.cfg.HomeNetworks, s.CareOfAddress) || s.CareOfAddress == m.cfg.Address:
		return nil, nil
	case t.Encapsulation != tunnel.UDP && !m.cfg.Encapsulations.Has(t.Encapsulation):
		return nil, nil // not offered any more
	case s.Switched.IsValid() && (!slices.Contains(m.cfg.ZeroOverhead.Destinations, s.Switched) || m.table.Switched(s.CareOfAddress) != nil):
		return nil, nil
	}
	b := &binding{
		node: n, careOf: s.CareOfAddress, identification: s.Identification, tunnel: t, udpReply: s.UDPReply, revocable: s.Revocable,
		granted: s.Granted,
	}
	b.ending = queue.NewTimer(b, now.Boot+min(left, time.Duration(s.Granted)*time.Second))
	return b, nil
}

// encapsulations are the forms of tunnels by their names.
var encapsulations = map[string]tunnel.Encapsulation{
	tunnel.IPIP.String():    tunnel.IPIP,
	tunnel.UDP.String():     tunnel.UDP,
	tunnel.Minimal.String(): tunnel.Minimal,
	tunnel.GRE.String():     tunnel.GRE,
}
