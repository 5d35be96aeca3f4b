package manual

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func example() *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "A program's \"name\"", Long: "What it does.\n.and 'more' of `it`\n\nSecond paragraph \\ end."}
	root.PersistentFlags().String("socket", "/run/x.sock", "unix `PATH` of the daemon")
	do := &cobra.Command{Use: "do WHAT", Short: "Do something", RunE: func(*cobra.Command, []string) error { return nil }}
	do.Flags().BoolP("json", "j", false, "print JSON")
	inner := &cobra.Command{Use: "again", Short: "Do it again", Long: "Do it again.", RunE: do.RunE}
	do.AddCommand(inner)
	root.AddCommand(do, &cobra.Command{Use: "secret", Hidden: true, RunE: do.RunE}, Command(func() About { return about }))
	return root
}

var about = About{Section: 1, Version: "1.2", Exits: [][2]string{{"0", "done"}}, Files: [][2]string{{"/etc/x.toml", "what it reads"}}, See: []string{"x.toml(5)", "other(8)"}}

// macros are those that pages are written with.
var macros = map[string]bool{".TH": true, ".SH": true, ".SS": true, ".TP": true, ".PP": true, ".B": true, ".BR": true, ".IP": true, ".RS": true, ".RE": true, ".EX": true, ".EE": true, ".br": true, ".nh": true, ".ad": true}

// sound checks that lines which begin like macros are some, and has groff read the page where it is there.
func sound(t *testing.T, page []byte) {
	t.Helper()
	for _, l := range strings.Split(string(page), "\n") {
		word, _, _ := strings.Cut(l, " ")
		if strings.HasPrefix(l, ".") && !macros[word] || strings.HasPrefix(l, "'") {
			t.Errorf("%q is no macro", l)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		return
	}
	cmd := exec.Command(groff, "-Kutf8", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = bytes.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

func TestPage(t *testing.T) {
	var out bytes.Buffer
	root := example()
	root.SetOut(&out)
	root.SetArgs([]string{"manual"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	sound(t, out.Bytes())
	for _, want := range []string{".TH \"PROG\" 1", "prog \\- A program\\(aqs", "\n\\&.and \\(aqmore\\(aq of \\fBit\\fR\n", "\n.PP\nSecond paragraph \\e end.\n", ".SS \"do WHAT\"\nDo something.\n",
		"\\fB\\-j\\fR, \\fB\\-\\-json\\fR\nprint JSON\n", ".SS \"do again\"\nDo it again.\n", "\\fB\\-\\-socket\\fR \\fIPATH\\fR\nunix PATH of the daemon (default /run/x.sock)\n",
		".SH EXIT STATUS\n.TP\n.B 0\ndone\n", ".BR x.toml (5),\n.BR other (8)\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(page, "secret") || strings.Contains(page, "manual page") {
		t.Errorf("hidden commands are in\n%s", page)
	}
}

func TestDocument(t *testing.T) {
	page := Document("x.toml", "what x reads", []byte("# Title\n\nFirst `key` and **strong**, `two\nwords`.\n.dot\n\n.first\n\n    indented |\n    'x\n\n## Keys - all\n\n<!-- begin -->\n| key | valid | default |\n| --- | --- | --- |\n| `a|b` | true | |\n| `c` | a | 1 |\n\n- one\n  more\n- two\n\n1. first\n2. second\n\n* star\n```toml\n.x = \"a\"\n| no table\n```\nend\n"), About{Section: 5})
	sound(t, page)
	for _, want := range []string{"x.toml \\- what x reads", "First \\fBkey\\fR and \\fBstrong\\fR, \\fBtwo words\\fR. .dot\n", ".PP\n\\&.first\n",
		".EX\nindented |\n\\&\\(aqx\n.EE\n", ".IP 1. 3\nfirst\n.IP 2. 3\nsecond\n", ".IP \\(bu 3\nstar\n.PP\n.RS 4\n.EX\n", ".SH \"KEYS \\- ALL\"\n", ".TP\n\\fBa|b\\fR\nvalid: true\n.TP\n\\fBc\\fR\nvalid: a\n.br\ndefault: 1\n",
		".IP \\(bu 3\none more\n.IP \\(bu 3\ntwo\n", ".EX\n\\&.x = \"a\"\n| no table\n.EE\n", "end\n"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// TestCommandForDocuments writes the page of what comes on standard input.
func TestCommandForDocuments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"manual", "x.toml", "5", "what x reads"}, ".TH \"X.TOML\" 5"},
		{[]string{"manual", "x.toml"}, ""},
		{[]string{"manual", "x.toml", "no", "y"}, ""},
	} {
		var out bytes.Buffer
		root := example()
		root.SilenceUsage, root.SilenceErrors = true, true
		root.SetOut(&out)
		root.SetIn(strings.NewReader("# Title\ntext\n"))
		root.SetArgs(c.args)
		if err := root.Execute(); (err == nil) != (c.want != "") || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %v\n%s", c.args, err, out.String())
		}
	}
}

// TestDocuments makes pages of the documents that become some.
func TestDocuments(t *testing.T) {
	for _, name := range []string{"configuration", "scripting", "user", "administrator", "errors", "operations"} {
		markdown, err := os.ReadFile("../../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		page := Document("mipvpn."+name, "a document", markdown, About{Section: 5})
		sound(t, page)
		if strings.Contains(string(page), `\(ga`) || strings.Contains(string(page), "\n|") || bytes.Count(page, []byte("\n.TP\n")) < 5 {
			t.Errorf("%s: marks are left, or nothing of its tables:\n%s", name, page)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte("# a\n| b |\n|--|\n| c | d\n```\nx"))
	f.Add([]byte(".TH\n'x\n- .y\n### `"))
	f.Fuzz(func(t *testing.T, markdown []byte) {
		page := Document("x", "y", markdown, About{Section: 7})
		for _, l := range strings.Split(string(page), "\n") {
			word, _, _ := strings.Cut(l, " ")
			if strings.HasPrefix(l, ".") && !macros[word] || strings.HasPrefix(l, "'") {
				t.Fatalf("%q is no macro", l)
			}
		}
	})
}
