package power

import (
	"path/filepath"
	"testing"
	"time"

	"mipvpn/detect/resolve/bustest"
)

// patience bounds what a test waits for; nothing is measured.
const patience = time.Minute

// told waits for what a watch says.
func told(t *testing.T, states <-chan State, want State) {
	t.Helper()
	select {
	case got := <-states:
		if got != want {
			t.Fatalf("told %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing is told, want %v", want)
	}
}

// Both services are asked, heard and missed when they go; a service that comes later is found.
func TestDesktop(t *testing.T) {
	bus := bustest.Start(t)
	battery := bustest.StartPower(t, bus, true)
	states := make(chan State, 16)
	stop := Desktop{Address: bus.Address()}.Watch(func(s State) { states <- s })
	defer stop()
	told(t, states, State{Battery: true})
	metered := bustest.StartMetered(t, bus, 1)
	told(t, states, State{Battery: true, Metered: true})
	metered.Set(t, uint32(2))
	told(t, states, State{Battery: true})
	battery.Set(t, false)
	told(t, states, State{})
	metered.Set(t, uint32(3))
	told(t, states, State{Metered: true})
	metered.End()
	told(t, states, State{})
	battery.Set(t, true)
	told(t, states, State{Battery: true})
	stop()
	battery.Set(t, false)
	if len(states) != 0 {
		t.Errorf("told %v after the end", <-states)
	}
}

// Where there is no bus nothing is told, and the watch ends when it is told to.
func TestNoBus(t *testing.T) {
	stop := Desktop{Address: "unix:path=" + filepath.Join(t.TempDir(), "none")}.Watch(func(s State) { t.Errorf("told %v", s) })
	stop()
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		value            any
		battery, metered bool
	}{
		{nil, false, false}, {true, true, false}, {false, false, false}, {"true", false, false}, {1, false, false},
		{uint32(0), false, false}, {uint32(1), false, true}, {uint32(2), false, false}, {uint32(3), false, true}, {uint32(4), false, false},
		{uint32(5), false, false}, {uint64(1), false, false},
	} {
		if b, m := onBattery(c.value), metered(c.value); b != c.battery || m != c.metered {
			t.Errorf("%v (%T): %t, %t", c.value, c.value, b, m)
		}
	}
}
