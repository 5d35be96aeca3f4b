package message

import (
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every *ParseError.
var ErrMalformed = errors.New("malformed IKE message")

// ErrVersion is wrapped by the error for a message whose major version is not 2 (RFC 7296 §2.5).
var ErrVersion = errors.New("unsupported IKE major version")

// ErrTooLong is returned for a message or payload that does not fit its length field.
var ErrTooLong = errors.New("IKE payload too long for its length field")

// ParseError says which field of which payload cannot be. It wraps ErrMalformed.
type ParseError struct {
	// Payload is the type of the payload, NoNextPayload for the IKE header and the chain of payloads itself.
	Payload PayloadType
	// Field is the field as RFC 7296 §3 names it.
	Field string
	// Reason says what was expected and what was found.
	Reason string
}

// Error names payload, field and reason.
func (e *ParseError) Error() string {
	where := "IKE header"
	if e.Payload != NoNextPayload {
		where = e.Payload.String() + " payload"
	}
	return fmt.Sprintf("%v: %s: %s: %s", ErrMalformed, where, e.Field, e.Reason)
}

// Unwrap returns ErrMalformed.
func (e *ParseError) Unwrap() error { return ErrMalformed }

func malformed(t PayloadType, field, format string, args ...any) error {
	return &ParseError{Payload: t, Field: field, Reason: fmt.Sprintf(format, args...)}
}
