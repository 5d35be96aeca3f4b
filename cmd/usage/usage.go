package usage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ErrWrong is wrapped by every error of a command line that Explain has answered.
var ErrWrong = errors.New("wrong usage")

// wrong is an error of a command line; it reads as its text alone.
type wrong string

func (w wrong) Error() string { return string(w) }

func (w wrong) Unwrap() error { return ErrWrong }

// Explain has wrong command lines of root and of the commands below it answered with what would be right. It is called when root has
// all its commands. Their errors wrap ErrWrong.
func Explain(root *cobra.Command) {
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultCompletionCmd()
	root.SetHelpCommand(help(root))
	explain(root)
}

// help is cobra's command of the same name, but for what it says to a command that is not there.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show what a command does, and its flags",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if of, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, c := range of.Commands() {
					if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), begin) {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			of, rest, err := root.Find(args)
			if err != nil {
				return wrong(err.Error())
			}
			if len(rest) > 0 {
				return unknown(of, rest[0])
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// explain answers wrong arguments of a command and of those below it.
func explain(c *cobra.Command) {
	for _, below := range c.Commands() {
		explain(below)
	}
	if c.Name() == "help" {
		return
	}
	if c.HasSubCommands() && !c.Runnable() {
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		if c.Args == nil {
			c.Args = cobra.NoArgs
		}
	}
	if c.Args == nil {
		return
	}
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		switch {
		case err == nil:
			return nil
		case c.HasSubCommands() && len(args) > 0:
			return unknown(c, args[0])
		case !strings.Contains(c.Use, " "):
			return wrong(fmt.Sprintf("%s takes no arguments, and was given %.80q", c.CommandPath(), args[0]))
		}
		form := strings.TrimSpace(c.Parent().CommandPath() + " " + c.Use)
		if len(args) == 0 {
			return wrong(fmt.Sprintf("an argument is missing: expected `%s`", form))
		}
		return wrong(fmt.Sprintf("%s was given %d of its arguments: expected `%s`", c.CommandPath(), len(args), form))
	}
}

// unknown is the error of a command that a command does not have.
func unknown(c *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %.80q for %q", name, c.CommandPath())
	var meant []string
	least := 3
	for _, below := range c.Commands() {
		if !below.IsAvailableCommand() {
			continue
		}
		d := farness(name, below.Name())
		if slices.ContainsFunc(below.SuggestFor, func(other string) bool { return strings.EqualFold(name, other) }) {
			d = 0
		}
		if d < least {
			meant, least = nil, d
		}
		if d == least && d < 3 {
			meant = append(meant, "`"+below.CommandPath()+"`")
		}
	}
	if len(meant) > 0 {
		text += ": did you mean " + strings.Join(meant, " or ") + "?"
	}
	return wrong(text)
}

// farness is how far what a person wrote is from a name: 3 and more is another word.
func farness(written, name string) int {
	if len(written) > len(name)+2 {
		return 3
	}
	d := distance(strings.ToLower(written), name)
	switch {
	case written == "" || d >= len(name):
		return 3
	case strings.HasPrefix(name, strings.ToLower(written)):
		return min(d, 1)
	}
	return d
}

// kinds say what values of a flag look like, by the name of its type.
var kinds = map[string]string{
	"bool":     "true or false",
	"duration": "a time with its unit, such as 10s or 5m",
	"int":      "a whole number",
	"uint16":   "a whole number from 0 to 65535",
	"uint64":   "a whole number from 0 on",
}

// flagError says what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if kind := kinds[e.GetFlag().Value.Type()]; kind != "" {
			return wrong(fmt.Sprintf("--%s %.80q cannot be: expected %s", e.GetFlag().Name, e.GetValue(), kind))
		}
		return wrong(fmt.Sprintf("--%s %.80q cannot be: %v", e.GetFlag().Name, e.GetValue(), e.Unwrap()))
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name, shown := e.GetSpecifiedName(), "--"+e.GetSpecifiedName()
		if e.GetSpecifiedShortnames() != "" { // the name is one letter of these
			shown = "-" + name
		}
		text := fmt.Sprintf("%s has no flag %s", c.CommandPath(), shown)
		if of := owner(c, name); of != "" {
			return wrong(fmt.Sprintf("%s: it belongs behind a command, as in `%s %s`", text, of, shown))
		}
		if meant := nearestFlag(c, name); meant != "" {
			text += ": did you mean --" + meant + "?"
		}
		return wrong(text)
	}
	return wrong(err.Error())
}

// owner returns the first command below c that has the flag, or nothing.
func owner(c *cobra.Command, flag string) string {
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && below.Flags().Lookup(flag) != nil {
			return below.CommandPath()
		}
	}
	return ""
}

// nearestFlag returns the flag of c that a person who wrote name has perhaps meant, or nothing.
func nearestFlag(c *cobra.Command, name string) string {
	best, least := "", 3
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if d := farness(name, f.Name); d < least && !f.Hidden {
			best, least = f.Name, d
		}
	})
	return best
}

// distance is how many letters have to be put in, taken out, exchanged for others or exchanged with their neighbour to make b of a.
func distance(a, b string) int {
	beforeLast, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now := make([]int, len(b)+1)
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], beforeLast[j-2]+1)
			}
		}
		beforeLast, last = last, now
	}
	return last[len(b)]
}
