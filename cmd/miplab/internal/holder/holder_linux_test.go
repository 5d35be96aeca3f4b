package holder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mipvpn/cmd/miplab/internal/topology"
)

// stand makes a lab with a holder and returns its socket and a channel that yields when the holder has ended.
func stand(t *testing.T) (socket string, ended <-chan error) {
	t.Helper()
	lab, err := topology.New(topology.Options{})
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("needs root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "socket")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ch, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		done, err := New(lab, []string{"PATH=" + os.Getenv("PATH"), "LAB=yes"}).Serve(t.Context(), l)
		done()
		ch <- err
	}()
	t.Cleanup(func() {
		<-gone
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return socket, ch
}

// execute runs a command in a box and returns what it wrote and its exit code.
func execute(t *testing.T, socket, box string, signals <-chan os.Signal, args ...string) (string, int, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	a, err := Ask(socket, Request{Op: "exec", Box: box, Args: args, Dir: "/", Env: []string{"OWN=too"}}, []*os.File{in, out, out}, signals)
	text, readErr := os.ReadFile(name)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return strings.TrimSpace(string(text)), a.Code, err
}

// TestHolder goes through all that a holder is asked for.
func TestHolder(t *testing.T) {
	socket, ended := stand(t)
	if _, err := Listen(socket); err == nil {
		t.Error("a second holder took the socket of a living one")
	}
	for _, c := range []struct{ script, want string }{
		{"echo $LAB $OWN; pwd", "yes too\n/"},
		{"cat /proc/net/dev | grep -c visited", "1"},
	} {
		if got, code, err := execute(t, socket, topology.ExternalFA, nil, "sh", "-c", c.script); err != nil || code != 0 || got != c.want {
			t.Errorf("%s: %q, exit code %d, %v; want %q", c.script, got, code, err, c.want)
		}
	}
	if _, code, err := execute(t, socket, topology.Laptop, nil, "sh", "-c", "exit 7"); err != nil || code != 7 {
		t.Errorf("exit 7 came as %d, %v", code, err)
	}
	if _, _, err := execute(t, socket, "moon", nil, "true"); err == nil || !strings.Contains(err.Error(), topology.Laptop) {
		t.Errorf("a command ran in a box that there is none of, or the error does not name the boxes: %v", err)
	}
	if _, _, err := execute(t, socket, topology.Laptop, nil, "no-such-program"); err == nil {
		t.Error("a program that is not there ran")
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	if _, code, err := execute(t, socket, topology.Laptop, signals, "sh", "-c", "while :; do :; done"); err != nil || code != 128+int(syscall.SIGTERM) {
		t.Errorf("a command that got SIGTERM ended with %d, %v", code, err)
	}
	if _, err := Ask(socket, Request{Op: "plug", Interface: "eth0", Network: "cafe"}, nil, nil); err != nil {
		t.Error(err)
	}
	if got, _, err := execute(t, socket, topology.Laptop, nil, "sh", "-c", "cat /proc/net/fib_trie | grep -c 192.168.1.1[0-9][0-9]"); err != nil || got == "0" {
		t.Errorf("after plugging into the café the laptop has no address of it: %q, %v", got, err)
	}
	if _, err := Ask(socket, Request{Op: "unplug", Interface: "eth0"}, nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := Ask(socket, Request{Op: "dance"}, nil, nil); err == nil {
		t.Error("the holder danced")
	}
	if _, err := Ask(socket, Request{Op: "down"}, nil, nil); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := Ask(socket, Request{Op: "ping"}, nil, nil); !errors.Is(err, ErrNotStanding) {
		t.Errorf("after down the answer is %v, want %v", err, ErrNotStanding)
	}
}
