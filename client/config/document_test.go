package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of the document")

const document = "../../docs/configuration.md"

// TestDocument keeps the table of docs/configuration.md as the code has it, and its example valid.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	between := func(name string) (int, int) {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		i, j := strings.Index(doc, begin), strings.Index(doc, end)
		if i < 0 || j < i {
			t.Fatalf("%s: no markers for %q", document, name)
		}
		return i + len(begin), j
	}
	var table strings.Builder
	table.WriteString("| key | valid | default | what for |\n| --- | --- | --- | --- |\n| `schema` | 1 | required | version of this file |\n")
	for _, f := range fields {
		standard := f.standard
		switch {
		case f.required && strings.HasPrefix(f.key, tableExternal+".") || f.required && strings.HasPrefix(f.key, tableForeign+"."):
			standard = "required, unless the whole table is left out"
		case f.required:
			standard = "required"
			if f.unless != "" {
				standard += " without `" + f.unless + "`"
			}
		case standard == "":
			t.Errorf("%s has no default", f.key)
		}
		if f.about == "" || f.valid == "" {
			t.Errorf("%s is not explained", f.key)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.key, f.valid, standard, f.about)
	}
	i, j := between("keys")
	if *update {
		doc = doc[:i] + table.String() + doc[j:]
		if err := os.WriteFile(document, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if doc[i:j] != table.String() {
		t.Errorf("%s: the table differs from the code (run with -update)", document)
	}
	i, j = between("example")
	example := strings.TrimSuffix(strings.TrimPrefix(doc[i:j], "```toml\n"), "```\n")
	c, err := Parse("example", []byte(example), readSecret)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("the example gives warnings: %+v", c.Warnings)
	}
}

// TestDefaultsAreDocumented sets each key to the default that its documentation names: nothing changes.
func TestDefaultsAreDocumented(t *testing.T) {
	want, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		value := f.standard
		if f.required || strings.HasPrefix(value, "the ") {
			continue
		}
		if i := strings.Index(value, " ("); i >= 0 {
			value = value[:i]
		}
		if i := strings.Index(value, ", or"); i >= 0 {
			value = value[:i]
		}
		table, key := splitKey(f.key)
		text, want := with(table, key+" = "+value), want
		if table == tableForeign { // which is nothing without these
			const required = "\nnetworks = [\"10.0.3.1/32\"]\nspi = 300\nkey_file = \"i-ha.key\"\n"
			text += required
			if want, err = parse(minimal + "[" + tableForeign + "]" + required); err != nil {
				t.Fatal(err)
			}
		}
		got, err := parse(text)
		if err != nil {
			t.Errorf("%s = %s: %v", f.key, value, err)
			continue
		}
		var differ []string
		compare(t, "", toJSON(t, got), toJSON(t, want), func(path string) { differ = append(differ, path) })
		for _, path := range differ {
			if path != ".Interfaces.Use" && path != ".Interfaces.Ignore" && path != ".Interfaces.Prefer" && path != ".Control.Users" && path != ".Control.Groups" &&
				path != ".Detection.OutsideNetworks" && path != ".Internal.HomeLink" && path != ".Internal.Groups" && !strings.HasSuffix(path, "Files") { // an empty list for none
				t.Errorf("%s = %s changes %s", f.key, value, path)
			}
		}
	}
}

// compare calls f with the path of each leaf that differs in a and b.
func compare(t *testing.T, path string, a, b any, f func(string)) {
	t.Helper()
	if m, ok := a.(map[string]any); ok {
		for k, v := range m {
			compare(t, path+"."+k, v, b.(map[string]any)[k], f)
		}
		return
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		f(path)
	}
}
