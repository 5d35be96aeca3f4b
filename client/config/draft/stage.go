package draft

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mipvpn/client/config"
	"mipvpn/client/permission"
)

// ErrExists is wrapped by the error about a file that is there already and is not to be overwritten.
var ErrExists = errors.New("there already")

// publicMode is the mode of the configuration and of certificates, which hold no secrets.
const publicMode = 0o644

// Stage is a folder beside the place of a configuration, in which it is written and checked before anything is changed.
type Stage struct {
	path, dir, folder string
	force             bool
}

// NewStage opens a stage for the configuration of that path. It makes the path's folder where there is none, and a hidden one in it.
// Without force the error wraps ErrExists where there is a configuration already. What keeps the folder from being written shows here,
// before a person has been asked anything. Close takes the hidden folder away.
func NewStage(path string, force bool) (*Stage, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("draft: %w", err)
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return nil, fmt.Errorf("draft: %s is %w", path, ErrExists)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("draft: %w", err)
	}
	s := &Stage{path: path, dir: filepath.Dir(path), force: force}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("draft: make the folder of the configuration: %w", err)
	}
	if s.folder, err = os.MkdirTemp(s.dir, ".mipvpn-init-"); err != nil {
		return nil, fmt.Errorf("draft: write in %s: %w", s.dir, err)
	}
	return s, nil
}

// Path returns the absolute path of the configuration, and Beside that of a file beside it.
func (s *Stage) Path() string { return s.path }

// Beside returns the path of a file beside the configuration.
func (s *Stage) Beside(name string) string { return filepath.Join(s.dir, name) }

// Force reports whether files may be overwritten.
func (s *Stage) Force() bool { return s.force }

// Close takes the stage away.
func (s *Stage) Close() error {
	if err := os.RemoveAll(s.folder); err != nil {
		return fmt.Errorf("draft: %w", err)
	}
	return nil
}

// Install writes the draft's files and its configuration, or text where that is not nil, into the stage, checks them with config.Load
// together with the files that are beside the configuration already, and then moves them into place, the configuration last. The result
// are the warnings of the configuration; the error is a config.Errors, with the path that the configuration was to have, where it cannot
// be used. Where a file cannot be moved those before it stay.
func (s *Stage) Install(d *Draft, text []byte) ([]config.Warning, error) {
	if text == nil {
		text = d.TOML()
	}
	for _, f := range d.files {
		if f.Name != filepath.Base(f.Name) || strings.HasPrefix(f.Name, ".") || f.Name == filepath.Base(s.path) {
			return nil, fmt.Errorf("draft: %q cannot name a file beside the configuration", f.Name)
		}
		if _, err := os.Lstat(s.Beside(f.Name)); err == nil && !s.force {
			return nil, fmt.Errorf("draft: %s is %w", s.Beside(f.Name), ErrExists)
		}
		if err := s.write(f.Name, f.Data, f.Secret); err != nil {
			return nil, err
		}
	}
	base := filepath.Base(s.path)
	if err := s.write(base, text, false); err != nil {
		return nil, err
	}
	warnings, err := s.check(base, d)
	if err != nil {
		return nil, err
	}
	for _, f := range d.files {
		if err := s.move(f.Name); err != nil {
			return nil, err
		}
	}
	if err := s.move(base); err != nil {
		return nil, err
	}
	if f, err := os.Open(s.dir); err == nil { // have the names reach the disk, where the system has a way
		_ = f.Sync()
		_ = f.Close()
	}
	return warnings, nil
}

// check loads what is on the stage. Files that are beside the configuration already stand on it by links.
func (s *Stage) check(base string, d *Draft) ([]config.Warning, error) {
	present, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("draft: %w", err)
	}
	for _, e := range present {
		link := filepath.Join(s.folder, e.Name())
		if _, err := os.Lstat(link); err == nil || e.Name() == filepath.Base(s.folder) {
			continue
		}
		if err := os.Symlink(filepath.Join("..", e.Name()), link); err != nil {
			return nil, fmt.Errorf("draft: %w", err)
		}
	}
	c, err := config.Load(filepath.Join(s.folder, base))
	if errs, understood := errors.AsType[config.Errors](err); understood {
		for _, e := range errs {
			e.File = s.path
			e.Message = strings.ReplaceAll(e.Message, s.folder+string(filepath.Separator), s.dir+string(filepath.Separator))
		}
		return nil, errs
	}
	if err != nil {
		return nil, err
	}
	defer c.Wipe()
	return c.Warnings, nil
}

// write writes a file of the stage, one of its owner's alone where it is secret, and has it reach the disk.
func (s *Stage) write(name string, data []byte, secret bool) error {
	f, err := os.OpenFile(filepath.Join(s.folder, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("draft: %w", err)
	}
	if secret {
		err = permission.Protect(f)
	} else {
		err = f.Chmod(publicMode) // whatever the umask
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("draft: write %s: %w", s.Beside(name), err)
	}
	return nil
}

// move puts a file of the stage into place. Without force a file that has come there meanwhile stays.
func (s *Stage) move(name string) error {
	from, to := filepath.Join(s.folder, name), s.Beside(name)
	if s.force {
		if err := os.Rename(from, to); err != nil {
			return fmt.Errorf("draft: %w", err)
		}
		return nil
	}
	err := os.Link(from, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("draft: %s is %w", to, ErrExists)
	case err != nil:
		return fmt.Errorf("draft: %w", err)
	}
	return nil
}
