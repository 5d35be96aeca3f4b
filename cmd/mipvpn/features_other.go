//go:build !linux && !darwin && !windows

package main

import "runtime"

// features returns what the program can do on this system: nothing.
func features() []feature {
	why := "the client does not run on " + runtime.GOOS
	return modeFeatures(featureUnavailable, why, why)
}
