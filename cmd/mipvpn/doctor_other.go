//go:build !linux

package main

import (
	"runtime"
	"strings"
)

// examineHost says what is known of this system.
func examineHost() []finding {
	f := finding{Name: "system", Result: checkWarning, Message: "the client has not been run on a real machine with " + runtime.GOOS, Advice: "see `mipvpn version --features`"}
	if !strings.Contains(runtimeSystems, runtime.GOOS) {
		f.Result, f.Message, f.Advice = checkFailed, "the client does not run on "+runtime.GOOS, "use Linux"
	}
	return []finding{f}
}

// runtimeSystems are those beside Linux that there is code for.
const runtimeSystems = "darwin windows"
