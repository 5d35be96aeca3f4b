package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// blanker replaces what says who and where somebody is by names such as <private4-1>. The same always becomes the same name, so that
// what belongs together can still be seen, across all texts of one blanker.
type blanker struct {
	names map[string]string // by what was replaced, in lower case
	count map[string]int    // by kind
	known []string          // names and identities to be replaced wherever they stand, the longest first
}

func newBlanker() *blanker {
	return &blanker{names: make(map[string]string), count: make(map[string]int)}
}

var (
	hardwareText = regexp.MustCompile(`(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b`)
	sixText      = regexp.MustCompile(`(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?`)
	fourText     = regexp.MustCompile(`[0-9]{1,3}(?:\.[0-9]{1,3}){3}`)
	mailText     = regexp.MustCompile(`[\pL\pN._%+-]+@(?:[\pL\pN.-]+|<name-[0-9]+>)`) // also where the domain is replaced already
	hexText      = regexp.MustCompile(`(?i)\b(?:0x)?[0-9a-f]{32,}\b`)                 // a key that stands where a file's name should
	homeText     = regexp.MustCompile(`(/home/|/Users/)[^/\s"':]+`)
)

// learn has a name or an identity replaced wherever it stands. What is shorter than three octets is not: too much would go.
func (b *blanker) learn(name string) {
	name = strings.TrimSpace(name)
	if len(name) < 3 || slices.Contains(b.known, name) {
		return
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return // addresses are told by their looks
	}
	b.known = append(b.known, name)
	slices.SortStableFunc(b.known, func(x, y string) int { return len(y) - len(x) })
}

// text returns the text with everything replaced.
func (b *blanker) text(s string) string {
	for _, name := range b.known {
		s = replaceFold(s, name, func(found string) string { return b.name("name", found) })
	}
	s = mailText.ReplaceAllStringFunc(s, func(found string) string { return b.name("identity", found) })
	s = homeText.ReplaceAllStringFunc(s, func(found string) string {
		i := strings.LastIndexByte(found, '/') + 1
		return found[:i] + b.name("user", found[i:])
	})
	s = hexText.ReplaceAllStringFunc(s, func(found string) string { return b.name("hex", found) })
	s = hardwareText.ReplaceAllStringFunc(s, func(found string) string { return b.name("hardware", found) })
	s = sixText.ReplaceAllStringFunc(s, b.address)
	return fourText.ReplaceAllStringFunc(s, b.address)
}

// address replaces an address, unless it is one that everybody has.
func (b *blanker) address(found string) string {
	a, err := netip.ParseAddr(found)
	if err != nil {
		return found
	}
	a = a.Unmap()
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return found
	}
	kind := "public"
	switch {
	case a.IsPrivate():
		kind = "private"
	case a.IsLinkLocalUnicast():
		kind = "linklocal"
	}
	family := "4"
	if a.Is6() {
		family = "6"
	}
	return b.name(kind+family, a.String())
}

// name returns the name of what was found.
func (b *blanker) name(kind, found string) string {
	key := strings.ToLower(found)
	if n, ok := b.names[key]; ok {
		return n
	}
	b.count[kind]++
	n := fmt.Sprintf("<%s-%d>", kind, b.count[kind])
	b.names[key] = n
	return n
}

// replaceFold replaces what equals name but for upper and lower case of ASCII.
func replaceFold(s, name string, f func(string) string) string {
	low, want := asciiLower(s), asciiLower(name)
	var out strings.Builder
	for {
		i := strings.Index(low, want)
		if i < 0 {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		out.WriteString(f(s[i : i+len(want)]))
		s, low = s[i+len(want):], low[i+len(want):]
	}
}

// asciiLower keeps the text's length, which strings.ToLower need not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
