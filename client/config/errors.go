package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is wrapped by every error of a configuration that was read but cannot be used.
var ErrInvalid = errors.New("configuration is not valid")

// Error is one thing that is wrong with a configuration.
type Error struct {
	// File is the file's name as it was given, empty for a value that is in no file, and Line and Column where the error stands, counted from 1; Line is 0 when
	// it is about something that is not in the file.
	File         string
	Line, Column int
	// Key is the key with its table, such as "detection.t_monitor"; empty for errors of syntax.
	Key string
	// Message says what was found and what is wrong with it.
	Message string
	// Valid says what would be valid; empty when Message does.
	Valid string
}

// Error writes file, line, key, message and what is valid.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	if e.Valid != "" {
		b.WriteString("; valid is " + e.Valid)
	}
	return b.String()
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// Errors are all the errors of one configuration, in the order of their lines.
type Errors []*Error

// Error writes each error on a line of its own.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int { return a.Line - b.Line })
	return e
}
