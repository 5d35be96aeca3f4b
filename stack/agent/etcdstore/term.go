package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
)

const (
	// pageSize is how many records are read at a time.
	pageSize = 1000
	// batchSize is how many records go into one transaction; etcd takes 128 operations unless configured otherwise.
	batchSize = 120
	// writeTimeout is how long one transaction may take before it is tried again.
	writeTimeout = time.Second
	// batchesAtOnce is how many transactions are under way at a time.
	batchesAtOnce = 4
)

// Term is the time for which one agent is the active one. It is that agent's agent.BindingStore.
type Term struct {
	cluster  *Cluster
	key      string // of the active agent
	records  string // prefix of the records
	lease    clientv3.LeaseID
	revision int64 // at which the key was made: no other term's

	cancel context.CancelFunc
	kept   chan struct{} // closed when the lease is kept no longer
	once   sync.Once
	lost   chan struct{}
}

var _ agent.BindingStore = (*Term)(nil)

// newTerm begins a term whose lease was asked for at the boot time sent.
func newTerm(c *Cluster, base string, lease clientv3.LeaseID, revision int64, sent time.Duration) *Term {
	t := &Term{
		cluster: c, key: base + "active", records: base + "records/", lease: lease, revision: revision,
		kept: make(chan struct{}), lost: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	go t.keep(ctx, sent+c.ttl)
	return t
}

// Lost is closed when the term has ended, or is about to: no other agent is the active one before a sixth of the lease's time has
// passed after that, in which this one has to fall silent.
func (t *Term) Lost() <-chan struct{} { return t.lost }

func (t *Term) lose() { t.once.Do(func() { close(t.lost) }) }

// keep renews the lease, which ends at the boot time until by the count of this agent: from before the request was sent that
// it was granted or renewed by, and so no later than by etcd's.
func (t *Term) keep(ctx context.Context, until time.Duration) {
	defer close(t.kept)
	defer t.lose()
	c := t.cluster
	until -= c.ttl / 6
	for {
		c.pause(ctx, min(c.ttl/4, until-c.clock.Now().Boot))
		sent := c.clock.Now().Boot
		if ctx.Err() != nil || sent >= until {
			return
		}
		call, cancel := context.WithTimeout(ctx, min(c.ttl/4, until-sent))
		answer, err := c.client.KeepAliveOnce(call, t.lease)
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound), err == nil && answer.TTL <= 0:
			return
		case err == nil:
			until = sent + min(c.ttl, time.Duration(answer.TTL)*time.Second) - c.ttl/6
		}
	}
}

// Load implements agent.BindingStore: all records as they are at one moment. It goes on through failures of etcd until the term ends.
func (t *Term) Load(ctx context.Context, f func(homeagent.Record) error) error {
	from, end := t.records, clientv3.GetPrefixRangeEnd(t.records)
	revision := int64(0)
	for {
		page, err := t.page(ctx, from, end, revision)
		if err != nil {
			return err
		}
		revision = page.Header.Revision
		for _, kv := range page.Kvs {
			r, err := homeagent.ParseRecord(kv.Value)
			if err == nil && t.records+r.Key() != string(kv.Key) {
				err = fmt.Errorf("%w: it is that of %s", homeagent.ErrRecord, r.Key())
			}
			if err != nil {
				return fmt.Errorf("etcdstore: key %s: %w; correct or delete the key", kv.Key, err)
			}
			if err := f(r); err != nil {
				return err
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// page reads the next records, again until it can be done.
func (t *Term) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		page, err := t.cluster.client.Get(call, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
		cancel()
		if err == nil {
			return page, nil
		}
		select {
		case <-t.lost:
			return nil, fmt.Errorf("%w: the term ended while %s was read: %w", agent.ErrStoreLost, t.records, err)
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
			t.cluster.pause(ctx, retryAfter)
		}
	}
}

// Save implements agent.BindingStore. With more than batchSize records it is several transactions: when it returns an error, some of
// the records may be stored.
func (t *Term) Save(ctx context.Context, records []homeagent.Record) error {
	room := make(chan struct{}, batchesAtOnce)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var first error
	for len(records) > 0 {
		batch := records[:min(batchSize, len(records))]
		records = records[len(batch):]
		room <- struct{}{}
		wait.Go(func() {
			defer func() { <-room }()
			if err := t.write(ctx, batch); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil || errors.Is(err, agent.ErrStoreLost) {
					first = err
				}
			}
		})
	}
	wait.Wait()
	return first
}

// write stores the records in one transaction, if the term goes on. It tries again, until ctx ends, what etcd leaves without an answer
// while it looks for a leader: what was written twice is the same.
func (t *Term) write(ctx context.Context, records []homeagent.Record) error {
	ops := make([]clientv3.Op, len(records))
	for i := range records {
		key := t.records + records[i].Key()
		if records[i].Empty() {
			ops[i] = clientv3.OpDelete(key)
		} else {
			ops[i] = clientv3.OpPut(key, string(records[i].Encode()))
		}
	}
	for {
		call, cancel := context.WithTimeout(ctx, writeTimeout)
		done, err := t.cluster.client.Txn(call).If(clientv3.Compare(clientv3.CreateRevision(t.key), "=", t.revision)).Then(ops...).Commit()
		cancel()
		if err == nil && !done.Succeeded {
			t.lose()
			return fmt.Errorf("%w: %s", agent.ErrStoreLost, t.key)
		}
		if err == nil {
			return nil
		}
		if t.cluster.pause(ctx, retryAfter/5); ctx.Err() != nil {
			return fmt.Errorf("etcdstore: write to %s: %w", t.records, err)
		}
	}
}

// End ends the term, so that another agent can become the active one at once. The error says that etcd could not be told: then the
// lease ends by itself.
func (t *Term) End(ctx context.Context) error {
	t.cancel()
	<-t.kept
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := t.cluster.client.Revoke(ctx, t.lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("etcdstore: end the lease of %s: %w", t.key, err)
	}
	return nil
}
