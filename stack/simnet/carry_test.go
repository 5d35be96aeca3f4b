package simnet

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestCarryGivesNoSign moves the laptop's cable from the office into the café as a switch would: the host keeps what it knows,
// gets no hint, and goes on sending to the router that is not there.
func TestCarryGivesNoSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		l.Plug(l.Eth0, l.Office)
		time.Sleep(time.Second)
		before := interfaces(t, l.Laptop)[0]
		stop, err := l.Laptop.Watch(func() { t.Error("a hint was given") })
		if err != nil {
			t.Fatal(err)
		}
		l.Eth0.Carry(l.Cafe)
		var seen []Frame
		defer l.Cafe.Tap(func(f Frame) { seen = append(seen, f) })()
		data := []byte("find me")
		if err := l.Laptop.SendEcho(netip.MustParseAddr("203.0.113.1"), data); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		stop()
		if after := interfaces(t, l.Laptop)[0]; after != before || l.Eth0.Wire() != l.Cafe {
			t.Errorf("snapshot %+v, was %+v", after, before)
		}
		if len(seen) != 1 || seen[0].Destination != before.GatewayHardware || !bytes.Contains(seen[0].Packet, data) {
			t.Errorf("on the café's wire: %+v", seen)
		}
		l.Unplug(l.Eth0)
		if after := interfaces(t, l.Laptop)[0]; after.Up {
			t.Errorf("snapshot %+v after unplugging", after)
		}
	})
}
