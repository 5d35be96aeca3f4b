package client

import (
	"context"

	"mipvpn/client/config"
	"mipvpn/client/control"
)

var _ control.QuestionBackend = (*Client)(nil)

// Questions implements control.QuestionBackend.
func (c *Client) Questions(ctx context.Context) (control.Questions, error) {
	q := control.Questions{Schema: control.Schema, Open: []control.Question{}}
	err := c.ask(ctx, func() error {
		q.State, q.Expected = c.state(), c.asksPersons()
		return nil
	})
	for _, o := range c.desk.Questions() {
		q.Open = append(q.Open, control.Question{ID: o.ID, Name: o.Name, Prompt: o.Prompt, Again: o.Again, Text: o.Text, KeyRing: o.KeyRing})
	}
	return q, err
}

// asksPersons reports whether the configuration has a secret come from a person.
func (c *Client) asksPersons() bool {
	a := &c.cfg.Authentication
	person := func(s config.SecretSource) bool { return s == config.SourceAsk || s == config.SourceKeyRing || s == "" }
	return a.UsesPassword() && person(a.Password) || a.UsesCertificate() && person(a.PIN)
}

// WatchQuestions implements control.QuestionBackend.
func (c *Client) WatchQuestions() (<-chan struct{}, func()) { return c.desk.Watch() }

// AnswerQuestion implements control.QuestionBackend.
func (c *Client) AnswerQuestion(id uint64, s []byte) error {
	if len(s) == 0 {
		s = nil // the desk's word for declining
	}
	return c.desk.Answer(id, s)
}
