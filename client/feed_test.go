package client

import (
	"fmt"
	"testing"
	"time"

	"mipvpn/client/control"
)

// TestCursor has a reader come back with the cursor of its last event: it misses nothing that is kept, and is told where it does.
func TestCursor(t *testing.T) {
	var f feed
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	send := func(n int) {
		for range n {
			f.send(control.Event{Kind: "vpn", Time: at, Message: fmt.Sprint(f.sequence + 1)})
		}
	}
	read := func(cursor string, n int) (list []control.Event) {
		t.Helper()
		events, cancel := f.subscribeAfter(cursor)
		cancel()
		for e := range events {
			list = append(list, e)
		}
		if len(list) != n {
			t.Fatalf("after %q: %d events, expected %d", cursor, len(list), n)
		}
		return list
	}
	read("abc-7", 0) // nothing has happened
	send(10)
	read("", 0)
	all := read("other-3", 11)
	if all[0].Kind != "gap" || all[1].Sequence != 1 || all[10].Sequence != 10 {
		t.Errorf("of a daemon before: %+v", all)
	}
	tail := read(all[7].Cursor, 3)
	if tail[0].Sequence != 8 || tail[2].Sequence != 10 || tail[2].Cursor != all[10].Cursor {
		t.Errorf("after the seventh: %+v", tail)
	}
	read(all[10].Cursor, 0)
	if again := read(all[0].Cursor, 10); again[0].Sequence != 1 {
		t.Errorf("after the gap: %+v", again)
	}
	events, cancel := f.subscribeAfter(all[9].Cursor)
	send(1)
	if a, b := <-events, <-events; a.Sequence != 10 || b.Sequence != 11 {
		t.Errorf("%d and %d, expected what is kept and then what comes", a.Sequence, b.Sequence)
	}
	cancel()
	send(2 * feedKept)
	if len(f.kept) > feedKept {
		t.Errorf("%d events are kept", len(f.kept))
	}
	late, cancel := f.subscribeAfter(all[9].Cursor)
	defer cancel()
	if e := <-late; e.Kind != "gap" || e.Sequence != f.kept[0].Sequence-1 {
		t.Errorf("%+v, expected a gap", e)
	}
	if e := <-late; e.Sequence != f.kept[0].Sequence {
		t.Errorf("%d behind the gap", e.Sequence)
	}
	for _, cursor := range []string{"-", "x", f.run, f.run + "-", f.run + "-99999999", f.run + "--1", f.run + "-18446744073709551615"} {
		g, cancel := f.subscribeAfter(cursor)
		cancel()
		if e := <-g; e.Kind != "gap" {
			t.Errorf("cursor %q: %+v, expected a gap", cursor, e)
		}
	}
}
