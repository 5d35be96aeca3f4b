package main

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// terminalConsole returns what takes the terminal that both files are, nil where one of them is none, or cannot move its cursor.
func terminalConsole(in, out *os.File) func() (*console, error) {
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return func() (*console, error) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("the terminal cannot be taken: %w", err)
		}
		resized, stop := windowChanges()
		sc := screenOf(out)
		return &console{
			in: in, out: out, resized: resized, colour: sc.colour,
			size: func() (width, height int) {
				sc := screenOf(out)
				return sc.width, sc.height
			},
			leave: func() error {
				stop()
				return term.Restore(int(in.Fd()), before)
			},
		}, nil
	}
}
