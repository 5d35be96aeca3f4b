package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

var (
	_ Watcher = (*ResolvConf)(nil)
	_ Watcher = (*Resolved)(nil)
)

// Watch implements Watcher by inotify on the file's directory, for others replace the file as this package does.
func (r *ResolvConf) Watch(changed func()) (stop func(), err error) {
	dir, name := filepath.Split(r.path())
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("dns: watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	const what = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE
	if _, err := unix.InotifyAddWatch(fd, dir, what); err != nil {
		return nil, errors.Join(fmt.Errorf("dns: watch %s: %w", dir, err), f.Close())
	}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 16<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if names(buf[:n], name) {
				changed()
			}
		}
	})
	return func() {
		_ = f.Close()
		done.Wait()
	}, nil
}

// names reports whether one of the events in the buffer (inotify(7)) is about the name, or events were lost. It is a total
// function.
func names(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask, size := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		events = events[unix.SizeofInotifyEvent:]
		if uint64(size) > uint64(len(events)) {
			return true
		}
		if mask&unix.IN_Q_OVERFLOW != 0 || strings.TrimRight(string(events[:size]), "\x00") == name {
			return true
		}
		events = events[size:]
	}
	return false
}

// Watch implements Watcher by the signals of systemd-resolved: its properties have changed, or it was started anew.
func (r *Resolved) Watch(changed func()) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := r.Bus(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("dns: systemd-resolved: the system bus: %w", err)
	}
	err = errors.Join(
		conn.AddMatchSignal(dbus.WithMatchSender(resolvedService), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchMember("PropertiesChanged")),
		conn.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, resolvedService)),
	)
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("dns: systemd-resolved: its signals: %w", err), conn.Close())
	}
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	var done sync.WaitGroup
	done.Go(func() {
		for range signals { // closed with the connection
			changed()
		}
	})
	return func() {
		_ = conn.Close()
		cancel()
		done.Wait()
	}, nil
}
