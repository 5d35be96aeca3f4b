package draft

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mipvpn/client/config"
)

// File is a file that belongs beside the configuration.
type File struct {
	// Name is its name, without a folder.
	Name string
	// Data is what is in it. Secret says that nobody but its owner may read it.
	Data   []byte
	Secret bool
}

// Draft is a configuration in the making. The zero value is an empty one.
type Draft struct {
	values map[string]any
	files  []File
}

// Set sets a key, such as "gateway.address", to a string, an int64, a bool or a []string. The error is that of config.CheckValue.
func (d *Draft) Set(key string, value any) error {
	if texts, ok := value.([]string); ok {
		list := make([]any, len(texts))
		for i, t := range texts {
			list[i] = t
		}
		value = list
	}
	if err := config.CheckValue(key, value); err != nil {
		return err
	}
	if d.values == nil {
		d.values = map[string]any{}
	}
	d.values[key] = value
	return nil
}

// SetText sets a key to what a person has typed: a text as it is, a number, true or false, or the texts of a list with commas or blanks
// between them.
func (d *Draft) SetText(key, text string) error {
	k, err := config.KeyNamed(key)
	if err != nil {
		return err
	}
	text = strings.TrimSpace(text)
	var value any = text
	switch k.Type {
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err == nil {
			value = n
		}
	case "boolean":
		switch strings.ToLower(text) {
		case "true", "yes", "y":
			value = true
		case "false", "no", "n":
			value = false
		}
	case "array":
		value = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	}
	return d.Set(key, value)
}

// SetTOML sets a key to a value as it is written in TOML, such as `"60s"` or `["eth0"]`.
func (d *Draft) SetTOML(key, value string) error {
	k, err := config.KeyNamed(key)
	if err != nil {
		return err
	}
	doc := map[string]any{}
	if err := toml.Unmarshal([]byte("x = "+value), &doc); err != nil || len(doc) != 1 {
		return &config.Error{Key: key, Message: "the value is not TOML", Valid: k.Valid}
	}
	return d.Set(key, doc["x"])
}

// Unset takes a key out.
func (d *Draft) Unset(key string) { delete(d.values, key) }

// Has reports whether the key is set.
func (d *Draft) Has(key string) bool { _, ok := d.values[key]; return ok }

// Text returns the text that a key is set to, empty where it is not or is no text.
func (d *Draft) Text(key string) string { s, _ := d.values[key].(string); return s }

// Texts returns the list of texts that a key is set to.
func (d *Draft) Texts(key string) []string {
	list, _ := d.values[key].([]any)
	var texts []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// HasTable reports whether a key of the table is set.
func (d *Draft) HasTable(table string) bool {
	for key := range d.values {
		if strings.HasPrefix(key, table+".") {
			return true
		}
	}
	return false
}

// Add puts a file beside the configuration, in the place of one of that name. The draft owns its data from then on.
func (d *Draft) Add(f File) {
	if i := slices.IndexFunc(d.files, func(o File) bool { return o.Name == f.Name }); i >= 0 {
		clear(d.files[i].Data)
		d.files[i] = f
		return
	}
	d.files = append(d.files, f)
}

// Files returns the files, which stay the draft's.
func (d *Draft) Files() []File { return d.files }

// Prefix puts a prefix before the names of the draft's files, in the values that name them, too, so that the files of several configurations
// can be in one folder.
func (d *Draft) Prefix(prefix string) {
	names := map[string]string{}
	for i := range d.files {
		f := &d.files[i]
		names[f.Name] = prefix + f.Name
		f.Name = prefix + f.Name
	}
	renamed := func(v any) any {
		s, _ := v.(string)
		path, isSource := strings.CutPrefix(s, config.SourceFile)
		name, ok := names[path]
		switch {
		case !ok:
			return v
		case isSource:
			return config.SourceFile + name
		}
		return name
	}
	for key, v := range d.values {
		if list, ok := v.([]any); ok {
			list = slices.Clone(list)
			for i := range list {
				list[i] = renamed(list[i])
			}
			d.values[key] = list
			continue
		}
		d.values[key] = renamed(v)
	}
}

// PrefixOf returns the prefix for the files beside a configuration of that path: none for mipvpn.toml, "home." for home.toml.
func PrefixOf(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".toml")
	if name == strings.TrimSuffix(filepath.Base(config.DefaultPath), ".toml") {
		return ""
	}
	return name + "."
}

// Merge takes over what another draft has set, and its files.
func (d *Draft) Merge(o *Draft) {
	if d.values == nil {
		d.values = map[string]any{}
	}
	maps.Copy(d.values, o.values)
	for _, f := range o.files {
		d.Add(f)
	}
}

// Wipe clears the files' secrets.
func (d *Draft) Wipe() {
	for _, f := range d.files {
		if f.Secret {
			clear(f.Data)
		}
	}
}

// Check says what is wrong with the draft as a whole, as config.Errors; what is in files is not looked at.
func (d *Draft) Check() error { return config.CheckText("", d.TOML()) }

// TOML returns the whole configuration, each key with what it is for.
func (d *Draft) TOML() []byte {
	var b bytes.Buffer
	b.WriteString(config.SchemaLine + "\n")
	b.WriteString("# Configuration of mipvpn, written by `mipvpn init`. Every other key has its default: see mipvpn.toml(5).\n")
	b.WriteString("# After a change: `mipvpn config check`. Secrets are in files of their own, which only their owner may read (0600).\n")
	fmt.Fprintf(&b, "schema = %d\n", config.Schema)
	d.write(&b, append([]string{""}, config.Tables()...))
	return b.Bytes()
}

// Part returns some tables alone, each with what its keys are for.
func (d *Draft) Part(tables ...string) []byte {
	var b bytes.Buffer
	d.write(&b, tables)
	return bytes.TrimPrefix(b.Bytes(), []byte("\n"))
}

// titles says what each table is about.
var titles = map[string]string{
	"enterprise":          "What belongs to the company: this goes through mipvpn, and nowhere else.",
	"internal_home_agent": "The i-HA, inside. Its authenticated reply is what proves being inside.",
	"external_home_agent": "The x-HA, reachable from everywhere.",
	"gateway":             "The VPN gateway.",
	"authentication":      "How laptop and gateway prove who they are.",
	"trust":               "Whose certificates are trusted.",
	"dns":                 "The company's names.",
	"detection":           "How inside and outside are told apart.",
}

// write writes tables, the keys of each in the order of the reference; "" is the top of the file.
func (d *Draft) write(b *bytes.Buffer, tables []string) {
	for _, table := range tables {
		begun := table == ""
		for _, k := range config.Keys() {
			value, set := d.values[k.Name]
			if !set || k.Table() != table {
				continue
			}
			if !begun {
				begun = true
				b.WriteString("\n")
				if title := titles[table]; title != "" {
					b.WriteString("# " + title + "\n")
				}
				b.WriteString("[" + table + "]\n")
			}
			for _, line := range wrapped(k.About, 110) {
				b.WriteString("# " + line + "\n")
			}
			b.WriteString(k.Last() + " = " + literal(value) + "\n")
		}
	}
}

// wrapped breaks a text into lines of at most that many octets, where it has blanks.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// literal writes a value in TOML.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		return quoted(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = literal(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(value) // an int64 or a bool
}

// quoted writes a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default: // what is no UTF-8 becomes U+FFFD
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
