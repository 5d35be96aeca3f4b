package controltest

import (
	"context"

	"mipvpn/client/control"
	"mipvpn/client/secret"
)

// Asking is a Backend that asks persons for secrets.
type Asking struct {
	*Backend
	// Desk has the questions.
	Desk *secret.Desk
}

// Questions implements control.QuestionBackend: those of the desk, of a client that is expected to connect.
func (a Asking) Questions(ctx context.Context) (control.Questions, error) {
	s, err := a.Status(ctx)
	q := control.Questions{Schema: control.Schema, State: s.State, Expected: true}
	for _, o := range a.Desk.Questions() {
		q.Open = append(q.Open, control.Question{ID: o.ID, Name: o.Name, Prompt: o.Prompt, Again: o.Again, Text: o.Text, KeyRing: o.KeyRing})
	}
	return q, err
}

// WatchQuestions implements control.QuestionBackend.
func (a Asking) WatchQuestions() (<-chan struct{}, func()) { return a.Desk.Watch() }

// AnswerQuestion implements control.QuestionBackend. An empty secret means that nobody answers.
func (a Asking) AnswerQuestion(id uint64, s []byte) error {
	if len(s) == 0 {
		s = nil
	}
	return a.Desk.Answer(id, s)
}
