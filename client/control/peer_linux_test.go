package control

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestPeerOfIsThisProcess: PID and start time are those of the process that has connected.
func TestPeerOfIsThisProcess(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	p, err := PeerOf(far)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	start, err := parseStart(stat)
	if err != nil || start == 0 || p.Start != start || int(p.PID) != os.Getpid() {
		t.Errorf("%+v started %d, want process %d of %d (%v)", p, p.Start, os.Getpid(), start, err)
	}
}

func TestParseStart(t *testing.T) {
	const behind = ") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"
	for _, name := range []string{"sh", "a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 666", "", "\n("} {
		if got, err := parseStart([]byte("77 (" + name + behind)); err != nil || got != 4242 {
			t.Errorf("%q: %d, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "77 (sh", "77 (sh) S 1 2", "77 (sh" + behind[:len(behind)-10] + " x y"} {
		if got, err := parseStart([]byte(bad)); err == nil {
			t.Errorf("%q: %d", bad, got)
		}
	}
}

func FuzzParseStart(f *testing.F) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Skip(err)
	}
	f.Add(stat)
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if _, err := parseStart(stat); err == nil && len(stat) < 40 {
			t.Errorf("%q is too short for a start time", stat)
		}
	})
}
