package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"mipvpn/client/control"
)

// watched returns a view of that size which has seen a minute of traffic in the status.
func watched(width, height int, s control.Status) *monitor {
	m := &monitor{screen: screen{width: width, height: height}}
	for i := range 60 {
		s.Counters.TxBytes += uint64(1000 * (i % 17) * (i % 17))
		s.Counters.RxBytes += uint64(20_000 * (i % 5))
		s.Counters.Drops = maps.Clone(s.Counters.Drops)
		s.Counters.Drops["gate_closed"] = 3 + uint64(i/20)
		m.take(polled{status: s, at: noon.Add(time.Duration(i) * time.Second)})
	}
	return m
}

// picture returns the view's lines, which have to fit its screen.
func picture(t *testing.T, m *monitor) string {
	t.Helper()
	lines := m.view()
	if len(lines) > m.height {
		t.Errorf("%d lines on a screen of %d", len(lines), m.height)
	}
	for _, l := range lines {
		if n := utf8.RuneCountInString(sgr.ReplaceAllString(l, "")); n > m.width {
			t.Errorf("%d characters on a screen of %d: %q", n, m.width, l)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestMonitorPictures(t *testing.T) {
	s := statuses()
	golden(t, "monitor-outside.txt", picture(t, watched(80, 24, s["outside"])))
	golden(t, "monitor-inside.txt", picture(t, watched(80, 24, s["inside"])))
	golden(t, "monitor-blocked.txt", picture(t, watched(80, 24, s["blocked"])))
	golden(t, "monitor-down.txt", picture(t, watched(80, 24, s["down"])))
	golden(t, "monitor-full.txt", picture(t, watched(80, 24, fullStatus())))
	golden(t, "monitor-wide.txt", picture(t, watched(132, 43, fullStatus())))
	golden(t, "monitor-narrow.txt", picture(t, watched(40, 20, s["outside"])))

	m := watched(80, 24, s["inside"])
	m.take(polled{err: control.ErrUnreachable, at: noon.Add(time.Minute)})
	m.take(polled{err: control.ErrUnreachable, at: noon.Add(time.Minute + time.Second)})
	golden(t, "monitor-waiting.txt", picture(t, m))
	golden(t, "monitor-never.txt", picture(t, &monitor{screen: screen{width: 80, height: 24}, err: control.ErrUnreachable, silent: noon}))
	golden(t, "monitor-begin.txt", picture(t, &monitor{screen: screen{width: 80, height: 24}}))
}

func TestMonitorInColour(t *testing.T) {
	for name, s := range statuses() {
		m := watched(80, 24, s)
		without := picture(t, m)
		m.colour = true
		if with := picture(t, m); !strings.Contains(with, "\x1b[") || sgr.ReplaceAllString(with, "") != without {
			t.Errorf("%s: the colours are more than colours:\n%s\n%s", name, without, with)
		}
	}
}

func TestMonitorFitsAnyTerminal(t *testing.T) {
	for width := 1; width < 140; width += 3 {
		for height := 1; height < 50; height += 4 {
			m := watched(width, height, fullStatus())
			picture(t, m)
			m.take(polled{err: errors.New("an error that is told at length, so that it takes more lines than there are"), at: noon.Add(time.Hour)})
			picture(t, m)
		}
	}
}

// A new daemon counts from nothing: that is no rate, and what it has dropped, it has dropped now.
func TestMonitorAfterARestart(t *testing.T) {
	m := watched(80, 24, statuses()["outside"])
	before := len(m.out)
	s := statuses()["outside"]
	s.Counters.TxBytes, s.Counters.RxBytes, s.Counters.Drops = 100, 100, map[string]uint64{"no_path": 7}
	m.take(polled{status: s, at: noon.Add(2 * time.Minute)})
	if len(m.out) != before {
		t.Errorf("a rate between two daemons: %v", m.out[before:])
	}
	s.Counters.TxBytes += 5000
	m.take(polled{status: s, at: noon.Add(2*time.Minute + 2*time.Second)})
	if m.out[len(m.out)-1] != 2500 || m.in[len(m.in)-1] != 0 {
		t.Errorf("rates %v and %v", m.out[len(m.out)-1], m.in[len(m.in)-1])
	}
	if got := m.drops(); got != "7 no_path (+7)" {
		t.Errorf("%q", got)
	}
	m.take(polled{status: s, at: noon.Add(2*time.Minute + 2*time.Second)}) // at the same instant
	for range 3 * monitorHistory {
		m.rate(1, 1)
	}
	if len(m.out) != monitorHistory || len(m.in) != monitorHistory {
		t.Errorf("%d and %d rates are kept", len(m.out), len(m.in))
	}
}

func TestMonitorKeys(t *testing.T) {
	m := watched(80, 24, statuses()["inside"])
	for _, k := range []byte("qQ\x03") {
		if !m.press(k) {
			t.Errorf("%q does not end it", k)
		}
	}
	if m.press('x') || m.paused || m.press('p') || !m.paused {
		t.Error("p does not hold the picture")
	}
	m.take(polled{status: statuses()["outside"], at: noon.Add(time.Hour)})
	if m.status.Mode != "c" || !strings.Contains(picture(t, m), "HELD") {
		t.Errorf("mode %s", m.status.Mode)
	}
	if m.press(' ') || m.paused {
		t.Error("the space bar does not let it go on")
	}
}

func TestSparkline(t *testing.T) {
	for _, c := range []struct {
		rates []float64
		width int
		want  string
		most  float64
	}{
		{nil, 4, "    ", 0},
		{[]float64{0, 0}, 2, "  ", 0},
		{[]float64{1, 2, 4, 8}, 4, "▁▂▄█", 8},
		{[]float64{1, 0, 1e-9}, 5, "  █ ▁", 1},
		{[]float64{100, 1, 1}, 2, "██", 1},
	} {
		if got, most := sparkline(c.rates, c.width); got != c.want || most != c.most {
			t.Errorf("%v: %q up to %v, want %q up to %v", c.rates, got, most, c.want, c.most)
		}
	}
}

// output is a terminal's output that tests can look at.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// last returns the last picture.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.text.String()
	return all[max(0, strings.LastIndex(all, "\x1b[H")):]
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, typed := io.Pipe()
		var out output
		var width atomic.Int64
		resized := make(chan struct{})
		width.Store(80)
		c := &console{in: keys, out: &out, size: func() (int, int) { return int(width.Load()), 24 }, resized: resized}
		var mu sync.Mutex
		asked, s, fail := 0, statuses()["outside"], error(nil)
		becomes := func(now control.Status, err error) {
			mu.Lock()
			defer mu.Unlock()
			s, fail = now, err
		}
		ended := make(chan error, 1)
		go func() {
			ended <- watch(t.Context(), c, func(context.Context) (control.Status, error) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				return s, fail
			})
		}()
		time.Sleep(9500 * time.Millisecond)
		synctest.Wait()
		if asked != 10 || !strings.Contains(out.last(), "mode cvc on wlan0") {
			t.Errorf("asked %d times: %s", asked, out.last())
		}
		becomes(s, control.ErrUnreachable)
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(out.last(), "WAITING") {
			t.Errorf("%s", out.last())
		}
		becomes(statuses()["inside"], nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(out.last(), "mode c on eth0") || strings.Contains(out.last(), "WAITING") {
			t.Errorf("%s", out.last())
		}
		width.Store(20)
		resized <- struct{}{}
		synctest.Wait()
		if strings.Contains(out.last(), "mode c on eth0 (policy") {
			t.Errorf("%s", out.last())
		}
		if _, err := typed.Write([]byte("xq")); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !strings.HasSuffix(out.last(), leaveScreen) {
			t.Errorf("%q", out.last())
		}
		typed.Close()
	})
}

// A daemon that hangs does not hold the view, and a terminal that goes away ends it.
func TestWatchEndsWithTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, typed := io.Pipe()
		var out output
		c := &console{in: keys, out: &out, size: func() (int, int) { return 80, 24 }}
		ended := make(chan error, 1)
		go func() {
			ended <- watch(t.Context(), c, func(ctx context.Context) (control.Status, error) {
				<-ctx.Done()
				return control.Status{}, ctx.Err()
			})
		}()
		synctest.Wait()
		typed.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestMonitorNeedsATerminal(t *testing.T) {
	if r := mipvpn(t.Context(), "none", "monitor"); r.code != exitFailed || !strings.Contains(r.err, "needs a terminal") {
		t.Errorf("%+v", r)
	}
}
