package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// TestNotify plays the service manager: it is told when the daemon is ready, that it lives for as long as the client answers, and that
// it ends.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "3000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	next := func() string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	b := controltest.New(control.Status{})
	end := notify(t.Context(), b, zap.NewNop())
	if got := next(); got != "READY=1" {
		t.Fatalf("told %q first", got)
	}
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("told %q while the client answers", got)
		}
	}
	b.Fail(errors.New("hung"))
	asked := len(b.Calls())
	for len(b.Calls()) < asked+3 { // it is asked, and its silence is not told as life
		runtime.Gosched()
	}
	end()
	last, alive := "", 0
	for last != "STOPPING=1" {
		if last = next(); last == "WATCHDOG=1" {
			alive++
		}
	}
	// One that was on its way when the client fell silent may still come, and those that were not read yet.
	if asked := len(b.Calls()); alive >= asked {
		t.Errorf("%d signs of life of %d answers", alive, asked)
	}
}
