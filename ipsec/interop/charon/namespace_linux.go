package charon

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// starts are commands for the one thread that is the parent of all children: the kernel ends them with it.
var starts = sync.OnceValue(func() chan<- func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// In returns an Options.Launch that starts commands in the network namespace, which stays open as long as it is used. The
// kernel ends them with this process.
func In(ns *os.File) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		result := make(chan error)
		starts() <- func() {
			// The thread does nothing but this, so it need not return to where it was.
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				result <- fmt.Errorf("charon: enter network namespace: %w", err)
				return
			}
			result <- cmd.Start()
		}
		return <-result
	}
}
