package secret

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mipvpn/client/config"
)

// Question is a question to a person.
type Question struct {
	// ID names the question; it is never used again.
	ID uint64
	// Name is a stable name of the secret, such as "password of alice for gateway.corp.example": key rings go by it.
	Name string
	// Prompt is what the person is shown.
	Prompt string
	// Again says that an answer was wrong, and Text what the other end says about it; without control characters.
	Again bool
	Text  string
	// KeyRing says that the desktop's key ring is to be looked into first.
	KeyRing bool
}

// Errors of answers.
var (
	// ErrClosed is returned for what is asked of a desk that has been closed.
	ErrClosed = errors.New("nobody asks for secrets any more")
	// ErrNotAsked is returned for an answer to a question that is not open.
	ErrNotAsked = errors.New("this is not asked, or not any more")
	// ErrDeclined says that the person would not answer.
	ErrDeclined = errors.New("the question was declined")
	// ErrSame says that a file or program gives what has been wrong before.
	ErrSame = errors.New("it is the one that was refused before, which is not tried again before `mipvpn down` and `mipvpn up`, for accounts are locked after a few wrong ones")
	// ErrEmpty says that a file or program has given nothing.
	ErrEmpty = errors.New("it is empty")
)

// maxSecret is the greatest length of a secret in octets.
const maxSecret = 4096

// Reader returns the content of a secret file (config.ReadSecretFile).
type Reader func(path string) ([]byte, error)

// Runner returns what a program prints.
type Runner func(ctx context.Context, words []string) ([]byte, error)

// Desk is where secrets are asked for.
type Desk struct {
	read Reader
	run  Runner

	mu       sync.Mutex
	closed   bool
	last     uint64
	known    map[string][]byte  // by name
	wrong    map[string]refusal // by name, while the last answer was wrong
	open     map[string]*asked  // by name
	watchers map[chan struct{}]struct{}
}

// refusal is an answer that was wrong, with what was said about it.
type refusal struct {
	answer []byte
	text   string
}

// asked is a question that is being answered.
type asked struct {
	Question
	person bool // a person is asked
	done   chan struct{}
	answer []byte
	err    error
	cancel context.CancelFunc
}

// NewDesk makes a desk. Secret files are read by read, programs run by run.
func NewDesk(read Reader, run Runner) *Desk {
	return &Desk{read: read, run: run, known: make(map[string][]byte), wrong: make(map[string]refusal), open: make(map[string]*asked),
		watchers: make(map[chan struct{}]struct{})}
}

// Known returns a copy of a secret that is known, nil for none.
func (d *Desk) Known(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.known[name])
}

// Ask returns the secret of that name: the one that is known, or else the answer of the source. A question to a person stays open
// when ctx ends; who asks again later waits for the same one. Errors: ctx's, ErrClosed, ErrDeclined, those of the file or program.
func (d *Desk) Ask(ctx context.Context, name, prompt string, from config.SecretSource) ([]byte, error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, ErrClosed
	}
	if s, ok := d.known[name]; ok {
		defer d.mu.Unlock()
		return bytes.Clone(s), nil
	}
	a := d.open[name]
	if a == nil {
		a = d.begin(name, prompt, from)
	}
	d.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.err != nil {
		return nil, a.err
	}
	return bytes.Clone(a.answer), nil
}

// begin opens a question. The caller holds the lock.
func (d *Desk) begin(name, prompt string, from config.SecretSource) *asked {
	d.last++
	no, again := d.wrong[name]
	ctx, cancel := context.WithCancel(context.Background())
	a := &asked{
		Question: Question{ID: d.last, Name: name, Prompt: prompt, Again: again, Text: no.text, KeyRing: from == config.SourceKeyRing && !again},
		done:     make(chan struct{}), cancel: cancel,
	}
	d.open[name] = a
	words, path := from.Words(), from.Path()
	switch {
	case words != nil:
		go func() { d.finish(a, from)(d.run(ctx, words)) }()
	case from != config.SourceAsk && from != config.SourceKeyRing:
		go func() { d.finish(a, from)(d.read(path)) }()
	default:
		a.person = true
		d.notify()
	}
	return a
}

// finish takes what a file or program has given.
func (d *Desk) finish(a *asked, from config.SecretSource) func([]byte, error) {
	return func(b []byte, err error) {
		line, _, _ := bytes.Cut(b, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		what := from.Path()
		if words := from.Words(); words != nil {
			what = words[0]
		}
		switch {
		case err != nil:
			err = fmt.Errorf("%s from %s: %w", a.Name, what, err)
		case len(line) == 0:
			err = fmt.Errorf("%s from %s: %w", a.Name, what, ErrEmpty)
		case len(line) > maxSecret:
			err = fmt.Errorf("%s from %s: longer than %d octets", a.Name, what, maxSecret)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if no, again := d.wrong[a.Name]; err == nil && again && subtle.ConstantTimeCompare(no.answer, line) == 1 {
			err = fmt.Errorf("%s from %s: %w", a.Name, what, ErrSame)
		}
		d.settle(a, bytes.Clone(line), err)
		clear(b)
	}
}

// settle ends a question. The caller holds the lock.
func (d *Desk) settle(a *asked, answer []byte, err error) {
	if d.open[a.Name] != a {
		clear(answer)
		return
	}
	delete(d.open, a.Name)
	a.cancel()
	a.answer, a.err = answer, err
	if err == nil {
		d.known[a.Name] = answer
		clear(d.wrong[a.Name].answer)
		delete(d.wrong, a.Name)
	}
	close(a.done)
	d.notify()
}

// Answer answers an open question with a copy of s; nil declines it.
func (d *Desk) Answer(id uint64, s []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.open {
		if a.ID != id || !a.person {
			continue
		}
		switch {
		case s == nil:
			d.settle(a, nil, fmt.Errorf("%s: %w", a.Name, ErrDeclined))
		case len(s) == 0 || len(s) > maxSecret:
			return fmt.Errorf("a secret of %d octets, want 1 to %d", len(s), maxSecret)
		default:
			d.settle(a, bytes.Clone(s), nil)
		}
		return nil
	}
	return ErrNotAsked
}

// Wrong says that a secret was wrong, and what the other end said about it: it is forgotten, and asked for anew the next time. A file
// or program that gives the same again is not believed (ErrSame), for accounts and cards are locked after a few wrong answers.
func (d *Desk) Wrong(name, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.known[name]; ok {
		clear(d.wrong[name].answer)
		d.wrong[name] = refusal{s, text}
		delete(d.known, name)
	}
}

// Drop forgets the secret of that name and withdraws the question for it: nobody needs it any more.
func (d *Desk) Drop(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.open[name]; a != nil {
		d.settle(a, nil, fmt.Errorf("%s: %w", name, ErrNotAsked))
	}
	clear(d.known[name])
	delete(d.known, name)
	clear(d.wrong[name].answer)
	delete(d.wrong, name)
}

// Questions returns what persons are asked, the oldest first.
func (d *Desk) Questions() []Question {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Question
	for _, a := range d.open {
		if a.person {
			all = append(all, a.Question)
		}
	}
	slices.SortFunc(all, func(a, b Question) int { return int(a.ID) - int(b.ID) })
	return all
}

// Watch returns a channel that yields something at once and whenever the open questions have changed, until cancel is called.
func (d *Desk) Watch() (changes <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[c] = struct{}{}
	return c, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, c)
	}
}

// notify tells those who watch. The caller holds the lock.
func (d *Desk) notify() {
	for c := range d.watchers {
		select {
		case c <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}

// Forget withdraws all questions and wipes all answers: the session has ended.
func (d *Desk) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.open {
		d.settle(a, nil, fmt.Errorf("%s: %w", a.Name, ErrNotAsked))
	}
	for name, s := range d.known {
		clear(s)
		delete(d.known, name)
	}
	for name, no := range d.wrong {
		clear(no.answer)
		delete(d.wrong, name)
	}
}

// Close is Forget for good.
func (d *Desk) Close() {
	d.Forget()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}
