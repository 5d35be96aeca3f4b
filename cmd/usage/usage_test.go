package usage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// program is one with a command of each kind.
func program(out *strings.Builder) *cobra.Command {
	nothing := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "prog", SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs, RunE: nothing}
	up := &cobra.Command{Use: "up", SuggestFor: []string{"connect"}, Short: "Go up", Args: cobra.NoArgs, RunE: nothing}
	up.Flags().Bool("json", false, "print JSON")
	up.Flags().Duration("timeout", time.Second, "how long")
	up.Flags().Int("count", 1, "how often")
	up.Flags().Int("secret-count", 1, "how often, in secret")
	_ = up.Flags().MarkHidden("secret-count")
	group := &cobra.Command{Use: "config", Short: "Work", RunE: nothing, Args: cobra.NoArgs}
	group.AddCommand(&cobra.Command{Use: "check FILE", Short: "Check", Args: cobra.ExactArgs(1), RunE: nothing})
	root.AddCommand(up, group)
	root.SetOut(out)
	root.SetErr(out)
	Explain(root)
	return root
}

func TestExplain(t *testing.T) {
	for line, want := range map[string]string{
		"upp":                   "unknown command \"upp\" for \"prog\": did you mean `prog up`?",
		"connect":               "unknown command \"connect\" for \"prog\": did you mean `prog up`?",
		"CONNECT":               "unknown command \"CONNECT\" for \"prog\": did you mean `prog up`?",
		"explode":               `unknown command "explode" for "prog"`,
		"config chek":           "unknown command \"chek\" for \"prog config\": did you mean `prog config check`?",
		"config check":          "an argument is missing: expected `prog config check FILE`",
		"config check a b":      "prog config check was given 2 of its arguments: expected `prog config check FILE`",
		"up there":              `prog up takes no arguments, and was given "there"`,
		"up --jsno":             "prog up has no flag --jsno: did you mean --json?",
		"up --time 1s":          "prog up has no flag --time: did you mean --timeout?",
		"up --secret":           "prog up has no flag --secret",
		"up --nothing":          "prog up has no flag --nothing",
		"up -x":                 "prog up has no flag -x",
		"--json up":             "prog has no flag --json: it belongs behind a command, as in `prog up --json`",
		"up --timeout 5":        `--timeout "5" cannot be: expected a time with its unit, such as 10s or 5m`,
		"up --count many":       `--count "many" cannot be: expected a whole number`,
		"up --json=perhaps":     `--json "perhaps" cannot be: expected true or false`,
		"up --count":            "flag needs an argument: --count",
		"help confg":            "unknown command \"confg\" for \"prog\": did you mean `prog config`?",
		"help config chek":      "unknown command \"chek\" for \"prog config\": did you mean `prog config check`?",
		"completion fih":        "unknown command \"fih\" for \"prog completion\": did you mean `prog completion fish`?",
		"completion bash extra": `prog completion bash takes no arguments, and was given "extra"`,
	} {
		var out strings.Builder
		p := program(&out)
		p.SetArgs(strings.Fields(line))
		err := p.Execute()
		if !errors.Is(err, ErrWrong) || err.Error() != want {
			t.Errorf("prog %s: %v; want %s", line, err, want)
		}
		if out.Len() != 0 {
			t.Errorf("prog %s wrote %q", line, out.String())
		}
	}
}

func TestRight(t *testing.T) {
	for line, want := range map[string]string{
		"":                  "",
		"up --json":         "",
		"config check FILE": "",
		"help":              "prog [command]",
		"help config check": "prog config check FILE",
		"up --help":         "prog up",
		"completion":        "Generate the autocompletion script",
		"completion fish":   "fish completion for prog",
		"__complete help c": "config\tWork",
	} {
		var out strings.Builder
		p := program(&out)
		p.SetArgs(strings.Fields(line))
		if err := p.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("prog %s: %v, %q; want %q", line, err, out.String(), want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"json", "json", 0}, {"jsno", "json", 1}, {"jsn", "json", 1}, {"jason", "json", 1}, {"jxon", "json", 1}, {"", "json", 4}, {"jsonab", "json", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
