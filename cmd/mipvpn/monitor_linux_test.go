package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// pty is a pseudo terminal: programs have the terminal, the test has what stands in the place of screen and keyboard.
type pty struct {
	terminal, keyboard *os.File
	screen             output
}

// openPTY returns a pseudo terminal of that size.
func openPTY(t *testing.T, width, height uint16) *pty {
	t.Helper()
	k, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { k.Close() })
	number := uint32(0)
	raw, err := k.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	p := &pty{keyboard: k}
	if p.terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { p.terminal.Close() })
	go func() { _, _ = io.Copy(&p.screen, k) }() // ends with the pseudo terminal
	return p
}

// shows waits until the screen holds all of the words.
func (p *pty) shows(t *testing.T, words ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for missing := words; len(missing) > 0; missing = missing[1:] {
		for !strings.Contains(sgr.ReplaceAllString(p.screen.last(), ""), missing[0]) {
			if time.Now().After(deadline) {
				t.Fatalf("the screen does not show %q:\n%s", missing[0], p.screen.last())
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}

func (p *pty) modes(t *testing.T) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(p.terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// The live view on a real terminal: it follows the daemon, waits for one that ends, takes another size, and gives the terminal back.
func TestMonitorOnATerminal(t *testing.T) {
	p := openPTY(t, 80, 24)
	before := p.modes(t)
	path := filepath.Join(t.TempDir(), "s")
	daemon := func(s control.Status) (end func()) {
		l, err := control.Listen(path, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- control.NewServer(controltest.New(s), everybody(t), nil).Serve(ctx, l) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	}
	end := daemon(statuses()["outside"])
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"--socket", path, "monitor"}, terminal{out: p.terminal, err: io.Discard, start: noClient, console: terminalConsole(p.terminal, p.terminal)})
	}()
	p.shows(t, "CONNECTED, mode cvc on wlan0", "esp-in-udp", "q ends")
	if p.modes(t) == before {
		t.Error("the terminal still echoes what is typed")
	}
	end()
	p.shows(t, "WAITING")
	end = daemon(statuses()["inside"])
	defer end()
	p.shows(t, "mode c on eth0", "█")
	if err := unix.IoctlSetWinsize(int(p.keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 30}); err != nil {
		t.Fatal(err)
	}
	p.shows(t, "CONNECTED, mode c on eth0 (po…")
	if _, err := p.keyboard.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-code:
		if c != exitDone {
			t.Errorf("exit %d", c)
		}
	case <-time.After(time.Minute):
		t.Fatal("q does not end it")
	}
	p.shows(t, leaveScreen)
	if p.modes(t) != before {
		t.Error("the terminal is not as it was before")
	}
}

// Whom the daemon does not answer is told so before the terminal is taken.
func TestMonitorWithoutPermission(t *testing.T) {
	p := openPTY(t, 80, 24)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(socket, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			control.NewServer(controltest.New(statuses()["inside"]), everybody(t), nil).ServeConn(t.Context(), c, control.Peer{UID: 12345})
		}
	}()
	var errs strings.Builder
	code := run(t.Context(), []string{"--socket", socket, "monitor"}, terminal{out: p.terminal, err: &errs, start: noClient, console: terminalConsole(p.terminal, p.terminal)})
	if code != exitPermission || strings.Contains(p.screen.last(), enterScreen) {
		t.Errorf("exit %d: %s", code, &errs)
	}
}

// On a terminal the status has colours, unless NO_COLOR or a dumb terminal forbids them.
func TestScreenOfATerminal(t *testing.T) {
	p := openPTY(t, 100, 30)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := screenOf(p.terminal); got != (screen{100, 30, true}) {
		t.Errorf("%+v", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := screenOf(p.terminal); got.colour {
		t.Error("colours with NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if got := screenOf(p.terminal); got.colour {
		t.Error("colours on a dumb terminal")
	}
}
