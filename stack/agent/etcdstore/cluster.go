package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"mipvpn/tun/link"
)

const (
	// DefaultPrefix is what keys begin with unless configured otherwise.
	DefaultPrefix = "/mipvpn/"
	// DefaultTTL is how long an active agent may be out of touch with etcd before another one takes its place. It is longer than
	// etcd takes to find a new leader of its own, by its usual timers 2 s, so that the loss of that is not the loss of an agent.
	DefaultTTL = 5 * time.Second
	// MinTTL is the least that etcd grants with its usual timers.
	MinTTL = 2 * time.Second
	// MaxTTL is more than anybody waits for.
	MaxTTL = time.Minute

	// callTimeout is how long one call may take before it is tried again.
	callTimeout = 2 * time.Second
	// watchTimeout is how long the end of another agent's term is waited for before its key is read again.
	watchTimeout = 10 * time.Second
	// retryAfter is the pause after a call that failed.
	retryAfter = 500 * time.Millisecond
)

// ErrConfig means that a Cluster cannot be made of the configuration given.
var ErrConfig = errors.New("etcdstore: unusable configuration")

// Config says where etcd is.
type Config struct {
	// Endpoints are the URLs of the etcd servers, all of them: "https://10.0.1.31:2379".
	Endpoints []string
	// TLS is for endpoints with https; nil takes the system's certification authorities.
	TLS *tls.Config
	// Username and Password are for an etcd with authentication, empty for one without.
	Username, Password string
	// Prefix is what all keys begin with; DefaultPrefix when empty. Companies that share an etcd take different ones.
	Prefix string
	// TTL is how long an active agent may be out of touch with etcd before another one takes its place, in whole seconds; DefaultTTL when
	// zero.
	TTL time.Duration
}

// Check says what is wrong with the configuration. Errors wrap ErrConfig.
func (c Config) Check() error {
	if len(c.Endpoints) == 0 {
		return fmt.Errorf("%w: no endpoints: expected the URLs of the etcd servers", ErrConfig)
	}
	for _, e := range c.Endpoints {
		if !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
			return fmt.Errorf("%w: endpoint %q: expected a URL such as \"https://10.0.1.31:2379\"", ErrConfig, e)
		}
	}
	if c.TTL != 0 && (c.TTL < MinTTL || c.TTL > MaxTTL || c.TTL%time.Second != 0) {
		return fmt.Errorf("%w: time to live %v: expected %v to %v in whole seconds", ErrConfig, c.TTL, MinTTL, MaxTTL)
	}
	if c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/") {
		return fmt.Errorf("%w: prefix %q: expected one that ends with /", ErrConfig, c.Prefix)
	}
	return nil
}

// Cluster is a connection to etcd.
type Cluster struct {
	client *clientv3.Client
	clock  link.Clock
	log    *zap.Logger
	prefix string
	ttl    time.Duration
}

// New returns a Cluster. It does not wait for etcd to answer. Errors wrap ErrConfig.
func New(cfg Config, clock link.Clock, log *zap.Logger) (*Cluster, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, Username: cfg.Username, Password: cfg.Password,
		DialTimeout: callTimeout, Logger: zap.NewNop(), // what it has to say comes back as errors
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := &Cluster{client: client, clock: clock, log: log, prefix: cfg.Prefix, ttl: cfg.TTL}
	if c.prefix == "" {
		c.prefix = DefaultPrefix
	}
	if c.ttl == 0 {
		c.ttl = DefaultTTL
	}
	return c, nil
}

// Close ends the connection.
func (c *Cluster) Close() error { return c.client.Close() }

// Campaign waits until no other agent is the active one for the home agent's address, and makes this one it. name says to people
// which agent that is. It goes on through failures of etcd, logs when they begin and end, and returns an error only when ctx ends.
func (c *Cluster) Campaign(ctx context.Context, address netip.Addr, name string) (*Term, error) {
	base := c.prefix + "home-agents/" + address.String() + "/"
	failing, owner := false, ""
	for ctx.Err() == nil {
		t, now, err := c.stand(ctx, base, name)
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				failing = true
				c.log.Error("etcd does not answer: this home agent cannot become the active one", zap.Error(err))
			}
			c.pause(ctx, retryAfter)
			continue
		case failing && err == nil:
			failing = false
			c.log.Info("etcd answers again")
		}
		if t != nil {
			return t, nil
		}
		if now.name != owner {
			owner = now.name
			c.log.Info("another home agent is the active one, this one stands by", zap.String("active", owner))
		}
		c.awaitEnd(ctx, base+"active", now.revision)
	}
	return nil, fmt.Errorf("etcdstore: campaign for %v: %w", address, ctx.Err())
}

// seen is an active agent's key as it was read.
type seen struct {
	name     string
	revision int64 // of etcd, when it was read
}

// stand makes this agent the active one, if there is no other; otherwise it returns the other one's key.
func (c *Cluster) stand(ctx context.Context, base, name string) (*Term, seen, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := base + "active"
	got, err := c.client.Get(ctx, key)
	if err != nil {
		return nil, seen{}, err
	}
	if len(got.Kvs) > 0 {
		return nil, seen{string(got.Kvs[0].Value), got.Header.Revision}, nil
	}
	sent := c.clock.Now().Boot
	lease, err := c.client.Grant(ctx, int64(c.ttl/time.Second))
	if err != nil {
		return nil, seen{}, err
	}
	won, err := c.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, name, clientv3.WithLease(lease.ID))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil || !won.Succeeded {
		_, _ = c.client.Revoke(ctx, lease.ID) // if not, it ends by itself
		if err == nil {
			if kvs := won.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				return nil, seen{string(kvs[0].Value), won.Header.Revision}, nil
			}
			err = errors.New("the key of the active agent was there and was not")
		}
		return nil, seen{}, err
	}
	return newTerm(c, base, lease.ID, won.Header.Revision, sent), seen{}, nil
}

// awaitEnd waits until the key is deleted, for a while.
func (c *Cluster) awaitEnd(ctx context.Context, key string, since int64) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), watchTimeout)
	defer cancel()
	for r := range c.client.Watch(ctx, key, clientv3.WithRev(since+1), clientv3.WithFilterPut()) {
		if r.Err() != nil {
			c.pause(ctx, retryAfter)
			return
		}
		if len(r.Events) > 0 {
			return
		}
	}
}

// pause waits for d, or until ctx ends.
func (c *Cluster) pause(ctx context.Context, d time.Duration) {
	t := c.clock.NewTimer()
	defer t.Stop()
	t.Reset(c.clock.Now().Boot + d)
	select {
	case <-t.C():
	case <-ctx.Done():
	}
}
