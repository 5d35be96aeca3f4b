package space

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// make returns a new namespace, or skips the test where none may be made.
func newSpace(t *testing.T, name string) *Space {
	t.Helper()
	s, err := New(name)
	if err != nil {
		t.Skipf("needs network namespaces (root): %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSpacesAreApart shows that a port taken in one namespace is free in another, and that the caller stays at home.
func TestSpacesAreApart(t *testing.T) {
	a, b := newSpace(t, "a"), newSpace(t, "b")
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Space{a, b} {
		err := s.Do(func() error {
			l, err := net.Listen("tcp", "127.0.0.1:7")
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		})
		if err != nil {
			t.Errorf("listening in %s: %v", s.Name, err)
		}
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != home {
		t.Errorf("the process has moved from %s to %s", home, now)
	}
}

// TestStart shows that a child process is in the namespace.
func TestStart(t *testing.T) {
	s := newSpace(t, "child")
	var want string
	if err := s.Do(func() (err error) { want, err = os.Readlink("/proc/thread-self/ns/net"); return }); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	cmd.Stdout = &out
	if err := s.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("the child is in %s, want %s", got, want)
	}
}
