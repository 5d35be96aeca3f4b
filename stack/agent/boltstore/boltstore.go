package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"mipvpn/mipv4/homeagent"
)

// Reasons for which a file is not opened.
var (
	// ErrDamaged means that the file is no whole database of records. It is left as it is.
	ErrDamaged = errors.New("boltstore: damaged file, or not one of stored bindings")
	// ErrInUse means that another process has the file open.
	ErrInUse = errors.New("boltstore: another process has the file open")
	// ErrNewer means that a newer mipagent wrote the file.
	ErrNewer = errors.New("boltstore: written by a newer mipagent")
)

const (
	// version is that of the file's form.
	version = 1
	// lockTimeout is how long the one who had the file open before may take to end.
	lockTimeout = 2 * time.Second
)

var (
	bucketMeta    = []byte("mipvpn home agent") // what the file is
	keyVersion    = []byte("version")
	bucketRecords = []byte("records")
	castagnoli    = crc32.MakeTable(crc32.Castagnoli)
)

// Store is one open file.
type Store struct {
	db   *bbolt.DB
	path string
}

// Open opens the file, or makes it, readable for its owner alone, in a directory that must exist. Errors: ErrInUse, ErrDamaged,
// ErrNewer, and those of the file system. A damaged file may stay locked until the process ends.
func Open(path string) (_ *Store, err error) {
	defer catch(path, &err)()
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, damaged(path, errors.New("it is no regular file"))
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, damaged(path, err)
	case err != nil:
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s := &Store{db: db, path: path}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), db.Close())
	}
	return s, nil
}

// begin makes what a new file needs, and looks whether an old one is ours.
func (s *Store) begin() error {
	fresh := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return damaged(s.path, fmt.Errorf("a database of something else: it has %q", name))
			}
			fresh = true
			return nil
		}
		v := meta.Get(keyVersion)
		switch {
		case len(v) != 1 || tx.Bucket(bucketRecords) == nil:
			return damaged(s.path, errors.New("its version or its records are missing"))
		case v[0] != version:
			return fmt.Errorf("%w: %s has version %d, this program reads %d", ErrNewer, s.path, v[0], version)
		}
		return nil
	})
	if err != nil || !fresh {
		return err
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketRecords); err != nil {
			return err
		}
		return meta.Put(keyVersion, []byte{version})
	})
	if err != nil {
		return fmt.Errorf("boltstore: begin %s: %w", s.path, err)
	}
	return nil
}

// Load implements agent.BindingStore. Errors: ErrDamaged where a record is not what was written, and those of f.
func (s *Store) Load(_ context.Context, f func(homeagent.Record) error) (err error) {
	defer catch(s.path, &err)()
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			r, err := unseal(k, v)
			if err != nil {
				return damaged(s.path, fmt.Errorf("record %q: %w", k, err))
			}
			return f(r)
		})
	})
}

// Save implements agent.BindingStore: one transaction, durable when it returns.
func (s *Store) Save(_ context.Context, records []homeagent.Record) (err error) {
	defer catch(s.path, &err)()
	err = s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		for i := range records {
			r := &records[i]
			key := []byte(r.Key())
			if r.Empty() {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			if err := b.Put(key, seal(key, r)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("boltstore: write %s: %w", s.path, err)
	}
	return nil
}

// Close gives the file back.
func (s *Store) Close() error { return s.db.Close() }

// catch returns what is to be deferred by a function that has bbolt look at the file. It does so through memory and takes what
// stands there for right: damage comes out as a panic, and a file that was cut off as a fault. Both become errors.
func catch(path string, err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = damaged(path, fmt.Errorf("%v", r))
		}
	}
}

// seal returns a record as it is stored: the CRC-32C of key and record, big endian, and the record.
func seal(key []byte, r *homeagent.Record) []byte {
	data := r.Encode()
	value := make([]byte, 4, 4+len(data))
	binary.BigEndian.PutUint32(value, checksum(key, data))
	return append(value, data...)
}

// unseal reads what seal made.
func unseal(key, value []byte) (homeagent.Record, error) {
	if len(value) < 4 {
		return homeagent.Record{}, fmt.Errorf("it has %d octets", len(value))
	}
	if want, got := binary.BigEndian.Uint32(value), checksum(key, value[4:]); want != got {
		return homeagent.Record{}, fmt.Errorf("its checksum is %08x, expected %08x", got, want)
	}
	r, err := homeagent.ParseRecord(value[4:])
	if err == nil && r.Key() != string(key) {
		err = fmt.Errorf("it is that of %q", r.Key())
	}
	return r, err
}

func checksum(key, data []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, data)
}

func damaged(path string, why error) error {
	return fmt.Errorf("%w: %s: %w; nothing was changed: restore the file from a copy, or move it away to begin without bindings, and mobile nodes register anew when their lifetimes end", ErrDamaged, path, why)
}

// syncDirectory makes the file's name durable, where the system can.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.Sync() // Windows has no such thing
	return nil
}
