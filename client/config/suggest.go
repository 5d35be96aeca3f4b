package config

import (
	"slices"
	"strings"
)

// suggest returns `, did you mean "x"?` when one of the known keys is close to key, else nothing. A known key with the
// same last part in another table counts as close.
func suggest(key string, known []string) string {
	_, last := splitKey(key)
	best, least := "", max(2, len(last)/3)+1
	for _, k := range known {
		table, l := splitKey(k)
		d := distance(key, k)
		if wanted, _ := splitKey(key); table == wanted {
			d = distance(last, l)
		} else if last == l {
			d = 1
		}
		if d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return `, did you mean "` + best + `"?`
}

// distance returns the number of octets to insert, delete or replace to make b of a; a large number for long keys.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 1000
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// list writes names with commas and a last "or".
func list(names []string) string {
	names = slices.Clone(names)
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func trimPrefix(s string) string { return strings.TrimPrefix(s, "toml: ") }
