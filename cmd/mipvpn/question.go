package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"
)

// longestLine is how long an answer may be, in octets.
const longestLine = 8192

// terminalQuestion returns what asks for a line on the terminal of this process, nil without one.
func terminalQuestion() func(ctx context.Context, text string) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return func(ctx context.Context, text string) (string, error) {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		fmt.Fprint(os.Stderr, text)
		line, err := readLine(ctx, os.Stdin)
		if err != nil { // the cursor stands behind the question
			fmt.Fprintln(os.Stderr)
		}
		return line, err
	}
}

// readLine reads a line octet by octet, so that nothing of the next answer is taken. When ctx ends the reader goes with the process.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		var line []byte
		octet := make([]byte, 1)
		for {
			n, err := r.Read(octet)
			switch {
			case n == 1 && octet[0] == '\n':
				done <- read{strings.TrimSuffix(string(line), "\r"), nil}
				return
			case n == 1 && len(line) == longestLine:
				done <- read{"", errors.New("the answer is too long")}
				return
			case n == 1:
				line = append(line, octet[0])
			case err == io.EOF:
				done <- read{"", fmt.Errorf("the terminal is closed: %w", io.ErrUnexpectedEOF)}
				return
			case err != nil:
				done <- read{"", err}
				return
			}
		}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
