package manual

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// About is what a page says beside commands and flags.
type About struct {
	// Section is the manual's: 1 for users' programs, 5 for files, 7 for the rest, 8 for administrators' programs.
	Section int
	// Version goes into the page's foot.
	Version string
	// Exits are the exit codes with their meanings, in that order; empty for none.
	Exits [][2]string
	// Files are files with what they are for.
	Files [][2]string
	// Environment are variables with what they do.
	Environment [][2]string
	// See are other pages, such as "mipvpn.toml(5)".
	See []string
}

// Command returns a hidden command that writes the page of the program that it belongs to; with a page's name, its section and what it is
// about in a few words, that of the Markdown document on standard input.
func Command(about func() About) *cobra.Command {
	return &cobra.Command{Use: "manual [NAME SECTION SHORT]", Short: "Write this program's manual page", Hidden: true, Args: cobra.MatchAll(cobra.MaximumNArgs(3), all),
		RunE: func(cmd *cobra.Command, args []string) error {
			a := about()
			if len(args) == 0 {
				_, err := cmd.OutOrStdout().Write(Page(cmd.Root(), a))
				return err
			}
			section, err := strconv.Atoi(args[1])
			if err != nil || section < 1 || section > 9 {
				return fmt.Errorf("section %q: expected 1 to 9", args[1])
			}
			markdown, err := io.ReadAll(cmd.InOrStdin())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(Document(args[0], args[2], markdown, About{Section: section, Version: a.Version, See: []string{"mipvpn(1)", "mipagent(8)"}}))
			return err
		}}
}

// all wants all arguments or none.
func all(_ *cobra.Command, args []string) error {
	if len(args) != 0 && len(args) != 3 {
		return fmt.Errorf("%d arguments: expected none, or name, section and what it is about", len(args))
	}
	return nil
}

// Page returns the page of a program with all its commands but hidden ones.
func Page(root *cobra.Command, about About) []byte {
	var b bytes.Buffer
	head(&b, root.Name(), about)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", text(root.Name()), text(root.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n[\\fIOPTION\\fR...] \\fICOMMAND\\fR [\\fIARGUMENT\\fR...]\n", text(root.Name()))
	if root.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n")
		paragraphs(&b, root.Long)
	}
	if root.LocalFlags().HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
		flags(&b, root.LocalFlags())
	}
	b.WriteString(".SH COMMANDS\n")
	commands(&b, root)
	for _, s := range []struct {
		title string
		list  [][2]string
	}{{"EXIT STATUS", about.Exits}, {"ENVIRONMENT", about.Environment}, {"FILES", about.Files}} {
		if len(s.list) > 0 {
			fmt.Fprintf(&b, ".SH %s\n", s.title)
		}
		for _, e := range s.list {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", text(e[0]), line(e[1]))
		}
	}
	see(&b, about.See)
	return b.Bytes()
}

func head(b *bytes.Buffer, name string, about About) {
	fmt.Fprintf(b, ".TH %s %d \"\" %s %s\n", quoted(strings.ToUpper(name)), about.Section, quoted("mipvpn "+about.Version), quoted("mipvpn manual"))
	b.WriteString(".nh\n.ad l\n")
}

func see(b *bytes.Buffer, pages []string) {
	if len(pages) == 0 {
		return
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, p := range pages {
		name, section, _ := strings.Cut(p, "(")
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		fmt.Fprintf(b, ".BR %s (%s%s\n", text(name), section, comma)
	}
}

func commands(b *bytes.Buffer, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if c.Hidden || !c.IsAvailableCommand() || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		fmt.Fprintf(b, ".SS %s\n", quoted(strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")+strings.TrimPrefix(c.Use, c.Name())))
		if c.Long != "" {
			paragraphs(b, c.Long)
		} else {
			paragraphs(b, c.Short+".")
		}
		if c.LocalFlags().HasAvailableFlags() {
			flags(b, c.LocalFlags())
		}
		commands(b, c)
	}
}

func flags(b *bytes.Buffer, set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(b, "\\fB\\-%s\\fR, ", text(f.Shorthand))
		}
		fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", text(f.Name))
		if value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", text(value))
		}
		b.WriteString("\n")
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "%s\n", line(usage))
	})
}

func paragraphs(b *bytes.Buffer, long string) {
	for i, p := range strings.Split(strings.TrimSpace(long), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		for _, l := range strings.Split(p, "\n") {
			fmt.Fprintf(b, "%s\n", line(strings.TrimSpace(l)))
		}
	}
}

// text returns a text for within a line.
func text(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "\n", " ").Replace(s)
}

// line returns a text that may begin a line: a dot or quote at its beginning is none of the macros'.
func line(s string) string {
	s = code(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, `\(aq`) {
		s = `\&` + s
	}
	return s
}

// code writes what stands between backquotes in bold.
func code(s string) string {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 { // a backquote without another
		return text(s)
	}
	for i := range parts {
		if parts[i] = text(parts[i]); i%2 == 1 {
			parts[i] = `\fB` + parts[i] + `\fR`
		}
	}
	return strings.Join(parts, "")
}

// quoted returns an argument of a macro.
func quoted(s string) string {
	return `"` + strings.ReplaceAll(text(s), `"`, `\(dq`) + `"`
}
