package control

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// PeerOf returns who is at the other end of a unix socket (LOCAL_PEERCRED). The error wraps ErrPeer.
func PeerOf(c net.Conn) (Peer, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("%w: %T is no unix socket", ErrPeer, c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	var cred *unix.Xucred
	var inner error
	if err := raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED) }); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if inner != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, inner)
	}
	p := Peer{UID: cred.Uid}
	if cred.Ngroups > 0 {
		p.GID = cred.Groups[0]
	}
	return p, nil
}
