package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// failure is the document of a command with --json that failed before it had written one.
type failure struct {
	Schema int          `json:"schema"`
	Error  failureError `json:"error"`
}

type failureError struct {
	// Code is the exit code.
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// counted counts what is written to it.
type counted struct {
	w       io.Writer
	written int
}

// Write implements io.Writer.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.written += n
	return n, err
}

// jsonFlag adds --json to a reading command.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON")
}

// writeJSON writes a document for programs, indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeLine writes a document on a line of its own.
func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
