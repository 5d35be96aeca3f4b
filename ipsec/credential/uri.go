package credential

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// tokenURI is a PKCS#11 URI (RFC 7512 §2.3). Empty fields match everything.
type tokenURI struct {
	module                             string
	token, serial, manufacturer, model string
	slot                               int // -1 for any
	object                             string
	id                                 string // octets
}

// maxURI is the greatest length of a URI in octets.
const maxURI = 1024

// parseTokenURI reads a PKCS#11 URI.
func parseTokenURI(s string) (tokenURI, error) {
	u := tokenURI{slot: -1}
	fail := func(format string, args ...any) (tokenURI, error) {
		return tokenURI{}, fmt.Errorf("%w: PKCS#11 URI: %s", ErrKey, fmt.Sprintf(format, args...))
	}
	if len(s) > maxURI {
		return fail("%d octets, at most %d", len(s), maxURI)
	}
	rest, ok := strings.CutPrefix(s, "pkcs11:")
	if !ok {
		return fail(`want one that begins with "pkcs11:"`)
	}
	path, query, _ := strings.Cut(rest, "?")
	seen := map[string]bool{}
	for i, part := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		if part == "" {
			continue
		}
		key, text, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(text)
		if !ok || err != nil {
			return fail("want name=value with %%-escapes, found %.60q", part)
		}
		if seen[key] {
			return fail("%.60q stands there twice", key)
		}
		seen[key] = true
		inQuery := i >= len(strings.Split(path, ";"))
		switch {
		case !inQuery && key == "token":
			u.token = value
		case !inQuery && key == "serial":
			u.serial = value
		case !inQuery && key == "manufacturer":
			u.manufacturer = value
		case !inQuery && key == "model":
			u.model = value
		case !inQuery && key == "object":
			u.object = value
		case !inQuery && key == "id":
			u.id = value
		case !inQuery && key == "slot-id":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return fail("slot-id: want a number, found %.60q", value)
			}
			u.slot = int(n)
		case !inQuery && key == "type":
			if value != "private" && value != "cert" {
				return fail("type: want private or cert, found %.60q", value)
			}
		case inQuery && key == "module-path":
			u.module = value
		case key == "pin-value" || key == "pin-source":
			return fail("%s is not taken: PINs are asked for, by what the configuration says", key)
		default:
			return fail("%.60q is not supported", key)
		}
	}
	if u.module == "" {
		return fail("?module-path= is missing: the file of the token's PKCS#11 library")
	}
	return u, nil
}
