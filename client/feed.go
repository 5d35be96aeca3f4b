package client

import (
	"strconv"
	"strings"
	"sync"

	"mipvpn/client/control"
)

const (
	// feedDepth is how many events a subscriber may be behind before it loses some.
	feedDepth = 256
	// feedKept is how many events are kept for who comes back with a cursor.
	feedKept = 1024
)

// feed hands events to subscribers. It is safe for concurrent use.
type feed struct {
	mu          sync.Mutex
	run         string // tells this daemon's events from those of the one before
	sequence    uint64
	kept        []control.Event // the newest last
	subscribers map[chan control.Event]struct{}
	closed      bool
}

func (f *feed) subscribe() (<-chan control.Event, func()) { return f.subscribeAfter("") }

// subscribeAfter begins with what is kept of the events after the cursor; with an event of the kind "gap" where there were others.
func (f *feed) subscribeAfter(cursor string) (<-chan control.Event, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	past := f.after(cursor)
	ch := make(chan control.Event, len(past)+feedDepth)
	for _, e := range past {
		ch <- e
	}
	if f.closed {
		close(ch)
		return ch, func() {}
	}
	if f.subscribers == nil {
		f.subscribers = make(map[chan control.Event]struct{})
	}
	f.subscribers[ch] = struct{}{}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, there := f.subscribers[ch]; there {
			delete(f.subscribers, ch)
			close(ch)
		}
	}
}

func (f *feed) after(cursor string) []control.Event {
	if cursor == "" || len(f.kept) == 0 {
		return nil
	}
	oldest := f.kept[0]
	run, text, _ := strings.Cut(cursor, "-")
	last, err := strconv.ParseUint(text, 10, 64)
	if run == f.run && err == nil && last+1 >= oldest.Sequence && last <= f.sequence {
		return f.kept[last+1-oldest.Sequence:]
	}
	gap := control.Event{Schema: control.Schema, Sequence: oldest.Sequence - 1, Cursor: f.cursor(oldest.Sequence - 1), Time: oldest.Time, Kind: "gap",
		State: oldest.State, Mode: oldest.Mode, Verdict: oldest.Verdict, Message: "events before this one are not known any more"}
	if run != f.run {
		gap.Message = "the daemon was started anew; its events follow from the oldest that is known"
	}
	return append([]control.Event{gap}, f.kept...)
}

func (f *feed) cursor(sequence uint64) string { return f.run + "-" + strconv.FormatUint(sequence, 10) }

func (f *feed) send(e control.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.run == "" {
		f.run = strconv.FormatInt(e.Time.UnixNano(), 36)
	}
	f.sequence++
	e.Sequence, e.Cursor = f.sequence, f.cursor(f.sequence)
	if len(f.kept) == feedKept {
		f.kept = append(f.kept[:0:0], f.kept[feedKept/4:]...)
	}
	f.kept = append(f.kept, e)
	for ch := range f.subscribers {
		select {
		case ch <- e:
		default: // too slow; the sequence number shows the gap
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for ch := range f.subscribers {
		close(ch)
	}
	f.subscribers = nil
}
