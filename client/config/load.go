package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile is the greatest length of a configuration in octets.
const maxFile = 64 << 10

// SecretReader returns the content of the secret file of that path.
type SecretReader func(path string) ([]byte, error)

// notOpened says why there is no configuration to be read, and what to do when there is none at all.
func notOpened(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("config: there is no configuration: %w; write one as docs/configuration.md or mipvpn.toml(5) says", err)
	}
	return fmt.Errorf("config: open the configuration: %w", err)
}

// Load reads the configuration file and the secrets that it names. Relative paths in it are relative to its directory.
// The error is an Errors when the file could be read but not used.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, notOpened(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: read the configuration: %w", err)
	}
	dir := filepath.Dir(path)
	within := func(p string) string {
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		return p
	}
	c, err := parseWith(path, data, func(p string) ([]byte, error) { return ReadSecretFile(within(p)) },
		func(p string) ([]byte, error) { return readPublicFile(within(p)) })
	if err != nil {
		return nil, err
	}
	c.Authentication.resolve(within)
	if path := c.Authentication.Certificate; path != "" {
		if own, err := readPublicFile(path); err == nil { // what is wrong with it shows when it is used
			c.Authentication.Digest = sha256.Sum256(own)
			clear(own)
		}
	}
	return c, nil
}

// maxPublic is the greatest length of a file of certificates or of a revocation list in octets.
const maxPublic = 16 << 20

// readPublicFile reads a file that holds no secret.
func readPublicFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPublic+1))
	if err == nil && len(data) > maxPublic {
		err = fmt.Errorf("%s is longer than %d octets", path, maxPublic)
	}
	return data, err
}

// resolve makes the paths that are read later independent of the working directory.
func (a *Authentication) resolve(within func(string) string) {
	if a.Certificate != "" {
		a.Certificate = within(a.Certificate)
	}
	if a.Key != "" && !strings.HasPrefix(a.Key, "pkcs11:") && !strings.HasPrefix(a.Key, "tpm2:") {
		a.Key = within(a.Key)
	}
	for _, s := range []*SecretSource{&a.PIN, &a.Password} {
		if strings.HasPrefix(string(*s), SourceFile) {
			*s = SourceFile + SecretSource(within(s.Path()))
		}
	}
}

// Parse reads a configuration from data, which it borrows; name is what errors call the file. Secrets come from the
// reader, by the paths as they stand in the configuration; the files of [trust] are left alone. The error is an Errors.
func Parse(name string, data []byte, secrets SecretReader) (*Config, error) {
	return parseWith(name, data, secrets, nil)
}

// parseWith is Parse with a reader for files that are no secrets, nil to leave them alone.
func parseWith(name string, data []byte, secrets, public SecretReader) (*Config, error) {
	r := &reader{file: name, config: defaults(), secrets: secrets, public: public}
	if len(data) > maxFile {
		r.fail("", fmt.Sprintf("the file is longer than %d octets", maxFile), "")
		return nil, r.errs
	}
	doc := map[string]any{}
	if err := toml.Unmarshal(data, &doc); err != nil {
		r.syntax(err)
		return nil, r.errs
	}
	r.lines = positions(data)
	r.doc = doc
	r.unknown("", doc)
	if r.schema() {
		r.values()
		r.across()
	}
	if len(r.errs) > 0 {
		r.config.Wipe()
		return nil, r.errs.sorted()
	}
	return r.config, nil
}

// reader is one run of Parse.
type reader struct {
	file    string
	doc     map[string]any
	lines   map[string]position
	config  *Config
	secrets SecretReader
	public  SecretReader
	errs    Errors
}

// fail notes an error at the key.
func (r *reader) fail(key, message, valid string) {
	at := r.where(key)
	r.errs = append(r.errs, &Error{File: r.file, Line: at.line, Column: at.column, Key: key, Message: message, Valid: valid})
}

// warn notes a warning at the key.
func (r *reader) warn(key, message string) {
	r.config.Warnings = append(r.config.Warnings, Warning{Key: key, Line: r.where(key).line, Message: message})
}

// where returns the position of the key, or of the table that it would stand in.
func (r *reader) where(key string) position {
	for {
		if at, ok := r.lines[key]; ok {
			return at
		}
		table, _ := splitKey(key)
		if table == "" {
			return position{}
		}
		key = table
	}
}

// syntax notes an error of the TOML decoder.
func (r *reader) syntax(err error) {
	e := &Error{File: r.file, Message: err.Error(), Valid: "TOML 1.0"}
	var d *toml.DecodeError
	if errors.As(err, &d) {
		e.Line, e.Column = d.Position()
		e.Message = "not TOML: " + trimPrefix(d.Error())
	}
	r.errs = append(r.errs, e)
}

// schema checks the version of the file; without the right one nothing else is worth looking at.
func (r *reader) schema() bool {
	switch v := r.doc["schema"].(type) {
	case int64:
		if v == Schema {
			return true
		}
		r.fail("schema", fmt.Sprintf("found %d, which this program does not read", v), "schema = 1")
	case nil:
		r.fail("schema", "missing", "schema = 1 as the file's first key")
	default:
		r.fail("schema", "found "+describe(v), "schema = 1")
	}
	return false
}

// unknown notes each key of the table that no field has.
func (r *reader) unknown(table string, t map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(t)) {
		key := joinKey(table, k)
		if key == "schema" || fieldOf(key) != nil {
			continue
		}
		sub, isTable := t[k].(map[string]any)
		switch {
		case table == "" && slices.Contains(tables(), key):
			if isTable {
				r.unknown(key, sub)
			} else {
				r.fail(key, "found "+describe(t[k]), "a table: ["+key+"] on a line of its own")
			}
		case isTable && table == "":
			r.fail(key, "unknown table"+suggest(key, tables()), "one of the tables "+list(tables()))
		default:
			r.fail(key, "unknown key"+suggest(key, keys()), "one of "+list(keysOf(table)))
		}
	}
}

// values gives every field its value.
func (r *reader) values() {
	for i := range fields {
		f := &fields[i]
		table, k := splitKey(f.key)
		t := r.doc
		if table != "" {
			v, there := r.doc[table]
			sub, ok := v.(map[string]any)
			if there && !ok {
				continue // noted by unknown
			}
			t = sub
		}
		v, there := t[k]
		if !there {
			_, instead := t[f.unless]
			if _, has := r.doc[table]; f.required && !instead && (has || !optional(table)) {
				r.fail(f.key, "missing", f.valid)
			}
			continue
		}
		if err := f.set.take(r.config, v); err != nil {
			r.fail(f.key, err.Error(), f.valid)
		}
	}
}
