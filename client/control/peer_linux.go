package control

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PeerOf returns who is at the other end of a unix socket (SO_PEERCRED). The error wraps ErrPeer.
func PeerOf(c net.Conn) (p Peer, err error) {
	err = ofSocket(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		p = Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, Start: startOf(fd, cred.Pid)}
		return nil
	})
	return p, err
}

// startOf returns when the peer's process started (Peer.Start), 0 where that cannot be told. The number of a process that has ended may
// have been given to another one: where the kernel hands out a descriptor of the peer's process (SO_PEERPIDFD, Linux 6.5), it is asked
// whether that still runs once the number has been looked up.
func startOf(fd int, pid int32) uint64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	start, err := parseStart(stat)
	if err != nil {
		return 0
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == unix.ENOPROTOOPT {
		return start
	}
	if err != nil {
		return 0
	}
	defer unix.Close(pidfd)
	ended := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ended, 0); err != nil || n != 0 {
		return 0
	}
	return start
}

// parseStart returns the start time of a process from its /proc/PID/stat (proc_pid_stat(5), field 22). The second field, the program's
// name, may contain anything, parentheses too.
func parseStart(stat []byte) (uint64, error) {
	behind := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[behind+1:]) // the first is the third of all
	if behind < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("%w: /proc/PID/stat has %d fields behind the name, expected 20 or more", ErrPeer, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
