package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// archive writes the files and folders below tree into a .tar.gz, under a folder, which is "." for none. Everything is root's and of
// that time, and comes in the order of names: what is the same makes the same octets.
func archive(file, tree, under string, when time.Time) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed := gzip.NewWriter(f)
	w := tar.NewWriter(packed)
	err = filepath.WalkDir(tree, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(tree, at)
		if err != nil {
			return err
		}
		name := path.Join(under, filepath.ToSlash(relative))
		if name == "." {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: when, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: info.Size()}
		if d.IsDir() {
			h.Name, h.Mode, h.Typeflag, h.Size = name+"/", 0o755, tar.TypeDir, 0
			return w.WriteHeader(h)
		}
		data, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	return errors.Join(err, w.Close(), packed.Close())
}
