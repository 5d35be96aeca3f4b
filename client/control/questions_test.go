package control_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
	"mipvpn/client/secret"
)

// Shows: IKE-2
func TestQuestionsOverAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := controltest.Asking{Backend: controltest.New(connected()), Desk: secret.NewDesk(nil, nil)}
		defer b.Desk.Close()
		near, ended := piped(t, b, self)
		got := make(chan string, 1)
		ask := func() {
			s, err := b.Desk.Ask(t.Context(), "password of alice", "Password of alice", config.SourceKeyRing)
			if err != nil {
				s = []byte(err.Error())
			}
			got <- string(s)
		}
		var seen []string
		done := make(chan error, 1)
		go func() {
			done <- control.NewClient(near).Questions(t.Context(), func(q control.Questions) (bool, error) {
				if q.State != control.StateConnected || !q.Expected {
					t.Errorf("questions %+v", q)
				}
				for _, o := range q.Open {
					seen = append(seen, o.Name)
				}
				return len(seen) < 2, nil
			})
		}()
		synctest.Wait()
		answer := func(id uint64, s string) error {
			c, end := piped(t, b, self)
			k := control.NewClient(c)
			defer func() {
				k.Close()
				<-end
			}()
			return k.Answer(t.Context(), id, []byte(s))
		}
		go ask()
		synctest.Wait()
		q := b.Desk.Questions()
		if len(q) != 1 {
			t.Fatalf("questions %+v", q)
		}
		var refused *control.Error
		if err := answer(q[0].ID+1, "x"); !errors.As(err, &refused) {
			t.Errorf("an answer to what is not asked: %v", err)
		}
		if err := answer(q[0].ID, strings.Repeat("x", 5000)); !errors.Is(err, control.ErrRequest) {
			t.Errorf("a secret of 5000 octets: %v", err)
		}
		if err := answer(q[0].ID, "geheim \x00\xff"); err != nil {
			t.Error(err)
		}
		if s := <-got; s != "geheim \x00\xff" {
			t.Errorf("got %q", s)
		}
		b.Desk.Wrong("password of alice", "no")
		go ask()
		synctest.Wait()
		if err := <-done; err != nil || len(seen) != 2 || seen[1] != "password of alice" {
			t.Errorf("%v, seen %q", err, seen)
		}
		<-ended
		if err := answer(b.Desk.Questions()[0].ID, ""); err != nil {
			t.Error(err)
		}
		if s := <-got; !strings.Contains(s, "declined") {
			t.Errorf("got %q", s)
		}
	})
}

func TestBackendsThatAskNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, ended := piped(t, controltest.New(connected()), self)
		var refused *control.Error
		if err := control.NewClient(near).Questions(t.Context(), nil); !errors.As(err, &refused) || refused.Kind != control.KindFailed {
			t.Errorf("%v", err)
		}
		<-ended
	})
}
