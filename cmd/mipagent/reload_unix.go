//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyReload has the signal that asks for the configuration to be read again sent to c.
func notifyReload(c chan<- os.Signal) { signal.Notify(c, syscall.SIGHUP) }
