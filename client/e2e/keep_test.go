package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/tun/link"
)

// Shows: HST-2, MOD-keep (a session in the clear goes on when another program has emptied the packet filter and the kill switch was made
// anew without its permits)
func TestSettingsTakenAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 4})
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		session, err := StartSession(w)
		if err != nil {
			t.Fatal(err)
		}
		events, stop := w.Client.Subscribe()
		defer stop()
		for range 3 {
			time.Sleep(time.Second)
			w.Laptop.TakeAway(link.Restored{Rules: 1, Routes: 2, KillSwitch: true}, nil)
			_, before := session.Octets()
			time.Sleep(2 * time.Second)
			if _, after := session.Octets(); after == before {
				t.Error("nothing passes after the kill switch was put back")
			}
		}
		var said []string
		for len(events) > 0 {
			if e := <-events; e.Kind == "restored" {
				said = append(said, e.Message)
			}
		}
		if len(said) != 1 || !strings.Contains(said[0], "1 rule, 2 routes and the kill switch") {
			t.Errorf("people were told %q, expected it once a minute at most", said)
		}
		counts, err := w.Client.Counts(t.Context())
		if err != nil || counts.Restored != 12 {
			t.Errorf("counted %d, expected 12, %v", counts.Restored, err)
		}
		gone := func(p control.Problem) bool {
			return p.Code == "settings_gone" && strings.Contains(p.Message, "no memory")
		}
		w.Laptop.TakeAway(link.Restored{}, errors.New("no memory"))
		synctest.Wait()
		if s, err := w.Client.Status(t.Context()); err != nil || !slices.ContainsFunc(s.Problems, gone) {
			t.Errorf("problems %+v, %v", s.Problems, err)
		}
		w.Laptop.TakeAway(link.Restored{Rules: 1}, nil)
		synctest.Wait()
		if s, err := w.Client.Status(t.Context()); err != nil || slices.ContainsFunc(s.Problems, gone) {
			t.Errorf("problems %+v after all is back, %v", s.Problems, err)
		}
		if _, _, err := session.Finish(); err != nil {
			t.Error(err)
		}
	})
}
