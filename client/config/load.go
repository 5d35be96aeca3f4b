package config

import (
	"bytes"
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

// byteOrderMark is what editors on Windows put before a text in UTF-8. It says nothing.
const byteOrderMark = "\ufeff"

// SecretReader returns the content of the secret file of that path.
type SecretReader func(path string) ([]byte, error)

// notOpened says why there is no configuration to be read, and what to do when there is none at all.
func notOpened(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("config: there is no configuration: %w; `mipvpn init` makes one, and docs/configuration.md or mipvpn.toml(5) says what belongs into it", err)
	}
	return fmt.Errorf("config: open the configuration: %w", err)
}

// Load reads the configuration file and the secrets in files that it names. Relative paths in it are relative to its directory.
// No program is run: in the places of secrets that programs print, and of credentials that only the daemon is given, stands something
// useless. The error is an Errors when the file could be read but not used.
func Load(path string) (*Config, error) { return LoadWith(path, nil) }

// LoadWith is Load for the daemon: run runs the programs that print secrets, and credentials must be there.
func LoadWith(path string, run Runner) (*Config, error) {
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
	c, err := parseWith(path, data, readReference(within, run),
		func(p string) ([]byte, error) { return readPublicFile(within(p)) }, func(p string) ([]byte, error) { return ReadPrivateFile(within(p)) })
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
	return parseWith(name, data, secrets, nil, nil)
}

// parseWith is Parse with readers for files that are no secrets, and for files of private keys, nil to leave them alone.
func parseWith(name string, data []byte, secrets, public, private SecretReader) (*Config, error) {
	r := &reader{file: name, config: defaults(), secrets: secrets, public: public, private: private}
	if len(data) > maxFile {
		r.fail("", fmt.Sprintf("the file is longer than %d octets", maxFile), "")
		return nil, r.errs
	}
	doc := map[string]any{}
	data, ok := r.decode(bytes.TrimPrefix(data, []byte(byteOrderMark)), &doc)
	if !ok {
		return nil, r.errs.sorted()
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
	private SecretReader
	errs    Errors
	// lost are the keys, with their tables, of lines that are no TOML.
	lost []string
}

// spoilt reports whether one of the keys has no value that could be compared with others, because it was not valid. A name that ends with '.' or
// '_' is the beginning of keys.
func (r *reader) spoilt(names ...string) bool {
	is := func(key string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return key == n || strings.HasPrefix(key, n) && strings.ContainsAny(n[len(n)-1:], "._")
		})
	}
	return slices.ContainsFunc(r.errs, func(e *Error) bool { return is(e.Key) }) || slices.ContainsFunc(r.lost, is)
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

// maxSyntax is how many lines that are no TOML are told at once.
const maxSyntax = 20

// decode decodes the document. A line that is no TOML by itself, or that gives a key a second time, is noted and left out, so that the
// mistakes behind it are told, too; ok is false where what is meant cannot be told any more. The document that is returned has as many
// lines as data.
func (r *reader) decode(data []byte, doc *map[string]any) (rest []byte, ok bool) {
	lines := strings.SplitAfter(string(data), "\n")
	for range maxSyntax {
		err := toml.Unmarshal([]byte(strings.Join(lines, "")), doc)
		if err == nil {
			return []byte(strings.Join(lines, "")), true
		}
		r.syntax(err)
		at := r.errs[len(r.errs)-1].Line
		if at == 0 || at > len(lines) {
			return nil, false
		}
		line := strings.TrimSpace(lines[at-1])
		key, _, assigns := strings.Cut(line, "=")
		alone := map[string]any{}
		whole := toml.Unmarshal([]byte(line), &alone) == nil
		if line == "" || line[0] == '[' || line[0] == '#' || whole && !(assigns && strings.Contains(err.Error(), "already defined")) {
			return nil, false
		}
		if !whole && assigns {
			r.lost = append(r.lost, joinKey(tableAt(lines, at-1), strings.TrimSpace(key)))
		}
		lines[at-1] = lineBreak(lines[at-1])
		*doc = map[string]any{}
	}
	return nil, false
}

// tableAt returns the name of the table in which a line stands.
func tableAt(lines []string, at int) string {
	for ; at >= 0; at-- {
		if name, ok := strings.CutPrefix(strings.TrimSpace(lines[at]), "["); ok {
			name, _, _ = strings.Cut(name, "]")
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// lineBreak returns the end of a line.
func lineBreak(line string) string {
	if strings.HasSuffix(line, "\n") {
		return "\n"
	}
	return ""
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

// schema checks the version of the file; with another one nothing else is worth looking at.
func (r *reader) schema() bool {
	switch v := r.doc["schema"].(type) {
	case int64:
		if v == Schema {
			return true
		}
		r.fail("schema", fmt.Sprintf("found %d, which this program does not read", v), "schema = 1")
	case nil:
		if !r.spoilt("schema") {
			r.fail("schema", "missing", "schema = 1 as the file's first key")
		}
		return true // what it would be in all likelihood: so the other mistakes are told, too
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
			if _, has := r.doc[table]; f.required && !instead && (has || !optional(table)) && !r.spoilt(f.key) && (f.unless == "" || !r.spoilt(joinKey(table, f.unless))) {
				r.fail(f.key, "missing", f.valid)
			}
			continue
		}
		if err := f.set.take(r.config, v); err != nil {
			r.fail(f.key, err.Error(), f.valid)
		}
	}
}
