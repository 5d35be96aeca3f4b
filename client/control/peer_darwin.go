package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// PeerOf returns who is at the other end of a unix socket (LOCAL_PEERCRED). The error wraps ErrPeer.
func PeerOf(c net.Conn) (p Peer, err error) {
	err = ofSocket(c, func(fd int) error {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return err
		}
		if p.UID = cred.Uid; cred.Ngroups > 0 {
			p.GID = cred.Groups[0]
		}
		return nil
	})
	return p, err
}
