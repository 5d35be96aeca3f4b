package observetest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	texts    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`^\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*""\s*$`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	rates    = regexp.MustCompile(`\b(rate|increase)\s*\(\s*([a-zA-Z_:][a-zA-Z0-9_:]*)`)
	lengths  = regexp.MustCompile(`\[\d+[smhd]\]`)
	words    = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	numbers  = regexp.MustCompile(`\b\d+(?:\.\d+)?[smhd]?\b`)
)

// functions are the words of the query language that expressions here use.
var functions = []string{"sum", "min", "max", "count", "rate", "increase", "histogram_quantile", "by", "without", "and", "or", "unless", "offset", "on", "ignoring"}

// Expression checks an expression of Prometheus' query language: each name in it is a metric or one of functions, each label one of its
// metrics', rates are those of counters, and brackets match.
func Expression(expr string, metrics []Metric) error {
	bare := texts.ReplaceAllString(expr, `""`)
	if strings.Contains(strings.ReplaceAll(bare, `""`, ""), `"`) {
		return fmt.Errorf("%s: a quote has no other", expr)
	}
	if err := balanced(bare); err != nil {
		return fmt.Errorf("%s: %w", expr, err)
	}
	for _, m := range selector.FindAllStringSubmatch(bare, -1) {
		metric, ok := find(metrics, m[1])
		if !ok {
			return fmt.Errorf("%s: there is no metric %s", expr, m[1])
		}
		for part := range strings.SplitSeq(m[2], ",") {
			l := matcher.FindStringSubmatch(part)
			if l == nil || !slices.Contains(metric.Labels, l[1]) && !slices.Contains(always, l[1]) {
				return fmt.Errorf("%s: %s has labels %v, found %q", expr, m[1], metric.Labels, part)
			}
		}
	}
	for _, m := range rates.FindAllStringSubmatch(bare, -1) {
		if !slices.ContainsFunc([]string{"_total", "_bucket", "_sum", "_count"}, func(s string) bool { return strings.HasSuffix(m[2], s) }) {
			return fmt.Errorf("%s: %s of %s, which is no counter", expr, m[1], m[2])
		}
	}
	labels := slices.Clone(always)
	rest := lengths.ReplaceAllString(selector.ReplaceAllString(bare, "$1"), "")
	groups := grouping.FindAllStringSubmatch(rest, -1)
	rest = numbers.ReplaceAllString(grouping.ReplaceAllString(rest, ""), "")
	named := 0
	for _, w := range words.FindAllString(rest, -1) {
		if slices.Contains(functions, w) {
			continue
		}
		metric, ok := find(metrics, w)
		if !ok {
			return fmt.Errorf("%s: there is no metric %s", expr, w)
		}
		labels, named = append(labels, metric.Labels...), named+1
	}
	if named == 0 {
		return fmt.Errorf("%s: names no metric", expr)
	}
	for _, g := range groups {
		for l := range strings.SplitSeq(g[1], ",") {
			if l = strings.TrimSpace(l); !slices.Contains(labels, l) {
				return fmt.Errorf("%s: its metrics have labels %v, found %q", expr, labels, l)
			}
		}
	}
	return nil
}

// balanced reports whether brackets match.
func balanced(expr string) error {
	other := map[rune]rune{')': '(', ']': '[', '}': '{'}
	var open []rune
	for _, r := range expr {
		switch {
		case strings.ContainsRune("([{", r):
			open = append(open, r)
		case other[r] != 0:
			if len(open) == 0 || open[len(open)-1] != other[r] {
				return fmt.Errorf("%q closes nothing", r)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%q is not closed", open[len(open)-1])
	}
	return nil
}
