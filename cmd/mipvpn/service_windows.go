package main

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows/svc"

	"mipvpn/client/config"
)

// serviceName is the name that configs/windows/service.ps1 gives the service.
const serviceName = "mipvpn"

// The service manager's commands: to have the daemon start with the system and now, to start it, to start it anew, and what is to be said
// about one that cannot be reached.
const (
	enableService  = "powershell -ExecutionPolicy RemoteSigned -File service.ps1"
	startService   = "Start-Service mipvpn"
	restartService = "Restart-Service mipvpn"
	serviceAdvice  = "`Start-Service mipvpn` starts it, " + config.StateDirectory + `\mipvpn.log says why it has ended`
)

// runService runs the command line as a Windows service where the service manager has started it, and reports whether it has. The log
// goes into a file beside the state.
func runService(run func(ctx context.Context, t terminal) int, t terminal) (code int, is bool) {
	if is, err := svc.IsWindowsService(); err != nil || !is {
		return 0, false
	}
	if err := os.MkdirAll(config.StateDirectory, 0o700); err == nil {
		if f, err := os.OpenFile(filepath.Join(config.StateDirectory, "mipvpn.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			defer f.Close()
			t.out, t.err = f, f
		}
	}
	if err := svc.Run(serviceName, &windowsService{run: run, terminal: t}); err != nil {
		return exitFailed, true
	}
	return exitDone, true
}

// windowsService is a run of the program as the service manager sees it.
type windowsService struct {
	run      func(ctx context.Context, t terminal) int
	terminal terminal
}

// Execute implements svc.Handler.
func (s *windowsService) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- s.run(ctx, s.terminal) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case code := <-ended:
			return true, uint32(code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending}
				stop()
			}
		}
	}
}
