package control

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// Peer is who is at the other end of a connection, by the kernel's word.
type Peer struct {
	// UID and GID are the effective user and primary group when the connection was made.
	UID, GID uint32
	// PID is the process, 0 where the system does not say.
	PID int32
	// Start is when the process started, in clock ticks since the system did, which with PID names one process and no later one; 0 where
	// that is not known.
	Start uint64
}

// String writes the peer's numbers.
func (p Peer) String() string { return fmt.Sprintf("uid %d, gid %d, pid %d", p.UID, p.GID, p.PID) }

// ErrPeer is returned where the system does not tell who the peer is.
var ErrPeer = errors.New("control: peer credentials not available")

// Authority says who may do everything with the daemon.
type Authority struct {
	uids, gids []uint32
}

// NewAuthority allows root, the user that this process runs as, and the users and primary groups given by name or number.
// A name that the system does not know is an error.
func NewAuthority(users, groups []string) (Authority, error) {
	a := Authority{uids: []uint32{0}}
	if uid := os.Geteuid(); uid > 0 { // -1 on windows
		a.uids = append(a.uids, uint32(uid))
	}
	for _, name := range users {
		id, err := number(name, func() (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
		if err != nil {
			return Authority{}, fmt.Errorf("control: user %q: %w", name, err)
		}
		a.uids = append(a.uids, id)
	}
	for _, name := range groups {
		id, err := number(name, func() (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
		if err != nil {
			return Authority{}, fmt.Errorf("control: group %q: %w", name, err)
		}
		a.gids = append(a.gids, id)
	}
	return a, nil
}

// Allows reports whether the peer may control the daemon.
func (a Authority) Allows(p Peer) bool { return contains(a.uids, p.UID) || contains(a.gids, p.GID) }

// number returns the number that name is, or that lookup finds.
func number(name string, lookup func() (string, error)) (uint32, error) {
	n, err := strconv.ParseUint(name, 10, 32)
	if err == nil {
		return uint32(n), nil
	}
	s, err := lookup()
	if err != nil {
		return 0, err
	}
	n, err = strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
