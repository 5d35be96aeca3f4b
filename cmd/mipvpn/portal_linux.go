package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mipvpn/client/control"
)

// browserProcess is a browser on the way to a portal.
type browserProcess struct {
	*exec.Cmd
	names string // how it asks for names, for people
}

// exitNoNamespace is the exit code of a helper that may not mount in its namespace.
const exitNoNamespace = 77

// startBrowser starts the browser as this program, which puts itself into the way (joinAsBrowser) and then becomes the browser.
// It has a mount namespace of its own where this system lets users have one.
func (a *app) startBrowser(program, url, dir string) (*browserProcess, error) {
	if err := browserFiles(dir); err != nil {
		return nil, err
	}
	b, err := a.helper(program, url, dir, true)
	if errors.Is(err, errNoNamespace) {
		b, err = a.helper(program, url, dir, false)
	}
	return b, err
}

// errNoNamespace is returned where a user gets no mount namespace, or may not mount in it.
var errNoNamespace = errors.New("this system lets users have no mount namespace of their own")

// kill ends the browser and what it has started, as far as that is in its process group; the daemon ends the rest.
func (b *browserProcess) kill() { _ = unix.Kill(-b.Process.Pid, unix.SIGKILL) } // it may have ended

// helper starts the helper and waits until it has joined.
func (a *app) helper(program, url, dir string, namespace bool) (*browserProcess, error) {
	ready, child, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	files := ""
	if namespace {
		files = dir
	}
	args := append([]string{portalBrowserCommand, "--socket", a.socket, "--files", files, "--", program}, browserArguments(program, url, dir)...)
	home, _ := os.UserHomeDir() // none is the same as empty
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env, cmd.Stderr, cmd.ExtraFiles, cmd.Dir = browserEnvironment(os.Environ(), home, dir), a.err, []*os.File{child}, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for this process, which closes the way
	b := &browserProcess{Cmd: cmd, names: "names asked by the host's own resolv.conf"}
	if namespace {
		uid, gid := os.Getuid(), os.Getgid()
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN} // to mount; only in the namespaces
		b.names = "with a resolv.conf of its own"
	}
	err = cmd.Start()
	child.Close()
	if err != nil && namespace {
		return nil, fmt.Errorf("%w: %w", errNoNamespace, err)
	}
	if err != nil {
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	// The helper writes when it has joined; its end of the pipe is closed when it becomes the browser.
	said := make([]byte, 1)
	if n, _ := ready.Read(said); n == 1 {
		return b, nil
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitNoNamespace {
		return nil, errNoNamespace
	}
	return nil, fmt.Errorf("the browser's helper failed: %w", err)
}

// portalBrowser is the helper.
func (a *app) portalBrowser() *cobra.Command {
	c := &cobra.Command{Use: portalBrowserCommand + " -- PROGRAM ARGUMENT...", Hidden: true, Args: cobra.MinimumNArgs(1)}
	files := c.Flags().String("files", "", "directory with the files to put in the place of the host's; empty for none")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return failed(a.joinAsBrowser(cmd.Context(), *files, args))
	}
	return c
}

// joinAsBrowser puts this process into the way to the portal and becomes the browser.
func (a *app) joinAsBrowser(ctx context.Context, files string, args []string) error {
	ready := os.NewFile(3, "ready")
	unix.CloseOnExec(3)
	if files != "" {
		if err := replaceFiles(files); err != nil {
			return &exitError{exitNoNamespace, err}
		}
	}
	if os.Geteuid() == 0 {
		return errors.New("no browser is started as root")
	}
	if err := a.ask(ctx, func(c *control.Client) error { return c.JoinPortal(ctx) }); err != nil {
		return err
	}
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	runtime.LockOSThread() // capabilities are a thread's, and those of this one become the browser's
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return fmt.Errorf("become %s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
}

// replaceFiles puts the files of dir in the place of the host's, in this process's mount namespace: how names are resolved, and
// the socket of a daemon that would resolve them elsewhere.
func replaceFiles(dir string) error {
	for name, target := range map[string]string{
		"resolv.conf": "/etc/resolv.conf", "nsswitch.conf": "/etc/nsswitch.conf", "nothing": "/run/nscd/socket",
	} {
		if _, err := os.Stat(target); err != nil {
			continue // nothing to replace; without resolv.conf the resolver asks 127.0.0.1 (resolv.conf(5))
		}
		if err := unix.Mount(filepath.Join(dir, name), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("put %s in the place of %s: %w", name, target, err)
		}
	}
	return nil
}
