package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"mipvpn/cmd/miplab/internal/recording"
)

// The parts of the page.
var (
	//go:embed assets/page.html
	document string
	//go:embed assets/page.css
	style string
	//go:embed assets/page.js
	script string
)

// Marks in the document, each in a line of its own.
const (
	headMark = "<!-- head -->"
	dataMark = "<!-- data -->"
)

// policy is the content security policy of both: nothing but what it names is loaded, and nothing is sent anywhere.
func policy(scripts, styles, connect string) string {
	return fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; connect-src %s; img-src data:; base-uri 'none'; form-action 'none'", scripts, styles, connect)
}

// servedPolicy is that of the page from a server.
var servedPolicy = policy("'self'", "'self'", "'self'") + "; frame-ancestors 'none'"

// served returns the page that asks a server for the moments.
func served() string {
	head := `<link rel="stylesheet" href="page.css">` + "\n" + `<script src="page.js" defer></script>`
	return strings.NewReplacer(headMark, head, dataMark, "").Replace(document)
}

// source is an inline element's source expression in a content security policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WriteReport writes the recording as far as it goes as one HTML file.
func WriteReport(w io.Writer, r *recording.Recording) error {
	moments, _, _ := r.From(0)
	var data bytes.Buffer
	// Marshal writes <, > and & as escapes, so that no text can end the element.
	text, err := json.Marshal(moments)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	fmt.Fprintf(&data, `<script type="application/json" id="recording">%s</script>`+"\n<script>%s</script>", text, script)
	head := fmt.Sprintf(`<meta http-equiv="Content-Security-Policy" content="%s">`+"\n<style>%s</style>", policy(source(script), source(style), "'none'"), style)
	before, rest, _ := strings.Cut(document, headMark)
	between, after, _ := strings.Cut(rest, dataMark)
	for _, part := range []string{before, head, between, data.String(), after} {
		if _, err := io.WriteString(w, part); err != nil {
			return fmt.Errorf("page: writing the report: %w", err)
		}
	}
	return nil
}
