package strongswan

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The bounds of what is read, so that no file can keep the program busy for long.
const (
	maxDepth    = 16
	maxFiles    = 64
	maxSections = 4096
	maxShown    = 80 // octets of a text in an error
)

// setting is a key with its value.
type setting struct {
	key, value string
	// used says that something has been made of it.
	used bool
}

// section is a section with all that belongs to it.
type section struct {
	name     string
	settings []*setting
	sections []*section
	// bases are the sections that it refers to, by their names from the root with dots between.
	bases []string
	used  bool
}

// value returns the value of a key and marks it as used. An empty one is none: that is how a section does away with what it inherits.
func (s *section) value(key string) (string, bool) {
	for _, t := range s.settings {
		if t.key == key {
			t.used = true
			return t.value, t.value != ""
		}
	}
	return "", false
}

// text returns the value of a key, empty for none.
func (s *section) text(key string) string {
	v, _ := s.value(key)
	return v
}

// child returns the section of that name below s, nil for none.
func (s *section) child(name string) *section {
	if i := slices.IndexFunc(s.sections, func(c *section) bool { return c.name == name }); i >= 0 {
		return s.sections[i]
	}
	return nil
}

// beginning returns the sections below s whose names begin so, in their order, and marks them as used.
func (s *section) beginning(prefixes ...string) []*section {
	if s == nil {
		return nil
	}
	var found []*section
	for _, c := range s.sections {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.name, p) }) {
			c.used = true
			found = append(found, c)
		}
	}
	return found
}

// put sets a key; a later one takes the place of an earlier one.
func (s *section) put(key, value string) {
	for _, t := range s.settings {
		if t.key == key {
			t.value = value
			return
		}
	}
	s.settings = append(s.settings, &setting{key: key, value: value})
}

// open returns the section of that name below s, made if there is none.
func (s *section) open(name string) *section {
	if c := s.child(name); c != nil {
		return c
	}
	c := &section{name: name}
	s.sections = append(s.sections, c)
	return c
}

// loader reads settings from files.
type loader struct {
	system fs.FS
	// dir is the absolute path of the file system's root.
	dir            string
	files, counted int
	remarks        []Remark
}

// load reads a file into a section.
func (l *loader) load(name string, into *section, depth int) error {
	if l.files++; l.files > maxFiles || depth > maxDepth {
		return fmt.Errorf("%w: %s is included too often or too deep", ErrFormat, name)
	}
	data, err := readFile(l.system, name)
	if err != nil {
		return err
	}
	defer clear(data)
	p := &parser{loader: l, name: name, text: data, line: 1, depth: depth}
	return p.settings(into, 0)
}

// include reads the files that a pattern names.
func (l *loader) include(from, pattern string, into *section, depth int) error {
	name, ok := l.within(path.Dir(from), pattern)
	if !ok {
		l.remarks = append(l.remarks, Remark{"include " + pattern, "not followed, because it leads out of " + l.dir + ": put what it has below that"})
		return nil
	}
	found, err := fs.Glob(l.system, name)
	if err != nil {
		return fmt.Errorf("%w: include %s: %w", ErrFormat, pattern, err)
	}
	if len(found) == 0 && !strings.ContainsAny(name, "*?[") {
		l.remarks = append(l.remarks, Remark{"include " + pattern, "not followed: there is no such file below " + l.dir})
	}
	for _, f := range found {
		if err := l.load(f, into, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// within returns the path in the file system of one that stands in a file of a folder, and whether it is in there.
func (l *loader) within(folder, name string) (string, bool) {
	if path.IsAbs(name) {
		rest, ok := strings.CutPrefix(path.Clean(name), strings.TrimSuffix(l.dir, "/")+"/")
		return rest, ok && fs.ValidPath(rest)
	}
	name = path.Join(folder, name)
	return name, fs.ValidPath(name)
}

// parser reads the settings of one file.
type parser struct {
	*loader
	name     string
	text     []byte
	at, line int
	depth    int
}

func (p *parser) fail(format string, values ...any) error {
	for i, v := range values {
		if text, ok := v.(string); ok && len(text) > maxShown {
			values[i] = strings.ToValidUTF8(text[:maxShown], "") + "…"
		}
	}
	return fmt.Errorf("%w: %s:%d: %s", ErrFormat, p.name, p.line, fmt.Sprintf(format, values...))
}

// skip passes over blanks and comments, and over ends of lines too where they are not wanted.
func (p *parser) skip(lines bool) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == ' ' || c == '\t' || c == '\r':
		case c == '\n' && lines:
			p.line++
		case c == '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
			continue
		default:
			return
		}
		p.at++
	}
}

// next returns the next octet, 0 at the end.
func (p *parser) next() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// settings reads what is in a section, up to its closing brace, or in the file.
func (p *parser) settings(into *section, depth int) error {
	for {
		p.skip(true)
		switch {
		case p.at == len(p.text) && depth == 0:
			return nil
		case p.at == len(p.text):
			return p.fail("the section %s has no end: a } is missing", into.name)
		case p.next() == '}' && depth > 0:
			p.at++
			return nil
		}
		if err := p.entry(into, depth); err != nil {
			return err
		}
	}
}

// entry reads an include, a setting or a section.
func (p *parser) entry(into *section, depth int) error {
	name := p.word()
	if name == "" {
		return p.fail("found %q where a key or a section's name belongs", p.next())
	}
	p.skip(false)
	if name == "include" && !strings.ContainsRune("={:\n", rune(p.next())) {
		value, err := p.value()
		if err != nil {
			return err
		}
		return p.include(p.name, value, into, p.depth)
	}
	p.skip(true)
	switch p.next() {
	case '=':
		p.at++
		value, err := p.value()
		if err != nil {
			return err
		}
		into.put(name, value)
		return nil
	case '{', ':':
	default:
		return p.fail("%s is followed by neither = nor {", name)
	}
	if p.counted++; p.counted > maxSections || depth >= maxDepth {
		return p.fail("there are too many sections, or too deep ones")
	}
	s := into.open(name)
	if p.next() == ':' {
		p.at++
		for {
			p.skip(true)
			base := p.word()
			if base == "" {
				return p.fail("%s refers to nothing", name)
			}
			s.bases = append(s.bases, base)
			p.skip(true)
			if p.next() != ',' {
				break
			}
			p.at++
		}
	}
	if p.next() != '{' {
		return p.fail("%s is followed by no {", name)
	}
	p.at++
	return p.settings(s, depth+1)
}

// word reads the name of a key or section.
func (p *parser) word() string {
	begin := p.at
	for p.at < len(p.text) && !strings.ContainsRune("{}=:,\"# \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
	return string(p.text[begin:p.at])
}

// value reads a value up to the end of the line or section: parts with blanks between, some of them quoted.
func (p *parser) value() (string, error) {
	var parts []string
	for {
		p.skip(false)
		switch p.next() {
		case 0:
			if p.at < len(p.text) {
				return "", p.fail("found an octet 0")
			}
			return strings.Join(parts, " "), nil
		case '\n', '}':
			return strings.Join(parts, " "), nil
		case '"':
			part, err := p.quoted()
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		default:
			begin := p.at
			for p.at < len(p.text) && !strings.ContainsRune("}\"# \t\r\n\x00", rune(p.text[p.at])) {
				p.at++
			}
			parts = append(parts, string(p.text[begin:p.at]))
		}
	}
}

// escapes are what stands for something else behind a backslash.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f'}

// quoted reads a quoted text, which may go over several lines.
func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return b.String(), nil
		case '\\':
			if p.at++; p.at == len(p.text) {
				continue
			}
			c = p.text[p.at]
			if e, ok := escapes[c]; ok {
				c = e
			}
			if c != '\n' || p.text[p.at] != '\n' { // a line break behind a backslash is none
				b.WriteByte(c)
			} else {
				p.line++
			}
		case '\n':
			p.line++
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail("a quoted text has no end")
}

// resolve returns a copy of a section with what it inherits: its own settings count before those of the first section that it refers to, and so on.
func (l *loader) resolve(root, s *section, depth int) (*section, error) {
	out := &section{name: s.name}
	if err := l.inherit(root, s, out, depth); err != nil {
		return nil, err
	}
	return out, nil
}

// inherit adds to out what s has, and what it inherits, and out does not have yet.
func (l *loader) inherit(root, s, out *section, depth int) error {
	if l.counted++; l.counted > 4*maxSections || depth > 2*maxDepth {
		return fmt.Errorf("%w: the section %s refers to others too deep, or to itself", ErrFormat, s.name)
	}
	for _, t := range s.settings {
		if !slices.ContainsFunc(out.settings, func(o *setting) bool { return o.key == t.key }) {
			out.settings = append(out.settings, &setting{key: t.key, value: t.value})
		}
	}
	for _, c := range s.sections {
		if err := l.inherit(root, c, out.open(c.name), depth+1); err != nil {
			return err
		}
	}
	for _, name := range s.bases {
		base := root
		for part := range strings.SplitSeq(name, ".") {
			if base = base.child(part); base == nil {
				return fmt.Errorf("%w: the section %s refers to %s, which is not there", ErrFormat, s.name, name)
			}
			base.used = true
		}
		if err := l.inherit(root, base, out, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// unused adds a remark for each setting that nothing was made of.
func (r *Result) unused(prefix string, s *section, reasons map[string]string) {
	for _, t := range s.settings {
		if t.used || t.value == "" || slices.Contains(usual[t.key], t.value) {
			continue
		}
		reason, known := reasons[t.key]
		switch {
		case known && reason == "":
		case known:
			r.remark(prefix+"."+t.key, "%s", reason)
		default:
			r.remark(prefix+"."+t.key, "not carried over: mipvpn has nothing like it")
		}
	}
	for _, c := range s.sections {
		if !c.used {
			r.remark(prefix+"."+c.name, "not carried over: mipvpn has nothing like it")
		}
	}
}
