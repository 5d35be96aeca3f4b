package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// BindingStore keeps the records of a home agent's mobile nodes over the end of its process (REQUIREMENTS AGT-5). Load is called
// once, before the first Save; Save is called by one goroutine.
type BindingStore interface {
	// Load calls f with each record, in no order, until f returns an error, which it returns. It returns an error of its own
	// when the records cannot all be read: a home agent does not begin with half of its bindings.
	Load(ctx context.Context, f func(homeagent.Record) error) error
	// Save replaces the stored records with the same keys, deletes those of records that are Empty, and returns when all of
	// that is durable; with an error, some of it may be. The error wraps ErrStoreLost when the records belong to another home agent
	// by now.
	Save(ctx context.Context, records []homeagent.Record) error
}

// ErrStoreLost means that this home agent may not write its records any more: another agent has taken its place.
var ErrStoreLost = errors.New("agent: the stored bindings belong to another home agent now")

const (
	// maxSave is how many records go into one Save, so that however many are owed each gets done in time.
	maxSave = 4096
	// saveTimeout is how long one Save may take before it counts as failed.
	saveTimeout = 5 * time.Second
	// saveAgain is the time from a Save that failed to the next one.
	saveAgain = time.Second
	// maxWaitingReplies is how many replies wait at most; a mobile node whose reply is dropped asks again.
	maxWaitingReplies = 1 << 14
)

// saver holds replies back until what they say is durable. While one batch of records is being written the next one gathers, so
// that however many registrations arrive one write serves all that came during the one before it (group commit), and none waits
// for others to come.
type saver struct {
	store BindingStore
	clock link.Clock
	log   *zap.Logger
	drops *packet.Drops
	send  func(homeagent.Transmit)
	fail  func(error)

	mu      sync.Mutex
	records map[string]homeagent.Record // by key, the newest of each
	replies []homeagent.Transmit

	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// newSaver starts the goroutine that writes to the store. send is called on it, and so is fail when the store is lost.
func newSaver(store BindingStore, clock link.Clock, log *zap.Logger, drops *packet.Drops, send func(homeagent.Transmit), fail func(error)) *saver {
	s := &saver{
		store: store, clock: clock, log: log, drops: drops, send: send, fail: fail,
		records: make(map[string]homeagent.Record), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

// put takes records and the replies that wait for them.
func (s *saver) put(records []homeagent.Record, replies []homeagent.Transmit) {
	if len(records) == 0 && len(replies) == 0 {
		return
	}
	s.mu.Lock()
	for _, r := range records {
		s.records[r.Key()] = r
	}
	if room := maxWaitingReplies - len(s.replies); len(replies) > room {
		s.drops.Count(packet.DropQueueFull, len(replies)-room)
		replies = replies[:room]
	}
	s.replies = append(s.replies, replies...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what has gathered.
func (s *saver) take() (records map[string]homeagent.Record, replies []homeagent.Transmit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, replies = s.records, s.replies
	s.records, s.replies = make(map[string]homeagent.Record), nil
	return records, replies
}

func (s *saver) run() {
	defer close(s.done)
	again := s.clock.NewTimer()
	defer again.Stop()
	owed := make(map[string]homeagent.Record) // of a Save that failed
	failing := false
	for {
		select {
		case <-s.wake:
		case <-again.C():
		case <-s.ctx.Done():
			s.last(owed)
			return
		}
		records, replies := s.take()
		maps.Copy(owed, records)
		if err := s.save(s.ctx, owed); err != nil {
			if errors.Is(err, ErrStoreLost) {
				s.fail(err)
				return
			}
			if s.ctx.Err() == nil && !failing {
				failing = true
				s.log.Error("bindings could not be stored: the replies about them are not sent, and mobile nodes ask again", zap.Int("records", len(owed)), zap.Int("replies", len(replies)), zap.Error(err))
			}
			again.Reset(s.clock.Now().Boot + saveAgain)
			continue
		}
		if failing {
			failing = false
			s.log.Info("bindings are stored again")
		}
		for _, t := range replies {
			s.send(t)
		}
	}
}

// save writes the records and takes those that are durable out of the map.
func (s *saver) save(ctx context.Context, records map[string]homeagent.Record) error {
	for len(records) > 0 {
		var part []homeagent.Record
		for _, r := range records {
			if part = append(part, r); len(part) == maxSave {
				break
			}
		}
		call, cancel := context.WithTimeout(ctx, saveTimeout)
		err := s.store.Save(call, part)
		cancel()
		if err != nil {
			return err
		}
		for i := range part {
			delete(records, part[i].Key())
		}
	}
	return nil
}

// last writes what is left at the end. Its replies are not sent: the agent is gone when they would be answered.
func (s *saver) last(owed map[string]homeagent.Record) {
	records, _ := s.take()
	maps.Copy(owed, records)
	if err := s.save(context.Background(), owed); err != nil && !errors.Is(err, ErrStoreLost) {
		s.log.Error("the last changes of bindings could not be stored", zap.Int("records", len(owed)), zap.Error(err))
	}
}

// close writes what is left and ends the saver.
func (s *saver) close() {
	s.cancel()
	<-s.done
}

// restore gives the machine what the store has, and starts the saver; without a store it does nothing.
func (a *HomeAgent) restore() error {
	if a.cfg.Store == nil {
		return nil
	}
	unknown := 0
	now := a.host.Now()
	err := a.cfg.Store.Load(context.Background(), func(r homeagent.Record) error {
		err := a.machine.Restore(now, r)
		if errors.Is(err, homeagent.ErrUnknownMobileNode) {
			unknown++
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("restore the stored bindings: %w", err)
	}
	a.log.Info("bindings restored", zap.Int("bindings", a.machine.Len()), zap.Int("not_configured", unknown))
	a.saver = newSaver(a.cfg.Store, a.host, a.log, &a.drops, a.sendReply, a.fail)
	return nil
}

// settle hands the machine's records and replies to the saver, or sends the replies where nothing is stored.
func (a *HomeAgent) settle() {
	if a.saver == nil {
		for t, ok := a.machine.PollTransmit(); ok; t, ok = a.machine.PollTransmit() {
			a.sendReply(t)
		}
		return
	}
	var records []homeagent.Record
	var replies []homeagent.Transmit
	now := a.host.Now()
	for r, ok := a.machine.PollRecord(now); ok; r, ok = a.machine.PollRecord(now) {
		records = append(records, r)
	}
	for t, ok := a.machine.PollTransmit(); ok; t, ok = a.machine.PollTransmit() {
		replies = append(replies, t)
	}
	a.saver.put(records, replies)
}

// sendReply sends a reply and counts it. It is called by the loop without a store, by the saver with one.
func (a *HomeAgent) sendReply(t homeagent.Transmit) {
	a.registrations.sent(t.Payload)
	if err := a.udp.Send(t.To, t.Payload); err != nil {
		a.log.Warn("registration reply could not be sent", zap.Stringer("to", t.To), zap.Error(err))
	}
}
