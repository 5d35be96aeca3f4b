package auth

import (
	"fmt"
	"io"
)

// Key is a shared secret. However it is formatted, it shows only its length.
type Key []byte

// Format writes the key's length in place of the key, for every verb.
func (k Key) Format(w fmt.State, _ rune) {
	_, _ = io.WriteString(w, fmt.Sprintf("[key of %d octets]", len(k)))
}

// MarshalText writes the key's length in place of the key, so that encoders do not spill it. It never fails.
func (k Key) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "[key of %d octets]", len(k)), nil
}
