package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// rule is a Judge that grants some rights, and keeps what it was asked.
type rule struct {
	mu     sync.Mutex
	grants map[control.Right]bool
	asked  []string
	waits  bool // as long as somebody might think about a password
	err    error
}

func (r *rule) Judge(ctx context.Context, peer control.Peer, right control.Right, interactive bool) error {
	r.mu.Lock()
	r.asked = append(r.asked, fmt.Sprint(peer.UID, " ", right, " ", interactive))
	granted, waits, err := r.grants[right], r.waits, r.err
	r.mu.Unlock()
	if waits {
		<-ctx.Done()
		return ctx.Err()
	}
	if !granted {
		return err
	}
	return nil
}

func (r *rule) questions() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.asked, ", ")
}

// judged serves a connection of a user with that judge.
func judged(t *testing.T, s *control.Server, uid uint32) *control.Client {
	t.Helper()
	near, far := net.Pipe()
	go s.ServeConn(t.Context(), far, control.Peer{UID: uid, PID: 1, Start: 1})
	t.Cleanup(func() { near.Close() })
	return control.NewClient(near)
}

// refused checks that err is a refusal that says that.
func refused(t *testing.T, err error, says string) {
	t.Helper()
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Kind != control.KindPermission || !strings.Contains(e.Message, says) {
		t.Errorf("error %v, want a refusal that says %q", err, says)
	}
}

// TestJudge has a user do what the judge grants, and be told why where it does not.
func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rule{grants: map[control.Right]bool{control.RightRead: true, control.RightControl: true}, err: errors.New("the rules say no")}
		s := control.NewServer(controltest.New(connected()), authority(t), nil)
		s.SetJudge(r)
		ctx := t.Context()
		c := judged(t, s, 4711)
		if _, err := c.Status(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Up(ctx); err != nil {
			t.Error(err)
		}
		if err := c.SetMode(ctx, "cvc"); err != nil {
			t.Error(err)
		}
		refused(t, c.SetMode(ctx, "c"), `user 4711 may not do this (right "administer"): the rules say no`)
		if got := r.questions(); got != "4711 read false, 4711 control false, 4711 control false, 4711 administer false" {
			t.Errorf("asked %s", got)
		}
		if err := judged(t, s, 0).SetMode(ctx, "c"); err != nil {
			t.Errorf("root: %v", err)
		}
		_, err := judged(t, s, 4711).Reload(ctx, false)
		refused(t, err, "administer")
		// Questions are those of whoever has brought the client up.
		r.grants[control.RightAnswer] = true
		if err := judged(t, s, 4712).Up(ctx); err != nil { // which it is
			t.Error(err)
		}
		refused(t, judged(t, s, 4712).Answer(ctx, 1, []byte("x")), "administer")
		if err := judged(t, s, 4711).Answer(ctx, 1, []byte("x")); err == nil || !strings.Contains(err.Error(), "asks for no secrets") {
			t.Errorf("the user's own: %v", err)
		}
		if err := judged(t, s, 4711).Down(ctx); err != nil {
			t.Error(err)
		}
		if err := judged(t, s, 4712).Answer(ctx, 1, []byte("x")); err == nil || !strings.Contains(err.Error(), "asks for no secrets") {
			t.Errorf("nobody's: %v", err)
		}
	})
}

// TestNobodyJudges: without polkit the authority's word is the last, for looking, too.
func TestNobodyJudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := control.NewServer(controltest.New(connected()), authority(t), nil)
		_, err := judged(t, s, 4711).Status(t.Context())
		refused(t, err, "user 4711 may not control mipvpn: root may")
		s.SetJudge(&rule{err: fmt.Errorf("%w: not installed", control.ErrNoJudge)})
		_, err = judged(t, s, 4711).Status(t.Context())
		refused(t, err, "user 4711 may not control mipvpn: root may")
		s.SetJudge(&rule{grants: map[control.Right]bool{control.RightRead: true}})
		if _, err := judged(t, s, 4711).Status(t.Context()); err != nil {
			t.Error(err)
		}
		s.SetJudge(nil)
		_, err = judged(t, s, 4711).Status(t.Context())
		refused(t, err, "may not control mipvpn")
	})
}

// TestJudgeIsLeftAlone: who goes away while a person is to type a password is not waited for.
func TestJudgeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rule{waits: true}
		s := control.NewServer(controltest.New(connected()), authority(t), nil)
		s.SetJudge(r)
		near, far := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.ServeConn(t.Context(), far, control.Peer{UID: 4711})
		}()
		c := control.NewClient(near)
		c.Interactive()
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- c.Up(ctx) }()
		synctest.Wait()
		if got := r.questions(); got != "4711 control true" {
			t.Errorf("asked %s", got)
		}
		cancel()
		if err := <-failed; err == nil {
			t.Error("a command that was interrupted has succeeded")
		}
		<-ended
	})
}

// TestGuestsLeaveRoom: users whom the authority does not name cannot take all connections.
func TestGuestsLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := control.NewServer(controltest.New(connected()), authority(t), nil)
		s.SetJudge(&rule{grants: map[control.Right]bool{control.RightRead: true}})
		served := 0
		for range 64 {
			if _, err := judged(t, s, 4711).Status(t.Context()); err == nil {
				served++
			}
		}
		if served != 48 {
			t.Errorf("%d connections of users are served at once, want 48", served)
		}
		if _, err := judged(t, s, 0).Status(t.Context()); err != nil {
			t.Errorf("root: %v", err)
		}
	})
}
