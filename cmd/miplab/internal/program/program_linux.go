package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mipvpn/cmd/miplab/internal/space"
)

// patience is how long a program may take to end once asked.
const patience = 5 * time.Second

// Program is a running child process.
type Program struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read after done
}

// Start runs the program in the namespace. name tells it from others in messages; its output goes to the file log.
func Start(s *space.Space, name, log, path string, args ...string) (*Program, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("program: %s: %w", name, err)
	}
	defer out.Close()
	p := &Program{name: name, log: log, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Dir = filepath.Dir(log)
	// A group of its own, so that the terminal's interrupt reaches only the lab, which ends things in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("program: %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Name returns the program's name.
func (p *Program) Name() string { return p.name }

// PID returns the process's number.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Err says that the program has ended, with the last lines that it wrote; nil while it runs.
func (p *Program) Err() error {
	select {
	case <-p.done:
		state := "ended"
		if p.err != nil {
			state = p.err.Error()
		}
		return fmt.Errorf("program: %s has ended: %s\n%s", p.name, state, p.Tail(12))
	default:
		return nil
	}
}

// Tail returns the last lines of the program's output.
func (p *Program) Tail(lines int) string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Signal sends a signal to the process.
func (p *Program) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the program to end and kills it when it does not. An end by the request is no error, nor is that of a program
// that has ended before.
func (p *Program) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("program: %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
	}
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("program: %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("program: %s did not end within %v of being asked and was killed", p.name, patience)
}
