package dns

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/detect/resolve/bustest"
)

// await waits for a hint.
func await(t *testing.T, hints <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-hints:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s was not noticed", what)
	}
}

func hinted() (chan struct{}, func()) {
	hints := make(chan struct{}, 1)
	return hints, func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
}

// Shows: HST-3 (that another program writes the resolv.conf, in place or by a rename, or takes it away, is noticed at once)
func TestWatchResolvConf(t *testing.T) {
	r := newFile(t)
	write(t, r.Path, original, 0o644)
	for _, do := range []struct {
		what string
		f    func()
	}{
		{"a write in place", func() { write(t, r.Path, "nameserver 192.168.1.2\n", 0o644) }},
		{"a rename", func() {
			if _, err := r.Set(plan()); err != nil {
				t.Fatal(err)
			}
		}},
		{"a removal", func() {
			if err := os.Remove(r.Path); err != nil {
				t.Fatal(err)
			}
		}},
		{"a new file", func() { write(t, r.Path, original, 0o644) }},
	} {
		hints, changed := hinted()
		stop, err := r.Watch(changed) // a watch of its own, that sees nothing of what was before
		if err != nil {
			t.Fatal(err)
		}
		do.f()
		await(t, hints, do.what)
		stop()
		select { // of another event of the same
		case <-hints:
		default:
		}
		write(t, r.Path, original, 0o644)
		select {
		case <-hints:
			t.Errorf("%s: a hint after the end of watching", do.what)
		default:
		}
	}
	none := &ResolvConf{Files: OSFiles{}, Path: filepath.Join(t.TempDir(), "nowhere", "resolv.conf")}
	if _, err := none.Watch(func() {}); err == nil {
		t.Error("a directory that is not there is watched")
	}
}

// Shows: HST-3 (that another link's domains change, or the service is started anew, is noticed at once)
func TestWatchResolved(t *testing.T) {
	bus := bustest.Start(t)
	r := &Resolved{Bus: bus.Connect, Link: &fakeLink{index: 7}}
	hints, changed := hinted()
	stop, err := r.Watch(changed)
	if err != nil {
		t.Fatal(err)
	}
	service := bustest.StartResolved(t, bus, nil)
	await(t, hints, "the service's start")
	service.SetLink(2, bustest.Link{Domains: []bustest.Domain{{Name: "hotel.example"}}})
	await(t, hints, "another link's domains")
	stop()
}

// FuzzNames shows that any octets from the kernel are walked through.
func FuzzNames(f *testing.F) {
	event := make([]byte, unix.SizeofInotifyEvent, 64)
	binary.NativeEndian.PutUint32(event[12:], 16)
	event = append(event, "resolv.conf\x00\x00\x00\x00\x00"...)
	f.Add(event)
	f.Add(event[:20])
	f.Add(append(append([]byte(nil), event...), event...))
	if !names(event, "resolv.conf") || names(event, "hosts") {
		f.Error("the name is not found, or another one is")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if names(b, "resolv.conf") && len(b) < unix.SizeofInotifyEvent {
			t.Fatalf("found in %d octets", len(b))
		}
	})
}
