package observetest

import (
	"strings"
	"testing"
)

var some = []Metric{{Name: "a_total", Labels: []string{"code"}}, {Name: "b_seconds"}, {Name: "h_seconds"}}

// TestExpression shows what is found in expressions: without that the checks of others would show nothing.
func TestExpression(t *testing.T) {
	for _, good := range []string{
		`b_seconds > 0`, `sum by (code) (rate(a_total{code=~"6|7"}[5m])) > 1`, `histogram_quantile(0.9, sum by (le) (rate(h_seconds_bucket[1h])))`,
		`b_seconds < 0.5 * (b_seconds offset 15m) and b_seconds > 2`, `up{job="x"} == 0`, `b_seconds{instance=~"$instance"}`,
	} {
		if err := Expression(good, some); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		`c_seconds > 0`, `sum by (mode) (a_total)`, `a_total{mode="c"}`, `rate(b_seconds[5m])`, `sum(a_total`, `a_total)`, `a_total{code="x}`, `1 + 1`,
		`a_total{code}`, `avreage(a_total)`, `[5m)`,
	} {
		if Expression(bad, some) == nil {
			t.Errorf("nothing was found in %s", bad)
		}
	}
}

// TestParseRules shows which files are refused.
func TestParseRules(t *testing.T) {
	const good = "groups:\n  - name: x\n    rules:\n      - alert: A\n        expr: b_seconds > 0\n        for: 1m\n        labels:\n          severity: info\n        annotations:\n          summary: s\n          description: \"`x` d\"\n"
	rules, err := ParseRules(good)
	if err != nil || len(rules) != 1 || rules[0] != (Rule{"A", "b_seconds > 0", "info", "s", "`x` d"}) {
		t.Fatalf("%+v, %v", rules, err)
	}
	for _, change := range [][2]string{{"severity: info", "severity: high"}, {"          summary: s\n", ""}, {"expr:", "exp:"}, {"summary: s", "summary: s: t"}, {"\"`x` d\"", "`x` d"},
		{"    rules:", "    rulez:"}, {"        for: 1m", "for 1m"}} {
		text := strings.Replace(good, change[0], change[1], 1)
		if rules, err := ParseRules(text); err == nil {
			t.Errorf("%q for %q is taken: %+v", change[1], change[0], rules)
		}
	}
}
