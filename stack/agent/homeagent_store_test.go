package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/simnet"
)

// memoryStore is a store whose writes take a time and fail as the test wants.
type memoryStore struct {
	mu      sync.Mutex
	records map[string]homeagent.Record
	saves   int
	largest int // of them
	err     error
	takes   time.Duration
}

func (s *memoryStore) Load(_ context.Context, f func(homeagent.Record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *memoryStore) Save(ctx context.Context, records []homeagent.Record) error {
	s.mu.Lock()
	err, takes := s.err, s.takes
	s.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	s.largest = max(s.largest, len(records))
	if s.records == nil {
		s.records = make(map[string]homeagent.Record)
	}
	for _, r := range records {
		if delete(s.records, r.Key()); !r.Empty() {
			s.records[r.Key()] = r
		}
	}
	return nil
}

func (s *memoryStore) set(err error, takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.takes = err, takes
}

func (s *memoryStore) copied() map[string]homeagent.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

// Shows: AGT-5 (the reply leaves when the binding is durable and not before; a home agent that is started anew carries traffic for a
// mobile node that registered with the one before it and has not heard of anything).
func TestReplyWaitsForStore(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		store := &memoryStore{}
		store.set(nil, 300*time.Millisecond)
		cfg := internal(t)
		cfg.Store = store
		first, err := StartHomeAgent(l.InternalHA, cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = first.Close() })
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.register()
		time.Sleep(200 * time.Millisecond)
		if first.Table().Len() != 1 {
			t.Fatal("no binding yet: the test's times are wrong")
		}
		select {
		case e := <-n.events:
			t.Fatalf("an answer before the record was durable: %+v", e)
		default:
		}
		accepted, ok := n.wait(5 * time.Second).(mobilenode.Accepted)
		if !ok {
			t.Fatal("not accepted")
		}
		if len(store.copied()) != 1 {
			t.Fatalf("stored %v", store.copied())
		}
		n.carry(accepted, enterprise)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		store.set(nil, 0)
		second := startHomeAgent(t, l.InternalHA, cfg)
		if second.Table().Len() != 1 {
			t.Fatal("the binding was forgotten")
		}
		seen := echo(t, l.Correspondent, service)
		if !exchange(t, l.Laptop, simnet.LabHomeAddress, service, 1000) {
			t.Fatal("no traffic through the home agent that was started anew")
		}
		if from := <-seen; from.Addr() != simnet.LabHomeAddress {
			t.Errorf("the correspondent saw %v", from)
		}
		n.deregister()
		if e, ok := n.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("not deregistered: %+v", e)
		}
		for _, r := range store.copied() {
			if len(r.Bindings) != 0 || r.Last == 0 {
				t.Errorf("stored %+v, want the replay state alone", r)
			}
		}
	})
}

// Shows: AGT-5 (while nothing can be stored no reply leaves; when it can again, the mobile node's next request is answered).
func TestStoreFails(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		store := &memoryStore{err: errors.New("disk full")}
		cfg := internal(t)
		cfg.Store = store
		log, logs := observed()
		a, err := StartHomeAgent(l.InternalHA, cfg, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.register()
		time.Sleep(10 * time.Second)
		for len(n.events) > 0 {
			if e, ok := (<-n.events).(mobilenode.Accepted); ok {
				t.Fatalf("registered without a stored binding: %+v", e)
			}
		}
		store.set(nil, 0)
		for {
			e := n.wait(time.Minute)
			if _, ok := e.(mobilenode.Accepted); ok {
				break
			}
		}
		if len(store.copied()) != 1 {
			t.Errorf("stored %v", store.copied())
		}
		if got := logs.FilterMessageSnippet("could not be stored").Len(); got != 1 {
			t.Errorf("%d log entries about the failure, want one", got)
		}
		if got := logs.FilterMessage("bindings are stored again").Len(); got != 1 {
			t.Errorf("%d log entries about its end, want one", got)
		}
	})
}

// Shows: AGT-5 (a home agent whose records belong to another one answers no more, and ends).
func TestStoreLost(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		cfg.Store = &memoryStore{err: fmt.Errorf("fenced: %w", ErrStoreLost)}
		a, err := StartHomeAgent(l.InternalHA, cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		n.register()
		<-a.Done()
		if !errors.Is(a.Err(), ErrStoreLost) {
			t.Errorf("ended with %v", a.Err())
		}
	})
}

// Shows: AGT-5 (stored bindings that cannot be read stop the start: nothing is forgotten in silence).
func TestRestoreRefusesDamage(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		bad := homeagent.Record{HomeAddress: simnet.LabHomeAddress, Bindings: []homeagent.BindingRecord{{Encapsulation: "none"}}}
		cfg.Store = &memoryStore{records: map[string]homeagent.Record{bad.Key(): bad}}
		if _, err := StartHomeAgent(l.InternalHA, cfg, zap.NewNop()); !errors.Is(err, homeagent.ErrRecord) {
			t.Errorf("started with %v", err)
		}
	})
}

// Shows: AGT-5 (group commit: what arrives during one write is written by the next one, all of it, and each reply goes out behind
// its own record).
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(1)
		defer l.Close()
		store := &memoryStore{takes: 5 * time.Millisecond}
		a := &HomeAgent{}
		sent := make(chan byte, 1000)
		s := newSaver(store, l.InternalHA, zap.NewNop(), &a.drops, func(x homeagent.Transmit) {
			r := store.copied()[fmt.Sprintf("address/10.0.8.%d", x.Payload[0])]
			if r.Last == 0 {
				t.Errorf("reply %d left before its record was stored", x.Payload[0])
			}
			sent <- x.Payload[0]
		}, a.fail)
		const count = 200
		for i := range byte(count) {
			r := homeagent.Record{HomeAddress: netip.AddrFrom4([4]byte{10, 0, 8, i}), Last: 1}
			s.put([]homeagent.Record{r}, []homeagent.Transmit{{Payload: []byte{i}}})
			time.Sleep(100 * time.Microsecond)
		}
		for i := range byte(count) {
			if got := <-sent; got != i {
				t.Fatalf("reply %d in the place of %d", got, i)
			}
		}
		s.close()
		// 20 ms of arrivals and writes of 5 ms: the first, then four or five batches.
		if store.saves > 7 {
			t.Errorf("%d writes for %d registrations", store.saves, count)
		}
	})
}

// Shows: AGT-5 (however many records are owed, each write has so many that it can be done in time, and the reply waits for all).
func TestManyRecordsAreOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(1)
		defer l.Close()
		store := &memoryStore{}
		a := &HomeAgent{}
		sent := make(chan int, 1)
		s := newSaver(store, l.InternalHA, zap.NewNop(), &a.drops, func(homeagent.Transmit) { sent <- len(store.copied()) }, a.fail)
		var records []homeagent.Record
		for i := range 3*maxSave + 1 {
			records = append(records, homeagent.Record{HomeAddress: netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)}), Last: 1})
		}
		s.put(records, []homeagent.Transmit{{Payload: []byte{1}}})
		if got := <-sent; got != len(records) {
			t.Errorf("the reply left when %d of %d records were stored", got, len(records))
		}
		s.close()
		if store.largest != maxSave || store.saves != 4 {
			t.Errorf("%d writes of up to %d records, want 4 of up to %d", store.saves, store.largest, maxSave)
		}
	})
}
