//go:build !linux && !darwin && !windows

package control

import (
	"fmt"
	"net"
	"runtime"
)

// PeerOf always fails: this system does not tell who is at the other end of a unix socket. The error wraps ErrPeer.
func PeerOf(net.Conn) (Peer, error) {
	return Peer{}, fmt.Errorf("%w: not supported on %s", ErrPeer, runtime.GOOS)
}
