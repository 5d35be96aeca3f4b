package config

import "fmt"

// Secret is a key. It never shows in text: its String and formatted forms give only its length.
type Secret []byte

// String returns the secret's length in words.
func (s Secret) String() string { return fmt.Sprintf("secret of %d octets", len(s)) }

// Format implements fmt.Formatter, so that no verb prints the octets.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText implements encoding.TextMarshaler with String, for JSON and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
