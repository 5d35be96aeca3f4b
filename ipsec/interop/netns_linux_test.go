package interop

import (
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

// launchIn starts commands in the namespace.
func launchIn(ns *os.File) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		result := make(chan error)
		starts() <- func() {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				result <- err
				return
			}
			result <- cmd.Start()
		}
		return <-result
	}
}
