package ike

import (
	"crypto"
	"errors"
	"fmt"

	"mipvpn/tun/link"
)

// question is what the driver has been asked for.
type question uint8

const (
	askSignature question = iota + 1 // SignatureWanted
	askTrust                         // TrustWanted
	askEAP                           // EAPReceived
	askPuzzle                        // PuzzleWanted
)

// answered is what it has answered.
type answered struct {
	signature []byte
	key       crypto.PublicKey
	eap       EAPAnswer
	err       error
}

// errWait is the error of a step that needs an answer of the driver before it can go on. A step is the making of a request,
// the taking of a response, or the answering of a request: whoever runs it keeps it in Machine.waiting, and it is run again
// when the answer is there. So each step remembers what it has done, asks once more, and gets the answer then.
var errWait = errors.New("the driver has not answered yet")

// waiting is the step that waits. There is at most one, for exchanges come one at a time before the machine is established;
// so that what a peer can make us keep is one message.
type waiting struct {
	asked question
	again func(link.Instant) error
	// from is where the peer's request came from, if the step is to answer one, with its octets.
	from *Datagram
}

// ask returns the driver's answer, or errWait when it has been asked just now.
func (m *Machine) ask(q question, e func() Event) (answered, error) {
	if a := m.answer; a != nil && m.asked == q {
		m.answer, m.asked = nil, 0
		return *a, nil
	}
	m.asked = q
	m.emit(e())
	return answered{}, errWait
}

// wait keeps a step that has returned errWait.
func (m *Machine) wait(from *Datagram, again func(link.Instant) error) {
	m.waiting = &waiting{asked: m.asked, again: again, from: from}
}

// reply runs the step that waits for this answer again.
func (m *Machine) reply(now link.Instant, q question, a answered) error {
	w := m.waiting
	switch {
	case m.err != nil:
		return fmt.Errorf("ike: %w", ErrClosed)
	case w == nil || w.asked != q:
		return fmt.Errorf("ike: %w: an answer that was not asked for", ErrUnexpected)
	}
	m.waiting, m.asked, m.answer = nil, q, &a
	err := w.again(now)
	m.answer = nil // the step has taken it, or failed before
	return err
}

// Signed answers SignatureWanted: signature is what crypto.Signer.Sign yields for the scheme, ECDSA in DER with every method;
// the machine takes it. err says why there is none, which ends the attempt. The error says why the attempt has ended, or
// ErrUnexpected that no signature is wanted, or ErrClosed.
func (m *Machine) Signed(now link.Instant, signature []byte, err error) error {
	if err == nil && len(signature) == 0 {
		err = errors.New("the key made no signature")
	}
	return m.reply(now, askSignature, answered{signature: signature, err: err})
}

// Trusted answers TrustWanted: key is the public key of the peer's certificate, *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey. err says why it is not trusted, which ends the attempt. Errors are those of Signed.
func (m *Machine) Trusted(now link.Instant, key crypto.PublicKey, err error) error {
	return m.reply(now, askTrust, answered{key: key, err: err})
}

// AnswerEAP answers EAPReceived. Errors are those of Signed.
func (m *Machine) AnswerEAP(now link.Instant, a EAPAnswer) error {
	return m.reply(now, askEAP, answered{eap: a})
}
