package observetest

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is one metric as a collector describes it.
type Metric struct {
	// Name and Help are the metric's, Labels the names of its labels.
	Name, Help string
	Labels     []string
}

// description is what prometheus.Desc's String has.
var description = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"),(?: unit: "[^"]*",)? constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

// Metrics returns what the collector describes, in its order.
func Metrics(t testing.TB, c prometheus.Collector) []Metric {
	t.Helper()
	out := make(chan *prometheus.Desc)
	go func() {
		defer close(out)
		c.Describe(out)
	}()
	var list []Metric
	for d := range out {
		m, err := parse(d.String())
		if err != nil {
			t.Error(err) // and the channel is read on
			continue
		}
		list = append(list, m)
	}
	return list
}

func parse(text string) (Metric, error) {
	m := description.FindStringSubmatch(text)
	if m == nil {
		return Metric{}, fmt.Errorf("the description of a metric has another form than expected: %s", text)
	}
	name, err := strconv.Unquote(m[1])
	if err != nil {
		return Metric{}, err
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		return Metric{}, err
	}
	metric := Metric{Name: name, Help: help}
	if m[3] != "" {
		metric.Labels = strings.Split(m[3], ",")
	}
	return metric, nil
}

// Table compares the table of metrics between two markers of a document with those that there are; with update it is rewritten.
func Table(t testing.TB, document, marker string, metrics []Metric, update bool) {
	t.Helper()
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	begin, end := "<!-- begin "+marker+" -->\n", "<!-- end "+marker+" -->"
	i, j := strings.Index(doc, begin), strings.Index(doc, end)
	if i < 0 || j < i {
		t.Fatalf("%s: no markers for %q", document, marker)
	}
	i += len(begin)
	var table strings.Builder
	table.WriteString("| metric | labels | what it tells |\n| --- | --- | --- |\n")
	for _, m := range metrics {
		labels := make([]string, len(m.Labels))
		for k, l := range m.Labels {
			labels[k] = "`" + l + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", m.Name, strings.Join(labels, ", "), m.Help)
	}
	switch {
	case update:
		if err := os.WriteFile(document, []byte(doc[:i]+table.String()+doc[j:]), 0o644); err != nil {
			t.Fatal(err)
		}
	case doc[i:j] != table.String():
		t.Errorf("%s: the table %q differs from the code (run with -update)", document, marker)
	}
}

// always are labels that Prometheus itself gives.
var always = []string{"instance", "job", "le"}

func find(metrics []Metric, name string) (Metric, bool) {
	if name == "up" { // Prometheus' own
		return Metric{Name: name}, true
	}
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == base })
		if cut && i >= 0 {
			return metrics[i], true
		}
	}
	return Metric{}, false
}
