package ike

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
)

// ErrPPK means that the ends could not agree on a post-quantum pre-shared key where one is required (RFC 8784).
var ErrPPK = errors.New("no post-quantum pre-shared key is used, and one is required")

// PPK is a post-quantum pre-shared key (RFC 8784), which is mixed into the keys of the IKE SA beside the key exchanges and into
// AUTH beside other proofs: who breaks the key exchange later has not got the keys.
type PPK struct {
	// ID is the PPK_ID without its type, which is PPK_ID_FIXED (RFC 8784 §5.1): the same at both ends, best of base64 characters.
	ID string
	// Key is the secret, at least 16 octets; 32 for 128 bits against a quantum computer (RFC 8784 §6). It is copied, and the copy
	// wiped when authentication is over.
	Key []byte `json:"-"`
}

// String names the key, never its value.
func (p PPK) String() string { return "PPK " + p.ID }

// GoString names the key, never its value.
func (p PPK) GoString() string { return p.String() }

const (
	ppkFixed  = 2  // PPK_ID_FIXED (RFC 8784 §5.1)
	minPPK    = 16 // octets
	maxPPKID  = 255
	ppkIDType = 1 // octets in front of the ID
)

// Check tells whether the ID and the key can be used.
func (p *PPK) Check() error {
	if len(p.Key) < minPPK || p.ID == "" || len(p.ID) > maxPPKID {
		return fmt.Errorf("%v: want an ID of 1 to %d octets and a key of at least %d, found %d and %d", p, maxPPKID, minPPK, len(p.ID), len(p.Key))
	}
	return nil
}

// completePPK copies and checks the PPK of an initiator.
func (c *InitiatorConfig) completePPK() error {
	if c.PPK == nil {
		if c.RequirePPK {
			return fmt.Errorf("%w: RequirePPK without a PPK", ErrConfig)
		}
		return nil
	}
	if err := c.PPK.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c.PPK = &PPK{ID: c.PPK.ID, Key: bytes.Clone(c.PPK.Key)}
	return nil
}

// usePPK says in IKE_SA_INIT that an end can use a PPK (RFC 8784 §3).
var usePPK = message.Notify{Message: message.UsePPK}

// ppkUse is where the use of a PPK stands. It is part of firstExchange.
type ppkUse struct {
	// agreed is set when both ends have sent USE_PPK.
	agreed bool
	// mixed are the keys with the PPK in them, nil while or when it is not used.
	mixed *keys
	// settled is set once it is decided whether it is used, which is by the first AUTH payload of the initiator.
	settled bool
	// plain is the initiator's authentication data without the PPK, for NO_PPK_AUTH; made is set once it is there.
	plain []byte
	made  bool
}

func (u *ppkUse) wipe() {
	u.drop()
	clear(u.plain)
}

// drop goes on without the PPK.
func (u *ppkUse) drop() {
	if u.mixed != nil {
		u.mixed.wipe()
		u.mixed = nil
	}
}

// mix returns the keys with the PPK in SK_d, SK_pi and SK_pr (RFC 8784 §3).
func (k *keys) mix(ppk []byte) *keys {
	n := *k
	prf := k.suite.prf
	n.d, n.pi, n.pr = prf.Expand(ppk, prf.Size(), k.d), prf.Expand(ppk, prf.Size(), k.pi), prf.Expand(ppk, prf.Size(), k.pr)
	return &n
}

// authKeys are those that AUTH payloads are made with at the moment.
func (m *Machine) authKeys(s *ikeSA) *keys {
	if m.first.ppk.mixed != nil {
		return m.first.ppk.mixed
	}
	return s.keys
}

// commitPPK lets the IKE SA go on with the keys that have the PPK in them, if it is used.
func (m *Machine) commitPPK(s *ikeSA) {
	mixed := m.first.ppk.mixed
	if mixed == nil {
		return
	}
	clear(s.keys.d)
	clear(s.keys.pi)
	clear(s.keys.pr)
	s.keys.d, s.keys.pi, s.keys.pr = mixed.d, mixed.pi, mixed.pr
	m.first.ppk.mixed = nil
	m.ppkUsed = true
}

// offerPPK prepares the initiator's first AUTH payload: proof makes it, with whatever keys are to be used. Where the PPK is not
// required it is made without the PPK too, which may take a signature of the driver. The result are the payloads beside AUTH.
func (m *Machine) offerPPK(s *ikeSA, proof func() (message.Auth, error)) ([]message.Payload, error) {
	u, p := &m.first.ppk, m.initiator.PPK
	if !u.agreed || u.settled {
		return nil, nil
	}
	if !m.initiator.RequirePPK && !u.made {
		a, err := proof()
		if err != nil {
			return nil, err
		}
		u.plain, u.made = a.Data, true
	}
	if u.mixed == nil {
		u.mixed = s.keys.mix(p.Key)
	}
	out := []message.Payload{message.Notify{Message: message.PPKIdentity, Data: append([]byte{ppkFixed}, p.ID...)}}
	if u.made {
		out = append(out, message.Notify{Message: message.NoPPKAuth, Data: u.plain})
	}
	return out, nil
}

// takePPK reads from the response to the initiator's first AUTH payload whether the PPK is used.
func (m *Machine) takePPK(in *message.Message) error {
	u := &m.first.ppk
	if u.mixed == nil || u.settled {
		return nil
	}
	u.settled = true
	if _, used := message.FindNotify(in.Payloads, message.PPKIdentity); used {
		return nil
	}
	if m.initiator.RequirePPK {
		return fmt.Errorf("%w: the gateway does not know %v", ErrPPK, m.initiator.PPK)
	}
	u.drop()
	return nil
}

// answerPPK decides by the request with the initiator's first AUTH payload whether a PPK is used (RFC 8784 §3, Table 1). It
// returns the AUTH payload to verify and what the response has to say.
func (m *Machine) answerPPK(s *ikeSA, in *message.Message, auth message.Auth, r *Requirement) (message.Auth, []message.Payload, error) {
	u := &m.first.ppk
	used := []message.Payload{message.Notify{Message: message.PPKIdentity}}
	switch {
	case m.first.resumed:
		return auth, nil, nil // it is in the keys already (RFC 8784 §3)
	case !u.agreed && r.RequirePPK:
		return auth, nil, fmt.Errorf("%w: the peer cannot use any", ErrPPK)
	case !u.agreed:
		return auth, nil, nil
	}
	n, ok := message.FindNotify(in.Payloads, message.PPKIdentity)
	if !ok {
		return auth, nil, fmt.Errorf("%w: USE_PPK without PPK_IDENTITY", ErrPPK)
	}
	at := slices.IndexFunc(r.PPKs, func(p PPK) bool {
		return len(n.Data) > ppkIDType && n.Data[0] == ppkFixed && string(n.Data[ppkIDType:]) == p.ID
	})
	if at >= 0 {
		u.mixed, u.settled = s.keys.mix(r.PPKs[at].Key), true
		return auth, used, nil
	}
	without, ok := message.FindNotify(in.Payloads, message.NoPPKAuth)
	if r.RequirePPK || !ok {
		return auth, nil, fmt.Errorf("%w: the peer's PPK_ID %q is not known", ErrPPK, n.Data)
	}
	u.settled = true
	auth.Data = without.Data
	return auth, nil, nil
}
