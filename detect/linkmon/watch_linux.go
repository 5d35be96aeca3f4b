package linkmon

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeGroups are the rtnetlink groups whose events are hints.
var routeGroups = []int{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEIGH,
}

// Watch calls f, from goroutines of its own but never from two at once, whenever something about the interfaces may have
// changed: at once for the first hint after a quiet time, then not sooner than 10 ms after the last call, and in the long
// run at most every 100 ms. Resume from suspend and a clock that was set are hints too. stop ends that; a call of f that is under way may still be going on when it returns.
func (m *Monitor) Watch(f func()) (stop func(), err error) {
	c := &coalescer{f: f}
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	route, err := subscribe(unix.NETLINK_ROUTE, routeGroups)
	if err != nil {
		return nil, fmt.Errorf("linkmon: subscribe to rtnetlink: %w", err)
	}
	files = append(files, route)
	wireless, err := subscribeWireless()
	if err != nil {
		closeAll()
		return nil, fmt.Errorf("linkmon: subscribe to nl80211: %w", err)
	}
	if wireless != nil {
		files = append(files, wireless)
	}
	for _, f := range files {
		go follow(f, c.hint)
	}
	resume, err := newResumeTimer()
	if err != nil {
		closeAll()
		return nil, fmt.Errorf("linkmon: watch for resume: %w", err)
	}
	files = append(files, resume)
	go followResume(resume, c.hint)
	var once sync.Once
	return func() {
		once.Do(func() {
			c.stop()
			closeAll()
		})
	}, nil
}

// subscribe opens a netlink socket that receives the groups.
func subscribe(protocol int, groups []int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("join group %d: %w", g, err)
		}
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// subscribeWireless receives nl80211's association events, or returns nil on a kernel without nl80211.
func subscribeWireless() (*os.File, error) {
	family, err := netlink.GenlFamilyGet("nl80211")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var groups []int
	for _, g := range family.Groups {
		if g.Name == "mlme" {
			groups = append(groups, int(g.ID))
		}
	}
	return subscribe(unix.NETLINK_GENERIC, groups)
}

// follow calls hint for each message on the socket until it is closed. What the messages say does not matter, nor that
// some were lost.
func follow(f *os.File, hint func()) {
	buf := make([]byte, 64<<10)
	for {
		_, err := f.Read(buf)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		hint()
	}
}

// newResumeTimer returns a timerfd on the wall clock, far in the future, whose reads are cancelled when the clock is set;
// the kernel counts a resume as that.
func newResumeTimer() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := armResume(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "timerfd"), nil
}

func armResume(fd int) error {
	far := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 28}}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	far.Value.Sec += now.Sec
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &far, nil)
}

// followResume calls hint each time the timer is cancelled, until it is closed.
func followResume(f *os.File, hint func()) {
	var expirations [8]byte
	for {
		_, err := f.Read(expirations[:])
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
		hint()
		conn, err := f.SyscallConn()
		if err != nil {
			return
		}
		var armed error
		if err := conn.Control(func(fd uintptr) { armed = armResume(int(fd)) }); err != nil || armed != nil {
			return
		}
	}
}
