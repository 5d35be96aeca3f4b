package etcdstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/agent/etcdstore/etcdtest"
	"mipvpn/stack/underlay"
)

var address = netip.MustParseAddr("10.0.1.10")

// empty returns the record of a mobile node of which nothing is kept.
func empty(i int) homeagent.Record {
	home := [4]byte{10, 8}
	binary.BigEndian.PutUint16(home[2:], uint16(i))
	return homeagent.Record{HomeAddress: netip.AddrFrom4(home)}
}

// record returns one with a binding.
func record(i int) homeagent.Record {
	r := empty(i)
	r.Last = 1
	r.Bindings = []homeagent.BindingRecord{{
		CareOfAddress: netip.MustParseAddr("192.0.2.1"), Granted: 600, Until: time.Unix(2e9, 0).UTC(),
		Encapsulation: "ipip", Remote: netip.MustParseAddrPort("192.0.2.1:0"),
	}}
	return r
}

func cluster(t testing.TB, s *etcdtest.Servers) *Cluster {
	t.Helper()
	host, err := underlay.NewHost(underlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Endpoints: s.Endpoints(), TTL: MinTTL}, host, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), host.Close() })
	return c
}

func campaign(t testing.TB, c *Cluster, name string) *Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	term, err := c.Campaign(ctx, address, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = term.End(context.Background()) })
	return term
}

func load(t testing.TB, term *Term) map[string]homeagent.Record {
	t.Helper()
	all := make(map[string]homeagent.Record)
	if err := term.Load(t.Context(), func(r homeagent.Record) error { all[r.Key()] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Shows: AGT-5 (with three etcd servers: records outlive the term of an agent, whose writes count for nothing when another one's term
// has begun; without a majority of the servers nobody is the active one).
func TestTerms(t *testing.T) {
	servers := etcdtest.Start(t, nil, netip.MustParseAddr("127.0.0.1"))
	a, b := cluster(t, servers), cluster(t, servers)
	first := campaign(t, a, "a")
	var all []homeagent.Record
	want := make(map[string]homeagent.Record)
	for i := range 2500 { // more than a page, more than one transaction takes
		r := record(i)
		all = append(all, r)
		want[r.Key()] = r
	}
	if err := first.Save(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := first.Save(t.Context(), []homeagent.Record{empty(1), empty(2)}); err != nil {
		t.Fatal(err)
	}
	delete(want, all[1].Key())
	delete(want, all[2].Key())

	// The second agent stands by while the first one is there.
	elected := make(chan *Term, 1)
	go func() {
		term, err := b.Campaign(t.Context(), address, "b")
		if err != nil {
			t.Error(err)
		}
		elected <- term
	}()
	got, err := a.client.Get(t.Context(), first.key)
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "a" {
		t.Fatalf("active: %v, %v", got, err)
	}
	select {
	case <-elected:
		t.Fatal("two agents are active")
	case <-first.Lost():
		t.Fatal("the term ended by itself")
	default:
	}
	// It is stopped as a process is that hangs: nothing keeps its lease, and nothing tells it.
	first.cancel()
	<-first.kept
	second := <-elected
	if second == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = second.End(context.Background()) })
	if got := load(t, second); !reflect.DeepEqual(got, want) {
		t.Errorf("%d records came over, want %d", len(got), len(want))
	}
	if err := first.Save(t.Context(), all); !errors.Is(err, agent.ErrStoreLost) {
		t.Errorf("a write behind the end of the term: %v", err)
	}
	if got := load(t, second); !reflect.DeepEqual(got, want) {
		t.Error("a write behind the end of the term did something")
	}

	// A term that is ended makes room at once.
	if err := second.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := campaign(t, a, "a")
	if got := load(t, third); len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}

	// Without a majority the term ends by the agent's own count.
	servers.Kill(0)
	servers.Kill(1)
	select {
	case <-third.Lost():
	case <-time.After(time.Minute):
		t.Fatal("without a majority of the servers the term goes on")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := third.Save(ctx, all[:1]); err == nil {
		t.Error("a write without a majority succeeded")
	}
	servers.Restart(1)
	fourth := campaign(t, b, "b")
	if err := fourth.Save(t.Context(), all[:1]); err != nil {
		t.Error(err)
	}

	// A record that makes no sense is an error that names its key.
	for key, value := range map[string]string{"address/10.8.0.9": "{}", "address/10.8.0.8": string(encoded(record(7)))} {
		if _, err := b.client.Put(t.Context(), fourth.records+key, value); err != nil {
			t.Fatal(err)
		}
		if err := fourth.Load(t.Context(), func(homeagent.Record) error { return nil }); !errors.Is(err, homeagent.ErrRecord) {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := b.client.Delete(t.Context(), fourth.records+key); err != nil {
			t.Fatal(err)
		}
	}
}

func encoded(r homeagent.Record) []byte { return r.Encode() }

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no endpoints": {}, "no URL": {Endpoints: []string{"10.0.1.31:2379"}},
		"short": {Endpoints: []string{"http://10.0.1.31:2379"}, TTL: time.Second}, "long": {Endpoints: []string{"http://10.0.1.31:2379"}, TTL: time.Hour},
		"no whole seconds": {Endpoints: []string{"http://10.0.1.31:2379"}, TTL: 2500 * time.Millisecond},
		"prefix":           {Endpoints: []string{"http://10.0.1.31:2379"}, Prefix: "/company"},
	} {
		if err := c.Check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Config{Endpoints: []string{"https://10.0.1.31:2379"}}).Check(); err != nil {
		t.Error(err)
	}
}

// BenchmarkSave is one group commit of so many records with three etcd servers on this machine.
func BenchmarkSave(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root for network namespaces")
	}
	servers := etcdtest.Start(b, nil, netip.MustParseAddr("127.0.0.1"))
	term := campaign(b, cluster(b, servers), "a")
	for _, n := range []int{1, 64, 512, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := make([]homeagent.Record, n)
			at := 0
			for b.Loop() {
				for i := range all {
					all[i] = record(at % 65536)
					at++
				}
				if err := term.Save(b.Context(), all); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
