package eap

import (
	"fmt"
	"iter"
	"strings"
	"unicode"

	"mipvpn/ipsec/eap/mschap"
	"mipvpn/tun/queue"
)

// Machine is one end of an EAP conversation. After each call PollEvent is drained. It asks one question at a time, and takes
// no message while one is open: EAP goes in lockstep.
type Machine struct {
	talk   *talk
	run    func(*talk) Finished
	server bool
	next   func() (waiting, bool)
	stop   func()
	waits  waiting
	over   bool
}

// waiting is what a conversation stands still for.
type waiting uint8

const (
	forMessage waiting = iota
	forPassword
	forSignature
	forTrust
)

// maxRounds bounds the messages of a conversation: a TLS handshake with long chains in small fragments takes some 60.
const maxRounds = 200

// NewPeer makes the peer's end; it begins with the first HandleMessage. Errors: ErrConfig.
func NewPeer(c PeerConfig) (*Machine, error) {
	if err := c.complete(false); err != nil {
		return nil, err
	}
	if c.User == "" {
		c.User = c.Identity
	}
	if len(c.Identity) > maxName || len(c.User) > maxName {
		return nil, fmt.Errorf("%w: want names of at most %d octets", ErrConfig, maxName)
	}
	return &Machine{run: func(t *talk) Finished {
		p := peer{cfg: &c, talk: t, carry: t.exchange}
		return p.run()
	}}, nil
}

// NewServer makes the server's end; HandleMessage(nil) has it begin. Errors: ErrConfig.
func NewServer(c ServerConfig) (*Machine, error) {
	if err := c.complete(true); err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = "gateway"
	}
	if len(c.Name) > maxName {
		return nil, fmt.Errorf("%w: want a name of at most %d octets", ErrConfig, maxName)
	}
	return &Machine{server: true, run: func(t *talk) Finished {
		s := server{cfg: &c, talk: t, carry: t.exchange}
		return s.run()
	}}, nil
}

// HandleMessage takes an EAP message of the other end; a server's first call has none (nil). What is wrong with the message
// ends the conversation, which Finished tells. Errors: ErrClosed; ErrNotAsked while a question is open, or for a message that
// comes before the server has begun.
func (m *Machine) HandleMessage(message []byte) error {
	if m.over {
		return ErrClosed
	}
	if m.next != nil && m.waits != forMessage {
		return fmt.Errorf("%w: a message, while a question is open", ErrNotAsked)
	}
	if m.next == nil {
		if m.server && message != nil {
			return fmt.Errorf("%w: a message, where the server is to begin", ErrNotAsked)
		}
		m.begin(message)
		m.resume()
		return nil
	}
	m.talk.message = append([]byte{}, message...)
	m.resume()
	return nil
}

// begin makes the coroutine. A peer's first message is there before it runs.
func (m *Machine) begin(first []byte) {
	m.talk = &talk{}
	if !m.server {
		m.talk.first = append([]byte{}, first...) // never nil
	}
	t, run := m.talk, m.run
	m.next, m.stop = iter.Pull(func(yield func(waiting) bool) {
		t.yield = yield
		if f := run(t); !t.gone {
			t.events.Push(f)
		} else {
			clear(f.MSK)
		}
	})
}

// AnswerPassword answers PasswordWanted. An error ends a peer's conversation, and has a server treat the user as it treats a
// wrong password. The secret is borrowed for the call. Errors: ErrClosed, ErrNotAsked.
func (m *Machine) AnswerPassword(s Secret, err error) error {
	if e := m.asked(forPassword); e != nil {
		return e
	}
	m.talk.secret, m.talk.err = s, err
	m.resume()
	return nil
}

// AnswerSignature answers SignatureWanted. An error ends the conversation. Errors: ErrClosed, ErrNotAsked.
func (m *Machine) AnswerSignature(signature []byte, err error) error {
	if e := m.asked(forSignature); e != nil {
		return e
	}
	m.talk.signature, m.talk.err = append([]byte(nil), signature...), err
	m.resume()
	return nil
}

// AnswerTrust answers TrustWanted: nil when the certificate is trusted. An error ends the conversation. Errors: ErrClosed,
// ErrNotAsked.
func (m *Machine) AnswerTrust(err error) error {
	if e := m.asked(forTrust); e != nil {
		return e
	}
	m.talk.err = err
	m.resume()
	return nil
}

func (m *Machine) asked(w waiting) error {
	switch {
	case m.over:
		return ErrClosed
	case m.next == nil || m.waits != w:
		return ErrNotAsked
	default:
		return nil
	}
}

func (m *Machine) resume() {
	w, ok := m.next()
	m.waits, m.over = w, !ok
}

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) {
	if m.talk == nil {
		return nil, false
	}
	return m.talk.events.Pop()
}

// Close gives the conversation up, whatever it stands still for; events that were not polled are lost. It may be called
// more than once, and after the end.
func (m *Machine) Close() {
	m.over = true
	if m.stop != nil {
		m.stop()
		m.talk.events = queue.FIFO[Event]{}
	}
}

// Secret answers PasswordWanted.
type Secret struct {
	// Password is the password in UTF-8.
	Password []byte
	// Hash is the password's NT hash, in place of the password: it does for everything but a peer's PAP.
	Hash *mschap.Hash
}

// String hides the secret.
func (Secret) String() string { return "eap.Secret (hidden)" }

// GoString hides the secret.
func (Secret) GoString() string { return "eap.Secret{hidden}" }

// hash returns the NT hash, which the caller wipes.
func (s Secret) hash() (mschap.Hash, error) {
	if s.Hash != nil {
		return *s.Hash, nil
	}
	return mschap.HashPassword(s.Password)
}

// talk is what a running conversation shares with its Machine. Only one of them runs at a time.
type talk struct {
	yield  func(waiting) bool
	gone   bool // Close was called: nothing may be yielded any more
	rounds int
	events queue.FIFO[Event]

	first     []byte // what a peer finds before it waits
	message   []byte
	secret    Secret
	signature []byte
	err       error
}

// wait stands still until the Machine is given what the conversation waits for.
func (t *talk) wait(w waiting) error {
	if t.gone || !t.yield(w) {
		t.gone = true
		return ErrClosed
	}
	return nil
}

// exchange sends a message, if there is one, and returns the other end's next.
func (t *talk) exchange(message []byte) ([]byte, error) {
	if message != nil {
		t.events.Push(Send{Message: message})
	}
	if t.rounds++; t.rounds > maxRounds {
		return nil, fmt.Errorf("%w: more than %d messages", ErrTooLong, maxRounds)
	}
	if t.first != nil {
		b := t.first
		t.first = nil
		return b, nil
	}
	if err := t.wait(forMessage); err != nil {
		return nil, err
	}
	return t.message, nil
}

// password asks for a password and has use look at the answer, which is borrowed.
func (t *talk) password(q PasswordWanted, use func(Secret) error) error {
	t.events.Push(q)
	if err := t.wait(forPassword); err != nil {
		return err
	}
	s, err := t.secret, t.err
	t.secret, t.err = Secret{}, nil
	if err != nil {
		return err
	}
	return use(s)
}

// sign asks for a signature.
func (t *talk) sign(q SignatureWanted) ([]byte, error) {
	t.events.Push(q)
	if err := t.wait(forSignature); err != nil {
		return nil, err
	}
	b, err := t.signature, t.err
	t.signature, t.err = nil, nil
	return b, err
}

// trust asks whether a certificate is trusted.
func (t *talk) trust(q TrustWanted) error {
	t.events.Push(q)
	if err := t.wait(forTrust); err != nil {
		return err
	}
	err := t.err
	t.err = nil
	return err
}

// maxText bounds what is passed on of the other end's text, in characters.
const maxText = 256

// plain returns a text of the other end's fit to be shown: without control characters, and not too long.
func plain(b []byte) string {
	n := 0
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if n++; n > maxText || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(b)))
}
