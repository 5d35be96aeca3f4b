package polkit

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"mipvpn/client/control"
	"mipvpn/detect/resolve/bustest"
)

// service stands for polkit.
type service struct {
	mu        sync.Mutex
	asked     []string
	answer    result
	fail      *dbus.Error
	cancelled chan string
	began     chan struct{} // gets one when a question is held
	hold      chan struct{} // closed to let the answer go
}

func (s *service) CheckAuthorization(who subject, action string, _ map[string]string, flags uint32, cancellation string) (result, *dbus.Error) {
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprint(who.Kind, " ", who.Details["pid"], " ", who.Details["start-time"], " ", who.Details["uid"], " ", action, " ", flags))
	answer, fail, hold := s.answer, s.fail, s.hold
	s.mu.Unlock()
	if hold != nil {
		s.began <- struct{}{}
		<-hold
	}
	return answer, fail
}

func (s *service) CancelCheckAuthorization(cancellation string) *dbus.Error {
	s.cancelled <- cancellation
	return nil
}

// set changes what it answers.
func (s *service) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// start puts the service on a bus.
func start(t *testing.T) (*service, *Authority) {
	t.Helper()
	bus := bustest.Start(t)
	conn, err := bus.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &service{cancelled: make(chan string, 1), began: make(chan struct{}, 1), answer: result{Details: map[string]string{}}}
	if err := conn.Export(s, servicePath, authority); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(serviceName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("%v, %v", reply, err)
	}
	return s, New(bus.Connect)
}

var peer = control.Peer{UID: 1000, GID: 1000, PID: 42, Start: 4711}

func TestJudge(t *testing.T) {
	s, a := start(t)
	ctx := t.Context()
	if err := a.Judge(ctx, peer, control.RightRead, false); err != nil {
		t.Errorf("looking: %v", err)
	}
	if err := a.Judge(ctx, peer, control.RightControl, false); !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want %v", err, ErrRefused)
	}
	s.set(func() { s.answer.Challenge = true })
	if err := a.Judge(ctx, peer, control.RightPortal, false); !errors.Is(err, ErrPassword) {
		t.Errorf("%v, want %v", err, ErrPassword)
	}
	s.set(func() { s.answer = result{Authorized: true, Details: map[string]string{}} })
	if err := a.Judge(ctx, peer, control.RightAdminister, true); err != nil {
		t.Error(err)
	}
	want := []string{
		"unix-process @u 42 @t 4711 1000 org.mipvpn.control 0",
		"unix-process @u 42 @t 4711 1000 org.mipvpn.portal 0",
		"unix-process @u 42 @t 4711 1000 org.mipvpn.administer 1",
	}
	s.set(func() {
		if fmt.Sprint(s.asked) != fmt.Sprint(want) {
			t.Errorf("asked %q, want %q", s.asked, want)
		}
	})
	for _, p := range []control.Peer{{UID: 1000, PID: 42}, {UID: 1000, Start: 4711}} {
		if err := a.Judge(ctx, p, control.RightControl, false); !errors.Is(err, ErrProcess) {
			t.Errorf("%+v: %v, want %v", p, err, ErrProcess)
		}
	}
}

// TestJudgeFails: an error of polkit's opens nothing, and is told apart from there being no polkit.
func TestJudgeFails(t *testing.T) {
	s, a := start(t)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		errorFailed:   {"Action org.mipvpn.control is not registered", control.ErrNoJudge},
		errorUnknown:  {"no such service", control.ErrNoJudge},
		errorCancel:   {"the person has closed the window", ErrRefused},
		"other.Error": {"something", ErrUnanswered},
	} {
		s.set(func() { s.fail = dbus.NewError(name, []any{c.text}) })
		if err := a.Judge(t.Context(), peer, control.RightControl, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestJudgeInterrupted: a question that nobody waits for any more is withdrawn.
func TestJudgeInterrupted(t *testing.T) {
	s, a := start(t)
	hold := make(chan struct{})
	defer close(hold)
	s.set(func() { s.hold = hold })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- a.Judge(ctx, peer, control.RightControl, true) }()
	<-s.began
	cancel()
	if err := <-failed; !errors.Is(err, ErrUnanswered) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	select {
	case <-s.cancelled:
	case <-time.After(time.Minute):
		t.Error("polkit was not told")
	}
}

// TestNoPolkit: on a machine without it nobody decides.
func TestNoPolkit(t *testing.T) {
	bus := bustest.Start(t)
	for _, r := range control.Rights() {
		if err := New(bus.Connect).Judge(t.Context(), peer, r, false); !errors.Is(err, control.ErrNoJudge) {
			t.Errorf("%v without polkit: %v", r, err)
		}
	}
	gone := func(context.Context) (*dbus.Conn, error) { return nil, os.ErrNotExist }
	if err := New(gone).Judge(t.Context(), peer, control.RightControl, false); !errors.Is(err, control.ErrNoJudge) {
		t.Errorf("without a bus: %v", err)
	}
}

// policy is the file of actions.
type policy struct {
	Actions []struct {
		ID       string `xml:"id,attr"`
		Message  string `xml:"message"`
		Any      string `xml:"defaults>allow_any"`
		Inactive string `xml:"defaults>allow_inactive"`
		Active   string `xml:"defaults>allow_active"`
	} `xml:"action"`
}

const policyFile = "../../../configs/polkit/org.mipvpn.policy"

// TestPolicyFile: the actions that are shipped are those that are asked about, and nothing is everybody's.
func TestPolicyFile(t *testing.T) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	var p policy
	if err := xml.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	active := map[string]string{}
	for _, a := range p.Actions {
		active[a.ID] = a.Active
		if a.Any != "auth_admin" || a.Inactive != "auth_admin" || a.Message == "" {
			t.Errorf("%+v", a)
		}
	}
	want := map[string]string{Action(control.RightControl): "yes", Action(control.RightAnswer): "yes", Action(control.RightPortal): "auth_admin_keep",
		Action(control.RightAdminister): "auth_admin_keep"}
	if fmt.Sprint(active) != fmt.Sprint(want) {
		t.Errorf("actions %v, want %v", active, want)
	}
	if len(want) != len(control.Rights())-1 { // looking takes none
		t.Errorf("%d rights, %d actions", len(control.Rights()), len(want))
	}
}
