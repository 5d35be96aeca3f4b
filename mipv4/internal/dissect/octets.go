package dissect

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Octets reads hexadecimal with comments, as golden messages are written: everything behind a '#' in a line is left out, and so are
// blanks.
func Octets(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	p, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
