package housetest

import (
	"bufio"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tests column of docs/conformance.md")

const conformanceFile = "../../docs/conformance.md"

var (
	requirement = regexp.MustCompile(`\b(?:MOD|DET|MIP|AGT|IKE|MEC|GDL|HST)-[A-Za-z0-9]+\b`)
	testFunc    = regexp.MustCompile(`^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	states      = []string{"shown", "partly", "open", "not wanted"}
)

// shows returns, by requirement, the tests whose comments say that they show it: a comment in front of a test belongs to
// the next one, a comment inside to the one around it.
func shows(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string]map[string]bool)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/scripts/housetest/") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../../"))
		var waiting []string
		current := ""
		for line := range strings.Lines(string(src)) {
			if m := testFunc.FindStringSubmatch(line); m != nil {
				current = pkg + " " + m[1]
				for _, id := range waiting {
					note(found, id, current)
				}
				waiting = nil
			}
			_, tail, tagged := strings.Cut(line, "// Shows:")
			if !tagged {
				continue
			}
			tail, _, _ = strings.Cut(tail, "(") // what follows in parentheses is prose
			for _, id := range requirement.FindAllString(tail, -1) {
				if strings.HasPrefix(line, "//") || current == "" {
					waiting = append(waiting, id)
				} else {
					note(found, id, current)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]string)
	for id, tests := range found {
		out[id] = slices.Sorted(maps.Keys(tests))
	}
	return out
}

func note(found map[string]map[string]bool, id, test string) {
	if found[id] == nil {
		found[id] = make(map[string]bool)
	}
	found[id][test] = true
}

// most is how many tests a row names; the others are found by their comments.
const most = 6

// cell writes the tests of a row, those of the whole system first.
func cell(tests []string) string {
	tests = slices.Clone(tests)
	slices.SortStableFunc(tests, func(a, b string) int {
		return strings.Compare(fmt.Sprint(!strings.HasPrefix(a, "client/e2e ")), fmt.Sprint(!strings.HasPrefix(b, "client/e2e ")))
	})
	rest := ""
	if len(tests) > most {
		rest = fmt.Sprintf(", and %d more", len(tests)-most)
		tests = tests[:most]
	}
	for i, name := range tests {
		tests[i] = "`" + name + "`"
	}
	return strings.Join(tests, ", ") + rest
}

// docs/conformance.md gives each requirement a state, and the tests that show it are those that say so.
func TestConformanceIsTrue(t *testing.T) {
	shown := shows(t)
	f, err := os.Open(conformanceFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	listed := make(map[string]bool)
	stale := false
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		cols := strings.Split(line, "|")
		if len(cols) != 6 || !requirement.MatchString(cols[1]) {
			out = append(out, line)
			continue
		}
		id, state := strings.TrimSpace(cols[1]), strings.TrimSpace(cols[2])
		if listed[id] {
			t.Errorf("line %d: %s stands there twice", n, id)
		}
		listed[id] = true
		if !slices.Contains(states, state) {
			t.Errorf("line %d: %s has the state %q, one of %q is expected", n, id, state, states)
		}
		if state == "shown" && len(shown[id]) == 0 {
			t.Errorf("line %d: %s is called shown, and no test says so", n, id)
		}
		want := cell(shown[id])
		if strings.TrimSpace(cols[4]) != want {
			stale = true
		}
		out = append(out, fmt.Sprintf("| %s | %s | %s | %s |", id, state, strings.TrimSpace(cols[3]), want))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range slices.Sorted(maps.Keys(shown)) {
		if !listed[id] {
			t.Errorf("%s is shown by %s and not listed", id, shown[id][0])
		}
	}
	switch {
	case *update:
		if err := os.WriteFile(conformanceFile, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	case stale:
		t.Error("the tests column is out of date: go test ./scripts/housetest -run Conformance -update")
	}
}
