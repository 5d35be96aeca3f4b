package gatetest

import "time"

// NoKernel is a link.PlaintextPermit that agrees to everything and does nothing: for tests of what is above the kernel.
type NoKernel struct{}

// Permit does nothing.
func (NoKernel) Permit(int, time.Duration) error { return nil }

// Forbid does nothing.
func (NoKernel) Forbid(int) error { return nil }
