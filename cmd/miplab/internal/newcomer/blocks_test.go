package newcomer

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mipvpn/client/config"
	"mipvpn/ipsec/pki"
)

// repository is the project's folder.
const repository = "../../../.."

// byHand is the configuration that a person writes who has the company's addresses before the eyes.
const byHand = `schema = 1

[enterprise]
prefixes = ["10.0.0.0/16"]

[internal_home_agent]
address = "10.0.1.10"
home_address = "10.0.8.100"
spi = 1001
key_file = "i-ha.key"

[external_home_agent]
address = "192.0.2.20"
home_address = "198.51.100.100"
spi = 2001
key_file = "x-ha.key"

[gateway]
address = "192.0.2.10"
local_identity = "laptop@corp.example"
remote_identity = "gateway.corp.example"
psk_file = "gateway.psk"`

// block is a fenced block of a document.
type block struct {
	document, language, text string
	line                     int
	// host and what are of the first line of commands: "# laptop: install".
	host, what string
	// excuse is why commands are not run: "<!-- not run: REASON -->" in front of the block.
	excuse string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.document, b.line) }

// excused opens the comment that says why a block is not run.
const excused = "<!-- not run: "

// blocksOf returns the fenced blocks of a document. A fence that is not closed is an error.
func blocksOf(document, text string) ([]block, error) {
	var out []block
	var open *block
	excuse := ""
	for i, l := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(l, "```")
		switch {
		case open != nil && isFence:
			out = append(out, *open)
			open = nil
		case open != nil:
			if open.text == "" {
				if host, what, ok := strings.Cut(strings.TrimPrefix(l, "# "), ": "); ok && strings.HasPrefix(l, "# ") {
					open.host, open.what = host, what
				}
			}
			open.text += l + "\n"
		case isFence:
			open = &block{document: document, language: fence, line: i + 1, excuse: excuse}
			excuse = ""
		case strings.HasPrefix(l, excused):
			excuse = strings.TrimSuffix(strings.TrimPrefix(l, excused), " -->")
		case strings.TrimSpace(l) != "":
			excuse = ""
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%v: the block is not closed", open)
	}
	return out, nil
}

// documents returns the blocks of README.md, all that is in docs, and the note in the archive of static programs.
func documents(t *testing.T) []block {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	for _, f := range append(files, filepath.Join(repository, "README.md"), filepath.Join(repository, "scripts/packages/INSTALL.md")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(repository, f)
		if err != nil {
			t.Fatal(err)
		}
		found, err := blocksOf(filepath.ToSlash(name), string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// runBy says which test runs the commands of a document.
var runBy = map[string]string{
	"README.md":             "TestNewcomer",
	"docs/administrator.md": "TestNewcomer",
	"docs/user.md":          "TestNewcomer",
	"docs/scripting.md":     "TestNewcomer",
	"docs/operations.md":    "TestOperations", // cmd/mipagent

	"scripts/packages/INSTALL.md": "TestNewcomer",
}

// shownBy says which test compares what a document shows of a program's output with the program's output.
var shownBy = map[string]string{
	"docs/terminal.md": "TestPingInTerminalDocument", // cmd/mipvpn
}

// shipped reports whether a file for another program in configs has these lines and, but for comments, no others.
func shipped(t *testing.T, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(repository, "configs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".toml" {
			return err
		}
		file, err := os.ReadFile(path)
		var lines string
		for l := range strings.Lines(string(file)) {
			if !strings.HasPrefix(l, "#") {
				lines += l
			}
		}
		found = found || lines == text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// notRun is how many blocks there are whose commands no test runs, each with its reason in the document.
const notRun = 1

// enrolment is what makes a certificate for a laptop, in docs/administrator.md.
const enrolment = "a certificate for one laptop"

// TestDocuments takes stock of all examples: commands are run by a test or excused, configurations are loaded, and nothing else is
// in a block that nobody looks at.
func TestDocuments(t *testing.T) {
	var ran, not int
	for _, b := range documents(t) {
		switch b.language {
		case "sh":
			switch {
			case b.excuse != "":
				not++
			case runBy[b.document] == "":
				t.Errorf("%v: no test runs the commands of this document: see runBy", b)
			case b.host == "" || b.what == "":
				t.Errorf("%v: the commands begin with %q, want \"# HOST: WHAT\"", b, strings.SplitN(b.text, "\n", 2)[0])
			default:
				ran++
			}
		case "toml":
			if err := loads(b.text); err != nil {
				t.Errorf("%v: %v", b, err)
			}
		case "json":
			if !json.Valid([]byte(b.text)) {
				t.Errorf("%v: no JSON", b)
			}
		case "ini":
			if !shipped(t, b.text) {
				t.Errorf("%v: no file in configs has these lines and no others", b)
			}
		case "text":
			if shownBy[b.document] == "" {
				t.Errorf("%v: no test compares what this document shows with what is printed: see shownBy", b)
			}
		default:
			t.Errorf("%v: nothing looks at what is written in %q", b, b.language)
		}
	}
	if not != notRun || ran < 30 {
		t.Errorf("%d blocks of commands are run and %d are not, want 30 at least and %d", ran, not, notRun)
	}
}

// table finds the head of a table of a TOML file.
var table = regexp.MustCompile(`(?m)^\[([a-z_.]+)\]`)

// loads reads a configuration of the laptop's, or tables that are to be put into one in the place of those of that name.
func loads(text string) error {
	dir, err := os.MkdirTemp("", "newcomer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return loadsIn(dir, text)
}

// loadsIn is loads with what is in that folder already.
func loadsIn(dir, text string) error {
	if !strings.Contains(text, "schema = 1") {
		var own []string
		for _, m := range table.FindAllStringSubmatch(text, -1) {
			own = append(own, m[1])
		}
		kept := ""
		for part := range strings.SplitSeq(byHand, "\n\n") {
			if m := table.FindStringSubmatch(part); m == nil || !slices.Contains(own, m[1]) {
				kept += part + "\n\n"
			}
		}
		text = kept + text
	}
	// The files that it names are there, and hold what every key can be. Certificates are read when the daemon starts.
	for _, m := range regexp.MustCompile(`_file = "([a-z.-]+)"`).FindAllStringSubmatch(text, -1) {
		if err := os.WriteFile(filepath.Join(dir, m[1]), []byte(strings.Repeat("5a", 32)), 0o600); err != nil {
			return err
		}
	}
	for _, m := range regexp.MustCompile(`"([a-z.-]+\.(?:pem|key))"`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(dir, m[1])); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, m[1]), credential(strings.HasSuffix(m[1], ".key")), 0o600); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "mipvpn.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	c, err := config.Load(file)
	if err == nil {
		c.Wipe()
	}
	return err
}

// Every block is found with its line, its host and its excuse.
func TestBlocksOf(t *testing.T) {
	got, err := blocksOf("x.md", "a\n```sh\n# laptop: up\nmipvpn up\n```\n<!-- not run: it takes hours -->\n\n```sh\nmake soak\n```\n<!-- not run: y -->\ntext\n```toml\nschema = 1\n```\n")
	want := []block{
		{document: "x.md", language: "sh", text: "# laptop: up\nmipvpn up\n", line: 2, host: "laptop", what: "up"},
		{document: "x.md", language: "sh", text: "make soak\n", line: 8, excuse: "it takes hours"},
		{document: "x.md", language: "toml", text: "schema = 1\n", line: 13},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := blocksOf("x.md", "```sh\nls\n"); err == nil || !strings.Contains(err.Error(), "x.md:1") {
		t.Errorf("a block without an end: %v", err)
	}
	if err := loads("[gateway]\naddress = 5\n"); err == nil {
		t.Error("tables with a mistake load")
	}
}

// The commands that make a certificate make one that the configuration beside them takes.
func TestEnrolment(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed (Debian: openssl)")
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"corp-root.pem": credential(false), "corp-root.key": credential(true)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var commands, tables block
	for _, b := range documents(t) {
		switch {
		case b.document != "docs/administrator.md":
		case b.what == enrolment:
			commands = b
		case b.language == "toml" && strings.Contains(b.text, "laptop.pem"):
			tables = b
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", commands.text)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || commands.text == "" {
		t.Fatalf("%v: %v\n%s", commands, err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "laptop.pem"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := pki.ParseCertificates(data)
	if err != nil || len(found) != 1 || !slices.Equal(found[0].EmailAddresses, []string{"laptop1@corp.example"}) {
		t.Errorf("%v: %d certificates, %v, want one of laptop1@corp.example", commands, len(found), err)
	}
	if tables.text == "" {
		t.Fatal("docs/administrator.md has no tables for a certificate")
	}
	if err := loadsIn(dir, tables.text); err != nil {
		t.Errorf("%v: %v", tables, err)
	}
}

// named finds the tests that a document names.
var named = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")

// Each test that docs/threat-model.md names is in the source.
func TestThreatModel(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs/threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, m := range named.FindAllStringSubmatch(string(text), -1) {
		wanted[m[1]] = true
	}
	if len(wanted) < 20 {
		t.Fatalf("the page names %d tests, want 20 at least", len(wanted))
	}
	err = filepath.WalkDir(repository, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`).FindAllSubmatch(source, -1) {
			delete(wanted, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range wanted {
		t.Errorf("docs/threat-model.md names %s, which no test is called", name)
	}
}
