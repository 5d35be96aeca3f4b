package hint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Store keeps the state of Gateways from one run to the next.
type Store interface {
	// Load returns what Save kept; an error that wraps os.ErrNotExist when there is nothing.
	Load() ([]byte, error)
	// Save keeps the state, whole or not at all.
	Save(state []byte) error
	// SetAside takes a state that cannot be read out of the way and returns where it is now.
	SetAside() (string, error)
}

// File is a Store that is a file, readable by its owner alone.
type File struct {
	// Path is the file's. Its directory is made when it is not there.
	Path string
}

var _ Store = File{}

// Load implements Store. It reads no more than a little over what a state may have, so that a larger one is corrupt.
func (f File) Load() ([]byte, error) {
	if info, err := os.Stat(f.Path); err != nil {
		return nil, fmt.Errorf("hint: %w", err)
	} else if !info.Mode().IsRegular() { // a pipe would have its reader wait
		return nil, fmt.Errorf("hint: %s is no file (%v)", f.Path, info.Mode().Type())
	}
	r, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("hint: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxState+1))
	if err != nil {
		return nil, fmt.Errorf("hint: read %s: %w", f.Path, err)
	}
	return b, nil
}

// Save implements Store: a temporary name, fsync, rename, fsync of the directory.
func (f File) Save(state []byte) (err error) {
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("hint: %w", err)
	}
	t, err := os.CreateTemp(dir, "."+filepath.Base(f.Path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("hint: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("hint: keep %s: %w", f.Path, errors.Join(err, os.Remove(t.Name())))
		}
	}()
	_, err = t.Write(state)
	if err == nil {
		err = t.Sync()
	}
	if e := t.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(t.Name(), f.Path)
	}
	if err != nil {
		return err
	}
	if d, e := os.Open(dir); e == nil { // a system that cannot sync directories has renamed all the same
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// SetAside implements Store: the file's name ends in .corrupt from then on, in the place of an earlier one.
func (f File) SetAside() (string, error) {
	aside := f.Path + ".corrupt"
	if err := os.Rename(f.Path, aside); err != nil {
		return "", fmt.Errorf("hint: %w", err)
	}
	return aside, nil
}
