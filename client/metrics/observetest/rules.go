package observetest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Rule is one rule for an alert.
type Rule struct {
	// Alert is its name, Expr the expression.
	Alert, Expr string
	// Severity, Summary and Description are for people.
	Severity, Summary, Description string
}

// line is one line of a rule file.
var line = regexp.MustCompile(`^( *)(- )?([a-z]+):(?: (.+))?$`)

// ParseRules reads a rule file: groups with a name and rules, each of them alerts, in the form that those here have.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	for n, l := range strings.Split(text, "\n") {
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			return nil, fmt.Errorf("line %d: found %q, expected a key", n+1, l)
		}
		key, value := fmt.Sprintf("%d%s%s", len(m[1]), m[2], m[3]), m[4]
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.TrimSuffix(quoted, `"`)
		} else if strings.HasPrefix(value, "`") || key != "8expr" && strings.Contains(value, ": ") {
			return nil, fmt.Errorf("line %d: %q is to be in quotes", n+1, value)
		}
		if key == "6- alert" {
			rules = append(rules, Rule{Alert: value})
			continue
		}
		if len(rules) == 0 {
			if !slices.Contains([]string{"0groups", "2- name", "4rules"}, key) {
				return nil, fmt.Errorf("line %d: %q is not expected before the first rule", n+1, l)
			}
			continue
		}
		r := &rules[len(rules)-1]
		into := map[string]*string{"8expr": &r.Expr, "10severity": &r.Severity, "10summary": &r.Summary, "10description": &r.Description, "8for": new(string)}[key]
		switch {
		case key == "8labels" || key == "8annotations":
		case into == nil:
			return nil, fmt.Errorf("line %d: %q is not expected in a rule", n+1, l)
		default:
			*into = value
		}
	}
	for _, r := range rules {
		if r.Expr == "" || r.Summary == "" || r.Description == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Severity) {
			return nil, fmt.Errorf("rule %s: expected expr, severity (critical, warning or info), summary and description, found %+v", r.Alert, r)
		}
	}
	return rules, nil
}

// Rules checks a rule file against the metrics that there are, and has promtool check it where that is installed.
func Rules(t testing.TB, path string, metrics []Metric) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules(string(text))
	if err != nil || len(rules) == 0 {
		t.Fatalf("%s: %d rules, %v", path, len(rules), err)
	}
	seen := make(map[string]bool)
	for _, r := range rules {
		if seen[r.Alert] {
			t.Errorf("%s: two rules %s", path, r.Alert)
		}
		seen[r.Alert] = true
		if err := Expression(r.Expr, metrics); err != nil {
			t.Errorf("%s: %s: %v", path, r.Alert, err)
		}
	}
	if tool, err := exec.LookPath("promtool"); err == nil {
		if out, err := exec.Command(tool, "check", "rules", path).CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}

// dashboard is what is read of a Grafana dashboard.
type dashboard struct {
	Title  string `json:"title"`
	Panels []struct {
		Title   string `json:"title"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

// Dashboard checks a Grafana dashboard against the metrics that there are. Every metric that is described stands in one of the panels,
// but those in except.
func Dashboard(t testing.TB, path string, metrics []Metric, except ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil || d.Title == "" || len(d.Panels) == 0 {
		t.Fatalf("%s: %q with %d panels, %v", path, d.Title, len(d.Panels), err)
	}
	shown := strings.Builder{}
	for _, p := range d.Panels {
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("%s: panel %q has %d targets", path, p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			shown.WriteString(target.Expr + "\n")
			if err := Expression(target.Expr, metrics); err != nil {
				t.Errorf("%s: %s: %v", path, p.Title, err)
			}
		}
	}
	for _, m := range metrics {
		if !slices.Contains(except, m.Name) && !strings.Contains(shown.String(), m.Name) {
			t.Errorf("%s does not show %s", path, m.Name)
		}
	}
	asked := regexp.MustCompile(`label_values\(([a-z_]+), [a-z_]+\)`)
	for _, v := range d.Templating.List {
		if m := asked.FindSubmatch(v.Query); m != nil {
			if _, ok := find(metrics, string(m[1])); !ok {
				t.Errorf("%s: a variable asks for %s, which there is not", path, m[1])
			}
		}
	}
}
