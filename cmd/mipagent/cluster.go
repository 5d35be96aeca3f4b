package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/agent"
	"mipvpn/stack/agent/etcdstore"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// clusterTable makes a home agent one of two or more that stand for one address: etcd settles which of them is the active one, and
// keeps the bindings.
type clusterTable struct {
	Etcd            []string `toml:"etcd"`
	Name            string   `toml:"name"`
	Interface       string   `toml:"interface"`
	TTL             duration `toml:"ttl"`
	Prefix          string   `toml:"prefix"`
	CAFile          string   `toml:"ca_file"`
	CertificateFile string   `toml:"certificate_file"`
	KeyFile         string   `toml:"key_file"`
	Username        string   `toml:"username"`
	PasswordFile    string   `toml:"password_file"`
}

// clusterConfig makes the configuration of the connection to etcd, and the name of this agent.
func (c *configuration) clusterConfig(t *clusterTable) (cfg etcdstore.Config, name string, err error) {
	cfg = etcdstore.Config{Endpoints: t.Etcd, Username: t.Username, Prefix: t.Prefix, TTL: time.Duration(t.TTL)}
	if t.Interface == "" {
		return cfg, "", errors.New("cluster: interface is missing: the name of the one that the home agent's address is announced on when this agent takes it")
	}
	if err := cfg.Check(); err != nil {
		return cfg, "", fmt.Errorf("cluster: %w", err)
	}
	if name = t.Name; name == "" {
		if name, err = os.Hostname(); err != nil {
			return cfg, "", fmt.Errorf("cluster: name is missing, and this host has none: %w", err)
		}
	}
	if (t.Username == "") != (t.PasswordFile == "") {
		return cfg, "", errors.New("cluster: username and password_file go together")
	}
	if t.PasswordFile != "" {
		password, err := c.readSecret(t.PasswordFile)
		if err != nil {
			return cfg, "", fmt.Errorf("cluster: password_file: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(password))
		clear(password)
	}
	cfg.TLS, err = c.clusterTLS(t)
	return cfg, name, err
}

// clusterTLS returns what is used to talk to etcd by https, nil for the system's certification authorities and no certificate.
func (c *configuration) clusterTLS(t *clusterTable) (*tls.Config, error) {
	if t.CAFile == "" && t.CertificateFile == "" && t.KeyFile == "" {
		return nil, nil
	}
	if (t.CertificateFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cluster: certificate_file and key_file go together")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		data, err := os.ReadFile(c.path(t.CAFile))
		if err != nil {
			return nil, fmt.Errorf("cluster: ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("cluster: ca_file %s: expected certificates in PEM", t.CAFile)
		}
	}
	if t.CertificateFile != "" {
		data, err := os.ReadFile(c.path(t.CertificateFile))
		if err != nil {
			return nil, fmt.Errorf("cluster: certificate_file: %w", err)
		}
		key, err := c.readSecret(t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cluster: key_file: %w", err)
		}
		defer clear(key)
		pair, err := tls.X509KeyPair(data, key)
		if err != nil {
			return nil, fmt.Errorf("cluster: certificate_file %s and key_file %s: %w", t.CertificateFile, t.KeyFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// path returns the path of a file that the configuration names.
func (c *configuration) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// clusteredHomeAgent is the role of a home agent that stands by until it is the active one of its cluster. Then it has an
// agent.HomeAgent, until its term ends, and stands by again.
type clusteredHomeAgent struct {
	host     link.Host
	log      *zap.Logger
	internal bool
	table    clusterTable
	name     string
	cluster  *etcdstore.Cluster

	mu     sync.Mutex
	cfg    agent.HomeAgentConfig // for the next term
	active *agent.HomeAgent      // nil while standing by
	drops  *packet.Drops         // of the last term

	cancel context.CancelFunc
	ended  chan struct{} // closed when run has returned
	failed chan struct{} // closed when it returned an error
	err    error
}

// clustered returns a starter of a home agent in a cluster.
func (c *configuration) clustered(cfg agent.HomeAgentConfig, internal bool, t *clusterTable) (starter, error) {
	etcd, name, err := c.clusterConfig(t)
	if err != nil {
		return nil, err
	}
	if cfg.HomeLink != "" {
		return nil, errors.New("cluster and home_link exclude each other: in a cluster the home networks are virtual")
	}
	return func(h link.Host, log *zap.Logger) (running, error) {
		cluster, err := etcdstore.New(etcd, h, log)
		if err != nil {
			return nil, err
		}
		own := cfg
		own.Interface = t.Interface
		r := &clusteredHomeAgent{
			host: h, log: log, internal: internal, table: *t, name: name, cluster: cluster, cfg: own, drops: new(packet.Drops),
			ended: make(chan struct{}), failed: make(chan struct{}),
		}
		if err := h.Apply(link.Settings{}); err != nil { // what a process left that was killed must not stay while this one stands by
			return nil, errors.Join(err, cluster.Close())
		}
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(context.Background())
		go r.run(ctx, own.Address)
		return r, nil
	}, nil
}

// run stands by and serves in turn, until ctx ends or the home agent cannot do its work.
func (r *clusteredHomeAgent) run(ctx context.Context, address netip.Addr) {
	defer close(r.ended)
	for {
		term, err := r.cluster.Campaign(ctx, address, r.name)
		if err != nil {
			return
		}
		if err := r.serve(ctx, term); err != nil {
			r.err = err
			close(r.failed)
			return
		}
	}
}

// serve is the home agent for one term. It returns nil when the term or ctx has ended.
func (r *clusteredHomeAgent) serve(ctx context.Context, term *etcdstore.Term) error {
	defer func() {
		if err := term.End(context.Background()); err != nil {
			r.log.Warn("the end of the term could not be told: another home agent waits for it", zap.Error(err))
		}
	}()
	r.mu.Lock()
	cfg := r.cfg
	r.mu.Unlock()
	cfg.Store = term
	a, err := agent.StartHomeAgent(r.host, cfg, r.log)
	if errors.Is(err, agent.ErrStoreLost) {
		return nil
	}
	if err != nil {
		return err
	}
	r.set(a)
	r.log.Info("this home agent is the active one", zap.String("name", r.name), zap.Int("bindings", a.Len()))
	select {
	case <-a.Done():
		err = a.Err()
	case <-term.Lost():
		err = agent.ErrStoreLost
	case <-ctx.Done():
	}
	r.set(nil)
	if errors.Is(err, agent.ErrStoreLost) {
		r.log.Warn("this home agent is no longer the active one: etcd could not be reached in time, or another one has taken its place")
		err = nil
	}
	return errors.Join(err, a.Close())
}

// set notes the home agent of a term that begins, nil when it ends.
func (r *clusteredHomeAgent) set(a *agent.HomeAgent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active = a; a != nil {
		r.drops = a.Drops()
	}
}

// current returns the home agent, nil while standing by.
func (r *clusteredHomeAgent) current() *agent.HomeAgent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active
}

// Done implements running.
func (r *clusteredHomeAgent) Done() <-chan struct{} { return r.failed }

// Err implements running.
func (r *clusteredHomeAgent) Err() error {
	select {
	case <-r.failed:
		return r.err
	default:
		return nil
	}
}

// Drops implements running: those of this agent's last term.
func (r *clusteredHomeAgent) Drops() *packet.Drops {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drops
}

// Close implements running. The term ends, and another home agent becomes the active one at once.
func (r *clusteredHomeAgent) Close() error {
	r.cancel()
	<-r.ended
	return r.cluster.Close()
}

// reload implements running: for the term that goes on, and for those to come.
func (r *clusteredHomeAgent) reload(c *configuration) (take func() error, err error) {
	t := c.homeAgentTable(r.internal)
	if t.Cluster == nil || !reflect.DeepEqual(*t.Cluster, r.table) {
		return nil, fmt.Errorf("%w: the table cluster", agent.ErrRestart)
	}
	cfg, err := c.homeAgentConfig(t, r.internal)
	if err != nil {
		return nil, err
	}
	cfg.Interface = r.table.Interface
	r.mu.Lock()
	a, before := r.active, r.cfg
	r.mu.Unlock()
	if cfg.Address != before.Address {
		return nil, fmt.Errorf("%w: the home agent's address", agent.ErrRestart)
	}
	if a != nil {
		if err := a.CheckReload(cfg); err != nil && !errors.Is(err, agent.ErrEnded) {
			return nil, err
		}
	}
	return func() error {
		if a := r.current(); a != nil {
			if _, err := a.Reload(cfg); err != nil && !errors.Is(err, agent.ErrEnded) {
				return err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cfg = cfg
		return nil
	}, nil
}
