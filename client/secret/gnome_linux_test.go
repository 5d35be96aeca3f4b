package secret

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"mipvpn/detect/resolve/bustest"
)

// gnomeProgram is GNOME's key ring (Debian package gnome-keyring).
const gnomeProgram = "gnome-keyring-daemon"

// runGNOME runs GNOME's key ring on the bus, with its files below home, and returns what ends it once it is there. With a password its
// login collection is unlocked, and made where there is none.
func runGNOME(t *testing.T, bus *bustest.Bus, home, password string) (end func()) {
	t.Helper()
	conn, err := bus.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, ringName)); err != nil {
		t.Fatal(err)
	}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	args := []string{"--foreground", "--components=secrets"}
	if password != "" {
		args = append(args, "--unlock")
	}
	c := exec.Command(gnomeProgram, args...)
	c.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, "data"), "XDG_RUNTIME_DIR="+filepath.Join(home, "run"), "DBUS_SESSION_BUS_ADDRESS="+bus.Address(), "LC_ALL=C")
	c.Stdin = strings.NewReader(password)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		if c.ProcessState != nil {
			return
		}
		_ = c.Process.Signal(unix.SIGTERM)
		late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
		defer late.Stop()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s: %s", gnomeProgram, &log)
		}
	}
	t.Cleanup(end)
	select {
	case <-signals:
	case <-time.After(time.Minute):
		t.Fatal("GNOME's key ring does not come onto the bus")
	}
	return end
}

// Shows: IKE-2 (the real key ring of a desktop: it keeps what is stored, encrypted, over its end; locked, with nobody there to unlock it, it
// is an error and no wait)
func TestGNOMEKeyRing(t *testing.T) {
	if _, err := exec.LookPath(gnomeProgram); err != nil {
		t.Skip("there is no gnome-keyring-daemon (package gnome-keyring)")
	}
	bus, home := bustest.Start(t), t.TempDir()
	for _, dir := range []string{"data", "run"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// with opens the key ring as each command does, and closes it.
	with := func(f func(k *KeyRing)) {
		t.Helper()
		k, err := OpenKeyRing(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		f(k)
	}
	has := func(name, want string) {
		t.Helper()
		with(func(k *KeyRing) {
			if s, err := k.Lookup(ctx, name); err != nil || string(s) != want {
				t.Errorf("%s: %q, %v, want %q", name, s, err, want)
			}
		})
	}
	stored := map[string]string{"password of alice": "an old password", "PIN of token=card": "1234 \x00\xff"}

	end := runGNOME(t, bus, home, "of the login")
	with(func(k *KeyRing) {
		if _, err := k.Lookup(ctx, "password of alice"); !errors.Is(err, ErrNoItem) {
			t.Errorf("empty: %v, want %v", err, ErrNoItem)
		}
	})
	for name, s := range stored {
		with(func(k *KeyRing) {
			if err := k.Store(ctx, name, []byte(s)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		})
		has(name, s)
	}
	stored["password of alice"] = "a new password"
	with(func(k *KeyRing) {
		if err := k.Store(ctx, "password of alice", []byte(stored["password of alice"])); err != nil {
			t.Fatal(err)
		}
	})
	has("password of alice", "a new password")
	end()
	if err := fs.WalkDir(os.DirFS(home), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(os.DirFS(home), path)
		if bytes.Contains(data, []byte("a new password")) {
			t.Errorf("%s has the password as it is", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	end = runGNOME(t, bus, home, "")
	with(func(k *KeyRing) {
		if s, err := k.Lookup(ctx, "password of alice"); !errors.Is(err, ErrDeclined) {
			t.Errorf("locked: %q, %v, want %v", s, err, ErrDeclined)
		}
	})
	end()
	runGNOME(t, bus, home, "of the login")
	for name, s := range stored {
		has(name, s)
	}
}
