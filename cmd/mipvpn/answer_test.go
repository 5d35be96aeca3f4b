package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
	"mipvpn/client/secret"
)

// Shows: IKE-2
func TestUpAsksOnTheTerminal(t *testing.T) {
	b := controltest.Asking{Backend: controltest.New(control.Status{Schema: 1, State: control.StateConnecting, ModePolicy: "auto"}), Desk: secret.NewDesk(nil, nil)}
	defer b.Desk.Close()
	socket := serve(t, b, everybody(t))
	passwords := make(chan string, 1)
	go func() { // the client: a wrong password, a right one, then it is connected
		for _, want := range []string{"falsch", "geheim"} {
			s, err := b.Desk.Ask(t.Context(), "password of alice", "Password of alice", config.SourceAsk)
			if err != nil || string(s) != want {
				passwords <- fmt.Sprintf("%q, %v", s, err)
				return
			}
			if want == "falsch" {
				b.Desk.Wrong("password of alice", "E=691\x1b[2J")
			}
		}
		b.Change(func(s *control.Status) { s.State = control.StateConnected }, control.Event{Kind: "state"})
		passwords <- ""
	}()
	var prompts []string
	answers := []string{"falsch", "geheim"}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"--socket", socket, "up"}, terminal{out: &out, err: &errs, start: noClient,
		prompt: func(_ context.Context, text string) ([]byte, error) {
			prompts = append(prompts, text)
			return []byte(answers[len(prompts)-1]), nil
		}})
	if why := <-passwords; why != "" {
		t.Errorf("the client got %s", why)
	}
	if code != exitDone || len(prompts) != 2 || prompts[0] != "Password of alice" || !strings.Contains(prompts[1], "refused (E=691") || strings.Contains(prompts[1], "\x1b") {
		t.Errorf("exit %d, prompts %q, %s%s", code, prompts, &out, &errs)
	}
	if strings.Contains(out.String()+errs.String(), "geheim") {
		t.Error("the password is shown")
	}
}

// first tells when something is written for the first time.
type first struct {
	once sync.Once
	told chan struct{}
}

func (f *first) Write(p []byte) (int, error) {
	f.once.Do(func() { close(f.told) })
	return len(p), nil
}

// Shows: IKE-2
func TestAnswerLooksIntoTheKeyRing(t *testing.T) {
	b := controltest.Asking{Backend: controltest.New(control.Status{Schema: 1, State: control.StateConnecting, ModePolicy: "auto"}), Desk: secret.NewDesk(nil, nil)}
	defer b.Desk.Close()
	socket := filepath.Join(t.TempDir(), "later")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	waiting := make(chan struct{})
	go func() { // before there is a daemon
		ended <- run(ctx, []string{"--socket", socket, "answer"}, terminal{out: new(bytes.Buffer), err: &first{told: waiting}, start: noClient, pause: time.Millisecond,
			ring: func(_ context.Context, name string) ([]byte, error) {
				if name != "password of alice" {
					return nil, fmt.Errorf("%w: %s", secret.ErrNoItem, name)
				}
				return []byte("from the ring"), nil
			}})
	}()
	<-waiting
	if err := os.Symlink(serve(t, b, everybody(t)), socket); err != nil {
		t.Fatal(err)
	}
	if s, err := b.Desk.Ask(t.Context(), "password of alice", "Password", config.SourceKeyRing); err != nil || string(s) != "from the ring" {
		t.Errorf("%q, %v", s, err)
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestStoreNeedsATerminalAndAKeyRing(t *testing.T) {
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"answer", "--store", "x"}, terminal{out: new(bytes.Buffer), err: &errs, start: noClient}); code != exitFailed {
		t.Errorf("exit %d: %s", code, &errs)
	}
	kept := ""
	code := run(t.Context(), []string{"answer", "--store", "x"}, terminal{out: new(bytes.Buffer), err: &errs, start: noClient,
		prompt: func(context.Context, string) ([]byte, error) { return []byte("geheim"), nil },
		keep: func(_ context.Context, name string, s []byte) error {
			kept = name + "=" + string(s)
			return nil
		}})
	if code != exitDone || kept != "x=geheim" {
		t.Errorf("exit %d, kept %q: %s", code, kept, &errs)
	}
	code = run(t.Context(), []string{"answer", "--store", "x"}, terminal{out: new(bytes.Buffer), err: &errs, start: noClient,
		prompt: func(context.Context, string) ([]byte, error) { return nil, errors.New("no") },
		keep:   func(context.Context, string, []byte) error { return nil }})
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
}

func TestGatewayLines(t *testing.T) {
	for want, v := range map[string]*control.VPN{
		"":             nil,
		"being set up": {Protocol: "ipsec"},
		"gw.example, by certificate of CN=gw; laptop by pre-shared key": {Established: true, GatewayIdentity: "gw.example", GatewayProof: "certificate of CN=gw", OwnProof: "pre-shared key"},
		"DOWNGRADED":                    {Established: true, Downgraded: true, KeyExchanges: []string{"a"}},
		"hybrid key exchange: a + b":    {Established: true, KeyExchanges: []string{"a", "b"}},
		"RFC 8784":                      {Established: true, Downgraded: true, PPK: true},
		"lets through only 10.1.0.0/16": {Established: true, Narrowed: true, Selectors: []string{"10.1.0.0/16"}},
	} {
		if got := gatewayText(v); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", v, got, want)
		}
	}
}
