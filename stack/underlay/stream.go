package underlay

import (
	"errors"
	"net"
	"time"
)

// streamSilence is how long the other end may leave what was sent unacknowledged (RFC 5482), or, with nothing to send, the
// kernel's own probes unanswered.
const streamSilence = 30 * time.Second

var streamProbes = net.KeepAliveConfig{Enable: true, Idle: streamSilence, Interval: streamSilence / 3, Count: 3}

// ownAddress returns the first global address of the interface and the family, with port 0.
func ownAddress(index int, ipv4 bool) (*net.TCPAddr, error) {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, err
	}
	all, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && (n.IP.To4() != nil) == ipv4 && n.IP.IsGlobalUnicast() {
			return &net.TCPAddr{IP: n.IP}, nil
		}
	}
	return nil, errNoAddress
}

// errNoAddress is for an interface from which nothing can be sent under an address of its own.
var errNoAddress = errors.New("it has no address of that family")
