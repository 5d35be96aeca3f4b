package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"mipvpn/cmd/miplab/internal/space"
)

// nestedVariable is set for the process in the user namespace, so that it does not make another one.
const nestedVariable = "MIPLAB_NESTED"

const tunDevice = "/dev/net/tun"

// becomeAble returns nil in a process that may make network namespaces and TUN devices. Without root it runs this very
// command line in a user namespace, with the files open from number 3 on, and returns its exit code as an exitError. The error says
// what is missing.
func becomeAble(inherited ...*os.File) error {
	direct := able()
	if direct == nil {
		return nil
	}
	if os.Getenv(nestedVariable) != "" {
		return fmt.Errorf("even as root of a user namespace the lab cannot be made: %w", direct)
	}
	if os.Geteuid() == 0 {
		return fmt.Errorf("the lab cannot be made, although this is root: %w", direct)
	}
	if err := userNamespacePossible(); err != nil {
		return fmt.Errorf("the lab needs root or a user namespace: %w", err)
	}
	return nest(inherited)
}

// able tries what the lab is made of.
func able() error {
	s, err := space.New("trial")
	if err != nil {
		return err
	}
	defer s.Close()
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("TUN devices: %w", err)
	}
	return f.Close()
}

// userNamespacePossible says what keeps an ordinary user from making the lab in a user namespace.
func userNamespacePossible() error {
	var errs []error
	read := func(name string) string {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	if read("user/max_user_namespaces") == "0" || read("kernel/unprivileged_userns_clone") == "0" {
		errs = append(errs, errors.New("user namespaces are turned off (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)"))
	}
	if read("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		errs = append(errs, errors.New("AppArmor restricts user namespaces of ordinary users, as Ubuntu has it (sysctl kernel.apparmor_restrict_unprivileged_userns=0 lifts that)"))
	}
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		errs = append(errs, fmt.Errorf("an ordinary user may not open the TUN device here: %w", err))
	} else {
		f.Close()
	}
	return errors.Join(errs...)
}

// nest runs this command line as root of a new user namespace and returns its end.
func nest(inherited []*os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), nestedVariable+"=1")
	cmd.ExtraFiles = inherited
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	// The terminal's interrupt reaches the other process too, which ends in order.
	signal.Ignore(os.Interrupt)
	runtime.LockOSThread() // the thread is the child's parent
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("making a user namespace: %w", err)
	}
	// What asks this process to end is for the other one.
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	defer signal.Stop(terminated)
	gone := make(chan struct{})
	go func() {
		select {
		case s := <-terminated:
			cmd.Process.Signal(s) // one that has ended needs none
		case <-gone:
		}
	}()
	err = cmd.Wait()
	close(gone)
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() >= 0 {
		return exitError(ended.ExitCode())
	}
	if err != nil {
		return err
	}
	return exitError(0)
}
