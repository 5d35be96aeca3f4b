//go:build !linux

package main

import "runtime"

// examineHost says that this machine cannot be checked.
func examineHost() []finding {
	return []finding{{Name: "system", Result: checkFailed, Message: "the client does not run on " + runtime.GOOS, Advice: "use Linux"}}
}
