//go:build linux || darwin

package control

import (
	"fmt"
	"net"
)

// ofSocket asks the system about a unix socket by its descriptor. The error wraps ErrPeer.
func ofSocket(c net.Conn, ask func(fd int) error) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%w: %T is no unix socket", ErrPeer, c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	var answer error
	if err := raw.Control(func(fd uintptr) { answer = ask(int(fd)) }); err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if answer != nil {
		return fmt.Errorf("%w: %w", ErrPeer, answer)
	}
	return nil
}
