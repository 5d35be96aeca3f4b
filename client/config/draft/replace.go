package draft

import (
	"slices"
	"strings"
)

// Replace returns a configuration with other tables in the place of those of the same names: where the first of them stood, or at the end.
// It looks at lines alone: a table that is written otherwise than by a header stays, and config.Parse will refuse it as there twice.
func (d *Draft) Replace(text []byte, tables ...string) []byte {
	part := string(d.Part(tables...))
	var out []string
	at, inside := -1, false
	for line := range strings.Lines(string(text)) {
		if name, ok := header(line); ok {
			inside = slices.Contains(tables, name)
			if inside {
				if last := len(out) - 1; last >= 0 && strings.TrimSpace(out[last]) == "# "+titles[name] {
					out = out[:last]
				}
				if at < 0 {
					at = len(out)
				}
			}
		}
		if !inside {
			out = append(out, line)
		}
	}
	if at < 0 {
		at = len(out)
	}
	before, after := strings.Join(out[:min(at, len(out))], ""), strings.Join(out[min(at, len(out)):], "")
	if before != "" && !strings.HasSuffix(before, "\n") {
		before += "\n"
	}
	if before != "" && !strings.HasSuffix(before, "\n\n") {
		before += "\n"
	}
	if after != "" {
		part += "\n"
	}
	return []byte(before + part + after)
}

// header returns the name of the table that a line begins.
func header(line string) (string, bool) {
	line, ok := strings.CutPrefix(strings.TrimSpace(line), "[")
	if !ok {
		return "", false
	}
	name, rest, ok := strings.Cut(line, "]")
	rest = strings.TrimSpace(rest)
	return strings.TrimSpace(name), ok && (rest == "" || strings.HasPrefix(rest, "#"))
}
