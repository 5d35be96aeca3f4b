package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is where a key stands, counted from 1; 0 for nowhere.
type position struct{ line, column int }

// positions finds the first place of every table and key of a TOML document that has been decoded without error. Keys are
// joined by dots.
func positions(data []byte) map[string]position {
	found := map[string]position{}
	var starts []int // offsets of the lines
	for i, c := range append([]byte{'\n'}, data...) {
		if c == '\n' {
			starts = append(starts, i)
		}
	}
	at := func(offset int) position {
		line, exact := slices.BinarySearch(starts, offset)
		if !exact {
			line--
		}
		return position{line + 1, offset - starts[line] + 1}
	}
	note := func(table string, it unstable.Iterator) string {
		key := table
		for it.Next() {
			n := it.Node()
			key = joinKey(key, string(n.Data))
			if _, ok := found[key]; !ok {
				found[key] = at(int(n.Raw.Offset))
			}
		}
		return key
	}
	var inside func(table string, n *unstable.Node)
	inside = func(table string, n *unstable.Node) {
		if n.Kind != unstable.InlineTable {
			return
		}
		for it := n.Children(); it.Next(); {
			if c := it.Node(); c.Kind == unstable.KeyValue {
				inside(note(table, c.Key()), c.Value())
			}
		}
	}
	p := unstable.Parser{}
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = note("", e.Key())
		case unstable.KeyValue:
			inside(note(table, e.Key()), e.Value())
		}
	}
	return found
}

// joinKey returns table.key, or key in no table.
func joinKey(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// splitKey takes the last part off a key.
func splitKey(key string) (table, last string) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return "", key
	}
	return key[:i], key[i+1:]
}
