package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"mipvpn/client/control"
)

// Exit codes (DESIGN §4).
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotConnected = 3
	exitPermission   = 4
	exitUnreachable  = 5
	exitTimeout      = 124
)

// exitError is an error of a command that ran, with its exit code. Every other error is one of usage.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// failed gives an error of a command its exit code.
func failed(err error) error {
	if err == nil {
		return nil
	}
	if _, already := errors.AsType[*exitError](err); already {
		return err
	}
	code := exitFailed
	answer, answered := errors.AsType[*control.Error](err)
	switch {
	case answered:
		code = kindCode(answer.Kind)
	case errors.Is(err, control.ErrUnreachable):
		code = exitUnreachable
		err = fmt.Errorf("%w (is `mipvpn daemon` running? %s)", err, serviceAdvice)
	case errors.Is(err, control.ErrRunning):
		err = fmt.Errorf("%w; `%s` starts it anew", err, restartService)
	case errors.Is(err, control.ErrPermission):
		code = exitPermission
		err = fmt.Errorf("%w (run it as root, or have the administrator let you reach the socket)", err)
	case errors.Is(err, fs.ErrPermission):
		code = exitPermission
	case errors.Is(err, context.DeadlineExceeded):
		code = exitTimeout
	}
	return &exitError{code, err}
}

func kindCode(k control.Kind) int {
	switch k {
	case control.KindUsage:
		return exitUsage
	case control.KindPermission:
		return exitPermission
	case control.KindNotConnected:
		return exitNotConnected
	case control.KindTimeout:
		return exitTimeout
	}
	return exitFailed
}

func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitUsage
}
