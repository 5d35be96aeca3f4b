package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"mipvpn/mipv4/homeagent"
)

func record(i int) homeagent.Record {
	home := [4]byte{10, 8}
	binary.BigEndian.PutUint16(home[2:], uint16(i))
	return homeagent.Record{
		HomeAddress: netip.AddrFrom4(home), Last: 1,
		Bindings: []homeagent.BindingRecord{{
			CareOfAddress: netip.MustParseAddr("192.0.2.1"), Granted: 600, Until: time.Unix(2e9, 0).UTC(),
			Encapsulation: "ipip", Remote: netip.MustParseAddrPort("192.0.2.1:0"),
		}},
	}
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func load(t testing.TB, s *Store) map[string]homeagent.Record {
	t.Helper()
	all := make(map[string]homeagent.Record)
	if err := s.Load(t.Context(), func(r homeagent.Record) error { all[r.Key()] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Shows: AGT-5 (records are there when the file is opened again; newer ones replace older ones, empty ones delete).
func TestStoreKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bindings.db")
	s := open(t, path)
	if got := load(t, s); len(got) != 0 {
		t.Fatalf("a new file has %v", got)
	}
	want := make(map[string]homeagent.Record)
	var all []homeagent.Record
	for i := range 1000 {
		r := record(i)
		want[r.Key()] = r
		all = append(all, r)
	}
	if err := s.Save(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	gone, renewed := record(7), record(8)
	delete(want, gone.Key())
	renewed.Last, renewed.Bindings = 2, nil
	want[renewed.Key()] = renewed
	if err := s.Save(t.Context(), []homeagent.Record{{HomeAddress: gone.HomeAddress}, renewed}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := load(t, open(t, path)); !reflect.DeepEqual(got, want) {
		t.Errorf("%d records came back, want %d", len(got), len(want))
	}
}

// Shows: AGT-5 (the file as it was while it was being written to, as a crash leaves it, has every record whose Save had returned).
func TestStoreSurvivesCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bindings.db")
	s := open(t, path)
	for i := range 20 {
		if err := s.Save(t.Context(), []homeagent.Record{record(i)}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(dir, fmt.Sprintf("crash%d.db", i))
		if err := os.WriteFile(left, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := load(t, open(t, left)); len(got) != i+1 {
			t.Fatalf("after %d writes %d records are there", i+1, len(got))
		}
	}
}

// Shows: AGT-5 (what is damaged or not ours is refused with an error that says so, and not a byte of it is changed).
func TestStoreRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s := open(t, good)
	var all []homeagent.Record
	for i := range 300 {
		all = append(all, record(i))
	}
	if err := s.Save(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	overwritten := func(change func([]byte) []byte) []byte { return change(bytes.Clone(whole)) }
	cases := map[string][]byte{
		"text":            []byte("these are not bindings\n"),
		"long text":       bytes.Repeat([]byte("these are not bindings\n"), 10000),
		"header alone":    whole[:100],
		"cut off":         whole[:len(whole)/2],
		"first pages":     whole[:2*os.Getpagesize()],
		"no meta pages":   overwritten(func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b }),
		"zeros behind":    overwritten(func(b []byte) []byte { clear(b[2*os.Getpagesize():]); return b }),
		"ones behind":     overwritten(func(b []byte) []byte { copy(b[2*os.Getpagesize():], bytes.Repeat([]byte{0xff}, len(b))); return b }),
		"one bit changed": overwritten(func(b []byte) []byte { b[bytes.LastIndex(b, []byte("192.0.2.1"))] ^= 1; return b }),
	}
	for name, data := range cases {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "_")+".db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := openAndLoad(t, path)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
}

// openAndLoad opens the file and reads all of it, and returns the first error.
func openAndLoad(t testing.TB, path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Load(t.Context(), func(homeagent.Record) error { return nil })
}

// Shows: AGT-5 (a database of another program, a newer version's, one in use and a directory are told apart).
func TestStoreRefusesForeign(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, f func(*bbolt.Tx) error) string {
		path := filepath.Join(dir, name)
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(f); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := make("foreign.db", func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("accounts")); return err })
	if err := openAndLoad(t, foreign); !errors.Is(err, ErrDamaged) {
		t.Errorf("a database of another program: %v", err)
	}
	newer := make("newer.db", func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket(bucketRecords)
		return errors.Join(err, meta.Put(keyVersion, []byte{version + 1}))
	})
	if err := openAndLoad(t, newer); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
	if err := openAndLoad(t, dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("a directory: %v", err)
	}
	if err := openAndLoad(t, filepath.Join(dir, "none", "bindings.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	used := filepath.Join(dir, "used.db")
	open(t, used)
	if err := openAndLoad(t, used); !errors.Is(err, ErrInUse) {
		t.Errorf("a file in use: %v", err)
	}
}

// FuzzUnseal reads records as a damaged file may have them.
func FuzzUnseal(f *testing.F) {
	r := record(1)
	f.Add([]byte(r.Key()), seal([]byte(r.Key()), &r))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := unseal(key, value)
		if err == nil && r.Key() != string(key) {
			t.Fatalf("the record of %q under %q", r.Key(), key)
		}
	})
}

// BenchmarkSave is one group commit of so many records.
func BenchmarkSave(b *testing.B) {
	for _, n := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "bindings.db"))
			all := make([]homeagent.Record, n)
			at := 0
			for b.Loop() {
				for i := range all {
					all[i] = record(at)
					at++
				}
				if err := s.Save(b.Context(), all); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
