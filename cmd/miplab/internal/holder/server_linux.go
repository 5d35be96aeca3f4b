package holder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/cmd/miplab/internal/topology"
)

// maxRequest is the greatest length of a request in octets.
const maxRequest = 1 << 20

// Holder answers for one lab.
type Holder struct {
	lab *topology.Lab
	env []string // for commands, before their own
}

// New returns a holder of the lab. Commands get the variables env.
func New(lab *topology.Lab, env []string) *Holder { return &Holder{lab, env} }

// Listen makes the socket, for its user alone. One that a dead holder left is replaced.
func Listen(socket string) (*net.UnixListener, error) {
	if _, err := Ask(socket, Request{Op: "ping"}, nil, nil); err == nil || !errors.Is(err, ErrNotStanding) {
		return nil, fmt.Errorf("holder: a lab is standing already at %s", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("holder: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("holder: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("holder: %w", err)
	}
	return l, nil
}

// Serve answers on l until it is asked for "down" or ctx ends; l is closed then. Who asked for "down" is answered by the
// call of done, which is for when the lab is gone.
func (h *Holder) Serve(ctx context.Context, l *net.UnixListener) (done func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		answering sync.WaitGroup
		mu        sync.Mutex
		last      []func() // answers to those who asked for down
	)
	done = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range last {
			f()
		}
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer func() {
		cancel()
		stop()
		l.Close()
		answering.Wait()
	}()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return done, nil
		}
		if err != nil {
			return done, fmt.Errorf("holder: %w", err)
		}
		answering.Go(func() {
			a, down := h.answer(ctx, conn)
			send := func() {
				json.NewEncoder(conn).Encode(a) // who asked may have gone
				conn.Close()
			}
			if !down {
				send()
				return
			}
			mu.Lock()
			last = append(last, send)
			mu.Unlock()
			cancel()
		})
	}
}

// answer reads one request and does what it says. down is set when that is the end.
func (h *Holder) answer(ctx context.Context, conn *net.UnixConn) (a Answer, down bool) {
	r, files, rest, err := readRequest(conn)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err == nil {
		switch r.Op {
		case "ping":
		case "down":
			return Answer{Text: "the lab is gone"}, true
		case "plug":
			err = h.plug(ctx, r)
		case "unplug":
			err = h.lab.Unplug(r.Interface)
		case "exec":
			a.Code, err = h.exec(ctx, r, files, conn, rest)
		default:
			err = fmt.Errorf("holder: %q is not something to ask for", r.Op)
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a, false
}

// readRequest reads the request, the descriptors that came along and what was read behind it.
func readRequest(conn *net.UnixConn) (r Request, files []*os.File, rest []byte, err error) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(3*4))
	var line []byte
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return r, files, nil, fmt.Errorf("holder: reading a request: %w", err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return r, files, nil, fmt.Errorf("holder: descriptors: %w", err)
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return r, files, nil, fmt.Errorf("holder: descriptors: %w", err)
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "stream"))
			}
		}
		line = append(line, buf[:n]...)
		if head, tail, ok := bytes.Cut(line, []byte("\n")); ok {
			return r, files, tail, json.Unmarshal(head, &r)
		}
		if len(line) > maxRequest {
			return r, files, nil, errors.New("holder: the request is too long")
		}
	}
}

// plug puts the cable in and waits for an address where one is given.
func (h *Holder) plug(ctx context.Context, r Request) error {
	if err := h.lab.Plug(r.Interface, topology.Wire(r.Network)); err != nil {
		return err
	}
	network, ok := topology.Served[topology.Wire(r.Network)]
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := h.lab.AwaitAddress(ctx, r.Interface, network)
	return err
}

// exec runs a command in a box until it ends, sending it the signals that come in on conn; when conn ends, so must the
// command.
func (h *Holder) exec(ctx context.Context, r Request, files []*os.File, conn *net.UnixConn, rest []byte) (int, error) {
	box := h.lab.Box(r.Box)
	if box == nil {
		return 0, fmt.Errorf("holder: there is no box %q; there are %s", r.Box, strings.Join(h.lab.Boxes(), ", "))
	}
	if len(r.Args) == 0 || len(files) != 3 {
		return 0, errors.New("holder: a command and its three streams are needed")
	}
	env := append(slices.Clone(h.env), r.Env...)
	path, err := lookPath(r.Args[0], env)
	if err != nil {
		return 0, fmt.Errorf("holder: %w", err)
	}
	cmd := &exec.Cmd{Path: path, Args: r.Args, Dir: r.Dir, Env: env, Stdin: files[0], Stdout: files[1], Stderr: files[2],
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := box.Start(cmd); err != nil {
		return 0, fmt.Errorf("holder: %w", err)
	}
	kill := func(s syscall.Signal) { syscall.Kill(-cmd.Process.Pid, s) } // gone already is as good
	stop := context.AfterFunc(ctx, func() { kill(syscall.SIGKILL) })
	defer stop()
	ended := make(chan struct{})
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		in := json.NewDecoder(newTail(rest, conn))
		for {
			var s Request
			if err := in.Decode(&s); err != nil {
				select {
				case <-ended:
				default:
					kill(syscall.SIGHUP) // who asked has gone
				}
				return
			}
			if s.Op == "signal" {
				kill(syscall.Signal(s.Signal))
			}
		}
	})
	err = cmd.Wait()
	close(ended)
	conn.SetReadDeadline(time.Now()) // ends the forwarding
	forwarding.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			return 128 + int(w.Signal()), nil // as shells have it
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}
