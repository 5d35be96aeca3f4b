package control

import (
	"context"
	"fmt"
)

// Questions are what persons are asked at the moment, the document of OpQuestions.
type Questions struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// State is the client's.
	State State `json:"state"`
	// Expected says that a person may be asked: the configuration has passwords or PINs come from one.
	Expected bool `json:"expected"`
	// Open are the open questions, the oldest first.
	Open []Question `json:"open"`
}

// Question is a question to a person: a password or PIN. Whoever may control the daemon may answer.
type Question struct {
	// ID names the question.
	ID uint64 `json:"id"`
	// Name is a stable name of the secret, by which key rings know it; Prompt is what the person is shown.
	Name   string `json:"name"`
	Prompt string `json:"prompt"`
	// Again says that an answer was wrong, Text what the other end says about that.
	Again bool   `json:"again,omitempty"`
	Text  string `json:"text,omitempty"`
	// KeyRing says that the desktop's key ring is to be looked into first.
	KeyRing bool `json:"key_ring,omitempty"`
}

// QuestionBackend is a Backend that asks persons for secrets.
type QuestionBackend interface {
	// Questions returns the open questions.
	Questions(ctx context.Context) (Questions, error)
	// WatchQuestions returns a channel that yields something at once and whenever the open questions have changed, until cancel is
	// called.
	WatchQuestions() (changes <-chan struct{}, cancel func())
	// AnswerQuestion answers an open question with a copy of the secret; an empty one declines it.
	AnswerQuestion(id uint64, secret []byte) error
}

// questions writes the open questions until the peer has had enough.
func (s *Server) questions(ctx context.Context, k *conn) {
	b, ok := s.backend.(QuestionBackend)
	if !ok {
		k.answer(failure(KindFailed, "this daemon asks for no secrets"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, unwatch := b.WatchQuestions()
	defer unwatch()
	events, unsubscribe := s.backend.Subscribe() // the state may change, too
	defer unsubscribe()
	end := k.gone(cancel)
	defer end()
	for {
		q, err := b.Questions(ctx)
		if err != nil {
			k.answer(failure(KindFailed, err.Error()))
			return
		}
		if !k.answer(Response{Questions: &q}) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case _, ok := <-events:
			if !ok {
				return
			}
		}
	}
}

// takeAnswer hands a person's answer on.
func (s *Server) takeAnswer(r Request) Response {
	b, ok := s.backend.(QuestionBackend)
	if !ok {
		return failure(KindFailed, "this daemon asks for no secrets")
	}
	defer clear(r.Secret)
	if err := b.AnswerQuestion(r.Question, r.Secret); err != nil {
		return failure(KindFailed, err.Error())
	}
	return Response{}
}

// Questions calls f with the open questions now and whenever they or the client's state change, until f returns false or an error,
// or ctx ends. The connection is used up.
func (c *Client) Questions(ctx context.Context, f func(Questions) (bool, error)) error {
	defer c.conn.Close()
	r, err := c.ask(ctx, Request{Op: OpQuestions})
	for {
		q, err := value(r.Questions, err)
		if err != nil {
			return err
		}
		if goOn, err := f(q); err != nil || !goOn {
			return err
		}
		if r, err = c.read(ctx); err != nil {
			return err
		}
	}
}

// Answer answers a question; an empty secret declines it.
func (c *Client) Answer(ctx context.Context, id uint64, secret []byte) error {
	if len(secret) > maxAnswered {
		return fmt.Errorf("%w: a secret of %d octets, at most %d", ErrRequest, len(secret), maxAnswered)
	}
	_, err := c.ask(ctx, Request{Op: OpAnswer, Question: id, Secret: secret})
	return err
}

// maxAnswered is the longest secret that goes into a request.
const maxAnswered = 2048
