package portal

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
)

// maxTokens bounds how much of a page is read for its refresh pragma.
const maxTokens = 2000

// refresh returns the URL of a page's refresh pragma (HTML §4.2.5.3), empty without one. It reads the beginning of the page
// only, and none of its scripts.
func refresh(body []byte) string {
	z := html.NewTokenizer(bytes.NewReader(body[:min(len(body), MaxBody)]))
	z.SetMaxBuf(MaxBody)
	for range maxTokens {
		switch z.Next() {
		case html.ErrorToken:
			return ""
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			if string(name) != "meta" {
				continue
			}
			var pragma, content string
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				switch string(key) {
				case "http-equiv":
					pragma = string(value)
				case "content":
					content = string(value)
				}
			}
			if u := refreshURL(content); strings.EqualFold(pragma, "refresh") && u != "" {
				return u
			}
		}
	}
	return ""
}

// refreshURL returns the URL in the content of a refresh pragma: "0; url=http://portal.example/", perhaps quoted.
func refreshURL(content string) string {
	_, rest, found := strings.Cut(content, ";")
	if !found {
		if _, rest, found = strings.Cut(content, ","); !found {
			return ""
		}
	}
	rest = strings.TrimSpace(rest)
	if len(rest) < 3 || !strings.EqualFold(rest[:3], "url") {
		return ""
	}
	rest, found = strings.CutPrefix(strings.TrimSpace(rest[3:]), "=")
	if !found {
		return ""
	}
	return strings.Trim(strings.TrimSpace(rest), `"'`)
}
