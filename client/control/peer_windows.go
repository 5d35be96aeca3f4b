package control

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/windows"
)

// peerPID is SIO_AF_UNIX_GETPEERPID (afunix.h).
const peerPID = 0x58000100

// nobody is the number of a peer who is no administrator: Windows' users have no numbers of 32 bits.
const nobody = 0xffffffff

// PeerOf returns who is at the other end of a unix socket: the process, and as its user 0 for LocalSystem and for administrators who
// use their rights (elevated), 4294967295 for everybody else. The error wraps ErrPeer. It has not been run on a real machine.
func PeerOf(c net.Conn) (Peer, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("%w: %T is no unix socket", ErrPeer, c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	var pid, n uint32
	var inner error
	if err := raw.Control(func(fd uintptr) {
		inner = windows.WSAIoctl(windows.Handle(fd), peerPID, nil, 0, (*byte)(unsafe.Pointer(&pid)), uint32(unsafe.Sizeof(pid)), &n, nil, 0)
	}); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if inner != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, inner)
	}
	p := Peer{UID: nobody, GID: nobody, PID: int32(pid)}
	if may, err := administers(pid); err != nil {
		return Peer{}, fmt.Errorf("%w: process %d: %w", ErrPeer, pid, err)
	} else if may {
		p.UID = 0
	}
	return p, nil
}

// administers reports whether the process runs with the rights of an administrator.
func administers(pid uint32) (bool, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return false, err
	}
	defer windows.CloseHandle(process)
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return false, err
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return false, err
	}
	return user.User.Sid.IsWellKnown(windows.WinLocalSystemSid) || token.IsElevated(), nil
}
