package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"mipvpn/detect/location"
)

// What is valid for the common kinds of values.
const (
	vBool     = "true or false"
	vAddress  = `an IPv4 address in quotes, such as "192.0.2.10"`
	vPath     = "a path in quotes"
	vKeyFile  = `a path in quotes, "credential:NAME" or "command:PROGRAM ARGUMENT..."`
	vNAI      = "a text of 1 to 255 octets"
	vIdentity = `an IPv4 address, a mail address or a domain name in quotes, such as "laptop1@example.com"`
	vPrefixes = `a list of IPv4 prefixes such as ["10.0.0.0/8"]`
	vGroups   = `a list of prefixes of IPv4 groups such as ["239.192.0.0/14"]`
	vAccounts = `a list of names or numbers such as ["alice", "1000"]`
	vPatterns = `a list of names or patterns such as ["eth*", "wlan0"]`
	vNames    = `a list of names such as ["eth0", "wlan0"]`
)

func vInteger(least, most int64) string {
	return fmt.Sprintf("a whole number from %d to %d", least, most)
}

func vOneOf(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = `"` + v + `"`
	}
	return list(quoted)
}

func vDuration(least time.Duration) string {
	return fmt.Sprintf(`a duration in quotes such as "90s" or "5m", at least %v`, least)
}

func vDurationOrZero(least time.Duration) string {
	if least == 0 {
		return `a duration in quotes such as "2s", or "0s"`
	}
	return vDuration(least) + `, or "0s"`
}

// describe writes a TOML value with its type, cut to what fits a line.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %s", shortQuote(v))
	case bool:
		return fmt.Sprint(v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case []any:
		if len(v) == 0 {
			return "an empty list"
		}
		return fmt.Sprintf("a list of %d", len(v))
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func shortQuote(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%q and %d more octets", s[:60], len(s)-60)
	}
	return fmt.Sprintf("%q", s)
}

func found(v any) error { return errors.New("found " + describe(v)) }

// each takes each item of a list, and joins what there is against them, so that all mistakes in a list are told at once.
func each(items []any, take func(i any) error) error {
	var messages []string
	for _, i := range items {
		if err := take(i); err != nil {
			messages = append(messages, err.Error())
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return errors.New(strings.Join(messages, "; "))
}

func boolean(of func(*Config) *bool) setter {
	return setter{shape{Type: "boolean"}, func(c *Config, v any) error {
		b, ok := v.(bool)
		if !ok {
			return found(v)
		}
		*of(c) = b
		return nil
	}}
}

func integer(least, most int64, put func(*Config, int64)) setter {
	return setter{shape{Type: "integer", Minimum: &least, Maximum: &most}, func(c *Config, v any) error {
		n, ok := v.(int64)
		if !ok || n < least || n > most {
			return found(v)
		}
		put(c, n)
		return nil
	}}
}

// text takes a text of 1 to most octets without control characters that check, if there is one, likes.
func text(most int, check func(string) bool, of func(*Config) *string) setter {
	return setter{shape{Type: "string", MinLength: 1, MaxLength: most}, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok || s == "" || strings.ContainsFunc(s, unicode.IsControl) || check != nil && !check(s) {
			return found(v)
		}
		if len(s) > most {
			return fmt.Errorf("found a text of %d octets, at most %d fit", len(s), most)
		}
		*of(c) = s
		return nil
	}}
}

// deviceName reports whether s can name a network interface everywhere.
func deviceName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
	})
}

func oneOf[T ~string](values []string, of func(*Config) *T) setter {
	return setter{shape{Type: "string", Enum: texts(values)}, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return found(v)
		}
		if !slices.Contains(values, s) {
			return fmt.Errorf("found the text %s%s", shortQuote(s), suggest(s, values))
		}
		*of(c) = T(s)
		return nil
	}}
}

// duration takes a Go duration of at least least, or 0 where zero is allowed.
func duration(least time.Duration, zero bool, of func(*Config) *time.Duration) setter {
	return setter{durationShape, func(c *Config, v any) error {
		d, err := parseDuration(v)
		if err != nil {
			return err
		}
		if d < least && !(zero && d == 0) {
			return fmt.Errorf("found %v", d)
		}
		*of(c) = d
		return nil
	}}
}

func parseDuration(v any) (time.Duration, error) {
	s, ok := v.(string)
	if !ok {
		if n, isNumber := v.(int64); isNumber {
			return 0, fmt.Errorf(`found the number %d without a unit (seconds would be "%ds")`, n, n)
		}
		return 0, found(v)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, found(v)
	}
	return d, nil
}

// monitor takes T_MONITOR (DET-4).
func monitor(c *Config, v any) error {
	d, err := parseDuration(v)
	if err != nil {
		return err
	}
	if d < location.MinMonitor {
		return fmt.Errorf("found %v: a reply of the i-HA may take up to %v and several requests must fit in, so that user data "+
			"would stop all the time (RFC 5265 section 3.2.4)", d, location.ReplyLimit)
	}
	c.Detection.Monitor = d
	return nil
}

// lifetime takes a registration lifetime, which the wire has in 16 bits of seconds (RFC 5944 §3.3); 65535 means infinite.
func lifetime(of func(*Config) *time.Duration) setter {
	return setter{durationShape, func(c *Config, v any) error {
		d, err := parseDuration(v)
		if err != nil {
			return err
		}
		if d < 30*time.Second || d > 18*time.Hour {
			return fmt.Errorf("found %v", d)
		}
		*of(c) = d
		return nil
	}}
}

func address(of func(*Config) *netip.Addr) setter {
	return setter{addressShape, func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return found(v)
		}
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return found(v)
		}
		if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return fmt.Errorf("found %v, which no host has", a)
		}
		*of(c) = a
		return nil
	}}
}

func prefixes(least int, of func(*Config) *[]netip.Prefix) setter {
	return setter{listShape(least, 0, false, shape{Type: "string", Pattern: `^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$`}), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok || len(items) < least {
			return found(v)
		}
		out := make([]netip.Prefix, 0, len(items))
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			if !ok {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			p, err := netip.ParsePrefix(s)
			if err != nil || !p.Addr().Is4() {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			if p != p.Masked() {
				return fmt.Errorf("found %q in the list, which has bits behind its length; its network is %q", s, p.Masked())
			}
			out = append(out, p)
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// groups takes a list of IPv4 prefixes of groups.
func groups(of func(*Config) *[]netip.Prefix) setter {
	list := prefixes(0, of)
	return setter{listShape(0, 0, false, shape{Type: "string", Pattern: `^2(2[4-9]|3[0-9])(\.[0-9]{1,3}){3}/([4-9]|[12][0-9]|3[0-2])$`}), func(c *Config, v any) error {
		if err := list.take(c, v); err != nil {
			return err
		}
		for _, p := range *of(c) {
			if !p.Addr().IsMulticast() || p.Bits() < multicast.Bits() {
				return fmt.Errorf("found %q in the list, which is not within %v", p, multicast)
			}
		}
		return nil
	}}
}

// multicast are all groups (RFC 5771 §3).
var multicast = netip.PrefixFrom(netip.AddrFrom4([4]byte{224, 0, 0, 0}), 4)

// patterns takes a list of names or patterns of path.Match.
func patterns(of func(*Config) *[]string) setter {
	list := names(of)
	return setter{list.shape, func(c *Config, v any) error {
		if err := list.take(c, v); err != nil {
			return err
		}
		return each(v.([]any), func(i any) error {
			if _, err := path.Match(i.(string), ""); err != nil {
				return fmt.Errorf("found %q in the list: %w", i, err)
			}
			return nil
		})
	}}
}

func names(of func(*Config) *[]string) setter {
	return setter{listShape(0, 0, false, shape{Type: "string", MinLength: 1, MaxLength: 255}), func(c *Config, v any) error {
		items, ok := v.([]any)
		if !ok {
			return found(v)
		}
		out := make([]string, 0, len(items))
		if err := each(items, func(i any) error {
			s, ok := i.(string)
			if !ok || s == "" || len(s) > 255 {
				return fmt.Errorf("found %s in the list", describe(i))
			}
			out = append(out, s)
			return nil
		}); err != nil {
			return err
		}
		*of(c) = out
		return nil
	}}
}

// maxDatagram is the greatest length of a datagram in octets.
var maxDatagram int64 = 9000

// datagram takes the length of a datagram, or 0.
func datagram(c *Config, v any) error {
	n, ok := v.(int64)
	if !ok || n != 0 && (n < 576 || n > maxDatagram) {
		return found(v)
	}
	c.Gateway.Datagram = int(n)
	return nil
}
