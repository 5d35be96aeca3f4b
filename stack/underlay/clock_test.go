//go:build linux

package underlay

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func newTestClock(t *testing.T) *clock {
	t.Helper()
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() })
	return c
}

// Timers go by CLOCK_BOOTTIME, which is number 7: the kernel says so of the very descriptor that drives them. On that
// clock a timer whose time passes in suspend is due at resume (timerfd_create(2)).
//
// Shows: DET-4 (suspend counts as time)
func TestTimersCountSuspend(t *testing.T) {
	c := newTestClock(t)
	conn, err := c.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info []byte
	if e := conn.Control(func(fd uintptr) { info, err = os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd)) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if !strings.Contains(string(info), "clockid: 7\n") {
		t.Errorf("the timer's descriptor is %q, want clockid: 7", info)
	}
}

func TestNowIsBootTime(t *testing.T) {
	c := newTestClock(t)
	uptime := func() time.Duration {
		p, err := os.ReadFile("/proc/uptime") // seconds of CLOCK_BOOTTIME, cut to hundredths
		if err != nil {
			t.Fatal(err)
		}
		d, err := time.ParseDuration(strings.Fields(string(p))[0] + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := uptime()
	now := c.Now()
	after := uptime()
	if now.Boot < before || now.Boot > after+10*time.Millisecond {
		t.Errorf("boot time %v, want between %v and %v", now.Boot, before, after)
	}
}

func TestTimersFireInOrder(t *testing.T) {
	c := newTestClock(t)
	start := c.Now().Boot
	var timers []interface {
		C() <-chan struct{}
	}
	for _, d := range []time.Duration{3, -1, 1, 2} {
		timer := c.NewTimer()
		timer.Reset(start + d*5*time.Millisecond)
		timers = append(timers, timer)
	}
	for _, i := range []int{1, 2, 3, 0} {
		<-timers[i].C()
		if d := []time.Duration{3, -1, 1, 2}[i] * 5 * time.Millisecond; c.Now().Boot < start+d {
			t.Errorf("timer %d fired before its time", i)
		}
	}
}

func TestTimerStopAndReset(t *testing.T) {
	c := newTestClock(t)
	stopped, other := c.NewTimer(), c.NewTimer()
	// An expiry that was not received is taken back by Stop and by Reset.
	stopped.Reset(0)
	other.Reset(0)
	<-other.C()
	stopped.Stop()
	other.Reset(c.Now().Boot + time.Millisecond)
	<-other.C()
	select {
	case <-stopped.C():
		t.Error("a stopped timer fired")
	default:
	}
	stopped.Reset(0)
	other.Reset(0)
	<-other.C()
	stopped.Reset(c.Now().Boot + time.Hour)
	other.Reset(c.Now().Boot + time.Millisecond)
	<-other.C()
	select {
	case <-stopped.C():
		t.Error("a timer that was set to later fired")
	default:
	}
}
